"""Print one row in full, or the rows to choose from."""

import dataclasses
from pathlib import Path
from typing import Any

from rich.console import Console

from ddl_bench.cli.output import as_text, emit, print_facts
from ddl_bench.cli.table import NAME_WIDTH, Column, Table, print_table
from ddl_bench.errors import UserError
from ddl_bench.results.rows import PERCENTAGES, Row, find_rows

CHOICE = (
    Column("cell"),
    Column("method", folds_to=NAME_WIDTH),
    Column("data set", rank=1, folds_to=NAME_WIDTH),
    Column("seed", is_right=True),
    Column("budget", rank=4),
    Column("status", rank=2),
    Column("accuracy", rank=3, is_right=True),
)


def print_row(console: Console, run: Path, wanted: str, *, as_json: bool) -> None:
    """Print the one row that is wanted; several are listed, and the user is to choose one."""
    rows = find_rows(run, wanted)
    if len(rows) == 1:
        print_in_full(console, rows[0], as_json=as_json)
        return
    if not as_json:
        records = [
            {
                "cell": row.cell.id,
                "method": row.cell.label,
                "data set": Path(row.cell.dataset).name,
                "seed": row.cell.seed,
                "budget": row.cell.budget.as_option(),
                "status": row.status,
                "accuracy": row.measured.accuracy,
            }
            for row in rows
        ]
        lines = [[as_text(record[column.title]) for column in CHOICE] for record in records]
        title = f"{len(rows)} rows in {run}"
        table = Table(columns=CHOICE, lines=lines, title=title, elsewhere="`ddl-bench show CELL`")
        print_table(console, table)
    first = rows[0].cell
    raise UserError(
        f"show {wanted!r}: {len(rows)} rows match; choose one by its cell ID, as in "
        f"`ddl-bench show {first.id}`, or by its seed, as in `{first.label}@{first.seed}`"
    )


def print_in_full(console: Console, row: Row, *, as_json: bool) -> None:
    """Print every field of a row that says something, one a line, numbers with their units."""
    if as_json:
        emit(row.model_dump(mode="json"))
        return
    facts = {
        "cell ID": row.cell.id,
        **row.cell.model_dump(mode="json"),
        **row.model_dump(exclude={"cell", "measured", "provenance"}),
        **dataclasses.asdict(row.measured),
        "budget": str(row.cell.budget),
        "phases": {phase: f"{as_text(seconds)} s" for phase, seconds in row.phases.items()},
    }
    for key, value in row.provenance.items():
        facts[f"provenance: {key}"] = value
    empty: tuple[object, ...] = (None, "", {}, [], ())
    shown = {key: value for key, value in facts.items() if value not in empty}
    print_facts(console, {key: with_unit(key, value) for key, value in shown.items()})


def with_unit(name: str, value: Any) -> Any:
    """Write a number of a row with its unit, which its name says; anything else stays."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if name.endswith("_memory"):
        return f"{value / 1e6:,.0f} MB"
    if name in PERCENTAGES:
        return f"{as_text(value)} %"
    if name.endswith("_s") or "_s_per_" in name:
        return f"{as_text(value)} s"
    return value
