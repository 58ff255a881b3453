// Marks of a figure that are met by pointer and by keyboard: a tooltip, and a click or Enter that
// opens the details. Arrow keys go from mark to mark, so that a figure is one stop of the Tab key.

const REACH = 28 // pixels from the pointer to a mark

function tooltipOf(line, fields) {
  const parts = [element("b", {}, fullTitle(line))]
  for (const field of fields) {
    const { text, low, high } = measured(line, field)
    const interval = low === null ? "" : ` (95 %: ${numberText(low)} to ${numberText(high)})`
    parts.push(element("p", {}, `${COLUMN.get(field).title}: ${text || "unknown"}${interval}`))
  }
  const n = line.seeds.length
  const seeds = n === 1 ? "1 seed" : `${n} seeds`
  parts.push(element("p", {}, `${seeds}; ${DATA.families[line.family].name}`))
  return parts
}

function showTooltip(content, x, y) {
  const box = byId("tooltip")
  box.replaceChildren(...content)
  box.hidden = false
  const { width, height } = box.getBoundingClientRect()
  const left = x + 16 + width > innerWidth ? x - 16 - width : x + 16
  box.style.left = `${Math.max(8, left)}px`
  box.style.top = `${Math.max(8, Math.min(y + 12, innerHeight - height - 8))}px`
}

const hideTooltip = () => {
  byId("tooltip").hidden = true
}

// Plot names its groups "rule" or "axis tick", which nobody wants to hear.
function hideParts(svg) {
  for (const part of svg.querySelectorAll("g[aria-label]")) {
    part.removeAttribute("aria-label")
    part.setAttribute("aria-hidden", "true")
  }
}

// `marks` are {line, node, x, y}, in the pixels of the figure.
function listen(svg, marks, fields) {
  svg.setAttribute("role", "group")
  hideParts(svg)
  marks.forEach(({ line, node }, place) => {
    const values = fields.map(
      field => `${COLUMN.get(field).title} ${measured(line, field).text || "unknown"}`,
    )
    node.setAttribute("class", isChosen(line) ? "mark pinned" : "mark")
    node.setAttribute("role", "button")
    node.setAttribute("tabindex", place ? -1 : 0)
    node.setAttribute(
      "aria-label",
      `${fullTitle(line)}: ${values.join(", ")}, ${line.seeds.length} seeds`,
    )
    node.setAttribute("data-line", line.title)
    node.setAttribute("data-of", DATA.datasets[line.dataset])
    node.addEventListener("focus", () => {
      const box = node.getBoundingClientRect()
      showTooltip(tooltipOf(line, fields), box.right, box.bottom)
    })
    node.addEventListener("blur", hideTooltip)
    node.addEventListener("keydown", event => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key]
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault()
        openFrom(node, line.title, DATA.datasets[line.dataset])
      } else if (step) {
        event.preventDefault()
        const next = marks[(place + step + marks.length) % marks.length].node
        node.setAttribute("tabindex", -1)
        next.setAttribute("tabindex", 0)
        next.focus()
      }
    })
  })
  const nearest = event => {
    const [x, y] = d3.pointer(event, svg)
    const mark = d3.least(marks, each => Math.hypot(each.x - x, each.y - y))
    return mark && Math.hypot(mark.x - x, mark.y - y) <= REACH ? mark : null
  }
  svg.addEventListener("pointermove", event => {
    const mark = nearest(event)
    svg.style.cursor = mark ? "pointer" : ""
    if (mark) showTooltip(tooltipOf(mark.line, fields), event.clientX, event.clientY)
    else hideTooltip()
  })
  svg.addEventListener("pointerleave", hideTooltip)
  svg.addEventListener("click", event => {
    const mark = nearest(event)
    if (!mark) return
    rememberOpener(mark.node)
    chooseLine(mark.line.title, DATA.datasets[mark.line.dataset])
  })
}
