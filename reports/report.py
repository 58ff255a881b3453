"""The report of a run: its tables as texts, its figures, and one page without network."""

import re
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ddl_bench.errors import UserError
from ddl_bench.files import explained, write_atomically
from ddl_bench.results.collect import Collection, Runs, collect, report_folder
from ddl_bench.results.frame import frame
from ddl_bench.results.groups import gather
from ddl_bench.results.rows import CURVE, Row
from ddl_bench.results.stats.families import compare_all
from ddl_bench.results.table import by_dataset, display_of, foot_of, summary_of
from reports.figures.registry import draw_data_set, draw_run
from reports.page.render import render
from reports.paper.tables import tables as tables_beside
from reports.tables.bibtex import references
from reports.tables.csv import cells, columns, csv
from reports.tables.markdown import markdown
from reports.tables.results import paper_tables, result_tables, stem_of


class Text(NamedTuple):
    """Hold a text file of a report: its name and its content."""

    name: str
    content: str


def write(runs: Runs, out: str | Path | None = None) -> dict[str, Path]:
    """Write the report of a run folder, or of several as one.

    Parameters
    ----------
    runs
        The run folder, or several, as of other machines: see `ddl_bench.results.collect.collect`.
    out
        Where the report goes; None takes RUN/report. Several folders need it.

    Returns
    -------
    dict
        Paths by what they hold: "page", "markdown", "csv", "cells", "columns", "latex", "bibtex",
        those of the paper's tables, where a row belongs beside them, and the folder "figures".

    Raises
    ------
    UserError
        Where the run has no row, a file cannot be written, or several folders have no `out`.

    Examples
    --------
    >>> write("results/quick")["page"]  # doctest: +SKIP
    PosixPath('results/quick/report/index.html')
    """
    collection = collect(runs)
    rows = collection.rows
    if not rows:
        first = collection.folders[0]
        raise UserError(f"{first}: no finished cell to report; run `ddl-bench run` first")
    folder = report_folder(collection.folders) if out is None else Path(out)
    with explained(folder, "cannot write there"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "figures").mkdir(exist_ok=True)
    groups = gather(rows)
    df = frame(collection, groups)
    beside_paper = tables_beside(groups)
    tests = {}
    figures = {}
    prefixes: set[str] = set()
    for dataset, lines in by_dataset(groups).items():
        tests[dataset] = compare_all(collection, lines)
        prefix = re.sub(r"[^\w.-]+", "-", dataset).strip("-")
        while prefix in prefixes:  # two names that differ in what a file name lacks
            prefix += "-"
        prefixes.add(prefix)
        part = df[df["dataset"] == dataset]
        figures[dataset] = draw_data_set(part, folder / "figures", prefix)
    figures[""] = draw_run(df, folder / "figures")
    page = render(
        collection.name,
        rows,
        groups,
        tests,
        beside_paper,
        figures,
        partial(curve_beside, collection),
    )
    parts = [markdown(display_of(groups)), foot_of(groups)]
    parts += [markdown(table) for table in beside_paper.values()]
    texts = {
        "page": Text("index.html", page),
        "markdown": Text("table.md", "\n\n".join(filter(None, parts)) + "\n"),
        "csv": Text("table.csv", csv(summary_of(groups))),
        "cells": Text("cells.csv", cells(df)),
        "columns": Text("columns.csv", columns()),
        "latex": Text("table.tex", result_tables(groups, df, collection.name)),
        "bibtex": Text("references.bib", references(df["method"])),
    }
    for title, table in beside_paper.items():
        stem = stem_of(title)
        texts[f"{stem}.csv"] = Text(f"{stem}.csv", csv(table))
    for stem, content in paper_tables(beside_paper, df, collection.name).items():
        texts[f"{stem}.tex"] = Text(f"{stem}.tex", content)
    for text in texts.values():
        # A path of other bytes than UTF-8 stands in the texts as Python writes it.
        data = text.content.encode("utf-8", "backslashreplace")
        write_atomically(folder / text.name, data)
    written = {kind: folder / text.name for kind, text in texts.items()}
    return written | {"figures": folder / "figures"}


def curve_beside(collection: Collection, row: Row) -> dict[str, np.ndarray]:
    """Read the curve beside a row; empty where none was kept."""
    return collection.arrays(row.cell.id, CURVE)
