"""Run cells in worker processes on this machine, each on cores of its own, and keep their rows."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ddl_bench.errors import UserError, nearest
from ddl_bench.harness.claims import claim
from ddl_bench.harness.supervise import Job
from ddl_bench.plan.cell import Cell
from ddl_bench.plan.expansion import Overrides, plan
from ddl_bench.results.rows import Row, read_row

POLL_EVERY_S = 0.02


class View(Protocol):
    """Something that watches a run: the terminal, or nothing."""

    def planned(self, total: int, finished: Sequence[Row]) -> None:
        """Learn how many cells there are, and the rows of those that are finished already."""

    def finished(self, row: Row) -> None:
        """Learn that a cell has ended."""

    def tick(self, jobs: Sequence[Job]) -> None:
        """Look at the running cells; called many times a second."""


class Silent:
    """A view that shows nothing."""

    def planned(self, total: int, finished: Sequence[Row]) -> None:
        """Show nothing."""

    def finished(self, row: Row) -> None:
        """Show nothing."""

    def tick(self, jobs: Sequence[Job]) -> None:
        """Show nothing."""


def run(
    track: str = "quick",
    out: str | Path | None = None,
    *,
    overrides: Overrides | None = None,
    rerun: str = "",
    jobs: int | None = None,
    view: View | None = None,
    **options: Any,
) -> list[Row]:
    """Run a track and return the row of each of its cells, finished earlier or now.

    Several runners may share a run folder.

    Parameters
    ----------
    track
        Name of a packaged track, or the path of a .toml file.
    out
        The run folder; cells that have a row there are not run again. By default results/TRACK.
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
    return run_cells(
        cells,
        run_folder(track, out),
        rerun=rerun,
        slots=core_slots(cells, jobs),
        view=view or Silent(),
    )


def run_folder(track: str, out: str | Path | None) -> Path:
    """Return the run folder of a track: `out`, or results/TRACK."""
    return Path(out) if out else Path("results") / Path(track).stem


def core_slots(cells: Sequence[Cell], jobs: int | None) -> list[list[int]]:
    """Return disjoint sets of cores, one for each cell that may run at the same time.

    Timings must not share a core, and only one cell at a time may use a GPU. Raises UserError where
    there are not enough cores.
    """
    cores = sorted(os.sched_getaffinity(0))
    threads = max(cell.threads for cell in cells)
    if threads > len(cores):
        raise UserError(
            f"--threads {threads}: only {len(cores)} cores are available to this process"
        )
    possible = len(cores) // threads
    if any(cell.machine.device != "cpu" for cell in cells):
        possible = 1
    if jobs is not None and not 1 <= jobs <= possible:
        raise UserError(
            f"--jobs {jobs}: between 1 and {possible} cells of {threads} threads "
            f"fit on {len(cores)} cores"
        )
    return [cores[slot * threads : (slot + 1) * threads] for slot in range(jobs or possible)]


def run_cells(
    cells: Sequence[Cell], folder: Path, *, rerun: str, slots: list[list[int]], view: View
) -> list[Row]:
    """Run the cells that have no row yet, or are named by `rerun`; returns the rows of all."""
    began = time.time()
    make_folders(folder)
    cell_of = {cell.id: cell for cell in cells}
    earlier = read_rows(folder, cell_of)
    again = chosen_again(rerun, cell_of, earlier)
    if rerun != "failed":  # a failed cell is resumed from its checkpoint
        for cell_id in again:
            checkpoint_path(folder, cell_id).unlink(missing_ok=True)
    finished = {cell_id: row for cell_id, row in earlier.items() if cell_id not in again}
    waiting = [cell for cell_id, cell in cell_of.items() if cell_id not in finished]
    view.planned(len(cell_of), list(finished.values()))
    running: list[Job] = []
    try:
        while waiting or running:
            busy = [job.cores for job in running]
            for cores in slots:
                if cores not in busy:
                    job = start_next(waiting, folder, cores, began)
                    if job is not None:
                        running.append(job)
            for job in list(running):
                row = job.poll()
                if row is not None:
                    running.remove(job)
                    job.claim.release()
                    view.finished(row)
            view.tick(running)
            time.sleep(POLL_EVERY_S)
    finally:
        for job in running:  # stopped from outside: the cells under way will be run again
            job.kill()
            job.claim.release()
    return list(read_rows(folder, cell_of).values())


def read_rows(folder: Path, cell_ids: Iterable[str]) -> dict[str, Row]:
    """Read the rows of cells, by ID, of those that have one."""
    rows = {cell_id: read_row(row_path(folder, cell_id)) for cell_id in cell_ids}
    return {cell_id: row for cell_id, row in rows.items() if row is not None}


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


def start_next(waiting: list[Cell], folder: Path, cores: list[int], began: float) -> Job | None:
    """Start the first waiting cell that no other runner has taken, or finished since `began`."""
    while waiting:
        cell = waiting.pop(0)
        taken = claim(folder / "work", cell.id)
        if taken is None:
            continue
        path = row_path(folder, cell.id)
        if path.exists() and path.stat().st_mtime > began and read_row(path):
            taken.release()
            continue
        return Job(folder, cell, taken, cores)
    return None
