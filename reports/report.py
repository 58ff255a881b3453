"""The report of a run: its table in four formats, its figures, and one page without network."""

import re
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ddl_bench.errors import UserError
from ddl_bench.files import explained, write_atomically
from ddl_bench.results.groups import gather
from ddl_bench.results.rows import CURVE, Row, arrays, load_rows
from ddl_bench.results.stats.families import compare_all
from ddl_bench.results.table import BRIEF, display, foot, summary
from reports.figures.registry import draw_data_set, draw_run
from reports.page.render import render
from reports.paper.tables import tables as tables_beside


class Text(NamedTuple):
    """Hold a text file of a report: its name and its content."""

    name: str
    content: str


def write(run: Path, out: Path | None = None) -> dict[str, Path]:
    """Write the report of a run folder.

    Parameters
    ----------
    run
        The run folder.
    out
        Where the report goes; None takes RUN/report.

    Returns
    -------
    dict
        Paths by what they hold: "page", "markdown", "csv", "latex", and the folder "figures".

    Raises
    ------
    UserError
        Where the run has no row, or a file cannot be written.

    Examples
    --------
    >>> write(Path("results/quick"))["page"]  # doctest: +SKIP
    PosixPath('results/quick/report/index.html')
    """
    rows = load_rows(run)
    if not rows:
        raise UserError(f"{run}: no finished cell to report; run `ddl-bench run` first")
    folder = out or run / "report"
    with explained(folder, "cannot write there"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "figures").mkdir(exist_ok=True)
    groups = gather(rows)
    table = display(rows)
    beside_paper = tables_beside(groups)
    tests = {}
    figures = {}
    for dataset in table["data set"].unique():
        here = [group for group in groups if group.dataset == dataset]
        tests[dataset] = compare_all(run, here)
        prefix = re.sub(r"[^\w.-]+", "-", dataset).strip("-")
        figures[dataset] = draw_data_set(run, here, folder / "figures", prefix)
    figures[""] = draw_run(groups, folder / "figures")
    name = run.resolve().name
    page = render(name, rows, groups, tests, beside_paper, figures, partial(curve_beside, run))
    brief = table[[name for name in table if name in BRIEF]]
    parts = [markdown(table), foot(rows), *map(markdown, beside_paper.values())]
    texts = {
        "page": Text("index.html", page),
        "markdown": Text("table.md", "\n\n".join(filter(None, parts)) + "\n"),
        "csv": Text("table.csv", csv(summary(rows))),
        "latex": Text("table.tex", latex(brief)),
    }
    for text in texts.values():
        # A path of other bytes than UTF-8 stands in the texts as Python writes it.
        content = text.content.encode("utf-8", "backslashreplace")
        write_atomically(folder / text.name, content)
    written = {kind: folder / text.name for kind, text in texts.items()}
    return written | {"figures": folder / "figures"}


def curve_beside(run: Path, row: Row) -> dict[str, np.ndarray]:
    """Read the curve beside a row; empty where none was kept."""
    return arrays(run, row.cell.id, CURVE)


def csv(table: pd.DataFrame) -> str:
    """Return a table as CSV, in which no text is a formula to a spreadsheet."""
    return str(table.convert_dtypes().map(without_formula).to_csv(index=False))


def without_formula(cell: Any) -> Any:
    """Put an apostrophe before a text that a spreadsheet would compute; numbers stay."""
    is_formula = isinstance(cell, str) and cell.lstrip().startswith(("=", "+", "-", "@"))
    return f"'{cell}" if is_formula else cell


def plain_markdown(text: str) -> str:
    """Escape what Markdown would make a cell, a link, an image or HTML of."""
    return re.sub(r"[|\[\]\\]", r"\\\g<0>", text).replace("<", "&lt;")


def markdown(table: pd.DataFrame) -> str:
    """Return a table of texts as Markdown."""
    safe = table.map(plain_markdown)
    return str(safe.to_markdown(index=False, disable_numparse=True))


def latex(table: pd.DataFrame) -> str:
    """Return a table of texts as LaTeX."""
    style = table.style.hide(axis="index").format(escape="latex")
    style = style.format_index(escape="latex", axis=1)
    last = "p{5cm}" if table.columns[-1] == "note" else "l"
    columns = "l" * (table.shape[1] - 1) + last
    return (
        str(style.to_latex(hrules=True, column_format=columns))
        .replace("±", r"$\pm$")
        .replace("≈", r"$\approx$")
        .replace("†", r"$\dagger$")
        .replace("‡", r"$\ddagger$")
    )
