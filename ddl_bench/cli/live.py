"""The live view of a run in a terminal; plain lines where the output is no terminal."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from time import monotonic
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column

from ddl_bench.cli.output import as_duration
from ddl_bench.cli.stops import STOPS, this_command
from ddl_bench.files import brief
from ddl_bench.harness.progress import Seen
from ddl_bench.harness.status import CellStatus, State, remaining_s
from ddl_bench.harness.supervise import Job
from ddl_bench.plan.cell import Cell
from ddl_bench.results.marks import marks
from ddl_bench.results.rows import Row

LONGEST_REASON = 300  # characters
WIDE = 130  # characters that a bar and all words about it take
ESTIMATE_EVERY_S = 5.0  # how long the rest of the run takes
TELL_EVERY_S = 60.0  # where no bars are shown
MOST_NAMED = 4  # running cells in such a line
MARKS = {
    "ok": "[green]ok[/]",
    "skipped": "[yellow]skipped[/]",
    "not_installed": "[yellow]not installed[/]",
}


class Live:
    """Shows one bar for the run and one for each running cell; each finished cell leaves a line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._is_narrow = console.width < WIDE
        self.bars = Progress(*columns(self._is_narrow), console=console, transient=True)
        self._total: TaskID | None = None
        self._bar_of: dict[str, TaskID] = {}
        self._stack = ExitStack()
        self.is_complete = True  # no other runner holds cells
        self.total: int | None = None  # cells of the plan, once there is one
        self.n_left = 0  # cells for which the time was too short
        self.rows: list[Row] = []
        self.running: list[Job] = []
        self._statuses: dict[str, CellStatus] = {}
        self._estimated_s = -ESTIMATE_EVERY_S
        self._told_s = monotonic()
        self._left = ""  # how long the rest of the run takes, for people

    def __enter__(self) -> "Live":
        if self._console.is_terminal:
            self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self.bars.stop()
        self._stack.close()

    def planned(self, total: int, finished: Sequence[Row]) -> None:
        """Say how many of the `total` cells have a row already, and which of these are not ok.

        From here on a signal waits for the next `tick`.
        """
        self.total = total
        self.rows += finished
        self._statuses |= {row.cell.id: status_of_row(row) for row in finished}
        self._stack.enter_context(STOPS.deferred())
        if finished:
            failed = [row for row in finished if row.status != "ok"]
            text = f"{len(finished)} of {total} cells are finished already"
            if failed:
                text += f", {len(failed)} of them not ok: --rerun failed runs those again"
            self._console.print(text)
            for row in failed:
                self._console.print(self.line_of(row))
        self._total = self.bars.add_task(
            "[bold]all cells", total=total, completed=len(finished), phase=""
        )

    def waiting(self, cells: Sequence[Cell]) -> None:
        """Take the cells that are to be run, for the estimate of the time that is left."""
        self._statuses |= {cell.id: status_of(cell, "waiting") for cell in cells}

    def retried(self, row: Row) -> None:
        """Replace the bar of a cell that has broken down by a line."""
        self._remove_bar(row.cell)
        self._console.print(line(row), "(tried again after the others)")

    def _remove_bar(self, cell: Cell) -> None:
        """Remove the bar of a cell, if it has one."""
        if cell.id in self._bar_of:
            self.bars.remove_task(self._bar_of.pop(cell.id))

    def finished(self, row: Row) -> None:
        """Replace the bar of a cell by a line."""
        self.rows.append(row)
        self._statuses[row.cell.id] = status_of_row(row)
        self._remove_bar(row.cell)
        if self._total is not None:
            self.bars.advance(self._total)
        self._console.print(self.line_of(row))

    def line_of(self, row: Row) -> str:
        """Say in one line how a cell ended."""
        return line(row)

    def tick(self, jobs: Sequence[Job]) -> None:
        """Move the bars of the running cells. Raises Stopped if the user has stopped the run."""
        self.running = list(jobs)
        if STOPS.number and jobs:
            self._console.print(f"stopping {count(len(jobs))}; Ctrl-C again ends at once")
        STOPS.check()
        self._estimate()
        if self._total is not None:
            phase = self._left if jobs else "waiting for cores that other runs use"
            self.bars.update(self._total, phase=phase)
        if not self._console.is_terminal:
            self._tell()
            return
        for job in jobs:
            if job.cell.id not in self._bar_of:
                bar = self.bars.add_task(name(job.cell), total=100, phase="")
                self._bar_of[job.cell.id] = bar
            seen = job.progress()
            percent = round(100 * share_of(seen))
            phase = "stopping" if job.is_asked else said(seen, is_brief=self._is_narrow)
            self.bars.update(self._bar_of[job.cell.id], completed=percent, phase=phase)

    def _estimate(self) -> None:
        """Estimate now and then how long the rest of the run takes."""
        now_s = monotonic()
        if now_s - self._estimated_s < ESTIMATE_EVERY_S:
            return
        self._estimated_s = now_s
        statuses = dict(self._statuses)
        for job in self.running:
            seen = job.progress()
            known = {
                "share": seen.fraction,
                "train_s": seen.train_s,
                "remaining_s": seen.remaining_s,
            }
            statuses[job.cell.id] = status_of(job.cell, "running", **known)
        left_s = remaining_s([*statuses.values()])
        self._left = "" if left_s is None else f"about {as_duration(left_s)} left"

    def _tell(self) -> None:
        """Print a line a minute about the run where no bars are shown."""
        now_s = monotonic()
        if self.total is None or now_s - self._told_s < TELL_EVERY_S:
            return
        self._told_s = now_s
        parts = [f"  {len(self.rows)} of {count(self.total)} done"]
        if self._left:
            parts.append(self._left)
        for job in self.running[:MOST_NAMED]:
            seen = job.progress()
            text = f"{name(job.cell)}: {said(seen)}"
            if seen.scored is not None:
                text += f", {100 * seen.scored:.0f} % of the test images scored"
            elif seen.phase == "training":
                text += f", {100 * seen.fraction:.0f} %"
            parts.append(text)
        n_more = len(self.running) - MOST_NAMED
        if n_more > 0:
            parts.append(f"and {n_more} more")
        self._console.print("; ".join(parts), soft_wrap=True, highlight=False)

    def lacks_cores(self, users: Sequence[int]) -> None:
        """Say that a cell waits for cores, and for whom."""
        text = "a cell waits for cores that other runs on this machine use"
        if users:
            text += f": process {', '.join(map(str, users))}"
        self._console.print(text, soft_wrap=True, highlight=False)

    def held(self, holders: Mapping[str, str]) -> None:
        """Say which runners hold the cells that have no row yet."""
        self.is_complete = not holders
        for who in sorted(set(holders.values())):
            n_cells = list(holders.values()).count(who)
            self._console.print(
                f"  without a row: {n_cells} of the cells, held by {escape(who)}; "
                "the same command shows them when they have ended"
            )

    def left(self, cells: Sequence[Cell]) -> None:
        """Say that the time of this runner was over before all cells were done."""
        self.n_left = len(cells)
        if cells:
            self._console.print(
                f"  the time of this runner is over: {count(len(cells))} left for the next one, "
                f"by: {escape(this_command())}"
            )


def columns(is_narrow: bool) -> list[ProgressColumn]:
    """Return what a line of the view shows; where it is narrow, numbers without a bar.

    Long names are folded, and nothing else is.
    """
    name_of_task = TextColumn("{task.description}", table_column=Column(no_wrap=False))
    phase = TextColumn("{task.fields[phase]}")
    if is_narrow:
        return [name_of_task, MofNCompleteColumn(), phase]
    return [name_of_task, BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(), phase]


def count(n_cells: int) -> str:
    """Write a number of cells with its noun."""
    return "1 cell" if n_cells == 1 else f"{n_cells} cells"


def status_of(cell: Cell, state: State, **known: Any) -> CellStatus:
    """Return what is known of a cell; `known` are further fields of its status."""
    return CellStatus(
        cell=cell.id,
        state=state,
        label=cell.label,
        dataset=cell.dataset,
        expected_s=cell.expected_s,
        **known,
    )


def status_of_row(row: Row) -> CellStatus:
    """Return what is known of a cell that is finished."""
    return status_of(row.cell, "done", outcome=row.status, wall_s=row.wall_s)


def share_of(seen: Seen) -> float:
    """Return the share that is done: of the training, or of the test images once these are scored.

    It stays while a training is saved, and while its validation images are scored.
    """
    return seen.fraction if seen.scored is None else seen.scored


def said(seen: Seen, *, is_brief: bool = False) -> str:
    """Say in which phase a worker is, its last accuracy, and how long its training still takes."""
    parts = [seen.phase or "starting"]
    if seen.val_accuracy is not None and is_brief:
        parts = [f"validation {seen.val_accuracy:.1f} %"]
    elif seen.val_accuracy is not None:
        parts.append(f"{seen.val_accuracy:.1f} % on validation images")
    if seen.phase == "training" and seen.remaining_s is not None:
        parts.append(f"{as_duration(seen.remaining_s)} left")
    return ", ".join(parts)


def name(cell: Cell) -> str:
    """Name a cell for people: its label, data set and seed."""
    return escape(f"{cell.label} on {cell.dataset.rpartition('/')[2]}, seed {cell.seed}")


def line(row: Row) -> str:
    """Say in one line how a cell ended."""
    if row.status != "ok":
        mark = MARKS.get(row.status, f"[red]{row.status}[/]")
        reason = brief(row.reason or "no reason given", LONGEST_REASON)
        return f"  {mark} {name(row.cell)}: {escape(reason)}"
    measured = row.measured
    text = (
        f"  {MARKS['ok']:<12} {name(row.cell)}: "
        f"{measured.accuracy:.2f} % after {measured.train_s:.1f} s of training"
    )
    marked = marks(row)
    if marked:
        text += f" [yellow]({escape('; '.join(marked.values()))})[/]"
    return text
