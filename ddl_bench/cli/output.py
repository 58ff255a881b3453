"""Print records, facts and paths: as tables for people, as JSON for scripts."""

import contextlib
import errno
import io
import json
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape

from ddl_bench.cli.table import Column, Table, folded, print_table
from ddl_bench.files import DamagedFile

MOST_NAMED = 3  # damaged files that are named; the rest is counted
UNFOLDED = 100_000  # characters: the width of what is no terminal, so that no line is folded
KEY_WIDTH = 24  # characters
LOWEST_FREE = 3  # file descriptor above standard input, output and error


class Patient(io.FileIO):
    """A file that drops what cannot be written: a full disk or a closed pipe ends no run."""

    problem = ""

    def write(self, data: Any, /) -> int:
        """Write bytes, or drop them where that fails; a reader that has gone is no problem."""
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno == errno.EAGAIN:
                raise
            if error.errno != errno.EPIPE:
                self.problem = str(error.strerror)
            return len(data)


def open_closed_streams() -> None:
    """Open what is closed of standard input, output and error.

    Another file would get their numbers, and then what a library or a child prints.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor < LOWEST_FREE:
        descriptor = os.dup(descriptor)
    os.close(descriptor)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  until the end
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def steady_stdout() -> Patient:
    """Let standard output take any text: what its encoding lacks is replaced, failures are kept.

    Returns the file below it, which knows of failures.
    """
    raw = steady(sys.stdout)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=sys.stdout.encoding,
        errors="replace",
        line_buffering=raw.isatty(),
    )
    return raw


def steady_stderr() -> None:
    """Let standard error drop what cannot be written."""
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(steady(sys.stderr)),
        encoding=sys.stderr.encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


def steady(stream: TextIO) -> Patient:
    """Open the file of a stream once more, as one that drops what cannot be written."""
    with contextlib.suppress(OSError):
        stream.flush()
    return Patient(os.dup(stream.fileno()), "wb")


class Warned:
    """Show warnings as lines for users; those of damaged files as one line at the end."""

    def __init__(self) -> None:
        self.damaged: dict[str, None] = {}
        warnings.simplefilter("always", DamagedFile)
        warnings.showwarning = self.show

    def show(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Take the place of `warnings.showwarning`."""
        if issubclass(category, DamagedFile):
            self.damaged[str(message)] = None
        else:
            tell(str(message))

    def summarise(self) -> None:
        """Print how many files were damaged, and the first of them."""
        if not self.damaged:
            return
        first = list(self.damaged)[:MOST_NAMED]
        more = len(self.damaged) - len(first)
        rest = f"; and {more} more" if more else ""
        advice = "`ddl-bench run` makes rows anew, and --rerun ID what is kept beside one"
        tell(f"damaged and left out: {'; '.join(first)}{rest}; {advice}")


def console_of(*, is_error: bool = False) -> Console:
    """Make the console of standard output, or of standard error.

    Into a file or a pipe lines go as long as they are, unless COLUMNS gives a width.
    """
    console = Console(stderr=is_error)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = UNFOLDED
    return console


def tell(text: str) -> None:
    """Print a line of ours on standard error, where there is one."""
    if sys.stderr is not None:
        sys.stderr.write(f"ddl-bench: {text}\n")


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
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


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
