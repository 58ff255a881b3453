// What all figures share: their axes, their grid, and no ground of their own.

const GRID = { stroke: "var(--line)", strokeOpacity: 1 }
const BELOW = { labelAnchor: "center", labelArrow: "none" }
const PLAIN = { style: { background: "none" }, color: { type: "identity" } }

const scaleOf = ({ type, domain }, title) => ({ type, domain, label: title, labelArrow: "none" })

function xMarks({ ticks }, title) {
  return [
    Plot.gridX({ ticks, ...GRID }),
    Plot.axisX({ ticks, tickFormat: tickText, tickSize: 0, label: title, ...BELOW }),
  ]
}

function yMarks({ ticks }, title) {
  return [
    Plot.gridY({ ticks, ...GRID }),
    Plot.axisY({ ticks, tickFormat: tickText, tickSize: 0, label: title, labelArrow: "none" }),
  ]
}

const colourOfLine = ({ line }) => colourOf(line.family)
