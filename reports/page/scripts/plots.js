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

const OF_IMAGES = ["accuracy", "error"] // columns whose intervals are also over test images
const isOfNetworks = line => textOf(line, "basis").startsWith("th") // "this network", "these 2 …"

// What the bars of some lines are, in the columns of a figure; empty where no line has one.
function barsText(lines, fields) {
  const withBars = field => lines.filter(line => measured(line, field).low !== null)
  const unique = [...new Set(fields)].filter(field => withBars(field).length)
  const judged = unique.filter(field => OF_IMAGES.includes(field)).flatMap(withBars)
  const others = unique.filter(field => !OF_IMAGES.includes(field))
  const ofAccuracy = accuracyBarsText(judged)
  const parts = ofAccuracy ? [ofAccuracy] : []
  if (others.length) {
    const titles = others.map(field => COLUMN.get(field).title).join(", ")
    parts.push(`of ${titles} for new trainings`)
  }
  return parts.length ? `Bars are 95 % intervals: ${parts.join("; ")}.` : ""
}

function accuracyBarsText(lines) {
  const nAlone = lines.filter(isOfNetworks).length
  const alone = "over test images, of these networks alone"
  const general = "for new trainings and new test images"
  if (!lines.length) return ""
  if (nAlone === lines.length) return `of the accuracy ${alone}`
  if (!nAlone) return `of the accuracy ${general}`
  return `of the accuracy ${general}, or of fewer than 3 seeds ${alone}`
}
