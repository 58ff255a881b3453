"""Print what has become of the cells of a run folder, once or again and again."""

import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from ddl_bench.cli.output import as_duration, emit
from ddl_bench.cli.table import NAME_WIDTH, Column, Table
from ddl_bench.files import brief
from ddl_bench.harness.status import STATES, CellStatus, RunStatus, read_status

WATCH_EVERY_S = 2.0
MOST_LINES = 20  # cells of one state that are listed; --json prints all
LONGEST_REASON = 120  # characters
RUNNING = (
    Column("running", folds_to=NAME_WIDTH),
    Column("phase", rank=2),
    Column("done", is_right=True),
    Column("validation", rank=3, is_right=True),
    Column("left", rank=1),
    Column("runner", rank=4),
)


def print_status(console: Console, folder: Path, *, watch: bool, as_json: bool) -> None:
    """Print the status of a run folder; with `watch` until nothing runs or waits.

    As JSON, each look of a watch is one line; where the output is no terminal, each change is.
    """
    seen = read_status(folder)
    if not watch:
        if as_json:
            emit(record_of(seen))
        else:
            console.print(shown(seen), crop=False)
    elif as_json:
        print_json_line(seen)
        for later in changes_of(seen):
            print_json_line(later)
    elif not console.is_terminal:
        console.print(shown(seen), crop=False)
        counts = seen.counts()
        for later in changes_of(seen):
            if later.counts() != counts:
                counts = later.counts()
                console.print(headline(later), soft_wrap=True, highlight=False)
    else:
        with Live(shown(seen), console=console, auto_refresh=False) as live:
            for later in changes_of(seen):
                live.update(shown(later), refresh=True)


def changes_of(seen: RunStatus) -> Iterator[RunStatus]:
    """Look again every few seconds, until nothing runs or waits."""
    while is_going_on(seen):
        time.sleep(WATCH_EVERY_S)
        seen = read_status(seen.folder)
        yield seen


def print_json_line(run: RunStatus) -> None:
    """Print the status of a run as one line, at once."""
    sys.stdout.write(json.dumps(record_of(run)) + "\n")
    sys.stdout.flush()


def is_going_on(run: RunStatus) -> bool:
    """Whether any cell may still change: one runs, or waits."""
    counts = run.counts()
    return counts["running"] + counts["waiting"] + counts["stale"] > 0


def record_of(run: RunStatus) -> dict[str, Any]:
    """Return the status of a run as plain values."""
    return {
        "folder": str(run.folder),
        "counts": run.counts(),
        "is_planned": run.is_planned,
        "n_outdated": run.n_outdated,
        "remaining_s": run.remaining_s,
        "cells": [dataclasses.asdict(cell) for cell in run.cells],
    }


def shown(run: RunStatus) -> RenderableType:
    """Draw the status of a run: a line of counts, then what runs, is stale, or has failed."""
    parts: list[RenderableType] = [Text.from_markup(headline(run))]
    running = run.of("running")
    if running:
        lines = [line_of(cell) for cell in running[:MOST_LINES]]
        parts.append(Table(columns=RUNNING, lines=lines))
        parts += rest_of(len(running))
    for state in ("stale", "failed"):
        cells = run.of(state)
        for cell in cells[:MOST_LINES]:
            parts.append(Text.from_markup(f"  [red]{cell.outcome or state}[/] {reason_of(cell)}"))
        parts += rest_of(len(cells))
    parts += [Text(note) for note in notes_of(run)]
    return Group(*parts)


def headline(run: RunStatus) -> str:
    """Count the cells of each state, and say how long the rest takes."""
    counts = run.counts()
    named = [f"{counts[state]} {state}" for state in reversed(STATES) if counts[state]]
    text = f"[bold]{escape(str(run.folder))}[/]: {', '.join(named) or 'no cells'}"
    if run.remaining_s is not None:
        text += f"; about {as_duration(run.remaining_s)} left"
    return text


def notes_of(run: RunStatus) -> list[str]:
    """Say what the counts do not."""
    counts = run.counts()
    notes = []
    if counts["stale"]:
        notes.append("  stale: their runner is gone; the same `ddl-bench run` goes on with them")
    elif counts["waiting"] and not counts["running"]:
        notes.append("  nothing runs: the same `ddl-bench run` goes on with what is waiting")
    if run.n_outdated:
        notes.append(f"  {run.n_outdated} rows of older code of the methods are left out")
    if not run.is_planned:
        notes.append("  no plan is kept in this folder, so that waiting cells are not known")
    return notes


def rest_of(n_cells: int) -> list[RenderableType]:
    """Say how many cells are not listed; nothing where all are."""
    n_more = n_cells - MOST_LINES
    return [Text(f"  and {n_more} more; --json lists all")] if n_more > 0 else []


def line_of(cell: CellStatus) -> Sequence[str]:
    """Describe a running cell in the columns of the table."""
    share = cell.share if cell.scored is None else cell.scored
    done = "" if share is None else f"{100 * share:.0f} %"
    accuracy = "" if cell.val_accuracy is None else f"{cell.val_accuracy:.1f} %"
    left = ""
    if cell.scored is None and cell.remaining_s is not None:
        left = as_duration(cell.remaining_s)
    return [name_of(cell), cell.phase, done, accuracy, left, cell.holder]


def reason_of(cell: CellStatus) -> str:
    """Name a cell that is stale or has failed, and say why."""
    return escape(
        f"{name_of(cell)} ({cell.cell}): {brief(cell.reason or 'no reason given', LONGEST_REASON)}"
    )


def name_of(cell: CellStatus) -> str:
    """Name a cell for people."""
    if not cell.label:
        return cell.cell
    return f"{cell.label} on {cell.dataset}, seed {cell.seed}"
