// Accuracy while training, with bands over seeds; many methods stand in panels, a family each.

const MOST_CURVES = 12
const OVER = {
  seconds: { title: "seconds of training", of: curve => curve.seconds },
  passes: { title: "passes over the training images", of: curve => curve.passes },
  samples: { title: "training images seen", of: curve => curve.passes.map(passes => passes * curve.n_train) },
}

function drawCurves(lines) {
  const section = byId("curves")
  section.hidden = !DATA.curves.some(Boolean)
  byId("to-curves").hidden = section.hidden
  if (section.hidden) return
  byId("over").value = state.over
  const { title, of } = OVER[state.over] ?? OVER.seconds
  const points = lines.flatMap(line => {
    const curve = DATA.curves[line.place]
    return curve ? of(curve).map((x, at) => ({ line, x, mean: curve.mean[at], low: curve.low[at], high: curve.high[at], n: curve.n })) : []
  }).filter(({ x }) => x > 0)
  const box = section.querySelector(".plot")
  if (!points.length) {
    box.replaceChildren(element("p", { class: "empty" }, `No method that is shown has a curve against ${title}.`))
    byId("curves-note").textContent = ""
    return
  }
  const splits = [...new Set(lines.map(line => DATA.curves[line.place]?.split).filter(Boolean))]
  const [least, most] = d3.extent(points, ({ n }) => n)
  byId("curves-note").textContent = `Accuracy on ${splits.join(" and ")} images against ${title}, logarithmic. Lines are means over seeds (n = ${least === most ? least : `${least} to ${most}`}), bands their whole range.`
  const extent = d3.extent(points, ({ x }) => x)
  const axes = {
    x: extent[0] < extent[1] ? [extent[0] / 1.15, extent[1] * 1.15] : [extent[0] / 2, extent[0] * 2],
    y: d3.extent(points.flatMap(({ low, high }) => [low, high])),
  }
  axes.y = [axes.y[0] - 1, Math.min(axes.y[1] + 1, 100.5)]
  const families = d3.groups(points, ({ line }) => line.family)
  const n_lines = new Set(points.map(({ line }) => line)).size
  if (n_lines <= MOST_CURVES) {
    box.replaceChildren(curvesPlot(points, points, axes, title, Math.max(box.clientWidth, 280), 400))
    return
  }
  const panels = element("div", { class: "panels" })
  box.replaceChildren(panels)
  const width = Math.max(260, Math.min(box.clientWidth, 420))
  panels.append(...d3.sort(families, ([family]) => family).map(([family, members]) =>
    element("div", {}, element("h3", {}, swatch(family), ` ${DATA.families[family].name}`), curvesPlot(members, points, axes, title, width, 250))))
}

// The curves of some points in front of all others, which are grey.
function curvesPlot(points, all, axes, title, width, height) {
  const ends = d3.groups(points, ({ line }) => line).map(([line, group]) => ({ line, ...group.at(-1) }))
  const plot = Plot.plot({
    width, height, marginLeft: 46, marginBottom: 42, marginTop: 22, marginRight: 20,
    x: { type: "log", domain: axes.x, label: title, labelAnchor: "center", labelArrow: "none" },
    y: { domain: axes.y, label: "accuracy (%)", labelArrow: "none" },
    style: { background: "none" },
    ariaLabel: `Accuracy against ${title}: ${ends.length} methods`,
    color: { type: "identity" },
    marks: [
      Plot.gridY({ ticks: 5, stroke: "var(--line)", strokeOpacity: 1 }),
      Plot.axisX({ ticks: logTicks(...axes.x), tickFormat: tickText, tickSize: 3, label: title, labelAnchor: "center", labelArrow: "none" }),
      Plot.axisY({ ticks: 5, tickSize: 0, label: "accuracy (%)", labelArrow: "none" }),
      points === all ? null : Plot.line(all, { x: "x", y: "mean", z: ({ line }) => line.place, stroke: "var(--line)", strokeWidth: 1 }),
      Plot.areaY(points, { x: "x", y1: "low", y2: "high", z: ({ line }) => line.place, fill: ({ line }) => colourOf(line.family), fillOpacity: 0.16, className: "bands" }),
      Plot.line(points, { x: "x", y: "mean", z: ({ line }) => line.place, stroke: ({ line }) => colourOf(line.family), strokeWidth: ({ line }) => line.title === state.line ? 3 : 1.7, strokeDasharray: null }),
    ],
  })
  const marks = drawMarks(plot, ends.map(({ line, x, mean }) => ({ line, x: plot.scale("x").apply(x), y: plot.scale("y").apply(mean) })))
  writeLabels(plot, marks, () => marks.length <= MOST_CURVES, width, height - 30)
  listen(plot, marks, [state.y])
  return plot
}

function setUpCurves() {
  fill(byId("over"), Object.entries(OVER).map(([name, { title }]) => [name, title]))
  byId("over").addEventListener("change", event => choose({ over: event.target.value }))
}
