"""Measure times again, and print them beside those of the run."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ddl_bench.cli.console import console_of
from ddl_bench.cli.output import emit, print_line
from ddl_bench.cli.table import NAME_WIDTH, Column, Table, print_table

if TYPE_CHECKING:
    from ddl_bench.results.rows import Measured

RETIMED = (
    Column("method", folds_to=NAME_WIDTH),
    Column("data set", rank=4, folds_to=NAME_WIDTH),
    Column("seed", rank=1, is_right=True),
    Column("test (µs/image)", has_spread=True, is_right=True),
    Column("in the run", rank=3, is_right=True),
    Column("latency (ms)", rank=2, has_spread=True, is_right=True),
    Column("train (s)", rank=1, is_right=True),
    Column("in the run", rank=3, is_right=True),
)


def in_unit(measured: "Measured", field: str, unit: float) -> float:
    """Return a number of a row in a unit; NaN where there is none."""
    value = getattr(measured, field)
    return float("nan") if value is None else value / unit


def retime_run(
    console: Console,
    folder: Path,
    *,
    n_rounds: int,
    train: bool,
    plugins: Sequence[Path],
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Time a run again; the progress goes to standard error."""
    from ddl_bench.harness.retime import retime

    with Bar(console_of(is_error=True)) as bar:
        session = retime(
            folder,
            n_rounds=n_rounds,
            train=train,
            plugins=plugins,
            data_dir=data_dir,
            tell=bar.tell,
        )
    if as_json:
        emit(session.model_dump(mode="json"))
        return
    print_times(console, folder)
    print_line(console, escape(f"written: {folder / 'times.json'}; tables show these times"))


def print_times(console: Console, folder: Path) -> None:
    """Print what was measured again beside what the run had measured, row by row."""
    from ddl_bench.results.rows import load_rows
    from ddl_bench.results.table import with_range
    from ddl_bench.results.times import read_times

    session = read_times(folder)
    reasons = session.left if session else {}
    reasons_training = session.left_training if session else {}
    lines = []
    left: dict[str, list[str]] = {}
    untrained: dict[str, list[str]] = {}
    for row in load_rows(folder):
        measured = row.measured
        name = f"{row.cell.label}@{row.cell.seed}"
        reason = measured.not_retimed or reasons.get(row.cell.id)
        if reason:
            left.setdefault(reason, []).append(name)
        reason = measured.not_retrained or reasons_training.get(row.cell.id)
        if reason:
            untrained.setdefault(reason, []).append(name)
        if not measured.retimed and measured.run_train_s is None:
            continue
        scaled = partial(in_unit, measured)
        lines.append(
            [
                row.cell.label,
                Path(row.cell.dataset).name,
                str(row.cell.seed),
                with_range(scaled("test_s_per_image", 1e-6), scaled("test_s_per_image_iqr", 1e-6)),
                with_range(scaled("run_test_s_per_image", 1e-6), 0.0),
                with_range(scaled("test_latency_s", 1e-3), scaled("test_latency_s_iqr", 1e-3)),
                with_range(scaled("train_s", 1.0), 0.0) if measured.run_train_s else "",
                with_range(scaled("run_train_s", 1.0), 0.0),
            ]
        )
    print_table(console, Table(columns=RETIMED, lines=lines))
    for reason, names in left.items():
        print_line(console, escape(f"not timed again: {', '.join(names)}: {reason}"))
    for reason, names in untrained.items():
        print_line(console, escape(f"training not timed again: {', '.join(names)}: {reason}"))


class Bar:
    """Shows how far the timing has come: a bar in a terminal, else a line for each round."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._bar = Progress(*columns, console=console, transient=True)
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> "Bar":
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def tell(self, what: str, n_done: int, n_all: int) -> None:
        """Show that so much of something is done."""
        if not self._console.is_terminal:
            is_news = what not in self._tasks or what.startswith("rounds") or n_done == n_all
            self._tasks.setdefault(what, None)
            if is_news:
                self._console.print(f"{what}: {n_done} of {n_all}", highlight=False)
            return
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=n_all)
        self._bar.update(self._tasks[what], completed=n_done, total=n_all)
