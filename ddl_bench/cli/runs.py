"""List the run folders below a folder."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from ddl_bench.cli.messages import tell
from ddl_bench.cli.output import as_size, emit, print_line
from ddl_bench.cli.table import NAME_WIDTH, TEXT_WIDTH, Column, Table, print_table
from ddl_bench.errors import UserError
from ddl_bench.files import name_of
from ddl_bench.harness.status import STATES, read_status

DEEPEST = 2  # folders below the given one in which runs are looked for


def print_runs(console: Console, folder: Path, *, as_json: bool) -> None:
    """Print a line for each run folder, the one that has changed last at the end."""
    records = sorted(map(describe_run, run_folders(folder)), key=lambda record: record["changed"])
    if as_json:
        emit(records)
    elif not records:
        print_line(console, f"no run folders in {folder}: `ddl-bench run` makes results/quick")
    else:
        lines = [line_of(record, folder) for record in records]
        title = f"Run folders in {folder}"
        print_table(console, Table(columns=COLUMNS, lines=lines, title=title))


COLUMNS = (
    Column("run", folds_to=NAME_WIDTH),
    Column("track", rank=3, folds_to=NAME_WIDTH),
    Column("cells"),
    Column("data sets", rank=2, folds_to=TEXT_WIDTH),
    Column("size", rank=4),
    Column("changed", rank=1),
)


def run_folders(folder: Path, depth: int = DEEPEST) -> Iterator[Path]:
    """Yield the folder if it is one of a run, or else those that lie in it and can be read.

    Raises UserError where there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; `ddl-bench run` makes results/quick")
    if (folder / "cells").is_dir():
        yield folder
    elif depth:
        for path in sorted(folder.iterdir()):
            if path.is_symlink() or not path.is_dir():
                continue
            try:
                yield from run_folders(path, depth - 1)
            except OSError as error:
                tell(f"{name_of(path)}: left out: {error.strerror}")


def describe_run(folder: Path) -> dict[str, Any]:
    """Say what a run folder holds; sizes in bytes, times in UTC."""
    status = read_status(folder)
    n_bytes, changed_s = usage(folder)
    changed = datetime.fromtimestamp(changed_s, UTC).isoformat(timespec="seconds")
    counts: dict[str, int] = {str(state): count for state, count in status.counts().items()}
    tracks = {Path(cell.track).stem for cell in status.cells if cell.track}
    return {
        "run": str(folder),
        "tracks": sorted(tracks),
        **counts,
        "datasets": sorted({cell.dataset for cell in status.cells if cell.dataset}),
        "n_bytes": n_bytes,
        "changed": changed,
    }


def usage(folder: Path) -> tuple[int, float]:
    """Sum the sizes of all files of a folder; returns that and when the last one was written."""
    n_bytes = 0
    changed_s = 0.0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                stat = os.lstat(os.path.join(place, name))
            except FileNotFoundError:  # a run is going on
                continue
            n_bytes += stat.st_size
            changed_s = max(changed_s, stat.st_mtime)
    return n_bytes, changed_s


def line_of(record: dict[str, Any], folder: Path) -> list[str]:
    """Write the record of a run for people, its folder as seen from the given one."""
    counts = [f"{record[state]} {state}" for state in reversed(STATES) if record[state]]
    place = Path(record["run"]).relative_to(folder)
    changed = datetime.fromisoformat(record["changed"]).astimezone()
    return [
        str(place),
        ", ".join(record["tracks"]),
        ", ".join(counts),
        ", ".join(record["datasets"]),
        as_size(record["n_bytes"]),
        f"{changed:%Y-%m-%d %H:%M}",
    ]
