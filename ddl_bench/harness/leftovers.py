"""Sweep the half-written files of processes that were killed.

A file is written under a temporary name and renamed, so a kill leaves the temporary one behind.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ddl_bench.files import names_in
from ddl_bench.harness.claims import STALE_AFTER_S, clock_of

FOLDERS = ("cells", "work", "models")


def sweep_cell(run: Path, cell_id: str) -> None:
    """Delete the half-written files of a cell, of which this process holds the claim."""
    for path in half_written(run):
        if path.name.removeprefix(".").startswith(f"{cell_id}."):
            delete(path)


def sweep_old(run: Path) -> None:
    """Delete half-written files of any cell that are too old for anybody to be writing them."""
    now = None
    for path in half_written(run):
        with contextlib.suppress(OSError):
            now = clock_of(run / "work") if now is None else now
            if now - path.lstat().st_mtime > STALE_AFTER_S:
                delete(path)


def half_written(run: Path) -> Iterator[Path]:
    """Yield the temporary files of a run folder."""
    for folder in FOLDERS:
        for name in names_in(run / folder):
            if name.endswith(".tmp"):
                yield run / folder / name


def delete(path: Path) -> None:
    """Delete a file; where that fails it stays, which harms nobody."""
    with contextlib.suppress(OSError):
        path.unlink()
