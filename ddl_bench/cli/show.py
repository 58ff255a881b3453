"""Print one row in full, or the rows to choose from."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ddl_bench.cli.output import as_size, as_text, as_time, emit, print_facts, print_paragraph
from ddl_bench.cli.table import NAME_WIDTH, Column, Table, print_table
from ddl_bench.results.columns import MEASURED, OF_ROW
from ddl_bench.results.rows import Row, find_rows

CHOICE = (
    Column("cell"),
    Column("method", folds_to=NAME_WIDTH),
    Column("data set", rank=1, folds_to=NAME_WIDTH),
    Column("seed", is_right=True),
    Column("budget", rank=4),
    Column("status", rank=2),
    Column("accuracy (%)", rank=3, is_right=True),
    Column("train", rank=5, is_right=True),
)
PLAIN = ("seed", "schema_version", "identity")  # numbers that count nothing
UNITS = {column.name: column.unit for column in (*MEASURED, *OF_ROW)} | {"expected_s": "s"}


def print_row(console: Console, run: Path, wanted: str, *, as_json: bool) -> None:
    """Print the one row that is wanted; several are listed, as JSON all of them in full."""
    rows = find_rows(run, wanted)
    if len(rows) == 1:
        print_in_full(console, rows[0], as_json=as_json)
    elif as_json:
        emit([row.model_dump(mode="json") for row in rows])
    else:
        print_choice(console, run, rows)


def print_choice(console: Console, run: Path, rows: Sequence[Row]) -> None:
    """List rows, each with what shows it in full."""
    records = [
        {
            "cell": row.cell.id,
            "method": row.cell.label,
            "data set": Path(row.cell.dataset).name,
            "seed": row.cell.seed,
            "budget": row.cell.budget.as_option(),
            "status": row.status,
            "accuracy (%)": text_of(row.measured.accuracy, "{:.2f}".format),
            "train": text_of(row.measured.train_s, as_time),
        }
        for row in rows
    ]
    lines = [[as_text(record[column.title]) for column in CHOICE] for record in records]
    title = f"{len(rows)} rows in {run}"
    print_table(console, Table(columns=CHOICE, lines=lines, title=title))
    first = rows[0].cell
    text = (
        f"one in full: `ddl-bench show {first.label}@{first.seed}` or `ddl-bench show {first.id}`"
    )
    print_paragraph(console, text, indent=0)


def text_of(value: float | None, write: Callable[[float], str]) -> str:
    """Write a number, empty where there is none."""
    if value is None:
        return ""
    return write(value)


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
        "phases": {phase: as_time(seconds) for phase, seconds in row.phases.items()},
    }
    for key, value in row.provenance.items():
        facts[f"provenance: {key}"] = value
    empty: tuple[object, ...] = (None, "", {}, [], ())
    shown = {key: value for key, value in facts.items() if value not in empty}
    print_facts(console, {key: with_unit(key, value) for key, value in shown.items()})


def with_unit(name: str, value: Any) -> Any:
    """Write a number of a row for people, with its unit; anything else stays."""
    if isinstance(value, bool) or not isinstance(value, int | float) or name in PLAIN:
        return value
    match UNITS.get(name, ""):
        case "B":
            return as_size(value)
        case "%":
            return f"{value:.2f} %"
        case "1":
            return f"{as_text(100 * float(value))} %"
        case "s":
            return as_time(value)
        case "":
            return f"{value:,}" if isinstance(value, int) else value
        case unit:
            return f"{value:,} {unit}"
