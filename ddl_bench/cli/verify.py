"""Run rows again and print whether they came out the same."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ddl_bench.cli.console import console_of
from ddl_bench.cli.live import Live
from ddl_bench.cli.output import emit, print_line
from ddl_bench.cli.table import NAME_WIDTH, TEXT_WIDTH, Column, Table, print_table
from ddl_bench.errors import UserError
from ddl_bench.results.rows import find_rows, load_rows

COLUMNS = (
    Column("method", folds_to=NAME_WIDTH),
    Column("data set", rank=3, folds_to=NAME_WIDTH),
    Column("seed", rank=1, is_right=True),
    Column("accuracy (%)", rank=2, is_right=True),
    Column("now", rank=2, is_right=True),
    Column("verdict", folds_to=NAME_WIDTH),
    Column("reason", rank=4, folds_to=TEXT_WIDTH),
)


def verify_rows(
    console: Console,
    run: Path,
    wanted: str | None,
    *,
    plugins: Sequence[Path],
    data_dir: Path | None,
    jobs: int | None,
    as_json: bool,
) -> bool:
    """Run rows again and print what came of each; returns whether all match.

    Those are the rows of a label or a cell ID, see `find_rows`, or all of the run without one.
    """
    from ddl_bench.harness.repeat import repeat

    rows = load_rows(run) if wanted is None else find_rows(run, wanted)
    done = [row for row in rows if row.status == "ok"]
    if not done:
        raise UserError(f"{wanted or run}: no row that is ok, so there is nothing to run again")
    watcher = console_of(is_error=True) if as_json else console
    view = Live(watcher)
    with view:
        results = repeat(run, done, view=view, plugins=plugins, data_dir=data_dir, jobs=jobs)
    if as_json:
        emit([result.as_json() for result in results])
    else:
        lines = []
        for result in results:
            values = result.as_json()
            texts = [f"{values[key]:.2f}" if values[key] is not None else "" for key in ACCURACIES]
            place = [values["label"], values["dataset"], str(values["seed"])]
            lines.append([*place, *texts, values["verdict"], values["reason"]])
        print_table(console, Table(columns=COLUMNS, lines=lines))
        counts = Counter(result.verdict for result in results)
        text = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        left = len(rows) - len(done)
        if left:
            text += f"; {left} rows that are not ok were left out"
        print_line(console, escape(text))
    return all(result.verdict == "match" for result in results)


ACCURACIES = ("accuracy", "accuracy_again")


def run_of(path: Path) -> Path | None:
    """Return the run folder of a path, if it is one or the file of a row in one."""
    if (path / "cells").is_dir():
        return path
    if path.suffix == ".json" and path.parent.name == "cells":
        return path.parent.parent
    return None
