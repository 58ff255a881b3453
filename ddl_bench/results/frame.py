"""Rows, curves and predictions as DataFrames: tidy, with the columns that `columns` describes."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ddl_bench.errors import UserError
from ddl_bench.results.collect import Collection, Runs, collect
from ddl_bench.results.columns import (
    CURVE_COLUMNS,
    FRAME_COLUMNS,
    MEASURED,
    PHASES,
    PREDICTION_COLUMNS,
    TAKEN,
    FrameColumn,
)
from ddl_bench.results.groups import Group, gather
from ddl_bench.results.origin import families
from ddl_bench.results.rows import CURVE, SCORED, Row, arrays

MEASURED_NAMES = tuple(column.name for column in MEASURED)
measured_values = attrgetter(*MEASURED_NAMES)
OF_PLACE = ("dataset", "line", "label", "method", "family", "seed", "cell_id")
FROM_PROVENANCE = (
    "command",
    "commit",
    "dirty",
    "host",
    "os",
    "cpu",
    "cores",
    "gpu",
    "cuda",
    "blas",
)


class Line(NamedTuple):
    """Hold what a row has from the line of the table that it belongs to."""

    dataset: str
    name: str
    family: str


def load(runs: Runs) -> pd.DataFrame:
    """Load the rows of one or several run folders as a DataFrame, one line for each cell.

    docs/columns.md lists the columns with their types, units and meanings; so does
    `ddl_bench.results.columns.FRAME_COLUMNS`. Texts, numbers, truths and times are of types of
    pandas that take missing values. Metrics of plugins come after the others.

    Parameters
    ----------
    runs
        A run folder, or several, as of other machines: see `ddl_bench.results.collect.collect`.

    Examples
    --------
    >>> df = load("docs/results/quick")
    >>> print(df.groupby("line")["accuracy"].mean().round(2)["sdl"])
    98.89
    """
    return frame(collect(runs))


def frame(rows: Collection | Iterable[Row], groups: Sequence[Group] | None = None) -> pd.DataFrame:
    """Return rows as a DataFrame, see `load`.

    Parameters
    ----------
    rows
        The rows, or a collection, which knows the folder of each.
    groups
        Their lines of the table, where these are known already.
    """
    homes: Mapping[str, Path] = {}
    if isinstance(rows, Collection):
        homes = rows.homes
        rows = rows.rows
    rows = list(rows)
    lines = lines_by_cell(gather(rows) if groups is None else groups)
    records = []
    for row in rows:
        record = record_of(row, lines[row.cell.id], homes.get(row.cell.id))
        records.append(
            record | dict(zip(MEASURED_NAMES, measured_values(row.measured), strict=True))
        )
    columns = {column.name: [record[column.name] for record in records] for column in FRAME_COLUMNS}
    table = as_frame(columns, FRAME_COLUMNS)
    for name in dict.fromkeys(name for row in rows for name in row.metrics if name not in TAKEN):
        readings = [row.metrics.get(name) for row in rows]
        values = [None if reading is None else reading.value for reading in readings]
        table[name] = pd.array(values, dtype="Float64")
    return table


def lines_by_cell(groups: Iterable[Group]) -> dict[str, Line]:
    """Return the line of the table that each cell belongs to, by the ID of the cell."""
    groups = list(groups)
    family_of = families({group.cell.method for group in groups})
    lines: dict[str, Line] = {}
    for group in groups:
        line = Line(group.dataset, group.name, family_of[group.cell.method])
        lines |= dict.fromkeys((row.cell.id for row in group.rows), line)
    return lines


def record_of(row: Row, line: Line, home: Path | None) -> dict[str, Any]:
    """Return what a row tells besides its measured values, by the name of the column."""
    cell = row.cell
    provenance = row.provenance
    record: dict[str, Any] = {
        "run": None if home is None else str(home),
        "dataset": line.dataset,
        "line": line.name,
        "label": cell.label,
        "method": cell.method,
        "family": line.family,
        "seed": cell.seed,
        "status": row.status,
        "reason": row.reason,
        "cell_id": cell.id,
        "group": cell.group,
        "params": as_json(cell.params),
        "grid": as_json(cell.grid),
        "chosen": as_json(row.chosen),
        "source": cell.source,
        "plugins": "; ".join(cell.plugins),
        "dataset_path": cell.dataset,
        "data": cell.data,
        "mirror": cell.mirror,
        "budget": str(cell.budget),
        "budget_epochs": cell.budget.epochs,
        "budget_s": cell.budget.seconds,
        "device": cell.machine.device,
        "threads": cell.machine.threads,
        "precision": cell.machine.precision,
        "time_limit_s": cell.limits.time_s,
        "memory_limit_gb": cell.limits.memory_gb,
        "track": cell.track,
        "reference": cell.reference,
        "paper": cell.paper,
        "wall_s": row.wall_s,
        "resumed": row.resumed,
        "failed_attempts": "; ".join(row.failed_attempts),
        "started": row.started,
        "versions": as_json(provenance.get("versions", {})),
    }
    record |= dataclasses.asdict(cell.splits)
    record |= {name: provenance.get(name) for name in FROM_PROVENANCE}
    for phase in PHASES:
        record[f"{phase.replace('-', '_')}_phase_s"] = row.phases.get(phase)
    return record


def as_json(values: Mapping[str, Any]) -> str:
    """Write a mapping as JSON, its keys in order; empty where it has none."""
    return json.dumps(values, sort_keys=True) if values else ""


def as_frame(values: Mapping[str, Sequence[Any]], columns: Sequence[FrameColumn]) -> pd.DataFrame:
    """Make a DataFrame of values, each column of its own type; empty texts are missing."""
    return pd.DataFrame({column.name: typed(values[column.name], column) for column in columns})


def typed(values: Sequence[Any] | np.ndarray, column: FrameColumn) -> Any:
    """Return the values of a column as an array of its type."""
    if column.dtype == "datetime64[us, UTC]":
        stamps = pd.to_datetime(
            pd.Series(values, dtype=object), utc=True, format="ISO8601", errors="coerce"
        )
        return stamps.astype(column.dtype)
    if column.dtype == "string":
        values = [None if value in (None, "") else str(value) for value in values]
    return pd.array(values, dtype=column.dtype)


def curves(runs: Runs) -> pd.DataFrame:
    """Load the curves of accuracy while training, one line for each point of each cell.

    Parameters
    ----------
    runs
        A run folder, or several.

    Examples
    --------
    >>> df = curves("docs/results/quick-5-seeds")
    >>> df.loc[df["line"] == "lista", ["seconds", "passes", "accuracy"]].shape[1]
    3
    """
    collection = runs if isinstance(runs, Collection) else collect(runs)
    return joined(curve_parts(frame(collection)), CURVE_COLUMNS)


def curve_parts(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the curve of each row of a frame that has one, as arrays and single values."""
    for row in well_ended(rows):
        stored = stored_arrays(row, CURVE)
        seconds = stored.get("curve_seconds")
        if seconds is None or not len(seconds):
            continue
        missing = np.full(len(seconds), np.nan)
        steps = stored.get("curve_step", missing)
        passes = missing if pd.isna(row["passes"]) else steps
        n_train = np.nan if pd.isna(row["n_train"]) else row["n_train"]
        yield place_of(row) | {
            "split": str(stored["curve_split"]),
            "step": steps,
            "seconds": seconds,
            "passes": passes,
            "images": passes * n_train,
            "accuracy": stored["curve_accuracy"],
        }


def predictions(runs: Runs) -> pd.DataFrame:
    """Load the kept predictions, one line for each test image of each cell.

    Parameters
    ----------
    runs
        A run folder, or several.

    Examples
    --------
    >>> df = predictions("docs/results/quick-5-seeds")
    >>> df.groupby("line")["is_right"].mean().idxmin()
    'nearest-mean'
    """
    collection = runs if isinstance(runs, Collection) else collect(runs)
    return joined(prediction_parts(frame(collection)), PREDICTION_COLUMNS)


def prediction_parts(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the predictions of each row of a frame that has some, as arrays and single values."""
    for row in well_ended(rows):
        stored = stored_arrays(row, (*SCORED, "class_names"))
        if not stored:
            continue
        true = stored["y_test"]
        predicted = stored["predictions"]
        names = stored.get("class_names")
        unnamed = np.full(len(true), None)
        yield place_of(row) | {
            "image": np.arange(len(true)),
            "true": true,
            "predicted": predicted,
            "true_name": unnamed if names is None else names[true],
            "predicted_name": unnamed if names is None else names[predicted],
            "is_right": true == predicted,
        }


def well_ended(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the rows of a frame that ended well, as records."""
    columns = ["run", *OF_PLACE, "passes", "n_train", "predictions_sha256"]
    yield from rows.loc[rows["status"] == "ok", columns].to_dict("records")  # type: ignore[misc]


def stored_arrays(row: Mapping[str, Any], wanted: Sequence[str] | None) -> dict[str, np.ndarray]:
    """Read the arrays beside a row of a frame."""
    if pd.isna(row["run"]):
        raise UserError("these rows do not know their run folder: load them by ddl_bench.load")
    sha256 = row["predictions_sha256"]
    return arrays(row["run"], row["cell_id"], wanted, None if pd.isna(sha256) else sha256)


def place_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the lines of one cell share."""
    return {name: row[name] for name in ("run", *OF_PLACE)}


def joined(parts: Iterable[dict[str, Any]], columns: Sequence[FrameColumn]) -> pd.DataFrame:
    """Put the parts of several cells below one another."""
    values: dict[str, list[Any]] = {column.name: [] for column in columns}
    for part in parts:
        n_lines = max(np.size(value) for value in part.values())
        for name, value in part.items():
            values[name].extend(np.broadcast_to(np.asarray(value, dtype=object), n_lines))
    return as_frame(values, columns)
