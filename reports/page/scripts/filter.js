// Which lines are shown: one filter for figures, curves and table.

const STATUSES = [
  ["all", "all"],
  ["complete", "all seeds ended well"],
  ["incomplete", "some seeds are missing"],
  ["failed", "no result"],
]
const inDataset = line => state.data === ALL || DATA.datasets[line.dataset] === state.data

function searched(line) {
  line.searched ??= [
    line.title,
    DATA.families[line.family].name,
    DATA.datasets[line.dataset],
    textOf(line, "note"),
    ...DATA.lines.settings[line.place].map(([, text]) => DATA.texts[text]),
  ]
    .join(" ")
    .toLowerCase()
  return line.searched
}

function shownLines() {
  const words = state.find.toLowerCase().split(/\s+/).filter(Boolean)
  return LINES.filter(
    line =>
      inDataset(line) &&
      (state.status === "all" || line.status === state.status) &&
      (!state.family.length || state.family.includes(DATA.families[line.family].name)) &&
      words.every(word => searched(line).includes(word)),
  )
}

// The method whose details are open. Where all data sets are shown, its data set is chosen too.
let chosen = null
const isChosen = line => line === chosen

function findChosen() {
  const isThere = line => (state.of ? DATA.datasets[line.dataset] === state.of : inDataset(line))
  chosen = LINES.find(line => line.title === state.line && isThere(line)) ?? null
}

// Choose a line by its title, or close it where it is chosen already.
function chooseLine(title, dataset) {
  const of = state.data === ALL ? dataset : ""
  const isOpen = state.line === title && state.of === of
  choose(isOpen ? { line: "", of: "" } : { line: title, of })
}

function drawFilters(lines) {
  byId("dataset").value = state.data
  byId("status").value = state.status
  if (byId("search").value !== state.find) byId("search").value = state.find
  for (const chip of byId("families").children) {
    chip.setAttribute("aria-pressed", state.family.includes(chip.dataset.family))
  }
  const all = LINES.filter(inDataset).length
  byId("count").textContent =
    `${lines.length.toLocaleString("en")} of ${all.toLocaleString("en")} methods`
  for (const node of document.querySelectorAll("[data-dataset]")) {
    node.hidden = state.data !== ALL && node.dataset.dataset !== state.data
  }
}

function setUpFilters() {
  const several = DATA.datasets.length > 1
  byId("dataset-field").hidden = !several
  fill(
    byId("dataset"),
    [...DATA.datasets, ...(several ? [ALL] : [])].map(title => [title, title]),
  )
  fill(byId("status"), STATUSES)
  byId("families").replaceChildren(
    ...DATA.families.map(({ name }, family) =>
      element(
        "button",
        {
          type: "button",
          "data-family": name,
          "aria-pressed": false,
          onclick: () =>
            choose({
              family: state.family.includes(name)
                ? state.family.filter(each => each !== name)
                : [...state.family, name],
            }),
        },
        swatch(family),
        name,
      ),
    ),
  )
  byId("families").hidden = DATA.families.length < 2
  byId("dataset").addEventListener("change", event =>
    choose({ data: event.target.value, line: "", of: "" }),
  )
  byId("status").addEventListener("change", event => choose({ status: event.target.value }))
  byId("search").addEventListener("input", event => choose({ find: event.target.value }))
  byId("reset").addEventListener("click", () =>
    choose(structuredClone({ ...USUAL, data: state.data })),
  )
  byId("share").addEventListener("click", event => copy(location.href, event.target))
  byId("filters").addEventListener("submit", event => event.preventDefault())
}
