// Accuracy while training, with bands over seeds; many methods stand in panels, a family each.

const MOST_CURVES = 12
const OVER = {
  seconds: { title: "seconds of training", of: curve => curve.seconds },
  passes: { title: "passes over the training images", of: curve => curve.passes },
  samples: {
    title: "training images seen",
    of: curve => curve.passes.map(passes => passes * curve.n_train),
  },
}

function pointsOf(line, of) {
  const curve = DATA.curves[line.place]
  if (!curve) return []
  const { mean, low, high, n } = curve
  return of(curve).map((x, at) => ({ line, x, mean: mean[at], low: low[at], high: high[at], n }))
}

function drawCurves(lines) {
  const section = byId("curves")
  section.hidden = !DATA.curves.some(Boolean)
  byId("to-curves").hidden = section.hidden
  if (section.hidden) return
  byId("over").value = state.over
  const { title, of } = OVER[state.over] ?? OVER.seconds
  const points = lines.flatMap(line => pointsOf(line, of)).filter(({ x }) => x > 0)
  const box = section.querySelector(".plot")
  if (!points.length) {
    box.replaceChildren(
      element("p", { class: "empty" }, `No method that is shown has a curve against ${title}.`),
    )
    byId("curves-note").textContent = ""
    return
  }
  byId("curves-note").textContent = curvesNote(lines, points, title)
  const extent = d3.extent(points, ({ x }) => x)
  const axes = {
    x:
      extent[0] < extent[1] ? [extent[0] / 1.15, extent[1] * 1.15] : [extent[0] / 2, extent[0] * 2],
    y: d3.extent(points.flatMap(({ low, high }) => [low, high])),
  }
  axes.y = [axes.y[0] - 1, Math.min(axes.y[1] + 1, 100.5)]
  const families = d3.groups(points, ({ line }) => line.family)
  const nLines = new Set(points.map(({ line }) => line)).size
  if (nLines <= MOST_CURVES) {
    box.replaceChildren(
      curvesPlot(points, points, axes, title, Math.max(box.clientWidth, 280), 400),
    )
    return
  }
  const panels = element("div", { class: "panels" })
  box.replaceChildren(panels)
  const width = Math.max(260, Math.min(box.clientWidth, 420))
  for (const [family, members] of d3.sort(families, ([family]) => family)) {
    const heading = element("h3", {}, swatch(family), ` ${DATA.families[family].name}`)
    panels.append(element("div", {}, heading, curvesPlot(members, points, axes, title, width, 250)))
  }
}

function curvesNote(lines, points, title) {
  const splits = new Set(lines.map(line => DATA.curves[line.place]?.split).filter(Boolean))
  const [least, most] = d3.extent(points, ({ n }) => n)
  const seeds = least === most ? least : `${least} to ${most}`
  return (
    `Accuracy on ${[...splits].join(" and ")} images against ${title}, logarithmic. ` +
    `Lines are means over seeds (n = ${seeds}), bands their whole range.`
  )
}

// The curves of some points in front of all others, which are grey.
function curvesPlot(points, all, axes, title, width, height) {
  const ends = d3
    .groups(points, ({ line }) => line)
    .map(([line, group]) => ({ line, ...group.at(-1) }))
  const ofLine = ({ line }) => line.place
  const others = { x: "x", y: "mean", z: ofLine, stroke: "var(--line)", strokeWidth: 1 }
  const band = { x: "x", y1: "low", y2: "high", z: ofLine, fill: colourOfLine, fillOpacity: 0.16 }
  const widthOf = ({ line }) => (isChosen(line) ? 3 : 1.7)
  const plot = Plot.plot({
    ...PLAIN,
    width,
    height,
    marginLeft: 46,
    marginBottom: 42,
    marginTop: 22,
    marginRight: 20,
    x: scaleOf({ type: "log", domain: axes.x }, title),
    y: scaleOf({ type: "linear", domain: axes.y }, "accuracy (%)"),
    ariaLabel: `Accuracy against ${title}: ${ends.length} methods`,
    marks: [
      ...yMarks({ ticks: 5 }, "accuracy (%)"),
      ...xMarks({ ticks: logTicks(...axes.x) }, title),
      points === all ? null : Plot.line(all, others),
      Plot.areaY(points, { ...band, className: "bands" }),
      Plot.line(points, {
        x: "x",
        y: "mean",
        z: ofLine,
        stroke: colourOfLine,
        strokeWidth: widthOf,
      }),
    ],
  })
  const toX = plot.scale("x").apply
  const toY = plot.scale("y").apply
  const marks = drawMarks(
    plot,
    ends.map(({ line, x, mean }) => ({ line, x: toX(x), y: toY(mean) })),
  )
  const best = new Set(
    d3
      .sort(ends, ({ mean }) => -mean)
      .slice(0, MOST_CURVES)
      .map(({ line }) => line),
  )
  writeLabels(plot, marks, ({ line }) => best.has(line), width, height - 30)
  listen(plot, marks, [state.y])
  return plot
}

function setUpCurves() {
  fill(
    byId("over"),
    Object.entries(OVER).map(([name, { title }]) => [name, title]),
  )
  byId("over").addEventListener("change", event => choose({ over: event.target.value }))
}
