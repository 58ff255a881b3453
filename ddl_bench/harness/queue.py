"""The cells of a run that wait: which one is started next, tried again, or left to others."""

import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ddl_bench.files import names_in
from ddl_bench.harness import cores
from ddl_bench.harness.claims import claim, claims_folder, holder
from ddl_bench.harness.folder import ids_with_row
from ddl_bench.harness.launcher import Launcher
from ddl_bench.harness.supervise import Job
from ddl_bench.plan.cell import Cell
from ddl_bench.results.paths import row_path
from ddl_bench.results.rows import Row, read_row, write_row

BROKEN = ("crashed", "oom")  # statuses of cells that may end well when they are tried again
WINDOW = 100  # times the number of claims: among so many cells a runner chooses at random
MEETINGS = 10  # with a cell that others have finished, after which all rows are listed
SURE_FACTOR = 1.5  # times the expected seconds: a cell that has so long is sure to end


class Queue:
    """The cells of a run that wait for a worker, and those that other runners hold.

    A runner takes cells in the order of the plan as long as it is alone. Where it meets another
    one, at a cell that is held, it lists the claims to leave out all such cells at once, and from
    then on it chooses at random among the next cells. After some that others have finished it lists
    the rows, to leave out these. So a thousand runners seldom want the same cell, and look at few
    that are done.

    Parameters
    ----------
    folder
        The run folder.
    waiting
        Cells to run, in order.
    earlier
        Rows that were there before, by cell ID; any other row was written by another runner.
    launcher
        Starts the workers.
    retries
        How often a cell is tried again.
    has_curves
        Whether the workers are to write the points of their curves while they train.
    """

    def __init__(
        self,
        folder: Path,
        waiting: list[Cell],
        earlier: Mapping[str, Row],
        launcher: Launcher,
        *,
        retries: int = 0,
        has_curves: bool = False,
    ) -> None:
        self.waiting = list(waiting)
        self._launcher = launcher
        self._folder = folder
        self._earlier = dict(earlier)
        self._with_file = ids_with_row(folder)  # from the beginning, damaged ones included
        self._retries = retries
        self._has_curves = has_curves
        self._broken: list[Cell] = []  # to be tried again
        self._attempts: dict[str, list[str]] = {}  # that failed, by cell ID
        self._elsewhere: list[Cell] = []
        self._finished_elsewhere: list[Cell] = []
        self._set_aside: list[Cell] = []
        self._n_claims = 0  # that were seen last
        self._n_met = 0  # cells that others had finished, since the rows were listed last
        self._random = random.Random()  # noqa: S311  spreads runners, decides nothing of a result
        self._not_resumable: set[str] = set()  # names of methods
        self._has_looked = False  # at what others hold, since a cell was started last

    def leave(self, cell: Cell) -> None:
        """Leave a cell to another runner."""
        self._elsewhere.append(cell)

    def set_aside(self, cell: Cell) -> None:
        """Leave a cell to a later runner, which has more time."""
        self._set_aside.append(cell)

    def note_not_resumable(self, cell: Cell) -> None:
        """Note that cells of this method are not worth starting unless they fit."""
        self._not_resumable.add(cell.method)

    def left(self) -> list[Cell]:
        """List the cells that are left to later runners, if they have no row."""
        return self.waiting + self._broken + self._set_aside + self._finished_elsewhere

    def with_attempts(self, job: Job, row: Row) -> Row:
        """Write into the row of a cell how its earlier attempts ended, if there were any."""
        attempts = self._attempts.get(job.cell.id)
        if not attempts or not job.claim.is_held():
            return row
        row = row.model_copy(update={"failed_attempts": tuple(attempts)})
        write_row(self._folder, row)
        return row

    def try_again(self, cell: Cell, row: Row) -> bool:
        """Put a cell whose worker broke down behind all others, if it may be tried again."""
        attempts = self._attempts.setdefault(cell.id, [])
        if row.status not in BROKEN or len(attempts) >= self._retries:
            return False
        attempts.append(f"{row.status}: {row.reason}")
        self._earlier[cell.id] = row
        self._broken.append(cell)
        return True

    def look_again(self) -> bool:
        """Take up cells that broke down, or else those that others held; False where none is left.

        What others hold is looked at once after the last start of a cell.
        """
        if self._broken:
            self.waiting = self._broken
            self._broken = []
            return True
        if self._has_looked or not self._elsewhere:
            return False
        self._has_looked = True
        self.waiting = self._elsewhere
        self._elsewhere = []
        self._leave_out_finished()
        return bool(self.waiting)

    def start_next(self, running: Sequence[Job], remaining_s: float) -> Job | None:
        """Start the first cell that no other runner has taken or finished.

        None where there is none, or where other runners of this machine use the cores.

        Parameters
        ----------
        running
            The cells that run already.
        remaining_s
            Seconds until the runner stops. Cells that take longer come last, and are stopped at
            once where their method cannot be resumed.
        """
        free = free_cores(running)
        while self._put_fitting_first(remaining_s):
            cell = self.waiting[0]
            taken = cores.take(free, cell.threads, cell.machine.device)
            if taken is None:
                return None
            self.waiting.pop(0)
            if self._is_finished(cell.id):
                taken.release()
                self._meet_finished(cell)
                continue
            claimed = claim(claims_folder(self._folder), cell.id)
            if claimed is None:
                self.leave(cell)
                self._leave_out_held()
            elif self._is_finished(cell.id):
                claimed.release()
                self._meet_finished(cell)
            else:
                self._has_looked = False
                earlier = self._earlier.get(cell.id)
                try:
                    job = Job(
                        self._folder,
                        cell,
                        claimed,
                        taken,
                        self._launcher,
                        earlier,
                        has_curves=self._has_curves,
                    )
                    job.must_be_resumable = needed_s(cell) > remaining_s
                    return job
                except BaseException:
                    claimed.release()
                    taken.release()
                    raise
            taken.release()
        return None

    def _meet_finished(self, cell: Cell) -> None:
        """Drop a cell that another runner has finished; after some of them, all such cells."""
        self._finished_elsewhere.append(cell)
        self._n_met += 1
        if self._n_met == MEETINGS:
            self._n_met = 0
            self._leave_out_finished()
            self._leave_out_held()

    def _leave_out_held(self) -> None:
        """Count the claims, and put off the cells that have one until the last look.

        That look finds out whose runner is gone.
        """
        names = names_in(claims_folder(self._folder))
        self._n_claims = len(names)
        held = {name.partition(".")[0] for name in names}
        self._elsewhere += [cell for cell in self.waiting if cell.id in held]
        self.waiting = [cell for cell in self.waiting if cell.id not in held]

    def _leave_out_finished(self) -> None:
        """List the rows, and drop the cells that others have finished.

        A cell that had a row before stays, as the name of its file does not tell a new one.
        """
        new = ids_with_row(self._folder) - self._with_file - self._earlier.keys()
        self._finished_elsewhere += [cell for cell in self.waiting if cell.id in new]
        self.waiting = [cell for cell in self.waiting if cell.id not in new]

    def _put_fitting_first(self, remaining_s: float) -> bool:
        """Bring a cell that fits to the front; False where no cell is worth starting."""
        if self._n_claims and self.waiting:
            n_choices = min(len(self.waiting), WINDOW * self._n_claims)
            self.waiting.insert(0, self.waiting.pop(self._random.randrange(n_choices)))
        for index, cell in enumerate(self.waiting):
            if needed_s(cell) <= remaining_s:
                self.waiting.insert(0, self.waiting.pop(index))
                return True
        hopeless = self._not_resumable
        self._set_aside += [cell for cell in self.waiting if cell.method in hopeless]
        self.waiting = [cell for cell in self.waiting if cell.method not in hopeless]
        return bool(self.waiting)

    def core_users(self, running: Sequence[Job]) -> list[int]:
        """List the processes that use the cores, or the GPU, that the next cell waits for."""
        return cores.users(free_cores(running), self.waiting[0].machine.device)

    def _is_finished(self, cell_id: str) -> bool:
        """Whether another runner has written a row since this one began."""
        row = read_row(row_path(self._folder, cell_id))
        return row is not None and row != self._earlier.get(cell_id)

    def held(self) -> Iterator[tuple[str, str]]:
        """Yield the cells that were left to other runners, and who holds them now."""
        for cell in self._elsewhere:
            who = holder(claims_folder(self._folder), cell.id)
            yield cell.id, who or "a runner that has just ended"


def needed_s(cell: Cell) -> float:
    """Return how many seconds a cell is sure to end in, for the choice of cells that fit."""
    if cell.expected_s is None:
        return cell.limits.time_s
    return min(cell.limits.time_s, SURE_FACTOR * cell.expected_s)


def free_cores(running: Iterable[Job]) -> list[int]:
    """List the cores of this process that none of its cells uses."""
    busy = {core for job in running for core in job.cores}
    return sorted(os.sched_getaffinity(0) - busy)
