"""Ask, and remove cells of a run folder or what is left in work/."""

import shlex
import sys
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from ddl_bench.cli.output import as_size, emit, print_line
from ddl_bench.cli.status import name_of
from ddl_bench.errors import UserError
from ddl_bench.harness.clean import Cleaning, plan_cleaning, remove

MOST_LINES = 20  # cells that are listed
NOUNS = {
    "row": "rows",
    "arrays": "arrays",
    "model": "models",
    "checkpoint": "checkpoints",
    "log": "logs",
    "other": "other files",
}


def clean_run(
    console: Console,
    folder: Path,
    *,
    failed: bool,
    label: str | None,
    work: bool,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> bool:
    """Say what would be removed, ask, and remove it; returns whether that was done."""
    cleaning = plan_cleaning(folder, failed=failed, label=label, work=work)
    is_sure = yes and not dry_run
    if not as_json:
        print_cleaning(console, cleaning)
    if not is_sure and not dry_run and not cleaning.is_empty:
        if as_json or not sys.stdin.isatty():
            raise UserError(f"{folder}: nothing was removed; confirm with --yes")
        is_sure = typer.confirm("Remove them?")
    taken_up: list[str] = []
    if is_sure:
        taken_up = remove(cleaning)
    if as_json:
        emit(record_of(cleaning, taken_up, is_removed=is_sure))
        return is_sure
    for cell_id in taken_up:
        print_line(console, f"  left: {cell_id}, which a runner has just taken up")
    if is_sure and not cleaning.is_empty:
        print_line(console, "removed")
        if cleaning.cells and (folder / "report").is_dir():
            command = shlex.join(["ddl-bench", "report", str(folder)])
            print_line(console, f"the report is older than that: {escape(command)}")
    return is_sure


def print_cleaning(console: Console, cleaning: Cleaning) -> None:
    """Print which cells and how many files would be removed, and which cells are left."""
    for cell in cleaning.cells[:MOST_LINES]:
        outcome = cell.outcome or cell.state
        print_line(console, escape(f"  {name_of(cell)} ({cell.cell}), {outcome}"))
    n_more = len(cleaning.cells) - MOST_LINES
    if n_more > 0:
        print_line(console, f"  and {n_more} more cells")
    for cell in cleaning.held:
        print_line(console, escape(f"  left: {name_of(cell)}, held by {cell.holder}"))
    if cleaning.is_empty:
        print_line(console, f"{escape(str(cleaning.folder))}: nothing to remove")
        return
    counts = cleaning.counts()
    parts = [f"{noun}: {counts[kind]}" for kind, noun in NOUNS.items() if kind in counts]
    if cleaning.unplanned:
        parts.append(f"cells out of the plan: {len(cleaning.unplanned)}")
    parts.append(f"{as_size(cleaning.n_bytes)} in all")
    print_line(console, f"to remove from {escape(str(cleaning.folder))}: {', '.join(parts)}")


def record_of(cleaning: Cleaning, taken_up: list[str], *, is_removed: bool) -> dict[str, Any]:
    """Return what was found, and what was done, as plain values."""
    return {
        "folder": str(cleaning.folder),
        "cells": [cell.cell for cell in cleaning.cells],
        "files": [str(each.path) for each in cleaning.leftovers],
        "n_bytes": cleaning.n_bytes,
        "held": [cell.cell for cell in cleaning.held] + taken_up,
        "is_removed": is_removed,
    }
