"""Print records, facts and paths: as tables for people, as JSON for scripts."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

KEY_WIDTH = 24  # characters


def emit(thing: Any) -> None:
    """Print JSON for scripts, neither folded nor coloured."""
    sys.stdout.write(json.dumps(thing, indent=1, default=str) + "\n")


def print_line(console: Console, text: str) -> None:
    """Print one line of markup, which the terminal may wrap but nothing else changes."""
    console.print(text, soft_wrap=True, highlight=False)


def print_paths(console: Console, paths: Mapping[str, Path], *, as_json: bool = False) -> None:
    """Print where things were written, one path a line."""
    if as_json:
        emit(paths)
        return
    for name, path in paths.items():
        print_line(console, f"{name:>{KEY_WIDTH}}  {escape(str(path))}")


def print_facts(console: Console, facts: Mapping[str, Any]) -> None:
    """Print a name and its value on each line."""
    for name, value in facts.items():
        print_line(console, f"[bold]{name:>{KEY_WIDTH}}[/]  {escape(as_text(value))}")


def print_records(
    console: Console, title: str, records: Sequence[Mapping[str, Any]], *, as_json: bool
) -> None:
    """Print records of the same keys as a table, one record a line."""
    if as_json:
        emit(records)
        return
    columns = list(records[0]) if records else []
    lines = [list(map(as_text, record.values())) for record in records]
    console.print(as_table(columns, lines, title=title))


def as_text(value: Any) -> str:
    """Write a value on one line: numbers to four digits, mappings as key=value, lists by commas."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={as_text(item)}" for key, item in value.items())
    if isinstance(value, (tuple, list)):
        return ", ".join(as_text(item) for item in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def as_table(
    columns: Sequence[str],
    lines: Sequence[Sequence[str]],
    *,
    title: str = "",
    justify: JustifyMethod = "left",
) -> Table:
    """Make a table of texts; the first column stands on the left, the others as `justify` says.

    A narrow terminal folds cells, but neither the first column nor a word of a heading.
    """
    table = Table(
        title=escape(title), title_justify="left", header_style="bold", box=box.SIMPLE_HEAD
    )
    for index, column in enumerate(columns):
        longest_word = max(map(len, column.split()), default=0)
        table.add_column(
            column,
            overflow="fold",
            no_wrap=index == 0,
            justify="left" if index == 0 else justify,
            min_width=longest_word,
        )
    for texts in lines:
        table.add_row(*(escape(text) for text in texts))
    return table
