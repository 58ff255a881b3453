// The table: sorted by any column, with the columns that the reader wants.

const ROWS_AT_ONCE = 200
const LONG = 28 // letters of a name, beyond which it takes several lines
let rowsShown = ROWS_AT_ONCE

// Every column: its heading, the text of a line, what it is sorted by, and which end comes first.
const TABLE_COLUMNS = [
  { name: "dataset", title: "data set", text: line => DATA.datasets[line.dataset], isText: true },
  {
    name: "family",
    title: "family",
    text: line => DATA.families[line.family].name,
    isText: true,
  },
  {
    name: "seeds",
    title: "seeds",
    text: line => seedsOf(line),
    key: line => line.seeds.length,
    first: -1,
  },
  ...DATA.columns.flatMap(column => [
    measuredColumn(column),
    ...(column.field === "accuracy" ? ofAccuracy() : []),
  ]),
  { name: "note", title: "note", text: line => noteOf(line), isText: true, isWide: true },
]

function measuredColumn({ field, title, better }) {
  return {
    name: field,
    title,
    text: line => measured(line, field).text,
    key: line => measured(line, field).mean,
    first: better > 0 ? -1 : 1,
    isMeasured: true,
  }
}

function ofAccuracy() {
  return [
    {
      name: "interval",
      title: "95 % interval",
      text: line => textOf(line, "95 % interval"),
      key: line => measured(line, "accuracy").low,
      first: -1,
    },
    {
      name: "behind",
      title: "behind the best",
      text: line => textOf(line, "behind the best"),
      key: line => Number.parseFloat(textOf(line, "behind the best")),
      first: 1,
    },
  ]
}

function seedsOf(line) {
  const asked = line.seeds.length + line.missing.length
  return line.missing.length ? `${line.seeds.length} of ${asked}` : String(asked)
}

function noteOf(line) {
  if (line.status !== "failed") return textOf(line, "note")
  return (
    textOf(line, "note") ||
    line.missing.map(([seed, reason]) => `seed ${seed}: ${reason}`).join("; ")
  )
}

function columnsShown(lines) {
  const wanted = state.columns.length ? state.columns : USUAL_COLUMNS
  return TABLE_COLUMNS.filter(column => {
    if (column.name === "dataset" && state.data === ALL) return true
    return (
      wanted.includes(column.name) &&
      (column.name === "seeds" || lines.some(line => column.text(line)))
    )
  })
}

function sortedLines(lines) {
  if (!state.sort) return lines
  const isDown = state.sort.startsWith("-")
  const name = isDown ? state.sort.slice(1) : state.sort
  if (name === "title")
    return d3.sort(lines, (a, b) => (isDown ? -1 : 1) * a.title.localeCompare(b.title))
  const column = TABLE_COLUMNS.find(each => each.name === name)
  if (!column) return lines
  const key = column.key ?? column.text
  const isEmpty = value =>
    value === null || value === undefined || value === "" || Number.isNaN(value)
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b)
  return d3.sort(lines, (a, b) => {
    const [left, right] = [key(a), key(b)]
    if (isEmpty(left) || isEmpty(right)) return isEmpty(left) - isEmpty(right) // last
    return (isDown ? -1 : 1) * compare(left, right)
  })
}

// The first click shows the best end of a column, the second one the other.
function sortBy(name, first) {
  const order = first < 0 ? [`-${name}`, name] : [name, `-${name}`]
  choose({ sort: state.sort === order[0] ? order[1] : order[0] })
}

function heading(name, title, first) {
  const isSorted = state.sort.replace("-", "") === name
  const sorted = state.sort.startsWith("-") ? "descending" : "ascending"
  return element(
    "th",
    {
      scope: "col",
      "aria-sort": isSorted ? sorted : null,
      class: name === "note" ? "wide" : null,
    },
    element("button", { type: "button", onclick: () => sortBy(name, first ?? 1) }, title),
  )
}

function cell(line, column, best) {
  const classes = []
  if (column.isWide) classes.push("wide")
  else if (column.isText) classes.push("text")
  if (column.isMeasured && best.get(column.name)?.has(line)) classes.push("best")
  const text = column.text(line)
  if (column.name === "accuracy" && line.status === "failed") {
    return element("td", { class: "failed" }, line.missing[0]?.[1].split(":")[0] ?? "failed")
  }
  const title = column.isWide && text ? text : null // the cell may cut it
  return element("td", { class: classes.join(" ") || null, title }, text)
}

// Bold: of accuracies the best and what cannot be told from it, where seeds allow such a verdict;
// of costs the lowest mean.
function bestLines(lines) {
  const best = new Map()
  const tied = new Set(lines.filter(line => line.standing === "not separable"))
  for (const { field, better } of DATA.columns) {
    if (field === "accuracy" || field === "error") {
      best.set(field, tied)
    } else if (better < 0) {
      const least = d3.min(lines, line => measured(line, field).mean)
      best.set(field, new Set(lines.filter(line => measured(line, field).mean === least)))
    }
  }
  return best
}

function nameOf({ title, dataset }) {
  const names = { "data-line": title, "data-of": DATA.datasets[dataset] }
  return element("button", { type: "button", class: "name", ...names }, title)
}

function drawTable(lines) {
  const columns = columnsShown(lines)
  const best = state.data === ALL ? new Map() : bestLines(lines)
  const sorted = sortedLines(lines)
  const table = byId("lines")
  table.tHead.replaceChildren(
    element(
      "tr",
      {},
      heading("title", "method"),
      ...columns.map(({ name, title, first }) => heading(name, title, first)),
    ),
  )
  table.tBodies[0].replaceChildren(
    ...sorted
      .slice(0, rowsShown)
      .map(line =>
        element(
          "tr",
          { class: isChosen(line) ? "chosen" : null },
          element(
            "th",
            { scope: "row", class: line.title.length > LONG ? "long" : null },
            element("span", { class: "title" }, swatch(line.family), nameOf(line)),
          ),
          ...columns.map(column => cell(line, column, best)),
        ),
      ),
  )
  tellWhetherItScrolls()
  const more = byId("more")
  more.hidden = sorted.length <= rowsShown
  more.textContent = `Show all ${sorted.length.toLocaleString("en")} lines`
  for (const box of byId("columns").querySelectorAll("input"))
    box.checked = columns.some(({ name }) => name === box.value)
}

// A scroll bar may hide until it is used, so words say that there is more to the right.
function tellWhetherItScrolls() {
  const box = byId("lines").parentElement
  byId("scrolls").hidden = box.scrollWidth <= box.clientWidth + 1
}

function setUpTable() {
  byId("columns").replaceChildren(
    ...TABLE_COLUMNS.map(({ name, title }) =>
      element(
        "label",
        {},
        element("input", { type: "checkbox", value: name, onchange: chooseColumns }),
        ` ${title}`,
      ),
    ),
  )
  byId("more").addEventListener("click", () => {
    rowsShown = Infinity
    drawSoon()
  })
  byId("csv").addEventListener("click", () =>
    download("results.csv", "text/csv", asCsv(sortedLines(shownLines()))),
  )
  byId("latex").addEventListener("click", () =>
    download("results.tex", "text/x-tex", asLatex(sortedLines(shownLines()))),
  )
}

function chooseColumns() {
  const checked = [...byId("columns").querySelectorAll("input:checked")].map(box => box.value)
  choose({ columns: checked })
}
