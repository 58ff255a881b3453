"""What earlier runs have left of the cells of a run, and which of them are run again."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ddl_bench.errors import UserError, nearest
from ddl_bench.files import is_torn, warn_damaged
from ddl_bench.harness.folder import checkpoint_path, ids_with_row
from ddl_bench.plan.cell import Cell
from ddl_bench.results import rows as stored
from ddl_bench.results.paths import row_path
from ddl_bench.results.rows import Row


class Stock(NamedTuple):
    """The cells of a run, and which of them are run now.

    Parameters
    ----------
    cell_ids
        Of all cells, each once.
    earlier
        The rows that were there before, by cell ID.
    finished
        Those of them that stay, by cell ID.
    waiting
        The cells that are to be run, in order.
    """

    cell_ids: list[str]
    earlier: dict[str, Row]
    finished: dict[str, Row]
    waiting: list[Cell]


def take_stock(
    folder: Path, cells: Iterable[Cell], rerun: str = "", rerun_before: str = ""
) -> Stock:
    """Read what earlier runs have left, and choose which cells are run now.

    The checkpoints of cells that are to begin afresh are removed, but for those that the rerun has
    written itself: by another runner, or before it was stopped.

    Parameters
    ----------
    folder, cells
        The run folder, and the cells of its plan.
    rerun, rerun_before
        As in `ddl_bench.run`.
    """
    cell_of = {cell.id: cell for cell in cells}
    earlier = read_rows(folder, cell_of)
    again = chosen_again(rerun, cell_of, earlier, rerun_before)
    if rerun != "failed":  # a failed cell goes on from its checkpoint
        remove_checkpoints(folder, again, read_time(rerun_before or now()))
    again |= with_torn_arrays(folder, earlier)
    finished = {cell_id: row for cell_id, row in earlier.items() if cell_id not in again}
    waiting = [cell for cell_id, cell in cell_of.items() if cell_id not in finished]
    return Stock(list(cell_of), earlier, finished, waiting)


def read_rows(folder: Path, cell_ids: Iterable[str]) -> dict[str, Row]:
    """Read the rows of cells, by ID, of those that have one."""
    with_row = ids_with_row(folder)  # so that cells without a row cost no look-up
    paths = [row_path(folder, cell_id) for cell_id in cell_ids if cell_id in with_row]
    return {row.cell.id: row for row in stored.read_rows(paths)}


def with_torn_arrays(folder: Path, cell_ids: Iterable[str]) -> set[str]:
    """Return the cells whose kept predictions were cut off, as by a copy that was not completed."""
    torn = set()
    for cell_id in cell_ids:
        path = f"{folder}/cells/{cell_id}.npz"  # a Path would take as long as the look
        if is_torn(path):
            warn_damaged(Path(path), "not a whole .npz file; its cell is run again")
            torn.add(cell_id)
    return torn


def remove_checkpoints(folder: Path, cell_ids: Iterable[str], before: datetime) -> None:
    """Remove the checkpoints of cells that were written before a time."""
    for cell_id in cell_ids:
        path = checkpoint_path(folder, cell_id)
        with suppress(FileNotFoundError):
            if path.stat().st_mtime <= before.timestamp():
                path.unlink()


def chosen_again(
    rerun: str, cells: Mapping[str, Cell], earlier: Mapping[str, Row], before: str = ""
) -> set[str]:
    """Return the IDs of the cells that `rerun` names, of rows that began before a time.

    Raises UserError where it names none, and for a time that is none.
    """
    limit = read_time(before) if before else None
    if limit is not None and not rerun:
        raise UserError("--rerun-before: only with --rerun; add it, or leave this out")
    if not rerun:
        return set()
    chosen = set(cells)
    if rerun == "failed":
        chosen = {cell_id for cell_id, row in earlier.items() if row.status != "ok"}
    elif rerun != "all":
        chosen = {cell_id for cell_id in cells if cell_id.startswith(rerun)}
        if not chosen:
            choice = nearest(rerun, ["failed", "all", *cells])
            raise UserError(f"--rerun {rerun!r}: no such cell in this run; {choice}")
    if limit is None:
        return chosen
    late = {cell_id for cell_id, row in earlier.items() if began_after(row, limit)}
    return chosen - late


def now() -> str:
    """Return the time in UTC, as rows have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def read_time(text: str) -> datetime:
    """Read a time, in UTC where it does not say otherwise. Raises UserError for anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        example = "a time such as 2026-11-30T12:00, in UTC"
        raise UserError(f"--rerun-before {text!r:.80}: expected {example}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def began_after(row: Row, moment: datetime) -> bool:
    """Whether the training of a row began at a time or later; not if the row does not say when."""
    try:
        return read_time(row.started) >= moment
    except UserError:
        return False
