// Methods in order, each a point with its interval: what a reader should see first.

const MOST_RANKED = 40
const LEAST_ROW = 24 // pixels
const MOST_ROW = 38
const RANKING_HEIGHT = 330

function drawRanking(lines) {
  const box = document.querySelector("#ranking .plot")
  const column = COLUMN.get(state.y)
  const known = lines
    .map(line => ({ line, ...measured(line, state.y) }))
    .filter(({ mean }) => mean !== null)
  if (!known.length) {
    box.replaceChildren(element("p", { class: "empty" }, "No method that is shown has a value."))
    byId("ranking-note").textContent = ""
    return
  }
  const sorted = d3.sort(known, ({ mean }) => -(column.better || 1) * mean)
  const ranked = sorted.slice(0, MOST_RANKED)
  const axis = axisOf(ranked, state.yscale)
  const inside = ranked.filter(({ mean }) => isInside(axis, mean))
  const width = Math.max(box.clientWidth, 260)
  const titles = inside.map(({ line }) => fullTitle(line))
  const names = shortNames(titles, width < 420 ? 18 : 26)
  const letters = d3.max(names, name => name.length) ?? 0
  const places = d3.range(inside.length)
  const row = Math.min(MOST_ROW, Math.max(LEAST_ROW, RANKING_HEIGHT / inside.length))
  const ticks = axis.type === "log" ? axis.ticks : 4
  const plot = Plot.plot({
    ...PLAIN,
    width,
    height: row * inside.length + 56,
    marginLeft: 7.2 * letters + 14,
    marginTop: 8,
    marginBottom: 44,
    marginRight: 14,
    x: scaleOf(axis, column.title),
    y: { type: "point", domain: places, padding: 0.6 },
    ariaLabel: `Ranking by ${column.title}: ${inside.length} methods`,
    marks: [
      ...xMarks({ ticks }, column.title),
      Plot.axisY({
        tickSize: 0,
        fontSize: 12.5,
        tickFormat: place => names[place],
        label: null,
      }),
      Plot.ruleY(
        places.filter(place => inside[place].low !== null),
        {
          y: place => place,
          x1: place => clamp(axis, inside[place].low),
          x2: place => clamp(axis, inside[place].high),
          stroke: place => colourOfLine(inside[place]),
          strokeWidth: 2,
          strokeOpacity: 0.65,
        },
      ),
    ],
  })
  const toX = plot.scale("x").apply
  const toY = plot.scale("y").apply
  const marks = drawMarks(
    plot,
    inside.map(({ line, mean }, place) => ({ line, x: toX(mean), y: toY(place) })),
  )
  listen(
    plot,
    d3.sort(marks, ({ y }) => y),
    [state.y],
  )
  box.replaceChildren(plot)
  byId("ranking-note").textContent = rankingNote(sorted.length, inside)
}

function rankingNote(total, ranked) {
  const lines = ranked.map(({ line }) => line)
  const sentences = [`${COLUMN.get(state.y).title}, ${seedsText(lines)}.`]
  sentences.push(barsText(lines, [state.y]))
  if (total > MOST_RANKED) sentences.push(`The first ${MOST_RANKED} of ${total}.`)
  if (state.y === "accuracy" && lines.some(line => line.standing)) {
    sentences.push(
      "Whether two methods differ is told above and under Pairs; overlapping bars do not tell.",
    )
  }
  return sentences.filter(Boolean).join(" ")
}
