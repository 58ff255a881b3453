"""Run cells in worker processes on this machine, each on cores of its own, and keep their rows."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ddl_bench.errors import UserError, nearest
from ddl_bench.harness.curves import GrowingCurves
from ddl_bench.harness.devices import check_devices, check_precision
from ddl_bench.harness.earlier import read_rows, take_stock
from ddl_bench.harness.folder import make_folders, memory_path, run_folder
from ddl_bench.harness.launcher import Launcher
from ddl_bench.harness.leftovers import sweep_old
from ddl_bench.harness.planned import write_plan
from ddl_bench.harness.queue import Queue
from ddl_bench.harness.slots import n_slots
from ddl_bench.harness.stop import Shift
from ddl_bench.harness.view import Silent, View
from ddl_bench.harness.workers import Workers
from ddl_bench.plan.cell import Cell
from ddl_bench.plan.expansion import Overrides, plan
from ddl_bench.plan.memory import Memory
from ddl_bench.results.publish import make_public
from ddl_bench.results.rows import Row


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How the cells of a run are run: the same for all of them.

    Parameters
    ----------
    folder
        The run folder.
    slots
        How many cells run at the same time.
    rerun, rerun_before, fresh_process, public, retries, tensorboard
        As in `run`.
    view
        Watches the run.
    shift
        The time that this runner has.
    """

    folder: Path
    slots: int
    rerun: str = ""
    rerun_before: str = ""
    fresh_process: bool = False
    public: bool = False
    retries: int = 0
    tensorboard: bool = False
    view: View = field(default_factory=Silent)
    shift: Shift = field(default_factory=Shift)


def run(
    track: str = "quick",
    out: str | Path | None = None,
    *,
    overrides: Overrides | None = None,
    rerun: str = "",
    rerun_before: str = "",
    jobs: int | None = None,
    view: View | None = None,
    fresh_process: bool = False,
    shift: Shift | None = None,
    public: bool = False,
    retries: int = 0,
    tensorboard: bool = False,
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
    rerun_before
        Of these only the ones whose training began before a time such as 2026-11-30T12:00, in UTC:
        so a rerun that was stopped goes on with its rest, from its checkpoints.
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
    tensorboard
        Write the curves of cells to RUN/tensorboard while they train.
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
        known = inspect.signature(Overrides.of).parameters
        for name in options:
            if name not in known:
                raise UserError(f"run: no option {name!r}: {nearest(name, known)}")
        overrides = Overrides.of(**options)
    elif options:
        raise UserError(f"run: {', '.join(options)} beside overrides; give one of them alone")
    folder = run_folder(track, out, overrides)
    memory = Memory(memory_path(folder))
    cells = plan(track, overrides, memory)
    check_devices(cells)
    check_precision(cells)
    slots = n_slots(cells, jobs)
    make_folders(folder)
    memory.save()
    settings = RunSettings(
        folder=folder,
        rerun=rerun,
        rerun_before=rerun_before,
        slots=slots,
        view=view or Silent(),
        fresh_process=fresh_process,
        shift=shift or Shift(),
        public=public,
        retries=retries,
        tensorboard=tensorboard,
    )
    return run_cells(cells, settings)


def run_cells(cells: Sequence[Cell], settings: RunSettings) -> list[Row]:
    """Run the cells that have no row yet, or are to run again; returns the rows of all."""
    folder = settings.folder
    view = settings.view
    make_folders(folder)
    sweep_old(folder)
    write_plan(folder, cells)
    stock = take_stock(folder, cells, settings.rerun, settings.rerun_before)
    view.planned(len(stock.cell_ids), list(stock.finished.values()))
    view.waiting(stock.waiting)
    launcher = Launcher(is_fresh=settings.fresh_process)
    queue = Queue(
        folder,
        stock.waiting,
        stock.earlier,
        launcher,
        retries=settings.retries,
        has_curves=settings.tensorboard,
    )
    curves = GrowingCurves(folder, is_on=settings.tensorboard)
    workers = Workers(queue, view, settings.shift, curves, slots=settings.slots)
    try:
        while queue.waiting or workers.running or queue.look_again():
            if settings.shift.is_over():
                break
            workers.start()
            done = workers.look()
            if settings.public:
                make_public(folder, done)
        workers.stop_in_order()
    finally:
        workers.kill()  # those that run if we are stopped from outside: they will be run again
        launcher.close()
        if settings.public:  # also what was finished earlier, or by other runners
            make_public(folder, stock.cell_ids)
    if settings.public:
        rows = read_rows(folder, stock.cell_ids)
    else:  # what was read before is not read again
        known = stock.finished | read_rows(folder, [cell.id for cell in stock.waiting])
        rows = {cell_id: known[cell_id] for cell_id in stock.cell_ids if cell_id in known}
    view.held({cell_id: who for cell_id, who in queue.held() if cell_id not in rows})
    view.left([cell for cell in queue.left() if cell.id not in rows])
    return list(rows.values())
