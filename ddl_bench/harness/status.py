"""What has become of the cells of a run folder, from its files alone: no runner is asked.

Rows say what is done, claims what is running and by whom, plans what is waiting, and the files of
progress how far a worker has come. Nothing but the standard library and the parser of pydantic is
imported, and each row is read only as far as is needed, so that 10,000 cells take half a second.
"""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple

from pydantic_core import from_json

from ddl_bench.errors import UserError
from ddl_bench.files import names_in
from ddl_bench.harness.claims import claims_folder, clock_of, is_alive, read_holder, runner_of
from ddl_bench.harness.planned import PlannedCell, read_plans
from ddl_bench.harness.progress import Seen
from ddl_bench.harness.progress import read as read_progress

State = Literal["waiting", "running", "stale", "done", "failed"]
STATES: tuple[State, ...] = ("running", "stale", "waiting", "failed", "done")
DONE = ("ok", "skipped", "not_installed")  # nothing has gone wrong
CLAIM = re.compile(r"(.+)\.claim\.(\d+)")


@dataclass(frozen=True, kw_only=True)
class CellStatus:
    """What has become of one cell; None where it is not known.

    Parameters
    ----------
    state
        `stale`: its runner is gone without a row, and the next runner takes it.
    outcome
        The status of its row; empty where it has none.
    holder
        Process of the runner, and its host.
    phase, share, val_accuracy
        Of a running cell: its phase, the share of its training that is done, 0 to 1, and its last
        accuracy on validation images, in percent.
    scored
        Share of the test images that have scores, once a running cell is trained.
    remaining_s
        Of the training of a running cell, as its worker has estimated it.
    expected_s
        What the track expects of the cell.
    wall_s
        Of a cell with a row: seconds from the start of its worker to its end.
    """

    cell: str
    state: State
    label: str = ""
    dataset: str = ""
    seed: int | None = None
    track: str = ""
    outcome: str = ""
    reason: str = ""
    holder: str = ""
    phase: str = ""
    share: float | None = None
    val_accuracy: float | None = None
    scored: float | None = None
    train_s: float | None = None
    remaining_s: float | None = None
    expected_s: float | None = None
    wall_s: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """What has become of the cells of a run folder.

    Parameters
    ----------
    cells
        Every cell that has a row, is planned, or has been started.
    is_planned
        Whether a plan says what is waiting; runs of older versions left none.
    n_outdated
        Rows of older code whose place in the plan another cell has; they are not in `cells`.
    remaining_s
        Until all cells are done at the present pace, as far as that can be told; None if not.
    """

    folder: Path
    cells: tuple[CellStatus, ...]
    is_planned: bool
    n_outdated: int
    remaining_s: float | None

    def of(self, state: State) -> list[CellStatus]:
        """Return the cells of a state."""
        return [cell for cell in self.cells if cell.state == state]

    def counts(self) -> dict[State, int]:
        """Count the cells of each state."""
        counts: dict[State, int] = dict.fromkeys(STATES, 0)
        for cell in self.cells:
            counts[cell.state] += 1
        return counts


class Held(NamedTuple):
    """The claim of a cell that counts, and whether its runner is still there."""

    path: Path
    is_alive: bool


def read_status(folder: Path, *, with_outdated: bool = False) -> RunStatus:
    """Read what has become of the cells of a run folder, rows of older code left out or not.

    Raises UserError where the folder is none of a run.
    """
    if not (folder / "cells").is_dir() and not (folder / "work").is_dir():
        raise UserError(f"{folder}: no run folder, as it has neither cells/ nor work/")
    plans = read_plans(folder)
    rows = dict(read_summaries(folder / "cells"))
    outdated = [] if with_outdated else older_rows(plans, rows)
    for cell_id in outdated:
        del rows[cell_id]
    held = read_claims(folder)
    cells = []
    for cell_id in plans:
        cell = status_of(folder, cell_id, plans[cell_id], rows.get(cell_id), held.get(cell_id))
        cells.append(cell)
    others = []
    for cell_id in (rows.keys() | held.keys()) - plans.keys():
        others.append(status_of(folder, cell_id, None, rows.get(cell_id), held.get(cell_id)))
    cells += sorted(others, key=lambda cell: (cell.label, cell.dataset, str(cell.seed)))
    return RunStatus(
        folder=folder,
        cells=tuple(cells),
        is_planned=bool(plans),
        n_outdated=len(outdated),
        remaining_s=remaining_s(cells),
    )


def status_of(
    folder: Path,
    cell_id: str,
    planned: PlannedCell | None,
    row: Mapping[str, Any] | None,
    held: Held | None,
) -> CellStatus:
    """Say what has become of a cell from its plan, its row and its claim, each of them or None."""
    about = about_cell(folder, cell_id, planned, row)
    if held is not None and held.is_alive:
        return running(folder, about, held.path)
    if row is not None:
        outcome = str(row.get("status", ""))
        measured = row.get("measured", row)
        if not isinstance(measured, Mapping):
            measured = {}
        return CellStatus(
            **about,
            state="done" if outcome in DONE else "failed",
            outcome=outcome,
            reason=str(row.get("reason", "")),
            wall_s=number(row.get("wall_s")),
            accuracy=number(measured.get("accuracy")),
            val_accuracy=number(measured.get("val_accuracy")),
            train_s=number(measured.get("train_s")),
        )
    if held is not None:
        content = read_holder(held.path)
        seen = read_progress(folder / "work" / f"{cell_id}.progress.json")
        reason = f"{runner_of(content)} is gone"
        return CellStatus(
            **about, state="stale", holder=runner_of(content), reason=reason, share=seen.fraction
        )
    return CellStatus(**about, state="waiting")


def running(folder: Path, about: dict[str, Any], claim: Path) -> CellStatus:
    """Say how far the worker of a cell has come."""
    seen: Seen = read_progress(folder / "work" / f"{about['cell']}.progress.json")
    return CellStatus(
        **about,
        state="running",
        holder=runner_of(read_holder(claim)),
        phase=seen.phase,
        share=seen.fraction,
        val_accuracy=seen.val_accuracy,
        scored=seen.scored,
        train_s=seen.train_s,
        remaining_s=seen.remaining_s,
    )


def about_cell(
    folder: Path, cell_id: str, planned: PlannedCell | None, row: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return label, data set, seed and expected seconds of a cell from whatever file has them."""
    if planned is not None:
        return {
            "cell": cell_id,
            "label": planned.label,
            "dataset": planned.dataset,
            "seed": planned.seed,
            "track": planned.track,
            "expected_s": planned.expected_s,
        }
    cell = (row or {}).get("cell")
    if not isinstance(cell, dict):
        cell = read_object(folder / "work" / f"{cell_id}.cell.json") or {}
    return {
        "cell": cell_id,
        "label": str(cell.get("label", "")),
        "dataset": str(cell.get("dataset", "")).rpartition("/")[2],
        "seed": cell.get("seed"),
        "track": str(cell.get("track", "")),
        "expected_s": number(cell.get("expected_s")),
    }


def read_summaries(cells: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the ID and the values of every row, unchecked; damaged rows are left out."""
    for name in names_in(cells):
        if name.endswith(".json") and not name.startswith("."):
            values = read_object(f"{cells}/{name}")
            if values is not None and "status" in values:
                yield name.removesuffix(".json"), values


def older_rows(
    plans: Mapping[str, PlannedCell], rows: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Return the cells with a row whose place in the plan another cell has, of newer code."""
    candidates = rows.keys() - plans.keys()
    if not plans or not candidates:
        return []
    from ddl_bench.plan.cell import settings_of  # here, as its models take a quarter of a second

    places = {(entry.settings, entry.seed) for entry in plans.values()}
    older = []
    for cell_id in candidates:
        cell = rows[cell_id].get("cell")
        if not isinstance(cell, dict) or not isinstance(cell.get("seed"), int):
            continue
        if (settings_of(cell), cell["seed"]) in places:
            older.append(cell_id)
    return older


def read_claims(run: Path) -> dict[str, Held]:
    """Find the highest claim of each cell, and whether its runner is alive.

    Runners of older versions left their claims in work/.
    """
    held: dict[str, Held] = {}
    for folder in (run / "work", claims_folder(run)):
        highest: dict[str, int] = {}
        for name in names_in(folder):
            match = CLAIM.fullmatch(name)
            if match:
                highest[match[1]] = max(highest.get(match[1], 0), int(match[2]))
        now_s = clock_now(folder) if highest else 0.0
        for cell_id, number_of_claim in highest.items():
            path = folder / f"{cell_id}.claim.{number_of_claim}"
            held[cell_id] = Held(path, is_alive(path, now_s))
    return held


def clock_now(work: Path) -> float:
    """Read the clock of the file system, or this machine's where nothing may be written there."""
    try:
        return clock_of(work)
    except OSError:
        return time.time()


def read_object(path: str | Path) -> dict[str, Any] | None:
    """Read a file that holds one JSON object; None where it does not."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            values = from_json(os.read(descriptor, os.fstat(descriptor).st_size))
        finally:
            os.close(descriptor)
    except (OSError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def number(value: object) -> float | None:
    """Return a number, or None for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return None


def remaining_s(cells: Sequence[CellStatus]) -> float | None:
    """Estimate the seconds until all cells are done, if as many run at a time as do now.

    None where nothing runs, or where nothing is known of a cell that is left.
    """
    pace = Pace(cells)
    left_s = 0.0
    n_running = 0
    for cell in cells:
        if cell.state not in ("running", "waiting", "stale"):
            continue
        whole_s = pace.expected_s(cell)
        if cell.state == "running":
            n_running += 1
            if cell.remaining_s is not None:
                left_s += cell.remaining_s
                continue
            if whole_s is not None:
                whole_s *= 1 - (cell.share or 0.0)
        if whole_s is None:
            return None
        left_s += whole_s
    return left_s / n_running if n_running else None


class Pace:
    """How long cells take, by those that are done: of the same kind, else against the track.

    Of a kind of which none is done, one that trains says how long it takes.

    Parameters
    ----------
    cells
        All cells of the run.
    """

    def __init__(self, cells: Sequence[CellStatus]) -> None:
        walls: dict[tuple[str, str], list[float]] = {}
        measured_s = 0.0
        expected_s = 0.0
        for cell in cells:
            if cell.outcome != "ok" or cell.wall_s is None:
                continue
            walls.setdefault((cell.label, cell.dataset), []).append(cell.wall_s)
            if cell.expected_s is not None:
                measured_s += cell.wall_s
                expected_s += cell.expected_s
        for cell in cells:
            if cell.state == "running" and cell.train_s and cell.remaining_s is not None:
                whole_s = cell.train_s + cell.remaining_s
                walls.setdefault((cell.label, cell.dataset), [whole_s])
        self._means = {kind: fmean(seconds) for kind, seconds in walls.items()}
        self._factor = measured_s / expected_s if expected_s else 1.0

    def expected_s(self, cell: CellStatus) -> float | None:
        """Return how long a cell is expected to take, in seconds; None where nothing is known."""
        mean_s = self._means.get((cell.label, cell.dataset))
        if mean_s is not None:
            return mean_s
        return None if cell.expected_s is None else self._factor * cell.expected_s
