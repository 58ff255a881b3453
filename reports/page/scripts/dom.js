// Elements of the page. Every text goes in as text, so that no name or reason can be markup.

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value)
    else if (value !== null && value !== undefined && value !== false)
      node.setAttribute(name, value === true ? "" : value)
  }
  node.append(...children.filter(child => child !== null && child !== ""))
  return node
}

const byId = id => document.getElementById(id)

function fill(select, options, chosen) {
  select.replaceChildren(
    ...options.map(([value, text]) =>
      element("option", { value, selected: value === chosen }, text),
    ),
  )
}

// The shape of a family in its colour, as beside its name.
function swatch(family) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg")
  svg.setAttribute("viewBox", "-6 -6 12 12")
  svg.setAttribute("class", "swatch")
  svg.setAttribute("aria-hidden", "true")
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path")
  path.setAttribute("d", d3.symbol(shapeOf(family), 62)())
  path.setAttribute("fill", colourOf(family))
  svg.append(path)
  return svg
}

function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }))
  element("a", { href: url, download: name }).click()
  setTimeout(() => URL.revokeObjectURL(url), 1000)
}

// Pages that are opened as files may not have the clipboard, hence the second way.
async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text)
  } catch {
    const area = element("textarea", { style: "position:fixed;opacity:0" })
    area.value = text
    document.body.append(area)
    area.select()
    document.execCommand("copy")
    area.remove()
  }
  const before = button.textContent
  button.textContent = "Copied"
  setTimeout(() => {
    button.textContent = before
  }, 1500)
}
