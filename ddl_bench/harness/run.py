"""Run cells in worker processes on this machine, each on cores of its own, and keep their rows."""

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ddl_bench import machine
from ddl_bench.errors import UserError, nearest
from ddl_bench.files import is_torn, warn_damaged
from ddl_bench.harness import cores
from ddl_bench.harness.claims import claim, holder
from ddl_bench.harness.launcher import Launcher
from ddl_bench.harness.leftovers import sweep_old
from ddl_bench.harness.planned import write_plan
from ddl_bench.harness.stop import Shift
from ddl_bench.harness.supervise import Job
from ddl_bench.plan.cell import Cell
from ddl_bench.plan.expansion import Overrides, plan
from ddl_bench.plan.variant import variant
from ddl_bench.results import rows as stored
from ddl_bench.results.publish import make_public
from ddl_bench.results.rows import Row, read_row, write_row

RESULTS = Path("results")
BROKEN = ("crashed", "oom")  # statuses of cells that may end well when they are tried again
POLL_EVERY_S = 0.02
SURE_FACTOR = 1.5  # times the expected seconds: a cell that has so long is sure to end


class View(Protocol):
    """Something that watches a run: the terminal, or nothing."""

    def planned(self, total: int, finished: Sequence[Row]) -> None:
        """Learn how many cells there are, and the rows of those that are finished already."""

    def waiting(self, cells: Sequence[Cell]) -> None:
        """Learn which cells are to be run."""

    def finished(self, row: Row) -> None:
        """Learn that a cell has ended."""

    def retried(self, row: Row) -> None:
        """Learn that a cell has broken down and is tried again after the others."""

    def tick(self, jobs: Sequence[Job]) -> None:
        """Look at the running cells; called many times a second."""

    def lacks_cores(self, users: Sequence[int]) -> None:
        """Learn, once in a run, that a cell waits for cores that these other processes use."""

    def held(self, holders: Mapping[str, str]) -> None:
        """Learn which cells have no row because other runners hold them: who, by cell ID."""

    def left(self, cells: Sequence[Cell]) -> None:
        """Learn which cells have no row because the time of the runner is over."""


class Silent:
    """A view that shows nothing."""

    def planned(self, total: int, finished: Sequence[Row]) -> None:
        """Show nothing."""

    def waiting(self, cells: Sequence[Cell]) -> None:
        """Show nothing."""

    def finished(self, row: Row) -> None:
        """Show nothing."""

    def retried(self, row: Row) -> None:
        """Show nothing."""

    def tick(self, jobs: Sequence[Job]) -> None:
        """Show nothing."""

    def lacks_cores(self, users: Sequence[int]) -> None:
        """Show nothing."""

    def held(self, holders: Mapping[str, str]) -> None:
        """Show nothing."""

    def left(self, cells: Sequence[Cell]) -> None:
        """Show nothing."""


def run(
    track: str = "quick",
    out: str | Path | None = None,
    *,
    overrides: Overrides | None = None,
    rerun: str = "",
    jobs: int | None = None,
    view: View | None = None,
    fresh_process: bool = False,
    shift: Shift | None = None,
    public: bool = False,
    retries: int = 0,
    **options: Any,
) -> list[Row]:
    """Run a track and return the row of each of its cells, finished earlier or now.

    Several runners may share a run folder. Cells that another runner still holds at the end have
    no row in what is returned.

    Parameters
    ----------
    track
        Name of a packaged track, or the path of a .toml file.
    out
        The run folder; cells that have a row there are not run again. By default results/TRACK, or
        results/TRACK-CHANGES where the options change the data, the budget or the machine.
    overrides
        What to change about the track; or give `options`.
    rerun
        Which finished cells to run again: `failed` for every status but ok, resumed from its
        checkpoint; `all`, or the beginning of a cell ID, from the beginning.
    jobs
        Number of cells that run at the same time; by default as many as the cores allow without
        sharing.
    view
        Watches the run.
    fresh_process
        Start an interpreter for each cell, instead of forking a process that has imported the
        libraries.
    shift
        The time that this runner has; None for as long as there are cells. Before its end running
        cells are asked to save a checkpoint, from which the next runner goes on.
    public
        Take the names of the host and the user, and absolute paths, out of rows, models and logs,
        also of cells that were finished earlier.
    retries
        How often a cell that crashed or ran out of memory is tried again, from its checkpoint where
        it has one, after all other cells.
    options
        What to change about the track, as on the command line: methods, datasets, seeds, budget,
        device, threads, precision, limit_train, plugins and so on, see `Overrides.of`.

    Raises
    ------
    UserError
        For a mistake in the track, the overrides or the options, before anything runs.

    Examples
    --------
    >>> rows = run("quick", methods=["sdl"], seeds=[0], budget="30e")  # doctest: +SKIP
    >>> rows[0].measured.accuracy  # doctest: +SKIP
    98.9
    """
    if overrides is None:
        overrides = Overrides.of(**options)
    elif options:
        raise UserError(f"run: {', '.join(options)} beside overrides; give one of them alone")
    cells = plan(track, overrides)
    check_devices(cells)
    return run_cells(
        cells,
        run_folder(track, out, overrides),
        rerun=rerun,
        slots=n_slots(cells, jobs),
        view=view or Silent(),
        fresh_process=fresh_process,
        shift=shift,
        public=public,
        retries=retries,
    )


def run_folder(
    track: str,
    out: str | Path | None = None,
    overrides: Overrides | None = None,
    name: str | None = None,
) -> Path:
    """Return the run folder: `out`, or results/`name`, or else results/VARIANT.

    The variant is the name of the track with what the overrides change, as in `quick-3m`, so that
    rows of one folder belong together. Raises UserError for a name that is none of a folder.
    """
    if name is not None:
        if out:
            raise UserError("--name and --out both say where the results go; give one of them")
        if not re.fullmatch(r"\w[\w.=+-]*", name):
            raise UserError(
                f"--name {name!r:.80}: expected letters, digits, '_', '.', '=', '+' and '-'; "
                "--out takes any path"
            )
        return RESULTS / name
    return Path(out) if out else RESULTS / variant(track, overrides or Overrides())


def check_devices(cells: Iterable[Cell]) -> None:
    """Raise UserError where a cell is to run on a GPU that this machine does not have."""
    names = {cell.machine.device for cell in cells} - {"cpu"}
    if not names:
        return
    import torch  # here, so that runs without a GPU start sooner

    n_devices = torch.cuda.device_count()
    for name in sorted(names):
        number = int(name.partition(":")[2] or 0)
        if number >= n_devices:
            raise UserError(f"--device {name}: torch sees {n_devices} CUDA devices on this machine")


def n_slots(cells: Sequence[Cell], jobs: int | None) -> int:
    """Return how many cells may run at the same time.

    Timings must not share a core, nor a GPU. Raises UserError where
    there are not enough cores.
    """
    n_cores = machine.n_cores()
    threads = max(cell.threads for cell in cells)
    if threads > n_cores:
        raise UserError(f"--threads {threads}: only {n_cores} cores are available to this process")
    possible = n_cores // threads
    devices = {cell.machine.device for cell in cells} - {"cpu"}
    if devices:
        gpus = {gpu for device in devices for gpu in cores.gpus_of(device)}
        possible = min(possible, len(gpus))
    if jobs is not None and not 1 <= jobs <= possible:
        raise UserError(
            f"--jobs {jobs}: between 1 and {possible} cells of {threads} threads "
            f"fit on {n_cores} cores"
        )
    return jobs or possible


def run_cells(
    cells: Sequence[Cell],
    folder: Path,
    *,
    rerun: str,
    slots: int,
    view: View,
    fresh_process: bool = False,
    shift: Shift | None = None,
    public: bool = False,
    retries: int = 0,
) -> list[Row]:
    """Run the cells that have no row yet, or are named by `rerun`; returns the rows of all."""
    shift = shift or Shift()
    make_folders(folder)
    sweep_old(folder)
    write_plan(folder, cells)
    cell_of = {cell.id: cell for cell in cells}
    earlier = read_rows(folder, cell_of)
    again = chosen_again(rerun, cell_of, earlier)
    if rerun != "failed":  # a failed cell is resumed from its checkpoint
        for cell_id in again:
            checkpoint_path(folder, cell_id).unlink(missing_ok=True)
    again |= with_torn_arrays(folder, earlier)
    finished = {cell_id: row for cell_id, row in earlier.items() if cell_id not in again}
    waiting = [cell for cell_id, cell in cell_of.items() if cell_id not in finished]
    view.planned(len(cell_of), list(finished.values()))
    view.waiting(waiting)
    launcher = Launcher(is_fresh=fresh_process)
    queue = Queue(folder, waiting, earlier, launcher, retries=retries)
    running: list[Job] = []
    has_waited = False
    try:
        while (queue.waiting or running or queue.look_again()) and not shift.is_over():
            while len(running) < slots and queue.waiting:
                job = queue.start_next(running, shift.remaining_s())
                if job is None:
                    if queue.waiting and not has_waited:
                        has_waited = True
                        view.lacks_cores(queue.core_users(running))
                    break
                running.append(job)
            done = settle(running, queue, view)
            if public:
                make_public(folder, done)
        stop_in_order(running, queue, view, shift.stop_within_s)
    finally:
        for job in running:  # stopped from outside: the cells under way will be run again
            job.kill()
            job.release()
        launcher.close()
        if public:  # also what was finished earlier, or by other runners
            make_public(folder, cell_of)
    rows = read_rows(folder, cell_of) if waiting or public else finished
    view.held({cell_id: who for cell_id, who in queue.held() if cell_id not in rows})
    view.left([cell for cell in queue.left() if cell.id not in rows])
    return list(rows.values())


def settle(running: list[Job], queue: "Queue", view: View) -> list[str]:
    """Look at the running cells once, and take those that are over out of the list.

    Returns the IDs of those that have a row now.
    """
    done = []
    for job in list(running):
        row = job.poll()
        if row is not None:
            row = queue.with_attempts(job, row)
            if queue.try_again(job.cell, row):
                view.retried(row)
            else:
                view.finished(row)
                done.append(job.cell.id)
        if job.is_lost:
            queue.leave(job.cell)
        if job.is_stopped:
            queue.set_aside(job.cell)
        if row is not None or job.is_lost or job.is_stopped:
            running.remove(job)
            job.release()
        elif job.must_be_resumable and job.progress().is_resumable is False:
            queue.note_not_resumable(job.cell)
            job.ask_to_stop()
    view.tick(running)
    time.sleep(POLL_EVERY_S)
    return done


def stop_in_order(running: list[Job], queue: "Queue", view: View, within_s: float) -> None:
    """Ask the running cells to save a checkpoint and to end; those that take longer are killed."""
    for job in running:
        job.ask_to_stop()
    end = time.monotonic() + within_s
    while running and time.monotonic() < end:
        settle(running, queue, view)
    for job in running:
        job.kill()
        queue.set_aside(job.cell)
        job.release()
    running.clear()


class Queue:
    """The cells of a run that wait for a worker, and those that other runners hold.

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
    """

    def __init__(
        self,
        folder: Path,
        waiting: list[Cell],
        earlier: Mapping[str, Row],
        launcher: Launcher,
        *,
        retries: int = 0,
    ) -> None:
        self.waiting = list(waiting)
        self._launcher = launcher
        self._folder = folder
        self._earlier = dict(earlier)
        self._retries = retries
        self._broken: list[Cell] = []  # to be tried again
        self._attempts: dict[str, list[str]] = {}  # that failed, by cell ID
        self._elsewhere: list[Cell] = []
        self._set_aside: list[Cell] = []
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
        """List the cells that are left to later runners."""
        return self.waiting + self._broken + self._set_aside

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
        return True

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
            claimed = claim(self._folder / "work", cell.id)
            if claimed is None:
                self.leave(cell)
            elif self._is_finished(cell.id):
                claimed.release()
            else:
                self._has_looked = False
                earlier = self._earlier.get(cell.id)
                try:
                    job = Job(self._folder, cell, claimed, taken, self._launcher, earlier)
                    job.must_be_resumable = needed_s(cell) > remaining_s
                    return job
                except BaseException:
                    claimed.release()
                    taken.release()
                    raise
            taken.release()
        return None

    def _put_fitting_first(self, remaining_s: float) -> bool:
        """Bring the first cell that fits to the front; False where no cell is worth starting."""
        for index, cell in enumerate(self.waiting):
            if needed_s(cell) <= remaining_s:
                self.waiting.insert(0, self.waiting.pop(index))
                return True
        hopeless = [cell for cell in self.waiting if cell.method in self._not_resumable]
        self._set_aside += hopeless
        self.waiting = [cell for cell in self.waiting if cell not in hopeless]
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
            who = holder(self._folder / "work", cell.id)
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


def read_rows(folder: Path, cell_ids: Iterable[str]) -> dict[str, Row]:
    """Read the rows of cells, by ID, of those that have one."""
    rows = stored.read_rows(row_path(folder, cell_id) for cell_id in cell_ids)
    return {row.cell.id: row for row in rows}


def with_torn_arrays(folder: Path, cell_ids: Iterable[str]) -> set[str]:
    """Return the cells whose kept predictions were cut off, as by a copy that was not completed."""
    torn = set()
    for cell_id in cell_ids:
        path = folder / "cells" / f"{cell_id}.npz"
        if is_torn(path):
            warn_damaged(path, "not a whole .npz file; its cell is run again")
            torn.add(cell_id)
    return torn


def row_path(folder: Path, cell_id: str) -> Path:
    """Return the file of a row."""
    return folder / "cells" / f"{cell_id}.json"


def checkpoint_path(folder: Path, cell_id: str) -> Path:
    """Return the file from which a cell is resumed."""
    return folder / "work" / f"{cell_id}.checkpoint"


def make_folders(folder: Path) -> None:
    """Make the folders of a run. Raises UserError where nothing can be written there."""
    work = folder / "work"
    try:
        work.mkdir(parents=True, exist_ok=True)
        (folder / "cells").mkdir(exist_ok=True)
        probe = work / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"--out {folder}: cannot write there: {error.strerror}") from None


def chosen_again(rerun: str, cells: Mapping[str, Cell], earlier: Mapping[str, Row]) -> set[str]:
    """Return the IDs of the cells that `rerun` names. Raises UserError where it names none."""
    if not rerun:
        return set()
    if rerun == "all":
        return set(cells)
    if rerun == "failed":
        return {cell_id for cell_id, row in earlier.items() if row.status != "ok"}
    chosen = {cell_id for cell_id in cells if cell_id.startswith(rerun)}
    if not chosen:
        choice = nearest(rerun, ["failed", "all", *cells])
        raise UserError(f"--rerun {rerun!r}: no such cell in this run; {choice}")
    return chosen
