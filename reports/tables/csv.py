"""Tables as CSV: lines of the table, cells, and what their columns mean."""

from pathlib import Path
from typing import Any

import pandas as pd

from ddl_bench.results.columns import FRAME_COLUMNS


def csv(table: pd.DataFrame) -> str:
    """Return a table as CSV, in which no text is a formula to a spreadsheet."""
    table = table.convert_dtypes()
    safe = table.copy()
    for name in list(table):
        if pd.api.types.is_string_dtype(table[name]):
            safe[name] = table[name].map(without_formula)
    safe = safe.rename(columns=without_formula)  # a plugin names its metrics
    return str(safe.to_csv(index=False, lineterminator="\n"))


def without_formula(cell: Any) -> Any:
    """Put an apostrophe before a text that a spreadsheet would compute; numbers stay."""
    is_formula = isinstance(cell, str) and cell.lstrip().startswith(("=", "+", "-", "@"))
    return f"'{cell}" if is_formula else cell


def cells(df: pd.DataFrame) -> str:
    """Return the rows of `ddl_bench.load` as CSV, one line for each training.

    The folder of a run is its name alone, which is the same on every machine.
    """
    names = {run: Path(run).resolve().name for run in df["run"].dropna().unique()}
    return csv(df.assign(run=df["run"].map(names)))


def columns() -> str:
    """Return what the columns of `cells` are: name, type, unit and meaning."""
    records = [
        {"name": each.name, "type": each.dtype, "unit": each.unit, "meaning": each.meaning}
        for each in FRAME_COLUMNS
    ]
    return csv(pd.DataFrame(records))
