// All pairs of methods: a matrix of differences with intervals that hold together.

function drawPairs(lines) {
  const place = DATA.datasets.indexOf(state.data)
  const pairs = DATA.pairs[place]
  const note = byId("pairs-note")
  if (place < 0) {
    note.textContent = "Choose one data set: methods are compared on the same images."
    byId("matrix").replaceChildren()
  } else if (!pairs) {
    note.textContent =
      "No pair has an interval: that needs two methods with 3 seeds each. " +
      "Single networks do not speak of methods."
    byId("matrix").replaceChildren()
  } else {
    drawMatrix(pairs, new Set(lines.map(line => line.title)))
    note.textContent =
      "Row minus column in points of accuracy, with 95 % intervals that hold for all pairs together. " +
      (pairs.is_judged
        ? "In colour: the interval leaves out 0."
        : "Nothing is in colour: a verdict needs 5 seeds of each method.") +
      (pairs.left_out
        ? ` The ${pairs.lines.length} most accurate methods; ${pairs.left_out} more are left out.`
        : "")
  }
  byId("matrix").hidden = !byId("matrix").hasChildNodes()
  drawComparisons(place)
}

const signed = (value, digits = 2) => {
  const text = Math.abs(value).toFixed(digits)
  return `${value < 0 && Number(text) ? "−" : "+"}${text}`
}

// With as many digits as show that a limit is not nothing: a verdict rests on that.
function limitsText(low, high) {
  const isTold = digits => [low, high].every(limit => !limit || Number(limit.toFixed(digits)))
  const digits = d3.range(2, 5).find(isTold) ?? 2
  return `${signed(low, digits)} to ${signed(high, digits)}`
}

function drawMatrix({ lines, means, halves, is_judged: isJudged }, shown) {
  const n = lines.length
  // Halves are kept for i < j alone, one line of the matrix after the other.
  const halfOf = (i, j) =>
    halves[Math.min(i, j) * n - (Math.min(i, j) * (Math.min(i, j) + 1)) / 2 + Math.abs(j - i) - 1]
  const kept = d3.range(n).filter(i => shown.has(lines[i]))
  const head = element(
    "tr",
    {},
    element("td", {}),
    ...kept.map(j => element("th", { scope: "col" }, lines[j])),
  )
  const rows = kept.map(i =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, lines[i]),
      ...kept.map(j => {
        if (i === j) return element("td", {}, "·")
        const difference = means[i] - means[j]
        const half = halfOf(i, j)
        const verdict = difference - half > 0 ? "better" : difference + half < 0 ? "worse" : null
        return element(
          "td",
          { class: isJudged ? verdict : null },
          signed(difference),
          element("small", {}, limitsText(difference - half, difference + half)),
        )
      }),
    ),
  )
  byId("matrix").replaceChildren(
    element(
      "table",
      {},
      element("caption", { class: "hidden" }, "Differences of all pairs, row minus column"),
      element("thead", {}, head),
      element("tbody", {}, ...rows),
    ),
  )
}

const COMPARED = [
  "methods",
  "seeds",
  "difference (points)",
  "95 % interval",
  "p",
  "p, family",
  "verdict",
  "detectable",
  "new images",
  "these networks",
  "left out",
]

function drawComparisons(place) {
  const details = byId("comparisons")
  const tests = DATA.tests[place]
  details.hidden = !tests?.rows.length
  if (details.hidden || !details.open) return
  byId("family").textContent = tests.family || "none, as no difference has an interval"
  const between = ([low, high]) => (low === null ? "" : limitsText(low, high))
  const chance = p => (p === null ? "" : p < 0.0005 ? "< 0.0005" : String(Number(p.toPrecision(2))))
  const rows = tests.rows.map(
    ([
      a,
      b,
      seeds,
      difference,
      interval,
      p,
      pFamily,
      verdict,
      detectable,
      newImages,
      networks,
      leftOut,
    ]) => [
      `${a} − ${b}`,
      seeds.join(", "),
      difference === null ? "" : signed(difference),
      between(interval),
      chance(p),
      chance(pFamily),
      verdict,
      detectable === null ? "" : detectable.toFixed(2),
      between(newImages),
      between(networks),
      leftOut,
    ],
  )
  const present = d3.range(COMPARED.length).filter(at => rows.some(row => row[at]))
  const wide = ["verdict", "left out"]
  details.querySelector(".scroll").replaceChildren(
    element(
      "table",
      {},
      element("caption", { class: "hidden" }, "Comparisons of methods"),
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          ...present.map(at =>
            element(
              "th",
              {
                scope: "col",
                class: wide.includes(COMPARED[at]) ? "wide" : null,
              },
              COMPARED[at],
            ),
          ),
        ),
      ),
      element(
        "tbody",
        {},
        ...rows.map(row =>
          element(
            "tr",
            {},
            ...present.map(at =>
              at
                ? element("td", { class: wide.includes(COMPARED[at]) ? "wide" : null }, row[at])
                : element("th", { scope: "row" }, row[at]),
            ),
          ),
        ),
      ),
    ),
  )
}
