"""Make a run folder public: its rows, models and logs, in place or as a copy."""

import json
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ddl_bench.errors import UserError
from ddl_bench.files import (
    brief,
    explained,
    name_of,
    names_in,
    read_arrays,
    read_regular,
    warn_damaged,
    write_arrays,
    write_atomically,
)
from ddl_bench.plan.cell import Cell
from ddl_bench.results.metrics import FILE as METRICS_FILE
from ddl_bench.results.metrics import Columns, read_columns, write_columns
from ddl_bench.results.paths import arrays_path, model_path, row_path
from ddl_bench.results.public import Place, paths_of, public_cell, public_row
from ddl_bench.results.rows import LARGEST_ROW_BYTES, Row, read_row, read_rows
from ddl_bench.results.times import FILE as TIMES
from ddl_bench.results.times import Times, read_times, session_of, write_times

LARGEST_ARTEFACT_BYTES = 2**15  # of atoms or of a dictionary; predictions take about as much
FOLDERS_OF_RUN = ("cells", "models", "work", "report")
PARTS_OF_TIMES = ("rows", "left", "training", "left_training")  # of `Times`, by cell ID

ValueT = TypeVar("ValueT")


def publish(run: str | Path, out: str | Path) -> dict[str, Path]:
    """Write public copies of the rows, arrays and models of a run to another folder.

    Logs, checkpoints, and atoms and dictionaries of more than LARGEST_ARTEFACT_BYTES are not
    copied. Damaged rows are left out, with a warning. Rows that `out` has and the run lacks stay,
    with their times and metrics. Where `out` is the run folder itself, it is made public in place.

    Parameters
    ----------
    run, out
        The run folder, and the folder of the copies.

    Returns
    -------
    dict
        Where rows and models lie.

    Raises
    ------
    UserError
        Where there are no rows, nothing can be written, `out` has those of another run, or only the
        folder of a path tells two rows apart.
    """
    run = Path(run)
    out = Path(out)
    cells = run / "cells"
    with explained(cells):
        ids = sorted(path.stem for path in cells.glob("*.json"))
        if not ids:
            raise UserError(f"no rows in {cells}: run `ddl-bench run` first")
        refuse_look_alikes(read_rows(row_path(run, cell_id) for cell_id in ids))
        is_in_place = out.resolve() == run.resolve()
        own = {run.resolve() / name for name in FOLDERS_OF_RUN}
        if own & {out.resolve(), *out.resolve().parents}:
            raise UserError(f"{name_of(out)}: a folder of the run itself; give another one")
    if is_in_place:
        make_public(run, ids)
        copy_times(run, run)
    else:
        rows_beside(run, out)  # raises, before anything is written
        copied = {cell_id for cell_id in ids if copy_cell(run, out, cell_id)}
        beside = {name.removesuffix(".json") for name in row_names(out)} - copied
        copy_times(run, out, beside)
        copy_metrics(run, out, beside)
    folders = {"rows": out / "cells", "models": out / "models"}
    return {name: folder for name, folder in folders.items() if folder.is_dir()}


def refuse_look_alikes(rows: Iterable[Row]) -> None:
    """Raise UserError for rows that only the folder of a path in an option tells apart.

    Public rows have the names of files alone, so that one of them would hide the other.
    """
    first: dict[tuple[str, int], Cell] = {}
    for row in rows:
        other = first.setdefault((public_settings(row.cell), row.cell.seed), row.cell)
        if other.settings != row.cell.settings:
            raise UserError(
                f"cells {other.id} and {row.cell.id} differ by the folder of a path alone, which "
                "public rows do not have: give the files different names, and run them again"
            )


def public_settings(cell: Cell) -> str:
    """Return the hash of the settings that a cell has in its public row."""
    options = [cell.params, cell.grid]
    if "/" not in json.dumps(options, default=str):
        return cell.settings
    values = cell.model_dump(mode="json")
    public = public_cell(values, cell.id, Place.of(paths_of(values)))
    return Cell.model_validate(public).settings


def rows_beside(run: Path, out: Path) -> list[Row]:
    """Return the rows that `out` has and `run` lacks, which stay there beside copies of its own.

    They are cells that were removed since, of other code, or seeds of another machine. Raises
    UserError for another run, which shares no cell, and no line of a table in one track.
    """
    ids = row_names(run)
    earlier = row_names(out)
    left = read_rows(out / "cells" / name for name in sorted(earlier - ids))
    if not left or earlier & ids:
        return left
    if lines_of(left).isdisjoint(lines_of(read_rows(run / "cells" / name for name in ids))):
        raise UserError(
            f"{name_of(out)}: has rows of another run than {name_of(run)} ({len(left)}); give "
            "another folder; `ddl-bench report RUN RUN --out FOLDER` is one report of several"
        )
    return left


def row_names(run: Path) -> set[str]:
    """List the files of the rows of a run."""
    return {name for name in names_in(run / "cells") if name.endswith(".json")}


def lines_of(rows: Iterable[Row]) -> set[tuple[str, str]]:
    """Return the settings of rows with their tracks, of which public rows have the name alone."""
    return {(row.cell.settings, Path(row.cell.track).name) for row in rows}


def copy_times(run: Path, out: Path, beside: Collection[str] = ()) -> None:
    """Copy the times that were measured again, if any; a reason of one may hold a path.

    Those that `out` has of the rows `beside`, by cell ID, are joined to them.
    """
    times = read_times(run)
    if times is None and (run / TIMES).exists():
        return  # one that cannot be read says nothing of the copy
    earlier = read_times(out) if beside else None
    if earlier is not None:
        times = joined_times(times, earlier, beside)
    if times is None:
        (out / TIMES).unlink(missing_ok=True)  # of an earlier copy
        return
    place = Place.of([run.resolve()])
    reasons = {}
    for name in ("left", "left_training"):
        given = getattr(times, name).items()
        reasons[name] = {cell_id: place.without_names(reason) for cell_id, reason in given}
    write_times(out, times.model_copy(update=reasons))


def joined_times(times: Times | None, earlier: Times, beside: Collection[str]) -> Times | None:
    """Join the times of a run and those that a copy has of other rows; None where there are none.

    Times of predictions are compared within one session alone, of which the file tells when it was
    and on what processor. Where the run has one of its own, a row of another says so instead.
    """
    kept = {name: chosen(getattr(earlier, name), beside) for name in PARTS_OF_TIMES}
    if times is None:
        others = earlier.rows.keys() - set(beside)
        kept["left"] |= dict.fromkeys(others, "its run was not timed again")
        return earlier.model_copy(update=kept) if kept["rows"] or kept["training"] else None
    if session_of(times) != session_of(earlier):
        reason = f"timed apart from the others: {earlier.described()}"
        kept["left"] |= dict.fromkeys(kept["rows"], reason)
        kept["rows"] = {}
    joined = {name: part | getattr(times, name) for name, part in kept.items()}
    return times.model_copy(update=joined)


def copy_metrics(run: Path, out: Path, beside: Collection[str]) -> None:
    """Copy the metrics of plugins, beside those that `out` has of the rows `beside`, by cell ID."""
    columns = dict(read_columns(run).columns)
    if not columns and (run / METRICS_FILE).exists():
        return  # one that cannot be read says nothing of the copy
    earlier = read_columns(out).columns if beside else {}
    for name, column in earlier.items():
        values = chosen(column.values, beside)
        if name in columns:
            values |= columns[name].values
            columns[name] = columns[name].model_copy(update={"values": values})
        elif values:
            columns[name] = column.model_copy(update={"values": values})
    if columns:
        write_columns(out, Columns(columns=columns))
    else:
        (out / METRICS_FILE).unlink(missing_ok=True)  # of an earlier copy


def chosen(values: Mapping[str, ValueT], cell_ids: Collection[str]) -> dict[str, ValueT]:
    """Return what belongs to some cells, of values by cell ID."""
    return {cell_id: value for cell_id, value in values.items() if cell_id in cell_ids}


def make_public(run: Path, cell_ids: Iterable[str]) -> None:
    """Make cells of a run folder public in place: row, model and log of each.

    A cell without a row, or with a damaged one, is left to the command that makes it anew.
    """
    for cell_id in cell_ids:
        if copy_cell(run, run, cell_id):
            clean_work(run, cell_id)


def copy_cell(run: Path, out: Path, cell_id: str) -> bool:
    """Copy what a run keeps of a cell, made public; returns whether it has a row."""
    path = row_path(run, cell_id)
    row = read_row(path)
    if row is None:
        return False
    content = read_regular(path, LARGEST_ROW_BYTES)
    try:
        data = file_content(public_row(json.loads(content), cell_id, run))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        warn_damaged(path, f"cannot be made public: {brief(error)}")
        return False
    copy = row_path(out, cell_id)
    if out != run or data != content:
        write_atomically(copy, data)
    if out != run:
        copy_arrays(arrays_path(run, cell_id), arrays_path(out, cell_id))
    if row.status == "ok" and model_path(run, cell_id).exists():
        from ddl_bench.results.models import copy_public  # torch takes a second

        copy_public(run, out, cell_id)
    elif out != run:
        model_path(out, cell_id).unlink(missing_ok=True)  # of an earlier copy
    return True


def copy_arrays(path: Path, copy: Path) -> None:
    """Copy predictions and curves, and what can be drawn where it is small.

    A damaged file is left out, with a warning.
    """
    try:
        arrays = read_arrays(path)
    except FileNotFoundError:
        copy.unlink(missing_ok=True)  # of an earlier training
        return
    except UserError as error:
        warn_damaged(path, str(error).removeprefix(f"{name_of(path)}: "))
        return
    for name in list(arrays):
        if name.startswith("artefact_") and arrays[name].nbytes > LARGEST_ARTEFACT_BYTES:
            del arrays[name]
    write_arrays(copy, arrays)


def clean_work(run: Path, cell_id: str) -> None:
    """Make the log of a finished cell public, and drop what its worker was told.

    A cell that a runner holds just now is left to that runner.
    """
    work = run / "work"
    if any((work / "claims").glob(f"{cell_id}.claim.*")):
        return
    task = work / f"{cell_id}.cell.json"
    log = work / f"{cell_id}.log"
    with explained(work, "cannot write"):
        task.unlink(missing_ok=True)
        for ending in ("progress.json", "curves"):
            (work / f"{cell_id}.{ending}").unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        content = read_regular(log)
        text = content.decode(errors="replace")
        cleaned = Place.of([run.resolve()]).without_names(text)
        if cleaned.encode() != content:
            write_atomically(log, cleaned.encode())


def file_content(values: Any) -> bytes:
    """Write the JSON of a row as its file holds it; half a character becomes an escape of JSON."""
    return json.dumps(values, indent=1, ensure_ascii=False).encode(errors="backslashreplace")
