"""Which cells the runs of a folder are to have: each run leaves its plan in RUN/work.

A plan is one small file, so that others can tell what is waiting. The same command writes the same
file again; several runners and commands may share a folder, and what is planned is the union.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ddl_bench.errors import UserError
from ddl_bench.files import read_regular, write_shared

if TYPE_CHECKING:
    from ddl_bench.plan.cell import Cell

VERSION = 1


class PlannedCell(NamedTuple):
    """A cell that is to be run, without paths of its machine.

    `settings` and `seed` name its place, whatever its code.
    """

    cell: str
    settings: str
    label: str
    dataset: str
    seed: int
    track: str
    expected_s: float | None


def write_plan(folder: Path, cells: Iterable[Cell]) -> Path:
    """Write the cells of a run to RUN/work/plan-HASH.json; returns the file.

    The hash is that of the places of the cells, so that a run with newer code of a method replaces
    its older plan.
    """
    entries = []
    for cell in cells:
        dataset = cell.dataset.rpartition("/")[2]
        entry = PlannedCell(
            cell=cell.id,
            settings=cell.settings,
            label=cell.label,
            dataset=dataset,
            seed=cell.seed,
            track=name_of_track(cell.track),
            expected_s=cell.expected_s,
        )
        entries.append(entry)
    places = sorted((entry.settings, entry.seed) for entry in entries)
    digest = hashlib.sha256(json.dumps(places).encode()).hexdigest()[:12]
    path = folder / "work" / f"plan-{digest}.json"
    if is_written(path, entries):
        path.touch()  # as the newest plan counts
    else:
        write_entries(path, entries)
    return path


@cache  # thousands of cells have the same few
def name_of_track(track: str) -> str:
    """Return the name of a track, which may be the path of a file."""
    return Path(track).stem


def write_entries(path: Path, entries: Sequence[PlannedCell]) -> None:
    """Write the file of a plan, whole or not at all."""
    write_shared(path, as_bytes(entries))


def is_written(path: Path, entries: Sequence[PlannedCell]) -> bool:
    """Whether the file of a plan has these cells already."""
    try:
        return read_regular(path) == as_bytes(entries)
    except (FileNotFoundError, UserError):
        return False


def as_bytes(entries: Sequence[PlannedCell]) -> bytes:
    """Return the content of the file of a plan."""
    content = {"version": VERSION, "columns": PlannedCell._fields, "cells": entries}
    return json.dumps(content, separators=(",", ":")).encode()


def read_plans(folder: Path) -> dict[str, PlannedCell]:
    """Read what is planned in a run folder, by cell ID; empty where no run has left a plan.

    Where two plans have different code for one place, the newer plan counts. A damaged file is
    left out.
    """
    newest: dict[tuple[str, int], PlannedCell] = {}
    for path in sorted(plan_files(folder), key=written_at):
        for entry in read_entries(path):
            newest[entry.settings, entry.seed] = entry
    return {entry.cell: entry for entry in newest.values()}


def plan_files(folder: Path) -> list[Path]:
    """List the files of plans in a run folder."""
    return list((folder / "work").glob("plan-*.json"))


def read_entries(path: Path) -> list[PlannedCell]:
    """Read the cells of one plan; none where the file is missing, damaged, or of another form."""
    try:
        content = json.loads(read_regular(path))
        columns = content["columns"]
        return [entry_of(dict(zip(columns, row, strict=True))) for row in content["cells"]]
    except (OSError, UserError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return []


def entry_of(values: Mapping[str, Any]) -> PlannedCell:
    """Make the entry of a cell from a line of a file. Raises ValueError for other types."""
    expected_s = values["expected_s"]
    return PlannedCell(
        cell=str(values["cell"]),
        settings=str(values["settings"]),
        label=str(values["label"]),
        dataset=str(values["dataset"]),
        seed=int(values["seed"]),
        track=str(values["track"]),
        expected_s=None if expected_s is None else float(expected_s),
    )


def written_at(path: Path) -> float:
    """When a file was written, in seconds; 0 for one that has just been removed."""
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0
