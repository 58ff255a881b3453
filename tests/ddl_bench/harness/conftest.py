"""What the tests of the harness share: jobs that end with their test, whatever becomes of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from ddl_bench.harness import cores
from ddl_bench.harness.claims import claim, claims_folder
from ddl_bench.harness.folder import make_folders
from ddl_bench.harness.launcher import Launcher
from ddl_bench.harness.supervise import Job
from ddl_bench.plan.cell import Cell

StartJob: TypeAlias = Callable[[Cell, Path], Job]


@pytest.fixture(autouse=True)
def coverage_of_children() -> None:
    """Keep workers in the coverage: they are what these tests are about."""


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    with Launcher() as launcher:
        yield launcher


@pytest.fixture
def start_job(launcher: Launcher) -> Iterator[StartJob]:
    """Start a cell in a run folder as a runner does."""
    jobs: list[Job] = []

    def start(cell: Cell, out: Path) -> Job:
        make_folders(out)
        claimed = claim(claims_folder(out), cell.id)
        taken = cores.take([0], 1)
        assert claimed is not None
        assert taken is not None
        job = Job(out, cell, claimed, taken, launcher)
        jobs.append(job)
        return job

    yield start
    for job in jobs:
        job.kill()
        job.release()
