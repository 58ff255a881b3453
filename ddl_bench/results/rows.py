"""Result rows: one JSON file a cell, written atomically; loaded as a DataFrame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from ddl_bench.errors import UserError, nearest
from ddl_bench.files import read_arrays, write_atomically
from ddl_bench.plan.cell import Cell

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1
Status = Literal[
    "ok", "skipped", "not_installed", "failed", "diverged", "timeout", "oom", "crashed"
]


class Row(BaseModel):
    """What one cell gave. Times in seconds, memory in bytes, accuracies in percent; None where not measured."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = SCHEMA_VERSION
    cell: Cell
    status: Status
    reason: str = ""
    chosen: dict[str, Any] = {}  # the grid point chosen on validation
    n_train: int | None = None
    n_val: int | None = None
    n_test: int | None = None
    accuracy: float | None = None
    val_accuracy: float | None = None
    official_accuracy: float | None = (
        None  # on the data set's own test images, where `test_from_train` replaced them
    )
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
    search_s: float | None = None  # training of the grid points that were not chosen
    over_budget: bool = False
    test_s_per_image: float | None = None
    test_s_per_image_iqr: float | None = None
    test_latency_s: float | None = None
    test_batch: int | None = None
    test_counts_transfer: bool = True  # images start in host memory, scores end there
    peak_memory: int | None = None
    peak_device_memory: int | None = None
    sparsity: float | None = None
    reconstruction: float | None = None
    recovered: float | None = None  # of the atoms that the images are made of, where that is known
    wall_s: float | None = None
    resumed: int = (
        0  # how often the training went on from the checkpoint of a worker that was killed
    )
    phases: dict[str, float] = {}
    started: str = ""
    provenance: dict[str, Any] = {}


def write_row(run: Path, row: Row) -> None:
    write_atomically(run / "cells" / f"{row.cell.id}.json", row.model_dump_json(indent=1).encode())


def read_row(path: Path) -> Row | None:
    """The row in a file; None where it is missing, torn or of a newer schema, so that the cell is run again."""
    try:
        row = Row.model_validate_json(path.read_text())
    except (FileNotFoundError, UnicodeDecodeError, ValidationError):
        return None
    return row if row.schema_version <= SCHEMA_VERSION else None


def load_rows(run: Path) -> list[Row]:
    """All rows of a run, oldest first.

    Of rows that differ only in the method's code the newest counts, so that results of old code never mix with new.
    """
    if not (run / "cells").is_dir():
        runs = [path.parent.name for path in run.parent.glob("*/cells")]
        raise UserError(
            f"no results in {run}: run `ddl-bench run` first, or choose a run: {nearest(run.name, runs)}"
        )
    rows = [row for path in (run / "cells").glob("*.json") if (row := read_row(path))]
    newest = {
        (row.cell.group, row.cell.seed): row for row in sorted(rows, key=lambda row: row.started)
    }
    return sorted(newest.values(), key=lambda row: row.started)


def frame(rows: list[Row]) -> pd.DataFrame:
    """Rows as a table: the columns of `Row`, those of its cell, and `cell_id` and `group`."""
    import pandas as pd  # here, so that a worker does not import it

    records = []
    for row in rows:
        record = {
            **row.cell.model_dump(mode="json"),
            **row.model_dump(mode="json", exclude={"cell"}),
        }
        budget = str(row.cell.budget)
        records.append(record | {"cell_id": row.cell.id, "group": row.cell.group, "budget": budget})
    return pd.DataFrame(records)


def load(run: str | Path) -> pd.DataFrame:
    """The rows of a run folder as a DataFrame, one row a cell."""
    return frame(load_rows(Path(run)))


def arrays(run: Path, cell_id: str) -> dict[str, np.ndarray]:
    """What is kept beside a row: `y_test`, `predictions`, `class_names`, `curve_*`, `artefact_*`; empty where none."""
    return read_arrays(run / "cells" / f"{cell_id}.npz")


def find_row(run: Path, wanted: str) -> Row:
    """The row whose cell ID starts with `wanted`, or the first of that label. Raises UserError where there is none."""
    rows = load_rows(run)
    found = [row for row in rows if row.cell.id.startswith(wanted)] or [
        row for row in rows if row.cell.label == wanted
    ]
    if not found:
        raise UserError(
            f"{run}: no row {wanted!r}: {nearest(wanted, {row.cell.label for row in rows})}"
        )
    return found[0]
