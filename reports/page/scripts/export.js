// What the table shows, as CSV for programs and as LaTeX for papers.

function asCsv(lines) {
  const columns = columnsShown(lines)
  const head = [
    "method",
    ...columns.flatMap(({ title, isMeasured }) => (isMeasured ? [title, `${title} sd`] : [title])),
  ]
  const rows = lines.map(line => [
    line.title,
    ...columns.flatMap(({ name, text, isMeasured }) => {
      if (!isMeasured) return [text(line)]
      const { mean, sd } = measured(line, name)
      return [mean ?? "", sd ?? ""]
    }),
  ])
  return [head, ...rows].map(row => row.map(csvCell).join(",")).join("\r\n") + "\r\n"
}

// A spreadsheet would compute a text that begins like a formula.
function csvCell(value) {
  if (typeof value === "number") return String(value)
  const safe = /^\s*[=+\-@]/.test(value) ? `'${value}` : value
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}

const SIGNS = {
  "≈": "cannot be told from the best of its data set",
  "†": "a time whose repetitions or seeds spread by more than 10 %, or of a loaded machine",
  "‡": "a time of the run, where others were measured again",
  "§": "a mean over several machines, which says little",
}

// Whether the most accurate line of each data set is among some lines.
function holdsTheBest(lines) {
  const groups = d3.group(LINES, ({ dataset }) => dataset)
  const accuracyOf = line => measured(line, "accuracy").mean ?? -1
  return [...new Set(lines.map(({ dataset }) => dataset))].every(dataset =>
    lines.includes(d3.greatest(groups.get(dataset), accuracyOf)),
  )
}

// What is said of a line beside the best is left out where the best is not shown.
function asLatex(lines) {
  const hasBest = COLUMN.has("accuracy") && holdsTheBest(lines)
  const columns = columnsShown(lines).filter(
    ({ name }) => name !== "note" && (hasBest || name !== "behind"),
  )
  const best = state.data === ALL ? new Map() : bestLines(lines)
  if (!hasBest) for (const field of OF_IMAGES) best.delete(field)
  const textIn = (line, { text }) => (hasBest ? text(line) : text(line).replace(" ≈", ""))
  const bold = (line, column) => {
    const written = latexText(textIn(line, column))
    const isBold = column.isMeasured && best.get(column.name)?.has(line)
    return isBold ? `\\textbf{${written}}` : written
  }
  const texts = lines.flatMap(line => columns.map(column => textIn(line, column)))
  const signs = Object.entries(SIGNS).filter(([sign]) => texts.some(text => text.includes(sign)))
  return [
    "% needs \\usepackage{booktabs}",
    "% mean ± standard deviation over seeds",
    ...signs.map(([sign, meaning]) => `% ${sign} ${meaning}`),
    `\\begin{tabular}{l${columns.map(({ isText }) => (isText ? "l" : "r")).join("")}}`,
    "\\toprule",
    ["method", ...columns.map(({ title }) => latexText(title))].join(" & ") + " \\\\",
    "\\midrule",
    ...lines.map(
      line =>
        [latexText(line.title), ...columns.map(column => bold(line, column))].join(" & ") + " \\\\",
    ),
    "\\bottomrule",
    "\\end{tabular}",
    "",
  ].join("\n")
}

const LATEX = {
  "\\": "\\textbackslash{}",
  "{": "\\{",
  "}": "\\}",
  $: "\\$",
  "&": "\\&",
  "#": "\\#",
  _: "\\_",
  "%": "\\%",
  "~": "\\textasciitilde{}",
  "^": "\\textasciicircum{}",
  "<": "\\textless{}",
  ">": "\\textgreater{}",
  "|": "\\textbar{}",
  "±": "$\\pm$",
  "≈": "$\\approx$",
  "†": "$\\dagger$",
  "‡": "$\\ddagger$",
  "§": "\\S{}",
  µ: "$\\mu$",
  "−": "$-$",
}
const latexText = text => String(text).replace(/[\\{}$&#_%~^<>|±≈†‡§µ−]/g, sign => LATEX[sign])
