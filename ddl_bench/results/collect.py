"""Read several run folders as one: runs of other machines, and of colleagues."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ddl_bench.errors import UserError
from ddl_bench.files import name_of
from ddl_bench.results.rows import Measured, Row, arrays, code_of, load_rows
from ddl_bench.results.times import Times, read_times, session_of

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
    placed = told_apart([Placed(folder, row) for folder in folders for row in load_rows(folder)])
    conflicts: list[str] = []
    placed = counted_once(placed, lambda row: row.cell.id, conflicts)
    placed = counted_once(placed, training_of, conflicts)
    homes = {row.cell.id: folder for folder, row in placed}
    rows = without_replaced([row for _, row in placed])
    rows.sort(key=lambda row: row.started)
    return Collection(tuple(folders), rows, homes, tuple(conflicts))


class Placed(NamedTuple):
    """A row and its run folder."""

    folder: Path
    row: Row


def training_of(row: Row) -> Hashable:
    """Return what tells one training from another, whatever the name of its file is.

    Public rows keep the ID of a cell that had a path in an option, so that two people may have one
    training under two.
    """
    return row.cell.settings, code_of(row), row.cell.seed


def counted_once(
    placed: Iterable[Placed], key: Callable[[Row], Hashable], conflicts: list[str]
) -> list[Placed]:
    """Return the row that counts for each key, see `collect`; conflicts are added to a list."""
    rivals = defaultdict[Hashable, list[Placed]](list)
    for each in placed:
        rivals[key(each.row)].append(each)
    counted = []
    for several in rivals.values():
        well = [each for each in several if each.row.status == "ok"]
        folder, row = (well or several)[0]
        conflict = conflict_of(well)
        if conflict:
            conflicts.append(f"{row.cell.label}@{row.cell.seed} ({row.cell.id}): {conflict}")
            texts = [row.measured.conflict, f"seed {row.cell.seed}: {conflict}"]
            measured = replace(row.measured, conflict="; ".join(filter(None, texts)))
            row = row.model_copy(update={"measured": measured})
        counted.append(Placed(folder, row))
    return counted


def told_apart(placed: Sequence[Placed]) -> list[Placed]:
    """Mark rows whose times are not of the first session of timing that has rows of their images.

    Times that are measured again are compared within one session alone.
    """
    sessions = {folder: read_times(folder) for folder in {each.folder for each in placed}}
    for name, is_timed in (("not_retimed", is_retimed), ("not_retrained", is_retrained)):
        first: dict[Hashable, Times | None] = {}
        for folder, row in placed:
            if is_timed(row.measured):
                first.setdefault((row.cell.data, row.cell.splits), sessions[folder])
        placed = [
            Placed(folder, timed_apart(row, name, sessions[folder], first, is_timed(row.measured)))
            for folder, row in placed
        ]
    return list(placed)


def is_retimed(measured: Measured) -> bool:
    """Whether the times of predictions were measured again."""
    return bool(measured.retimed)


def is_retrained(measured: Measured) -> bool:
    """Whether the times of training were measured again."""
    return measured.run_train_s is not None


def timed_apart(
    row: Row,
    name: str,
    own: Times | None,
    first: Mapping[Hashable, Times | None],
    is_timed: bool,
) -> Row:
    """Return a row with the reason, in the field of this name, why its times stand apart."""
    other = first.get((row.cell.data, row.cell.splits))
    is_apart = other is not None and session_of(own) != session_of(other)
    if row.status != "ok" or not is_apart or getattr(row.measured, name):
        return row
    reason = "its run was not timed again"
    if own is not None and is_timed:
        reason = f"timed apart from the others: {own.described()}"
    changes: dict[str, Any] = {name: reason}
    return row.model_copy(update={"measured": replace(row.measured, **changes)})


def without_replaced(rows: list[Row]) -> list[Row]:
    """Leave out rows of older code whose seed another folder has with newer code."""
    current = {(row.cell.settings, row.cell.seed) for row in rows if row.status != "outdated"}
    return [
        row
        for row in rows
        if row.status != "outdated" or (row.cell.settings, row.cell.seed) not in current
    ]


def conflict_of(rows: Sequence[Placed]) -> str:
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
