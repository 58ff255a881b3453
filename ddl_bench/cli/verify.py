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
from ddl_bench.results.rows import Row, find_rows, load_rows

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
    what: str,
    run: Path,
    *,
    plugins: Sequence[Path],
    data_dir: Path | None,
    jobs: int | None,
    as_json: bool,
) -> bool:
    """Run rows again and print what came of each; returns whether all match."""
    from ddl_bench.harness.repeat import repeat

    folder, rows = rows_of(what, run)
    done = [row for row in rows if row.status == "ok"]
    if not done:
        raise UserError(f"{what}: no row that is ok, so there is nothing to run again")
    watcher = console_of(is_error=True) if as_json else console
    view = Live(watcher)
    with view:
        results = repeat(folder, done, view=view, plugins=plugins, data_dir=data_dir, jobs=jobs)
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


def rows_of(what: str, run: Path) -> tuple[Path, list[Row]]:
    """Find the rows that a user names: those of a run folder, of a row's file, or of a label."""
    path = Path(what)
    if (path / "cells").is_dir():
        return path, load_rows(path)
    if path.suffix == ".json" and path.parent.name == "cells":
        return path.parent.parent, find_rows(path.parent.parent, path.stem)
    return run, find_rows(run, what)
