"""The result table: one line for each group of rows that differ in the seed alone."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from ddl_bench.results.groups import Group, gather
from ddl_bench.results.marks import marks
from ddl_bench.results.rows import Row
from ddl_bench.results.stats import mean_interval


class Column(NamedTuple):
    """A column of the table.

    Parameters
    ----------
    field
        Name of the measured value, as in `Measured`.
    title
        Heading, with the unit that is shown.
    meaning
        What the value is, for readers of the table.
    unit
        The shown unit in the unit of the measured value.
    format
        How numbers are written; empty for three digits.
    """

    field: str
    title: str
    meaning: str
    unit: float = 1
    format: str = ""


COLUMNS = (
    Column(
        "accuracy",
        "accuracy (%)",
        "top-1 on the test images, by the last classifier within budget",
        format=".2f",
    ),
    Column(
        "official_accuracy",
        "official (%)",
        "the same on the data set's own test images, kept apart",
        format=".2f",
    ),
    Column(
        "recovered",
        "recovered (%)",
        "planted atoms that were found: inner product of 0.99 or more",
        format=".1f",
    ),
    Column(
        "n_params",
        "parameters",
        "numbers that prediction uses, without structural zeros",
        format=",.0f",
    ),
    Column(
        "flops_per_image",
        "Mflop/image",
        "operations to classify an image; multiply and add are two",
        unit=1e6,
    ),
    Column(
        "train_s",
        "train (s)",
        "training alone: import, data, warm-up and evaluation are off the clock",
    ),
    Column("train_s_per_image", "train (ms/image)", "the same / training images", unit=1e-3),
    Column(
        "train_s_per_image_pass",
        "train (ms/image/pass)",
        "the same / (training images x passes)",
        unit=1e-3,
    ),
    Column("search_s", "search (s)", "training of the grid points that were not chosen"),
    Column(
        "test_s_per_image",
        "test (µs/image)",
        "median time of a full batch / its size ± interquartile range",
        unit=1e-6,
    ),
    Column(
        "test_latency_s",
        "latency (ms)",
        "the same for one image alone, ± standard deviation over seeds",
        unit=1e-3,
    ),
    Column(
        "peak_memory",
        "memory (MB)",
        "peak resident memory of the process",
        unit=1e6,
        format=",.0f",
    ),
    Column(
        "peak_device_memory",
        "GPU memory (MB)",
        "peak memory allocated on the device",
        unit=1e6,
        format=",.0f",
    ),
    Column("sparsity", "codes used (%)", "non-zero entries of the codes / all entries", unit=1e-2),
    Column(
        "reconstruction",
        "residual (%)",
        "squared error of the codes' reconstruction / squared norm",
        unit=1e-2,
    ),
)

# Titles of the short table, which fits into a terminal.
BRIEF = [
    "data set",
    "method",
    "seeds",
    "accuracy (%)",
    "recovered (%)",
    "parameters",
    "train (ms/image)",
    "test (µs/image)",
    "note",
]
AVERAGED = ("n_train", "n_val", "n_test", "n_stored", "passes", "test_s_per_image_iqr")


def number(value: float, sd: float = np.nan, form: str = "") -> str:
    """Write a value and its spread, such as 0.00312 ± 0.0001; empty for NaN.

    Without a format the value has three digits and the spread two, none with an exponent. A spread
    of zero is left out, except beside shares in percent.
    """
    if np.isnan(value):
        return ""
    text = f"{value:{form}}" if form else rounded(value, 3)
    is_share = form in (".1f", ".2f")
    has_spread = sd > 1e-9 * abs(value) or (sd >= 0 and is_share)
    if not has_spread:
        return text
    spread = f"{sd:{form}}" if form else rounded(sd, 2)
    return f"{text} ± {spread}"


def rounded(value: float, n_digits: int) -> str:
    """Write a number with so many significant digits and no exponent."""
    significant = float(f"{value:.{n_digits}g}")
    return f"{significant:,.12f}".rstrip("0").rstrip(".")


def summary(rows: Iterable[Row]) -> pd.DataFrame:
    """Make the table in the units of `Measured`, a line for each group.

    It has the mean over seeds of each column, its standard deviation under `COLUMN_sd`, the
    interval of the accuracy, the number of seeds, and a note on what is missing.
    """
    return pd.DataFrame([summary_line(group) for group in gather(rows)])


def summary_line(group: Group) -> dict[str, str | float]:
    """Make one line of `summary`."""
    line: dict[str, str | float] = {
        "dataset": group.dataset,
        "label": group.name,
        "group": group.cell.group,
        "n_seeds": len(group.ok),
    }
    for field in AVERAGED:
        line[field] = group.values(field).mean()
    for column in COLUMNS:
        values = group.values(column.field)
        line[column.field] = values.mean()
        line[f"{column.field}_sd"] = values.std()
    interval = mean_interval(group.values("accuracy"), group.values("n_test").max())
    line["low"] = interval.low
    line["high"] = interval.high
    line["interval"] = interval.basis
    line["machine"] = group.machine
    line["note"] = "; ".join(notes(group))
    return line


def notes(group: Group) -> list[str]:
    """List what a reader of a line must know: missing seeds, bent numbers, unknown sizes."""
    texts = [group.missing] if group.missing else []
    marked: dict[str, str] = {}
    for row in group.ok:
        marked = marks(row.measured) | marked
    texts += marked.values()
    texts += sorted({row.measured.model_note for row in group.ok if row.measured.model_note})
    reasons = {row.measured.size_reason for row in group.ok if row.measured.size_reason}
    return texts + [f"size unknown: {reason}" for reason in sorted(reasons)]


def display(rows: Iterable[Row]) -> pd.DataFrame:
    """Make the table as text: mean ± standard deviation over seeds, without empty columns."""
    table = summary(rows)
    shown = table[["dataset", "label", "n_seeds"]].astype(str).set_axis(BRIEF[:3], axis=1)
    for column in COLUMNS:
        # The time of a prediction varies within a row, so its own spread says more.
        spread = f"{column.field}_sd"
        if column.field == "test_s_per_image":
            spread = "test_s_per_image_iqr"
        values = table[column.field] / column.unit
        spreads = table[spread] / column.unit
        pairs = zip(values, spreads, strict=True)
        shown[column.title] = [number(value, sd, column.format) for value, sd in pairs]
    shown.insert(4, "95 % interval", table.apply(interval_text, axis=1))
    if len(set(table["machine"]) - {""}) > 1:
        table["note"] = table.apply(note_with_machine, axis=1)
    shown["note"] = table["note"]
    return shown.loc[:, (shown != "").any()]


def interval_text(line: "pd.Series[float]") -> str:
    """Write the interval of the accuracy and what it rests on: "97.1 to 98.3 (t)"."""
    basis = str(line["interval"]).partition(" ")[0]
    return f"{line['low']:.2f} to {line['high']:.2f} ({basis})" if basis else ""


def note_with_machine(line: "pd.Series[float]") -> str:
    """Add to a note what the times of its line were taken on."""
    parts = [str(line["note"])]
    if line["machine"]:
        parts.append(f"timed on {line['machine']}")
    return "; ".join(filter(None, parts))
