// What the reader has chosen. It stands in the fragment of the address, so that a view can be
// linked to; what is as usual is left out.

const ALL = "all data sets"
const COSTS = ["train_s", "n_params", "test_s_per_image"]
const USUAL_COLUMNS = [
  "seeds",
  "accuracy",
  "interval",
  "behind",
  "official_accuracy",
  "recovered",
  "n_params",
  "train_s",
  "passes",
  "test_s_per_image",
  "test_latency_s",
  "reconstruction",
  "note",
]
// A cost that nearly all methods share, such as a budget of seconds, tells nothing.
function tells(field) {
  if (!COLUMN.has(field)) return false
  const values = DATA.measured[field].mean
    .filter(value => value !== null)
    .map(value => value.toPrecision(2))
  return new Set(values).size > values.length / 2
}

const USUAL = {
  data: DATA.datasets[0],
  find: "",
  status: "all",
  family: [],
  x: COSTS.find(tells) ?? COSTS.find(field => COLUMN.has(field)) ?? DATA.columns[0]?.field ?? "",
  y: COLUMN.has("accuracy") ? "accuracy" : (DATA.columns[0]?.field ?? ""),
  xscale: "auto",
  yscale: "auto",
  over: "seconds",
  sort: "",
  columns: [],
  line: "",
  of: "",
  at: "",
}
const state = structuredClone(USUAL)

function readFragment() {
  const given = new URLSearchParams(location.hash.slice(1))
  for (const [name, usual] of Object.entries(USUAL)) {
    state[name] = Array.isArray(usual) ? given.getAll(name) : (given.get(name) ?? usual)
  }
  // A link may come from another report: what this one does not have is as usual.
  if (state.data !== ALL && !DATA.datasets.includes(state.data)) state.data = USUAL.data
  for (const axis of ["x", "y"]) if (!COLUMN.has(state[axis])) state[axis] = USUAL[axis]
  state.family = state.family.filter(family => DATA.families.some(known => known.name === family))
}

function fragment() {
  const given = new URLSearchParams()
  for (const [name, usual] of Object.entries(USUAL)) {
    if (Array.isArray(usual)) state[name].forEach(value => given.append(name, value))
    else if (state[name] !== usual) given.set(name, state[name])
  }
  return `#${given}`
}

// Change what is chosen, and draw the page anew.
function choose(changes) {
  Object.assign(state, changes)
  history.replaceState(null, "", fragment())
  drawSoon()
}

let waiting = false
function drawSoon() {
  if (waiting) return
  waiting = true
  requestAnimationFrame(() => {
    waiting = false
    draw()
  })
}
