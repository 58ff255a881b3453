"""The live view of a run in a terminal; plain lines where the output is not one."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from ddl_bench.harness.supervise import Job
from ddl_bench.plan.cell import Cell
from ddl_bench.results.rows import Row

MARKS = {
    "ok": "[green]ok[/]",
    "skipped": "[yellow]skipped[/]",
    "not_installed": "[yellow]not installed[/]",
}


class Live:
    """Shows one bar for the run and one for each cell under way; each finished cell leaves a line."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._console = console
        self._progress = Progress(
            *columns, TextColumn("{task.fields[phase]}"), console=console, transient=True
        )
        self._total: TaskID | None = None
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> "Live":
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._progress.stop()

    def planned(self, total: int, kept: Sequence[Row]) -> None:
        if kept:
            failed = [row for row in kept if row.status != "ok"]
            note = (
                f", {len(failed)} of them not ok: --rerun failed runs those again" if failed else ""
            )
            self._console.print(f"{len(kept)} of {total} cells are finished already{note}")
            for row in failed:
                self._console.print(line(row))
        self._total = self._progress.add_task(
            "[bold]all cells", total=total, completed=len(kept), phase=""
        )

    def finished(self, row: Row) -> None:
        if row.cell.id in self._bars:
            self._progress.remove_task(self._bars.pop(row.cell.id))
        if self._total is not None:
            self._progress.advance(self._total)
        self._console.print(line(row))

    def tick(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            phase, share = job.progress()
            if job.cell.id not in self._bars:
                self._bars[job.cell.id] = self._progress.add_task(
                    name(job.cell), total=100, phase=""
                )
            done = round(100 * share) if phase == "training" else 0
            self._progress.update(self._bars[job.cell.id], completed=done, phase=phase)


def name(cell: Cell) -> str:
    return escape(f"{cell.label} on {cell.dataset.rpartition('/')[2]}, seed {cell.seed}")


def line(row: Row) -> str:
    """One finished cell in one line."""
    if row.status == "ok":
        over = " [yellow](over its budget)[/]" if row.measured.over_budget else ""
        return f"  {MARKS['ok']:<12} {name(row.cell)}: {row.measured.accuracy:.2f} % after {row.measured.train_s:.1f} s of training{over}"
    mark = MARKS.get(row.status, f"[red]{row.status}[/]")
    return f"  {mark} {name(row.cell)}: {escape(row.reason)}"


def as_table(title: str, columns: Sequence[str], lines: Sequence[Sequence[object]]) -> Table:
    """A rich table: the first column on the left, figures on the right."""
    table = Table(title=escape(title), title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(
            column, justify="left" if index == 0 else "right", overflow="fold", no_wrap=index == 0
        )
    for cells in lines:
        table.add_row(*(str(cell) for cell in cells))
    return table
