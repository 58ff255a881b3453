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
    box.replaceChildren(element("p", { class: "empty" }, "No method that is shown has both values."))
    byId("scatter-note").textContent = ""
    return
  }
  const xAxis = axisOf(known.map(each => each.vx), state.xscale)
  const yAxis = axisOf(known.map(each => each.vy), state.yscale)
  const points = known.filter(({ vx, vy }) => isInside(xAxis, vx.mean) && isInside(yAxis, vy.mean))
  const front = paretoFront(points, xColumn.better, yColumn.better)
  const width = Math.max(box.clientWidth, 280)
  const bars = points.filter(({ vy }) => vy.low !== null)
  const across = points.filter(({ vx }) => vx.low !== null)
  const plot = Plot.plot({
    width, height: SCATTER_HEIGHT, marginLeft: 56, marginBottom: 44, marginTop: 26, marginRight: 16,
    x: { type: xAxis.type, domain: xAxis.domain, label: xColumn.title, labelAnchor: "center", labelArrow: "none" },
    y: { type: yAxis.type, domain: yAxis.domain, label: yColumn.title, labelArrow: "none" },
    style: { background: "none" },
    ariaLabel: `${yColumn.title} against ${xColumn.title}: ${points.length} methods`,
    marks: [
      Plot.gridX({ ticks: xAxis.ticks, stroke: "var(--line)", strokeOpacity: 1 }),
      Plot.gridY({ ticks: yAxis.ticks, stroke: "var(--line)", strokeOpacity: 1 }),
      Plot.axisX({ ticks: xAxis.ticks, tickFormat: tickText, tickSize: 0, label: xColumn.title, labelAnchor: "center", labelArrow: "none" }),
      Plot.axisY({ ticks: yAxis.ticks, tickFormat: tickText, tickSize: 0, label: yColumn.title, labelArrow: "none" }),
      front.length > 1 ? Plot.line(front, { x: "x", y: "y", curve: xColumn.better < 0 ? "step-after" : "step-before", stroke: "var(--soft)", strokeDasharray: "2 4", strokeWidth: 1.5 }) : null,
      Plot.ruleX(bars, { x: ({ vx }) => vx.mean, y1: ({ vy }) => clamp(yAxis, vy.low), y2: ({ vy }) => clamp(yAxis, vy.high), stroke: ({ line }) => colourOf(line.family), strokeOpacity: 0.55, strokeWidth: 1.4 }),
      Plot.ruleY(across, { y: ({ vy }) => vy.mean, x1: ({ vx }) => clamp(xAxis, vx.low), x2: ({ vx }) => clamp(xAxis, vx.high), stroke: ({ line }) => colourOf(line.family), strokeOpacity: 0.55, strokeWidth: 1.4 }),
    ],
    color: { type: "identity" },
  })
  const marks = drawMarks(plot, points.map(({ line, vx, vy }) => ({ line, x: plot.scale("x").apply(vx.mean), y: plot.scale("y").apply(vy.mean) })))
  const named = namedLines(points, front, yColumn.better)
  writeLabels(plot, marks, mark => named.has(mark.line), width, SCATTER_HEIGHT - 30, barsOf(plot, bars, across, xAxis, yAxis))
  listen(plot, marks, [state.x, state.y])
  box.replaceChildren(plot)
  byId("scatter-note").textContent = scatterNote(known.length - points.length, front, xAxis, yAxis, points, named)
}

// The intervals as lines in pixels.
function barsOf(plot, bars, across, xAxis, yAxis) {
  const toX = value => plot.scale("x").apply(clamp(xAxis, value))
  const toY = value => plot.scale("y").apply(clamp(yAxis, value))
  return [
    ...bars.map(({ vx, vy }) => ({ x1: toX(vx.mean), x2: toX(vx.mean), y1: toY(vy.low), y2: toY(vy.high) })),
    ...across.map(({ vx, vy }) => ({ x1: toX(vx.low), x2: toX(vx.high), y1: toY(vy.mean), y2: toY(vy.mean) })),
  ]
}

// One shape for each {line, x, y}, in pixels; the chosen line comes last, on top of others.
function drawMarks(svg, places) {
  const sorted = d3.sort(places, ({ line }) => line.title === state.line)
  const group = d3.select(svg).append("g")
  return sorted.map(({ line, x, y }) => ({
    line, x, y,
    node: group.append("path")
      .attr("d", d3.symbol(shapeOf(line.family), 95)())
      .attr("transform", `translate(${x},${y})`)
      .attr("fill", colourOf(line.family))
      .attr("stroke", "var(--paper)")
      .attr("stroke-width", 1)
      .node(),
  }))
}

// The points that no other beats in both columns; none where a column has no better end.
function paretoFront(points, xBetter, yBetter) {
  if (!xBetter || !yBetter) return []
  const places = points.map(({ line, vx, vy }) => ({ line, x: vx.mean, y: vy.mean }))
  const sorted = d3.sort(places, ({ x }) => -xBetter * x, ({ y }) => -yBetter * y)
  const front = []
  for (const place of sorted) {
    if (!front.length || yBetter * place.y > yBetter * front.at(-1).y) front.push(place)
  }
  return d3.sort(front, ({ x }) => x)
}

function namedLines(points, front, better) {
  if (points.length <= MOST_NAMED) return new Set(points.map(({ line }) => line))
  const best = d3.rollups(points, group => d3.least(group, ({ vy }) => -(better || 1) * vy.mean).line, ({ line }) => line.family)
  const chosen = points.filter(({ line }) => line.title === state.line).map(({ line }) => line)
  return new Set([...chosen, ...front.map(({ line }) => line), ...best.map(([, line]) => line)])
}

function scatterNote(n_beyond, front, xAxis, yAxis, points, named) {
  const sentences = [`Points are means over seeds (${seedsText(points.map(({ line }) => line))}).`]
  const withBars = points.some(({ vx, vy }) => vx.low !== null || vy.low !== null)
  if (withBars) {
    sentences.push("Bars are 95 % intervals: of an accuracy those of the table, for new trainings and new test images; of other columns for new trainings, from 3 seeds on.")
  }
  const logs = [xAxis.type === "log" ? COLUMN.get(state.x).title : "", yAxis.type === "log" ? COLUMN.get(state.y).title : ""].filter(Boolean)
  if (logs.length) sentences.push(`Logarithmic: ${logs.join(", ")}.`)
  if (front.length > 1) sentences.push("The dotted line is the Pareto front: nothing that is shown is better in both.")
  if (named.size < points.length) sentences.push("Names are those of the front and of the best of each family.")
  if (n_beyond) sentences.push(`${n_beyond} without a place on a logarithmic axis.`)
  return sentences.join(" ")
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
    byId(`${axis}-scale`).addEventListener("change", event => choose({ [`${axis}scale`]: event.target.value }))
  }
}

function drawAxisChoices() {
  for (const axis of ["x", "y"]) {
    byId(axis).value = state[axis]
    byId(`${axis}-scale`).value = state[`${axis}scale`]
  }
}
