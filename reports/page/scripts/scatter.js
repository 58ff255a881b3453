// Any two columns against each other, with intervals and the Pareto front.

const MOST_NAMED = 12 // beyond, only the front and the best of each family have names
const SCATTER_HEIGHT = 440

function drawScatter(lines) {
  const box = document.querySelector("#scatter .plot")
  const [xColumn, yColumn] = [COLUMN.get(state.x), COLUMN.get(state.y)]
  const known = lines
    .map(line => ({ line, vx: measured(line, state.x), vy: measured(line, state.y) }))
    .filter(({ vx, vy }) => vx.mean !== null && vy.mean !== null)
  if (!known.length) {
    box.replaceChildren(
      element("p", { class: "empty" }, "No method that is shown has both values."),
    )
    byId("scatter-note").textContent = ""
    return
  }
  const xAxis = axisOf(
    known.map(each => each.vx),
    state.xscale,
  )
  const yAxis = axisOf(
    known.map(each => each.vy),
    state.yscale,
  )
  const points = known.filter(({ vx, vy }) => isInside(xAxis, vx.mean) && isInside(yAxis, vy.mean))
  const front = paretoFront(points, xColumn.better, yColumn.better)
  const width = Math.max(box.clientWidth, 280)
  const bars = points.filter(({ vy }) => vy.low !== null)
  const across = points.filter(({ vx }) => vx.low !== null)
  const plot = Plot.plot({
    ...PLAIN,
    width,
    height: SCATTER_HEIGHT,
    marginLeft: 56,
    marginBottom: 44,
    marginTop: 26,
    marginRight: 16,
    x: scaleOf(xAxis, xColumn.title),
    y: scaleOf(yAxis, yColumn.title),
    ariaLabel: `${yColumn.title} against ${xColumn.title}: ${points.length} methods`,
    marks: [
      ...xMarks(xAxis, xColumn.title),
      ...yMarks(yAxis, yColumn.title),
      frontMark(front, xColumn.better),
      ...intervalMarks(bars, across, xAxis, yAxis),
    ],
  })
  const toX = plot.scale("x").apply
  const toY = plot.scale("y").apply
  const places = points.map(point => ({
    line: point.line,
    x: toX(point.vx.mean),
    y: toY(point.vy.mean),
    isHollow: isPart(point),
  }))
  const marks = drawMarks(plot, places)
  const named = namedLines(points, front, yColumn.better)
  const obstacles = barsOf(plot, bars, across, xAxis, yAxis)
  writeLabels(plot, marks, mark => named.has(mark.line), width, SCATTER_HEIGHT - 30, obstacles)
  listen(plot, marks, [state.x, state.y])
  box.replaceChildren(plot)
  const nBeyond = known.length - points.length
  byId("scatter-note").textContent = scatterNote(points, front, named, xAxis, yAxis, nBeyond)
}

// Whether a value of a point is a count that leaves something out.
const isPart = ({ vx, vy }) => Boolean(vx.leftOut || vy.leftOut)

function frontMark(front, xBetter) {
  if (front.length < 2) return null
  const curve = xBetter < 0 ? "step-after" : "step-before"
  const look = { stroke: "var(--soft)", strokeDasharray: "2 4", strokeWidth: 1.5 }
  return Plot.line(front, { x: "x", y: "y", curve, ...look })
}

function intervalMarks(bars, across, xAxis, yAxis) {
  const look = { stroke: colourOfLine, strokeOpacity: 0.55, strokeWidth: 1.4 }
  return [
    Plot.ruleX(bars, {
      x: ({ vx }) => vx.mean,
      y1: ({ vy }) => clamp(yAxis, vy.low),
      y2: ({ vy }) => clamp(yAxis, vy.high),
      ...look,
    }),
    Plot.ruleY(across, {
      y: ({ vy }) => vy.mean,
      x1: ({ vx }) => clamp(xAxis, vx.low),
      x2: ({ vx }) => clamp(xAxis, vx.high),
      ...look,
    }),
  ]
}

// The intervals as lines in pixels.
function barsOf(plot, bars, across, xAxis, yAxis) {
  const toX = value => plot.scale("x").apply(clamp(xAxis, value))
  const toY = value => plot.scale("y").apply(clamp(yAxis, value))
  return [
    ...bars.map(({ vx, vy }) => ({
      x1: toX(vx.mean),
      x2: toX(vx.mean),
      y1: toY(vy.low),
      y2: toY(vy.high),
    })),
    ...across.map(({ vx, vy }) => ({
      x1: toX(vx.low),
      x2: toX(vx.high),
      y1: toY(vy.mean),
      y2: toY(vy.mean),
    })),
  ]
}

// One shape for each {line, x, y}, in pixels, hollow for a part of a count; the chosen line comes
// last, on top of others.
function drawMarks(svg, places) {
  const sorted = d3.sort(places, ({ line }) => isChosen(line))
  const group = d3.select(svg).append("g")
  return sorted.map(({ line, x, y, isHollow }) => ({
    line,
    x,
    y,
    node: group
      .append("path")
      .attr("d", d3.symbol(shapeOf(line.family), 95)())
      .attr("transform", `translate(${x},${y})`)
      .attr("fill", isHollow ? "var(--paper)" : colourOf(line.family))
      .attr("stroke", isHollow ? colourOf(line.family) : "var(--paper)")
      .attr("stroke-width", isHollow ? 2 : 1)
      .node(),
  }))
}

// The whole points that no other beats in both columns; none where a column has no better end.
function paretoFront(points, xBetter, yBetter) {
  if (!xBetter || !yBetter) return []
  const whole = points.filter(point => !isPart(point))
  const places = whole.map(({ line, vx, vy }) => ({ line, x: vx.mean, y: vy.mean }))
  const sorted = d3.sort(
    places,
    ({ x }) => -xBetter * x,
    ({ y }) => -yBetter * y,
  )
  const front = []
  for (const place of sorted) {
    if (!front.length || yBetter * place.y > yBetter * front.at(-1).y) front.push(place)
  }
  return d3.sort(front, ({ x }) => x)
}

function namedLines(points, front, better) {
  if (points.length <= MOST_NAMED) return new Set(points.map(({ line }) => line))
  const bestOf = group => d3.least(group, ({ vy }) => -(better || 1) * vy.mean).line
  const best = d3.rollups(points, bestOf, ({ line }) => line.family)
  const chosen = points.map(({ line }) => line).filter(isChosen)
  return new Set([...chosen, ...front.map(({ line }) => line), ...best.map(([, line]) => line)])
}

function scatterNote(points, front, named, xAxis, yAxis, nBeyond) {
  const lines = points.map(({ line }) => line)
  const sentences = [`Points are means over seeds (${seedsText(lines)}).`]
  sentences.push(barsText(lines, [state.y, state.x]))
  const logs = []
  if (xAxis.type === "log") logs.push(COLUMN.get(state.x).title)
  if (yAxis.type === "log") logs.push(COLUMN.get(state.y).title)
  if (logs.length) sentences.push(`Logarithmic: ${logs.join(", ")}.`)
  const leftOut = new Set(points.flatMap(({ vx, vy }) => [vx.leftOut, vy.leftOut]).filter(Boolean))
  if (front.length > 1) {
    const others = leftOut.size ? "no filled mark" : "nothing that is shown"
    sentences.push(`The dotted line is the Pareto front: ${others} is better in both.`)
  }
  if (named.size < points.length) {
    sentences.push("Names are those of the front and of the best of each family.")
  }
  if (leftOut.size) {
    const what = [...leftOut].join(" or ")
    sentences.push(`Hollow marks are lower limits, without ${what}, and not on the front.`)
  }
  if (nBeyond) sentences.push(`${nBeyond} without a place on a logarithmic axis.`)
  return sentences.filter(Boolean).join(" ")
}

function seedsText(lines) {
  const [least, most] = d3.extent(lines, line => line.seeds.length)
  return least === most ? `n = ${least}` : `n = ${least} to ${most}`
}

function setUpScatter() {
  const options = DATA.columns.map(({ field, title }) => [field, title])
  for (const axis of ["x", "y"]) {
    fill(byId(axis), options)
    fill(byId(`${axis}-scale`), SCALES)
    byId(axis).addEventListener("change", event => choose({ [axis]: event.target.value }))
    byId(`${axis}-scale`).addEventListener("change", event =>
      choose({ [`${axis}scale`]: event.target.value }),
    )
  }
}

function drawAxisChoices() {
  for (const axis of ["x", "y"]) {
    byId(axis).value = state[axis]
    byId(`${axis}-scale`).value = state[`${axis}scale`]
  }
}
