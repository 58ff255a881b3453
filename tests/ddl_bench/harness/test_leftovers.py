"""What killed processes leave half written."""

import os
from pathlib import Path

import pytest

from ddl_bench.harness import progress
from ddl_bench.harness.claims import STALE_AFTER_S, clock_of
from ddl_bench.harness.leftovers import sweep_cell, sweep_old


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with a half-written file in each of its folders, of two cells."""
    for name in ("cells", "work", "models"):
        (tmp_path / name).mkdir()
        for cell in ("abc", "xyz"):
            (tmp_path / name / f".{cell}.json.17.tmp").touch()
    (tmp_path / "work" / "abc.progress.tmp").touch()
    (tmp_path / "cells" / "abc.json").touch()
    return tmp_path


def names(run: Path) -> set[str]:
    return {path.name for path in run.rglob("*") if path.is_file()}


def test_who_claims_a_cell_sweeps_it(run: Path) -> None:
    sweep_cell(run, "abc")
    assert names(run) == {"abc.json", ".xyz.json.17.tmp"}


def test_old_files_are_swept_and_those_that_may_be_written_stay(run: Path) -> None:
    old = clock_of(run / "work") - STALE_AFTER_S - 1
    for path in run.rglob(".xyz*"):
        os.utime(path, (old, old))
    sweep_old(run)
    assert names(run) == {"abc.json", ".abc.json.17.tmp", "abc.progress.tmp"}


def test_progress_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "abc.progress.json"
    path.mkdir()
    with pytest.raises(OSError, match="abc"):
        progress.write(path, "{}")
    assert not path.with_suffix(".tmp").exists()
