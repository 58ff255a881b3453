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

function asLatex(lines) {
  const columns = columnsShown(lines).filter(({ name }) => name !== "note")
  const best = state.data === ALL ? new Map() : bestLines(lines)
  const bold = (line, { name, text, isMeasured }) => {
    const written = latexText(text(line))
    return isMeasured && best.get(name)?.has(line) ? `\\textbf{${written}}` : written
  }
  return [
    "% needs \\usepackage{booktabs}",
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
  µ: "$\\mu$",
  "−": "$-$",
}
const latexText = text => String(text).replace(/[\\{}$&#_%~^<>|±≈†‡µ−]/g, sign => LATEX[sign])
