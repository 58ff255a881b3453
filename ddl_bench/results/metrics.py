"""Columns that plugins have brought: RUN/metrics.json, a file of its own.

The rows stay as the run has written them. `load_rows` adds the numbers, so that tables, reports and
`ddl_bench.load` show them, also where the plugin is not at hand.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ddl_bench.files import write_shared
from ddl_bench.results.versioned import Versioned, read_versioned, set_aside

FILE = "metrics.json"
FORMAT = 1
WHAT = "the metrics of a run"
LARGEST = 1e18  # number of a metric, in whatever unit
Better = Literal["", "higher", "lower"]


class Reading(BaseModel):
    """The number of a metric of one row, with what a table says of the metric."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    value: float
    title: str
    unit: str = ""
    better: Better = ""
    meaning: str = ""

    @property
    def heading(self) -> str:
        """Return the title with the unit: "macro recall (%)"."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


class Value(BaseModel):
    """The number of one row, and when the training that it is of was started."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    started: str
    value: float = Field(ge=-LARGEST, le=LARGEST)


class MetricColumn(BaseModel):
    """A metric of a run: what it is, and its numbers by cell ID."""

    model_config = ConfigDict(frozen=True)

    title: str
    unit: str = ""
    better: Better = ""
    meaning: str = ""
    values: dict[str, Value] = {}


class Columns(Versioned):
    """All metrics of a run, by name."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    columns: dict[str, MetricColumn] = Field(default_factory=dict)


def write_columns(run: Path, columns: Columns) -> None:
    """Write the metrics of a run. A file of them that is damaged is kept."""
    set_aside(run / FILE, Columns, FORMAT, WHAT)
    write_shared(run / FILE, columns.model_dump_json(indent=1).encode())


def read_columns(run: Path) -> Columns:
    """Read the metrics of a run; none where there are none. Warns of a damaged file."""
    return read_versioned(run / FILE, Columns, FORMAT, WHAT) or Columns()


def readings(columns: Columns, cell_id: str, started: str) -> dict[str, Reading]:
    """Return the numbers of a training, by the name of the metric."""
    known = {}
    for name, column in columns.columns.items():
        value = column.values.get(cell_id)
        if value is not None and value.started == started:
            known[name] = Reading(
                value=value.value,
                title=column.title,
                unit=column.unit,
                better=column.better,
                meaning=column.meaning,
            )
    return known
