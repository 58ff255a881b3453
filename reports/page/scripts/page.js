// The page as a whole: draw what is chosen, and follow links, sizes and the printer.

let isClosing = false // the details, whose opener then has the focus again
let firstGoal = "" // the section that a link leads to, once all above it is drawn

function draw() {
  findChosen()
  const lines = shownLines()
  drawFilters(lines)
  document.querySelector(".pictures").hidden = !COLUMN.size // where no run ended well
  if (COLUMN.size) {
    drawAxisChoices()
    drawRanking(lines)
    drawScatter(lines)
  }
  drawDetails()
  afterFigures(() => {
    drawCurves(lines)
    drawTable(lines)
    drawPairs(lines)
    document.documentElement.dataset.drawn = "all"
    if (firstGoal) goTo(firstGoal, "instant")
    firstGoal = ""
    if (isClosing) focusOpener()
    isClosing = false
  })
}

// The first figures are seen while the rest is still drawn. A newer drawing replaces an older one.
let pending = null
function afterFigures(rest) {
  clearTimeout(pending)
  document.documentElement.dataset.drawn = "figures"
  pending = setTimeout(rest)
}

// Links within the page keep what is chosen; the section goes into the fragment beside it.
function goTo(id, behavior = "auto") {
  const target = byId(id)
  target?.focus({ preventScroll: true })
  target?.scrollIntoView({ behavior })
}

// What opened the details. A figure and the table are drawn anew, so it is found by its line.
let opener = null

// Open the details of a line and go there, or close them.
function openFrom(node, title, dataset) {
  rememberOpener(node)
  chooseLine(title, dataset)
  if (state.line) requestAnimationFrame(() => goTo("details-title"))
  else isClosing = true
}

function rememberOpener(node) {
  const { line, of } = node.dataset
  opener = { node, line, of, within: node.closest("[id]").id }
}

function closeDetails() {
  isClosing = true
  choose({ line: "", of: "" })
}

function focusOpener() {
  const target = opener?.node.isConnected ? opener.node : openerDrawnAnew()
  if (target) target.focus()
  else goTo("results")
}

function openerDrawnAnew() {
  if (!opener) return null
  const nodes = byId(opener.within).querySelectorAll("[data-line]")
  return [...nodes].find(({ dataset }) => dataset.line === opener.line && dataset.of === opener.of)
}

document.addEventListener("click", event => {
  const link = event.target.closest('a[href^="#"]')
  if (link) {
    event.preventDefault()
    choose({ at: link.hash.slice(1) })
    goTo(link.hash.slice(1))
    return
  }
  const name = event.target.closest("button.name")
  if (!name) return
  const dataset = name.dataset.of ?? name.closest("[data-dataset]")?.dataset.dataset
  openFrom(name, name.dataset.line, dataset)
})
document.addEventListener("click", event => {
  for (const menu of document.querySelectorAll(".menu[open]"))
    if (!menu.contains(event.target)) menu.open = false
})
// Escape closes one thing: a menu, or else the details. In a field it belongs to the field.
document.addEventListener("keydown", event => {
  if (event.key !== "Escape") return
  hideTooltip()
  const menus = [...document.querySelectorAll(".menu[open]")]
  for (const menu of menus) {
    menu.open = false
    menu.querySelector("summary").focus()
  }
  if (!menus.length && state.line && !event.target.matches("input, select")) closeDetails()
})
byId("comparisons").addEventListener("toggle", () =>
  drawComparisons(DATA.datasets.indexOf(state.data)),
)
addEventListener("hashchange", () => {
  readFragment()
  draw()
})
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not(.menu)")) details.open = true
  drawComparisons(DATA.datasets.indexOf(state.data))
})

let lastWidth = innerWidth
addEventListener("resize", () => {
  if (innerWidth === lastWidth) return
  lastWidth = innerWidth
  drawSoon()
})

setUpFilters()
setUpScatter()
setUpCurves()
setUpTable()
readFragment()
if (/^#[\w-]+$/.test(location.hash)) state.at = location.hash.slice(1)
firstGoal = state.at
draw()
