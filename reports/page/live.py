"""The page of a run that may still be going on, for a server that follows it."""

from pathlib import Path

import numpy as np

from ddl_bench.results.groups import gather
from ddl_bench.results.rows import CURVE, Row, arrays, load_rows
from ddl_bench.results.stats.families import compare_all
from ddl_bench.results.table import by_dataset
from reports.page.render import render
from reports.paper.tables import tables


def live_page(run: Path, stamp: str) -> str:
    """Return the page of a run folder as it is now; empty where nothing is finished.

    It has no static figures, which take seconds, and asks its server for news.

    Parameters
    ----------
    run
        The run folder.
    stamp
        Which rows it shows: the page is loaded again where its server names another one.
    """
    rows = load_rows(run)
    if not rows:
        return ""
    groups = gather(rows)
    tests = {name: compare_all(run, lines) for name, lines in by_dataset(groups).items()}

    def read(row: Row) -> dict[str, np.ndarray]:
        return arrays(run, row.cell.id, CURVE)

    name = run.resolve().name
    return render(name, rows, groups, tests, tables(groups), {}, read, stamp=stamp)
