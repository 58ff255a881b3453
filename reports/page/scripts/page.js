// The page as a whole: draw what is chosen, and follow links, sizes and the printer.

function draw() {
  const lines = shownLines()
  drawFilters(lines)
  drawAxisChoices()
  drawRanking(lines)
  drawScatter(lines)
  drawDetails()
  afterFigures(() => {
    drawCurves(lines)
    drawTable(lines)
    drawPairs(lines)
    document.documentElement.dataset.drawn = "all"
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
function goTo(id) {
  const target = byId(id)
  target?.focus({ preventScroll: true })
  target?.scrollIntoView()
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
  chooseLine(name.dataset.line)
  if (state.line) requestAnimationFrame(() => goTo("details-title"))
})
document.addEventListener("click", event => {
  for (const menu of document.querySelectorAll(".menu[open]"))
    if (!menu.contains(event.target)) menu.open = false
})
document.addEventListener("keydown", event => {
  if (event.key !== "Escape") return
  hideTooltip()
  for (const menu of document.querySelectorAll(".menu[open]")) menu.open = false
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
draw()
if (state.at) goTo(state.at)
else if (/^#[\w-]+$/.test(location.hash)) goTo(location.hash.slice(1))
