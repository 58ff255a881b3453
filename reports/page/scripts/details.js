// One method in full: its seeds, what it is, where it comes from, and what reproduces it.

let drawnDetails = ""

function drawDetails() {
  const box = byId("details")
  const line = chosen
  const key = line ? `${line.place}` : ""
  if (key === drawnDetails && box.hasChildNodes() === Boolean(line)) return
  drawnDetails = key
  if (!line) {
    box.replaceChildren()
    return
  }
  box.replaceChildren(
    element(
      "article",
      { class: "card", "aria-labelledby": "details-title" },
      element(
        "header",
        {},
        element("h2", { id: "details-title", tabindex: -1 }, line.title),
        element(
          "span",
          { class: "soft" },
          swatch(line.family),
          ` ${DATA.families[line.family].name}, on ${DATA.datasets[line.dataset]}`,
        ),
        element(
          "button",
          { type: "button", class: "quiet", onclick: closeDetails },
          "Close",
        ),
      ),
      textOf(line, "note") ? element("p", { class: "soft" }, textOf(line, "note")) : "",
      element(
        "div",
        { class: "columns" },
        element("div", {}, ...seedsPart(line)),
        element("div", {}, ...aboutPart(line)),
      ),
      ...commandsPart(line),
      ...factsPart(line),
    ),
  )
}

function seedsPart(line) {
  const fields = DATA.columns
    .map(({ field }) => field)
    .filter(
      field =>
        DATA.measured[field].each[line.place] &&
        !["error", "train_s_per_image", "train_s_per_image_pass"].includes(field),
    )
  const shown = fields.length ? fields.slice(0, 5) : ["accuracy"].filter(field => COLUMN.has(field))
  const rows = line.seeds.map((seed, at) => [
    String(seed),
    ...shown.map(field => numberText(ofSeeds(line, field)[at])),
  ])
  const missing = line.missing.map(([seed, reason]) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, String(seed)),
      element("td", { class: "wide failed", colspan: Math.max(1, shown.length) }, reason),
    ),
  )
  return [
    element("h3", {}, `${line.seeds.length} of ${line.seeds.length + line.missing.length} seeds`),
    element(
      "div",
      {
        class: "scroll",
        tabindex: 0,
        role: "region",
        "aria-label": "Seeds",
        style: "max-height:20rem",
      },
      element(
        "table",
        {},
        element("caption", { class: "hidden" }, `Seeds of ${line.title}`),
        element(
          "thead",
          {},
          element(
            "tr",
            {},
            element("th", { scope: "col" }, "seed"),
            ...shown.map(field => element("th", { scope: "col" }, COLUMN.get(field).title)),
          ),
        ),
        element(
          "tbody",
          {},
          ...rows.map(([seed, ...values]) =>
            element(
              "tr",
              {},
              element("th", { scope: "row" }, seed),
              ...values.map(value => element("td", {}, value)),
            ),
          ),
          ...missing,
        ),
      ),
    ),
    ...ownCurve(line),
  ]
}

function ownCurve(line) {
  const curve = DATA.curves[line.place]
  if (!curve || curve.seconds.length < 2) return []
  const points = pointsOf(line, OVER.seconds.of)
  const plot = Plot.plot({
    ...PLAIN,
    width: 420,
    height: 190,
    marginLeft: 44,
    marginBottom: 40,
    x: { label: "seconds", ...BELOW },
    y: { label: `${curve.split} accuracy (%)`, labelArrow: "none", nice: true },
    ariaLabel: `Accuracy of ${line.title} while training`,
    marks: [
      Plot.areaY(points, {
        x: "x",
        y1: "low",
        y2: "high",
        fill: colourOf(line.family),
        fillOpacity: 0.18,
      }),
      Plot.lineY(points, {
        x: "x",
        y: "mean",
        stroke: colourOf(line.family),
        strokeWidth: 2,
      }),
    ],
  })
  plot.setAttribute("role", "img")
  hideParts(plot)
  return [element("h3", {}, "While training"), plot]
}

function definitions(pairs) {
  return element(
    "dl",
    { class: "facts" },
    ...pairs
      .filter(([, text]) => text)
      .flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]),
  )
}

function aboutPart(line) {
  const about = DATA.abouts[textOf(line, "method")]
  const settings = DATA.lines.settings[line.place].map(([name, text]) => [
    DATA.texts[name],
    DATA.texts[text],
  ])
  const parts = []
  if (about?.about) {
    parts.push(
      element("h3", {}, "What it is"),
      element("p", {}, about.about),
      definitions([
        ["formula", about.formula],
        ["published as", about.published],
        ["differs here", about.differs],
        ["source", about.references.join("; ")],
      ]),
    )
  }
  return [...parts, element("h3", {}, "How it was run"), definitions(settings)]
}

function commandsPart(line) {
  const commands = DATA.lines.commands[line.place].map(([text, seeds]) =>
    DATA.texts[text].replaceAll("{seed}", () => seedList(seeds)),
  )
  return [
    element("h3", {}, "To reproduce it"),
    ...commands.slice(0, 5).map(command =>
      element(
        "div",
        { class: "command" },
        element("code", {}, command),
        element(
          "button",
          {
            type: "button",
            class: "quiet",
            onclick: event => copy(command, event.target),
          },
          "Copy command",
        ),
      ),
    ),
    commands.length > 5 ? element("p", { class: "soft" }, `and ${commands.length - 5} more`) : "",
  ]
}

// Seeds as the command line takes them: 0-4,7.
function seedList(seeds) {
  const sorted = d3.sort(seeds)
  const parts = []
  for (const seed of sorted) {
    const last = parts.at(-1)
    if (last && seed === last[1] + 1) last[1] = seed
    else parts.push([seed, seed])
  }
  return parts
    .map(([first, last]) =>
      first === last ? `${first}` : last === first + 1 ? `${first},${last}` : `${first}-${last}`,
    )
    .join(",")
}

function factsPart(line) {
  const kinds = DATA.lines.facts[line.place]
  if (!kinds.length) return []
  return [
    element(
      "details",
      {},
      element("summary", {}, "Where it comes from: code, versions, machine"),
      ...kinds.map(pairs =>
        definitions(pairs.map(([name, text]) => [DATA.texts[name], DATA.texts[text]])),
      ),
    ),
  ]
}
