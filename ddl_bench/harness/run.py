"""Run cells in worker processes on this machine, each on cores of its own, and keep their rows."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ddl_bench.errors import UserError
from ddl_bench.harness.earlier import chosen_again, read_rows, with_torn_arrays
from ddl_bench.harness.folder import checkpoint_path, make_folders, run_folder
from ddl_bench.harness.launcher import Launcher
from ddl_bench.harness.leftovers import sweep_old
from ddl_bench.harness.planned import write_plan
from ddl_bench.harness.queue import Queue
from ddl_bench.harness.slots import check_devices, n_slots
from ddl_bench.harness.stop import Shift
from ddl_bench.harness.supervise import Job
from ddl_bench.harness.view import Silent, View
from ddl_bench.plan.cell import Cell
from ddl_bench.plan.expansion import Overrides, plan
from ddl_bench.results.publish import make_public
from ddl_bench.results.rows import Row

POLL_EVERY_S = 0.02


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


def settle(running: list[Job], queue: Queue, view: View) -> list[str]:
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


def stop_in_order(running: list[Job], queue: Queue, view: View, within_s: float) -> None:
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
