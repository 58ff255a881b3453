"""Compute the metrics of plugins from the predictions that a run has kept."""

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from ddl_bench.api import Metric, Predicted
from ddl_bench.errors import UserError
from ddl_bench.files import brief
from ddl_bench.plan.expansion import unchanged_process
from ddl_bench.results.frame import frame
from ddl_bench.results.metrics import Columns, MetricColumn, Value, read_columns, write_columns
from ddl_bench.results.rows import LARGEST, Row, arrays

WANTED = ("y_test", "predictions", "class_names")


def measure(run: Path, rows: Sequence[Row], metrics: Mapping[str, Metric]) -> list[str]:
    """Compute metrics of rows that ended well, and keep them beside those of other plugins.

    Numbers of the run's other rows stay. A metric that fails, or returns no finite number, loses
    nothing else.

    Returns
    -------
    list
        A sentence for each metric that some rows have no number of.
    """
    columns = dict(read_columns(run).columns)
    problems = []
    records: dict[str, Any] = {}
    for record in frame(list(rows)).to_dict("records"):
        records[record["cell_id"]] = record
    for name, metric in metrics.items():
        earlier = columns[name].values if name in columns else {}
        values = {cell_id: value for cell_id, value in earlier.items() if cell_id not in records}
        reasons = defaultdict[str, list[str]](list)
        for row in rows:
            if row.status != "ok":
                continue
            try:
                with unchanged_process(), redirect_stdout(sys.stderr):
                    value = value_of(metric, run, row, records[row.cell.id])
            except (Exception, SystemExit) as error:  # a plugin may raise anything
                reasons[reason_of(error)].append(row.cell.id)
                continue
            if value is not None:
                values[row.cell.id] = Value(started=row.started, value=value)
        columns[name] = MetricColumn(
            title=metric.title or name,
            unit=metric.unit,
            better=metric.better,
            meaning=metric.meaning,
            values=values,
        )
        for reason, cell_ids in reasons.items():
            noun = "row has" if len(cell_ids) == 1 else "rows have"
            problems.append(f"metric {name!r}: {len(cell_ids)} {noun} none: {reason}")
    write_columns(run, Columns(columns=columns))
    return problems


def reason_of(error: BaseException) -> str:
    """Say in a line what a plugin raised, also where its own text fails."""
    name = type(error).__name__
    try:
        return brief(f"{name}: {error}")
    except Exception:
        return name


def value_of(metric: Metric, run: Path, row: Row, record: Mapping[str, Any]) -> float | None:
    """Compute a metric of one row. Raises UserError for what is no finite number."""
    stored = arrays(run, row.cell.id, WANTED, row.measured.predictions_sha256)
    if not stored:
        raise UserError("predictions were not kept")
    names = tuple(map(str, stored.get("class_names", ())))
    predicted = Predicted(
        targets=stored["y_test"].astype(np.int64),
        predictions=stored["predictions"].astype(np.int64),
        class_names=names,
        row=dict(record),
    )
    value = metric.function(predicted)
    if value is None:
        return None
    if isinstance(value, str):
        raise UserError(f"{value[:40]!r} is a text; expected a number")
    number = float(value)
    if not abs(number) <= LARGEST:
        raise UserError(f"{number} is not finite, or beyond 1e18")
    return number
