"""The report of a run: its table in four formats, its figures, and one page that needs no network."""

import json
import re
from pathlib import Path

import jinja2
import pandas as pd
from markupsafe import Markup

from ddl_bench.errors import UserError
from ddl_bench.files import write_atomically
from ddl_bench.results.groups import gather
from ddl_bench.results.rows import load_rows
from ddl_bench.results.stats import compare_groups, corrected
from ddl_bench.results.table import BRIEF, COLUMNS, display, summary
from reports import paper
from reports.figures import draw as figures
from reports.figures.names import INK


def write(run: Path, out: Path | None = None) -> dict[str, Path]:
    """Write the report of a run folder into `out` (default RUN/report); the paths by what they hold.

    Raises UserError where the run has no row or a file cannot be written.
    """
    rows, out = load_rows(run), out or run / "report"
    if not rows:
        raise UserError(f"{run}: no finished cell to report; run `ddl-bench run` first")
    groups, table, drawn, tests = gather(rows), display(rows), {}, {}
    beside = paper.tables(groups)
    for name in table["data set"].unique():
        here = [group for group in groups if group.dataset == name]
        best, *others = [group for group in here if group.ok] or here
        tests[name] = corrected([compare_groups(run, best, other) for other in others])
        prefix = re.sub(r"[^\w.-]+", "-", name).strip("-")
        drawn[name] = {
            title: _inline(path)
            for title, path in figures.draw(run, here, out / "figures", prefix).items()
        }
    planted = figures.recovery(groups, out / "figures")
    known = [
        {key: it for key, it in row.provenance.items() if key not in ("command", "cores_used")}
        for row in rows
    ]
    facts = {
        json.dumps(it, sort_keys=True): it for it in known if it
    }.values()  # each kind of machine and code once
    found = {
        "rows": rows,
        "groups": groups,
        "figures": drawn,
        "tests": tests,
        "facts": facts,
        "paper": beside,
    }
    found["planted"] = planted and _inline(planted)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True
    )
    page = environment.get_template("page.html.j2").render(
        found, table=table, columns=COLUMNS, run=run.resolve().name
    )
    texts = {
        "page": ("index.html", page),
        "markdown": ("table.md", "\n\n".join(map(_markdown, [table, *beside.values()])) + "\n"),
        "csv": ("table.csv", summary(rows).convert_dtypes().to_csv(index=False)),
        "latex": ("table.tex", _latex(table[[name for name in table if name in BRIEF]])),
    }
    for name, text in texts.values():
        write_atomically(out / name, text.encode())
    return {kind: out / name for kind, (name, _) in texts.items()} | {"figures": out / "figures"}


def _inline(path: Path) -> Markup:
    """An SVG file as part of a page: its text in the page's colour, its names unlike those of other figures."""
    svg = path.read_text().replace(INK, "currentColor")
    return Markup(re.sub(r'( id="|url\(#|href="#)', rf"\1{path.stem}-", svg[svg.index("<svg") :]))


def _markdown(table: pd.DataFrame) -> str:
    safe = table.map(lambda text: text.replace("|", "\\|").replace("<", "&lt;"))
    return str(safe.to_markdown(index=False, disable_numparse=True))


def _latex(table: pd.DataFrame) -> str:
    style = (
        table.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    )
    wide = "l" * (table.shape[1] - 1) + ("p{5cm}" if table.columns[-1] == "note" else "l")
    return str(style.to_latex(hrules=True, column_format=wide)).replace("±", r"$\pm$")
