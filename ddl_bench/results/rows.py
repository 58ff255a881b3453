"""Result rows: one JSON file for each cell, written atomically; loaded as a DataFrame."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from ddl_bench.errors import UserError, nearest
from ddl_bench.files import read_arrays, write_atomically
from ddl_bench.plan.cell import Cell, renewed

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SCHEMA_VERSION = 2
Status = Literal[
    "ok", "skipped", "not_installed", "failed", "diverged", "timeout", "oom", "crashed", "outdated"
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What the harness measured of a cell; None where it was not measured.

    Times are in seconds, memory in bytes, accuracies and shares of atoms in percent. Images start
    in host memory and scores end there, so times of predictions count transfers to a device.

    Parameters
    ----------
    official_accuracy
        On the data set's own test images, where `test_from_train` replaced them.
    search_s
        Training of the grid points that were not chosen.
    recovered
        Share of the atoms that the images are made of, where these are known.
    """

    n_train: int | None = None
    n_val: int | None = None
    n_test: int | None = None
    accuracy: float | None = None
    val_accuracy: float | None = None
    official_accuracy: float | None = None
    n_official: int | None = None
    n_params: int | None = None
    n_stored: int | None = None
    n_buffers: int | None = None
    size_reason: str = ""
    flops_per_image: int | None = None
    train_s: float | None = None
    train_s_per_image: float | None = None
    train_s_per_image_pass: float | None = None
    passes: float | None = None
    search_s: float | None = None
    over_budget: bool = False
    test_s_per_image: float | None = None
    test_s_per_image_iqr: float | None = None
    test_latency_s: float | None = None
    test_batch: int | None = None
    peak_memory: int | None = None
    peak_device_memory: int | None = None
    sparsity: float | None = None
    reconstruction: float | None = None
    recovered: float | None = None
    data_note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a worker's training came to; `earlier_s` is the wall time of workers before it."""

    measured: Measured = Measured()
    chosen: dict[str, Any] = dataclasses.field(default_factory=dict)
    resumed: int = 0
    earlier_s: float = 0.0


COLUMNS_MEASURED = frozenset(field.name for field in dataclasses.fields(Measured))


class Row(BaseModel):
    """What became of one cell.

    Parameters
    ----------
    status, reason
        How it ended, and why where it did not end well.
    chosen
        The grid point that was chosen on validation images.
    wall_s
        Seconds from the start of the worker to its end.
    resumed
        How often the training continued from the checkpoint of a worker that was killed.
    phases
        Seconds by phase of the worker.
    started
        When the worker was started, in UTC.
    provenance
        Commit, versions, machine, and the command that reproduces the row.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    cell: Cell
    status: Status
    reason: str = ""
    chosen: dict[str, Any] = {}
    measured: Measured = Measured()
    wall_s: float | None = None
    resumed: int = 0
    phases: dict[str, float] = {}
    started: str = ""
    provenance: dict[str, Any] = {}


def write_row(run: Path, row: Row) -> None:
    """Write a row to RUN/cells/ID.json."""
    data = row.model_dump_json(indent=1).encode()
    write_atomically(run / "cells" / f"{row.cell.id}.json", data)


def read_row(path: Path) -> Row | None:
    """Read the row in a file; None where there is none, so that the cell is run again.

    A torn file, and one whose name is not the ID of its row, hold none. Keys that a newer version
    may have added are ignored.
    """
    try:
        values = json.loads(path.read_text())
        row = Row.model_validate(known(values, path.stem))
    except (FileNotFoundError, IsADirectoryError):
        return None
    except (UnicodeDecodeError, ValueError, AttributeError, TypeError, KeyError):
        return None
    return row if row.cell.id == path.stem else None


def known(values: dict[str, Any], cell_id: str) -> dict[str, Any]:
    """Bring the values of a row into today's form and drop keys that are not known.

    Schema 1 had all that is measured side by side with the rest.
    """
    cell = values["cell"]
    if "machine" not in cell:
        cell = renewed(cell, cell_id)
    measured = values.get("measured", values)
    new = {key: value for key, value in values.items() if key in Row.model_fields}
    new["cell"] = {key: value for key, value in cell.items() if key in Cell.model_fields}
    new["measured"] = {key: value for key, value in measured.items() if key in COLUMNS_MEASURED}
    return new


def load_rows(run: Path) -> list[Row]:
    """Read all rows of a run, oldest first; results of old code never mix with those of new.

    Of several rows of one line and seed the newest counts. Rows that were measured with other code
    than the newest row of their line have the status `outdated`.
    """
    folder = run / "cells"
    if not folder.is_dir():
        runs = [path.parent.name for path in run.parent.glob("*/cells")]
        choice = f", or choose a run: {nearest(run.name, runs)}" if runs else ""
        raise UserError(f"no results in {run}: run `ddl-bench run` first{choice}")
    read = [read_row(path) for path in folder.glob("*.json")]
    rows = [row for row in read if row is not None]
    rows.sort(key=lambda row: row.started)
    newest = {(row.cell.group, row.cell.seed): row for row in rows}
    code = {row.cell.group: code_of(row) for row in rows}
    counted = sorted(newest.values(), key=lambda row: row.started)
    return [row if code_of(row) == code[row.cell.group] else outdated(row) for row in counted]


def code_of(row: Row) -> tuple[int, str]:
    """What tells the code of two rows apart: the rule of the hash and the hash."""
    return row.cell.identity, row.cell.source


def outdated(row: Row) -> Row:
    """Return a row that does not count, because its line has rows of newer code."""
    reason = "measured with older code of the method; run this seed again"
    return row.model_copy(update={"status": "outdated", "reason": reason})


def frame(rows: list[Row]) -> pd.DataFrame:
    """Return rows as a table: all that is measured, the fields of the cell, `cell_id`, `group`."""
    import pandas as pd  # here, so that a worker does not import it

    records = []
    for row in rows:
        cell = row.cell.model_dump(mode="json")
        rest = row.model_dump(mode="json", exclude={"cell", "measured"})
        record = {**cell, **cell.pop("machine"), **rest, **dataclasses.asdict(row.measured)}
        record |= {"cell_id": row.cell.id, "group": row.cell.group, "budget": str(row.cell.budget)}
        records.append(record)
    return pd.DataFrame(records)


def load(run: str | Path) -> pd.DataFrame:
    """Load the rows of a run folder as a DataFrame, one line for each cell."""
    return frame(load_rows(Path(run)))


def arrays(run: Path, cell_id: str) -> dict[str, np.ndarray]:
    """Read what is kept beside a row; empty where nothing is.

    `y_test`, `predictions`, `class_names`, `curve_*`, `loss_*`, `artefact_*`.
    """
    return read_arrays(run / "cells" / f"{cell_id}.npz")


def find_row(run: Path, wanted: str) -> Row:
    """Find the row whose cell ID starts with `wanted`, or the newest of that label.

    Raises UserError where there is none.
    """
    rows = load_rows(run)
    by_id = [row for row in rows if row.cell.id.startswith(wanted)]
    by_label = [row for row in rows if row.cell.label == wanted]
    matching = by_id or by_label
    if not matching:
        choice = nearest(wanted, {row.cell.label for row in rows})
        raise UserError(f"{run}: no row {wanted!r}: {choice}")
    return matching[-1]
