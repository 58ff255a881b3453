// What the page knows: the lines of the table, each a method on a data set, and its columns.

const DATA = JSON.parse(byId("data").textContent)
const LINES = DATA.lines.name.map((title, place) => ({
  place,
  title,
  dataset: DATA.lines.dataset[place],
  family: DATA.lines.family[place],
  status: DATA.lines.status[place],
  standing: DATA.lines.standing[place],
  seeds: DATA.lines.seeds[place],
  missing: DATA.lines.missing[place].map(([seed, text]) => [seed, DATA.texts[text]]),
}))
const COLUMN = new Map(DATA.columns.map(column => [column.field, column]))
const SHAPES = {
  circle: d3.symbolCircle,
  cross: d3.symbolCross,
  diamond: d3.symbolDiamond,
  diamond2: d3.symbolDiamond2,
  square: d3.symbolSquare,
  square2: d3.symbolSquare2,
  star: d3.symbolStar,
  triangle: d3.symbolTriangle,
  triangle2: d3.symbolTriangle2,
  wye: d3.symbolWye,
  hexagon: Plot.symbolHexagon ?? hexagon(),
}

// D3 has no hexagon.
function hexagon() {
  return {
    draw(context, size) {
      const radius = Math.sqrt(size / 2.598)
      d3.range(6).forEach(corner => {
        const angle = (corner * Math.PI) / 3
        context[corner ? "lineTo" : "moveTo"](radius * Math.sin(angle), radius * Math.cos(angle))
      })
      context.closePath()
    },
  }
}

const colourOf = family => `var(--family-${family})`
const shapeOf = family => SHAPES[DATA.families[family].shape]
const textOf = (line, name) => DATA.texts[DATA.lines[name][line.place]]

// One measured value of a line: mean, sd, interval (null without one), the text of the table, and
// what a count leaves out, so that it is a lower limit.
function measured(line, field) {
  const column = DATA.measured[field]
  const at = line.place
  return {
    mean: column.mean[at],
    sd: column.sd[at],
    low: column.low[at],
    high: column.high[at],
    text: column.text[at],
    leftOut: column.left_out?.[at] ?? "",
  }
}

// The value of each seed that ended well; a value that all share is kept once.
function ofSeeds(line, field) {
  const each = DATA.measured[field].each[line.place]
  return each ?? line.seeds.map(() => DATA.measured[field].mean[line.place])
}

function numberText(value) {
  if (value === null || value === undefined) return ""
  const size = Math.abs(value)
  if (size >= 1e5 || (size > 0 && size < 1e-3))
    return d3.format(".3~s")(value).replace("G", " billion")
  return value.toLocaleString("en", { maximumSignificantDigits: size >= 100 ? 5 : 4 })
}

// A name of a line that also says its data set, where several are shown.
const fullTitle = line =>
  state.data === ALL ? `${line.title} on ${DATA.datasets[line.dataset]}` : line.title
