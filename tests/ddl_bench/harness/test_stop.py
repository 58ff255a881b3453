"""A runner stops in order before its time is over, and the next goes on to the identical end."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from ddl_bench.errors import UserError
from ddl_bench.harness.run import run
from ddl_bench.harness.stop import (
    SIGNAL,
    Shift,
    read_duration,
    seconds_of_job,
    write_duration,
)
from ddl_bench.harness.supervise import Job
from ddl_bench.harness.view import Silent
from ddl_bench.plan.cell import Cell
from ddl_bench.results.rows import Row
from tests.conftest import PLUGINS

PLUGIN = PLUGINS / "walking.py"
LONG_S = 30.0  # more than any of these tests takes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3h50m", 13_800), ("90s", 90), ("1.5h", 5400), ("2d", 172_800), (" 1m30s ", 90)],
)
def test_durations(text: str, seconds: float) -> None:
    assert read_duration("--for", text) == seconds


@pytest.mark.parametrize("seconds", [5400.0, 0.1, 90.25, 1_209_600.0, 9e8])
def test_a_duration_is_read_as_it_was_written(seconds: float) -> None:
    assert read_duration("--for", write_duration(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "3", "0s", "-1h", "1m1h", "1h-30m", "soon", "9" * 400 + "h"])
def test_wrong_durations(text: str) -> None:
    with pytest.raises(UserError, match="--for"):
        read_duration("--for", text)


def test_the_time_of_a_slurm_job() -> None:
    now = time.time()
    assert seconds_of_job({}) is None
    of_variable = seconds_of_job({"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": f"{now + 100:.0f}"})
    assert of_variable == pytest.approx(100, abs=3)
    end = datetime.fromtimestamp(now + 50).isoformat(timespec="seconds")
    assert seconds_of_job({"SLURM_JOB_ID": "7"}, {"7": end}.__getitem__) == pytest.approx(50, abs=3)
    for answer in ("", "N/A", "Unknown"):
        assert seconds_of_job({"SLURM_JOB_ID": "7"}, {"7": answer}.__getitem__) is None


def test_a_node_without_squeue_has_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert seconds_of_job({"SLURM_JOB_ID": "7"}) is None


def test_a_shift_leaves_time_to_stop() -> None:
    assert Shift().remaining_s() == math.inf
    long = Shift(3600)
    assert 3500 < long.remaining_s() < 3600
    assert long.stop_within_s == 60
    short = Shift(10)
    assert short.stop_within_s == 2
    assert not short.is_over()
    short.ask()
    assert short.is_over()


class Asks(Silent):
    """A view that asks the runner to stop once cells train."""

    def __init__(self, shift: Shift) -> None:
        self._shift = shift
        self.cells_left: list[Cell] = []

    def tick(self, jobs: Sequence[Job]) -> None:
        """Ask when all running cells train."""
        progress = [job.progress() for job in jobs]
        if progress and all(seen.fraction > 0 for seen in progress):
            self._shift.ask()

    def left(self, cells: Sequence[Cell]) -> None:
        """Note the cells."""
        self.cells_left += cells


def walk(out: Path, **options: Any) -> list[Row]:
    """Run one walk of thirty steps."""
    fixed = {"plugins": PLUGIN, "seeds": 0, "budget": "30e", "threads": 1}
    return run("quick", out, **{"methods": "walking", **fixed, **options})


def test_the_next_runner_goes_on_to_the_identical_end(tmp_path: Path) -> None:
    shift = Shift(LONG_S)
    view = Asks(shift)
    assert walk(tmp_path / "parts", shift=shift, view=view) == []
    (cell,) = view.cells_left
    assert (tmp_path / "parts" / "work" / f"{cell.id}.checkpoint").exists()
    assert not list((tmp_path / "parts" / "work" / "claims").iterdir())
    (resumed,) = walk(tmp_path / "parts")
    (whole,) = walk(tmp_path / "whole")
    assert resumed.resumed == 1
    assert resumed.measured.accuracy == whole.measured.accuracy
    assert resumed.measured.val_accuracy == whole.measured.val_accuracy


def test_cells_that_do_not_fit_run_only_if_they_can_be_resumed(tmp_path: Path) -> None:
    shift = Shift(LONG_S)
    view = Asks(shift)
    methods = ["walking[resumable=false]", "walking"]
    rows = walk(tmp_path, methods=methods, seeds=[0], shift=shift, view=view, budget="1000e")
    assert rows == []
    checkpoints = [path.stem for path in (tmp_path / "work").glob("*.checkpoint")]
    left = {cell.params.get("resumable", True): cell.id for cell in view.cells_left}
    assert set(left) == {True, False}
    assert checkpoints == [left[True]]


@pytest.mark.parametrize("to_all", [False, True])
@pytest.mark.parametrize("number", [SIGNAL, signal.SIGTERM])
def test_signals_stop_a_runner_in_order(number: int, to_all: bool, tmp_path: Path) -> None:
    """Also those that Slurm sends to all processes of a job, the runner last."""
    command = [
        *(sys.executable, "-m", "ddl_bench", "run", "--plugin", str(PLUGIN)),
        *("--methods", "walking", "--seeds", "0", "--budget", "900e", "--threads", "1"),
        *("--for", "1h", "--out", str(tmp_path)),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + LONG_S
    while not list(tmp_path.glob("work/*.checkpoint")) and time.monotonic() < deadline:
        time.sleep(0.1)
    server, worker = psutil.Process(process.pid).children(recursive=True)
    if to_all:
        worker.send_signal(number)
        server.send_signal(number)
        time.sleep(0.05)
    process.send_signal(number)
    assert server.status() != psutil.STATUS_ZOMBIE  # as all workers end with it
    output, _ = process.communicate(timeout=LONG_S)
    assert process.returncode == 0
    assert "1 cell left for the next one" in output
    assert list(tmp_path.glob("work/*.checkpoint"))
    assert not list(tmp_path.glob("work/claims/*"))
    assert not list(tmp_path.glob("cells/*"))


class Terminates(Silent):
    """A view that, once cells train, ends their workers as Slurm does, and then asks the runner."""

    def __init__(self, shift: Shift) -> None:
        self._shift = shift
        self._has_ended = False

    def tick(self, jobs: Sequence[Job]) -> None:
        """Send the signal to the workers that train; ask at the next call."""
        if self._has_ended:
            self._shift.ask()
            return
        progress = [job.progress() for job in jobs]
        if progress and all(seen.fraction > 0 for seen in progress):
            self._has_ended = True
            for job in jobs:
                os.kill(job.pid, signal.SIGTERM)


@pytest.mark.parametrize("resumable", [True, False])
def test_workers_that_slurm_ends_before_the_runner_are_left_to_the_next(
    resumable: bool, tmp_path: Path
) -> None:
    shift = Shift(LONG_S)
    view = Terminates(shift)
    methods = f"walking[resumable={str(resumable).lower()}]"
    assert walk(tmp_path, methods=methods, budget="900e", shift=shift, view=view) == []
    assert bool(list(tmp_path.glob("work/*.checkpoint"))) == resumable


@pytest.mark.parametrize("resumable", ["true", "false"])
def test_a_worker_that_has_trained_goes_on_to_its_row(
    resumable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "trainings"
    monkeypatch.setenv("WALKING_LOG", str(log))

    class View(Silent):
        def tick(self, jobs: Sequence[Job]) -> None:
            if log.exists():
                time.sleep(0.1)  # so that the harness has seen the end of the training
                for job in jobs:
                    with contextlib.suppress(ProcessLookupError):  # it has ended
                        os.kill(job.pid, signal.SIGTERM)

    (row,) = walk(tmp_path / "out", methods=f"walking[resumable={resumable}]", view=View())
    assert row.status == "ok"
    assert log.read_text().split() == ["0"]


FORKS = """
import multiprocessing, os, signal, sys, time
from ddl_bench.harness.stop import StopRequest

request = StopRequest()
request.listen()
fork = multiprocessing.get_context("fork")
for _ in range(40):
    with fork.Pool(2) as pool:  # whose end is a SIGTERM to children that wait for a lock
        assert pool.map(abs, [-1, 2]) == [1, 2]
busy = fork.Process(target=sum, args=(range(10**11),))  # which runs no handler of Python
busy.start()
busy.terminate()
busy.join()
assert busy.exitcode == -signal.SIGTERM
os.kill(os.getpid(), signal.SIGTERM)
os.kill(os.getpid(), signal.SIGUSR2)
assert request.is_asked
"""


def test_processes_that_a_listening_worker_forks_end_at_the_signal() -> None:
    subprocess.run([sys.executable, "-c", FORKS], check=True, timeout=LONG_S)


class StopsAll(Silent):
    """A view that sends the signal to all processes of the cells, and then asks the runner."""

    def __init__(self, shift: Shift, number: int) -> None:
        self._shift = shift
        self._number = number

    def tick(self, jobs: Sequence[Job]) -> None:
        """Send it once to the cells that train."""
        if self._shift.is_over() or not jobs or jobs[0].progress().fraction == 0:
            return
        worker = psutil.Process(jobs[0].pid)
        for process in (*worker.children(recursive=True), worker):
            process.send_signal(self._number)
        self._shift.ask()


@pytest.mark.parametrize("number", [SIGNAL, signal.SIGTERM])
@pytest.mark.parametrize("options", ["resumable=false", "children=true"])
def test_what_a_signal_to_all_does_to_a_training_is_no_failure(
    options: str, number: int, tmp_path: Path
) -> None:
    """A worker that cannot be resumed, and one whose training fails as its children end."""
    shift = Shift(LONG_S)
    rows = walk(
        tmp_path,
        methods=f"walking[{options}]",
        budget="900e",
        shift=shift,
        view=StopsAll(shift, number),
    )
    assert rows == []
    assert not list(tmp_path.glob("cells/*"))
