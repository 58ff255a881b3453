"""Run cells in worker processes on this machine, each on cores of its own, and keep their rows."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ddl_bench.errors import UserError, nearest
from ddl_bench.harness.claims import Claim, claim
from ddl_bench.harness.supervise import Job
from ddl_bench.plan.cell import Cell
from ddl_bench.plan.expansion import Overrides, plan
from ddl_bench.results.rows import Row, read_row


class View(Protocol):
    """Something that watches a run: the terminal, or nothing."""

    def planned(self, total: int, kept: Sequence[Row]) -> None: ...

    def finished(self, row: Row) -> None: ...

    def tick(self, jobs: Sequence[Job]) -> None: ...


class Silent:
    """A view that shows nothing."""

    def planned(self, total: int, kept: Sequence[Row]) -> None: ...

    def finished(self, row: Row) -> None: ...

    def tick(self, jobs: Sequence[Job]) -> None: ...


def run(
    track: str = "quick",
    out: str | Path | None = None,
    *,
    overrides: Overrides | None = None,
    rerun: str = "",
    jobs: int | None = None,
    view: View | None = None,
) -> list[Row]:
    """Run a track and return the row of each of its cells, finished earlier or now.

    `out` is the run folder (default `results/TRACK`); rows found there are kept. `rerun` names what is run again all
    the same: `failed` (every status but ok; from its checkpoint), `all`, or the beginning of a cell ID (both afresh).
    `jobs` cells run at a time; by default as many as have cores of their own. Several runners may share a folder.
    Raises UserError for a mistake in the track or the overrides, before anything runs.
    """
    cells = plan(track, overrides or Overrides())
    folder = run_folder(track, out)
    return run_cells(
        cells, folder, rerun=rerun, slots=core_slots(cells, jobs), view=view or Silent()
    )


def run_folder(track: str, out: str | Path | None) -> Path:
    return Path(out) if out else Path("results") / Path(track).stem


def core_slots(cells: Sequence[Cell], jobs: int | None) -> list[list[int]]:
    """Disjoint sets of cores, one for each cell that may run at the same time: timings must not share a core."""
    cores = sorted(os.sched_getaffinity(0))
    threads = max(cell.threads for cell in cells)
    if threads > len(cores):
        raise UserError(
            f"--threads {threads}: only {len(cores)} cores are available to this process"
        )
    possible = len(cores) // threads if all(cell.machine.device == "cpu" for cell in cells) else 1
    if jobs is not None and not 1 <= jobs <= possible:
        raise UserError(
            f"--jobs {jobs}: between 1 and {possible} cells of {threads} threads fit on {len(cores)} cores"
        )
    return [cores[index * threads : (index + 1) * threads] for index in range(jobs or possible)]


def run_cells(
    cells: Sequence[Cell], folder: Path, *, rerun: str, slots: list[list[int]], view: View
) -> list[Row]:
    """Run the cells that have no row yet (or are named by `rerun`), then return the rows of all."""
    started = time.time()
    work = _prepare(folder)
    unique = list({cell.id: cell for cell in cells}.values())
    before = {cell.id: read_row(folder / "cells" / f"{cell.id}.json") for cell in unique}
    again = _chosen(rerun, unique, before)
    for cell_id in again if rerun != "failed" else ():  # a failed cell goes on from its checkpoint
        (work / f"{cell_id}.checkpoint").unlink(missing_ok=True)
    waiting = [cell for cell in unique if before[cell.id] is None or cell.id in again]
    view.planned(
        len(unique), [row for cell_id, row in before.items() if row and cell_id not in again]
    )
    running: list[Job] = []
    try:
        while waiting or running:
            busy = [job.cores for job in running]
            for cores in [cores for cores in slots if cores not in busy]:
                job = _next(waiting, folder, work, cores, started)
                if job is not None:
                    running.append(job)
            for job in list(running):
                row = job.poll()
                if row is not None:
                    running.remove(job)
                    job.claim.release()
                    view.finished(row)
            view.tick(running)
            time.sleep(0.02)
    finally:
        for job in running:  # stopped from outside: the cells under way will be run again
            job.kill()
            job.claim.release()
    rows = [read_row(folder / "cells" / f"{cell.id}.json") for cell in unique]
    return [row for row in rows if row is not None]


def _prepare(folder: Path) -> Path:
    work = folder / "work"
    try:
        for part in (work, folder / "cells"):
            part.mkdir(parents=True, exist_ok=True)
        probe = work / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"--out {folder}: cannot write there: {error.strerror}") from None
    return work


def _chosen(rerun: str, cells: Sequence[Cell], before: dict[str, Row | None]) -> set[str]:
    """IDs of the cells that are to be run again."""
    if not rerun:
        return set()
    if rerun == "all":
        return set(before)
    if rerun == "failed":
        return {
            cell_id for cell_id, row in before.items() if row is not None and row.status != "ok"
        }
    found = {cell.id for cell in cells if cell.id.startswith(rerun)}
    if not found:
        known = ["failed", "all", *(cell.id for cell in cells)]
        raise UserError(f"--rerun {rerun!r}: no such cell in this run; {nearest(rerun, known)}")
    return found


def _next(
    waiting: list[Cell], folder: Path, work: Path, cores: list[int], started: float
) -> Job | None:
    """Start the first waiting cell that no other runner holds or has finished meanwhile."""
    while waiting:
        cell = waiting.pop(0)
        own: Claim | None = claim(work, cell.id)
        if own is None:
            continue
        path = folder / "cells" / f"{cell.id}.json"
        if path.exists() and path.stat().st_mtime > started and read_row(path):
            own.release()
            continue
        return Job(folder, cell, own, cores)
    return None
