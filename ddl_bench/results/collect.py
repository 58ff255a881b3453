"""Read several run folders as one: runs of other machines, and of colleagues."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ddl_bench.errors import UserError
from ddl_bench.files import name_of
from ddl_bench.results.rows import Row, arrays, load_rows

if TYPE_CHECKING:
    import numpy as np

Runs = str | Path | Sequence[str | Path]  # one run folder, or several

# What a cell determines: two trainings of it that differ here are a conflict. Times are not among
# these, as they belong to a machine.
DETERMINED = (
    "accuracy",
    "val_accuracy",
    "official_accuracy",
    "recovered",
    "n_params",
    "n_train",
    "n_test",
)


@dataclass(frozen=True)
class Collection:
    """Hold the rows of one or several run folders, each cell once.

    Parameters
    ----------
    folders
        The run folders, in the order in which they were given.
    rows
        The row that counts for each cell, oldest first.
    homes
        The run folder of each row, by the ID of its cell.
    conflicts
        A sentence for each cell whose results differ between folders.
    """

    folders: tuple[Path, ...]
    rows: list[Row]
    homes: dict[str, Path]
    conflicts: tuple[str, ...] = ()

    def arrays(self, cell_id: str, wanted: Sequence[str] | None = None) -> "dict[str, np.ndarray]":
        """Read what is kept beside a row, see `ddl_bench.results.rows.arrays`."""
        return arrays(self.homes[cell_id], cell_id, wanted)

    @property
    def name(self) -> str:
        """Return the names of the folders, such as "quick + quick-2"."""
        return joined_name(self.folders)


def joined_name(folders: Sequence[Path]) -> str:
    """Return the names of folders, such as "quick + quick-2"."""
    return " + ".join(folder.resolve().name for folder in folders)


def report_folder(folders: Sequence[Path]) -> Path:
    """Return where the report of a run folder goes by default: RUN/report.

    Raises UserError for several, whose report belongs to none of them.
    """
    first, *others = folders
    if others:
        names = ", ".join(map(name_of, folders))
        raise UserError(f"one report of several runs ({names}): say by --out where it goes")
    return first / "report"


def folders_of(runs: Runs) -> list[Path]:
    """Return run folders as paths, each once. Raises UserError where there is none."""
    several = [runs] if isinstance(runs, str | Path) else list(runs or ())
    if not several:
        raise UserError("no run folder is given; give one such as results/quick")
    folders: dict[Path, Path] = {}
    for run in several:
        folders.setdefault(Path(run).resolve(), Path(run))
    return list(folders.values())


def collect(runs: Runs) -> Collection:
    """Read the rows of run folders; a cell that several of them have counts once.

    A row that ended well goes before one that did not. Of two that ended well the folder that was
    given first has the say; where their results differ, that is a conflict, which the row and the
    collection name. Code is compared within a folder alone: rows that were measured with different
    code in two folders stay apart as two lines of the table.

    Parameters
    ----------
    runs
        One run folder, or several.

    Raises
    ------
    UserError
        For a folder without results.

    Examples
    --------
    >>> collect(["results/quick", "results/quick-2"]).conflicts  # doctest: +SKIP
    ()
    """
    folders = folders_of(runs)
    if len(folders) == 1:
        rows = load_rows(folders[0])
        return Collection((folders[0],), rows, {row.cell.id: folders[0] for row in rows})
    rivals = defaultdict[str, list[tuple[Path, Row]]](list)
    for folder in folders:
        for row in load_rows(folder):
            rivals[row.cell.id].append((folder, row))
    rows = []
    homes = {}
    conflicts = []
    for cell_id, rows_of_cell in rivals.items():
        well = [(folder, row) for folder, row in rows_of_cell if row.status == "ok"]
        folder, row = (well or rows_of_cell)[0]
        conflict = conflict_of(well)
        if conflict:
            conflicts.append(f"{row.cell.label}@{row.cell.seed} ({cell_id}): {conflict}")
            measured = replace(row.measured, conflict=f"seed {row.cell.seed}: {conflict}")
            row = row.model_copy(update={"measured": measured})
        rows.append(row)
        homes[cell_id] = folder
    rows = sorted(without_replaced(rows), key=lambda row: row.started)
    return Collection(tuple(folders), rows, homes, tuple(conflicts))


def without_replaced(rows: list[Row]) -> list[Row]:
    """Leave out rows of older code whose seed another folder has with newer code."""
    current = {(row.cell.settings, row.cell.seed) for row in rows if row.status != "outdated"}
    return [
        row
        for row in rows
        if row.status != "outdated" or (row.cell.settings, row.cell.seed) not in current
    ]


def conflict_of(rows: Sequence[tuple[Path, Row]]) -> str:
    """Say in which results the rows of one cell differ, by folder; empty where in none."""
    for name in DETERMINED:
        values = {folder: getattr(row.measured, name) for folder, row in rows}
        if len(set(values.values())) > 1:
            (first, counted), *others = values.items()
            texts = [f"{number_text(value)} in {name_of(folder)}" for folder, value in others]
            return (
                f"{name} is {number_text(counted)} in {name_of(first)}, which counts, and "
                + ", ".join(texts)
            )
    return ""


def number_text(value: float | None) -> str:
    """Write a result so that a difference shows; "not known" for None."""
    return "not known" if value is None else f"{value:.6g}"
