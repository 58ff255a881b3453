"""Print records, facts and paths: as tables for people, as JSON for scripts."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from ddl_bench.cli.table import Column, Table, folded, print_table

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
    console: Console,
    title: str,
    records: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    *,
    as_json: bool,
) -> None:
    """Print records as a table, one record a line; the titles of `columns` are their keys."""
    if as_json:
        emit(records)
        return
    lines = [[as_text(record[column.title]) for column in columns] for record in records]
    print_table(console, Table(columns=columns, lines=lines, title=title))


def print_paragraph(console: Console, text: str, *, indent: int = 2) -> None:
    """Print a text that is folded at words, each line indented by so many blanks."""
    for line in folded(text, console.width - indent):
        print_line(console, " " * indent + escape(line))


def as_text(value: Any) -> str:
    """Write a value on one line: numbers to four digits, mappings as key=value, lists by commas."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={as_text(item)}" for key, item in value.items())
    if isinstance(value, (tuple, list)):
        return ", ".join(as_text(item) for item in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def as_size(n_bytes: float) -> str:
    """Write a size in the largest unit that it fills: "512 B", "3.4 MB"."""
    size = float(n_bytes)
    for unit in ("B", "kB", "MB"):
        if round(size) < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def as_time(seconds: float) -> str:
    """Write a measured time to three digits, in the unit that suits it: "117 µs", "2.1 min"."""
    size = abs(seconds)
    if size >= 7200:
        return f"{digits(seconds / 3600)} h"
    if size >= 120:
        return f"{digits(seconds / 60)} min"
    for unit, factor in (("s", 1), ("ms", 1e3)):
        if size * factor >= 1:
            return f"{digits(seconds * factor)} {unit}"
    return f"{digits(seconds * 1e6)} µs" if seconds else "0 s"


def digits(value: float) -> str:
    """Write a number to three digits, without an exponent where it is large."""
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def as_duration(seconds: float) -> str:
    """Write a duration in the two largest units that it needs: "45 s", "3 min", "2 h 5 min"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / 3600), 24)
    noun = "day" if days == 1 else "days"
    return f"{days} {noun} {hours} h" if hours else f"{days} {noun}"
