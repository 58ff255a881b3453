"""Supervision: what a worker does to its process, its log and its children ends with its cell."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from ddl_bench.errors import UserError
from ddl_bench.harness import cores, supervise
from ddl_bench.harness.claims import claim, claims_folder
from ddl_bench.harness.folder import make_folders
from ddl_bench.harness.launcher import Launcher
from ddl_bench.harness.run import run
from ddl_bench.harness.supervise import Job
from ddl_bench.plan.cell import Cell, Limits
from ddl_bench.plan.expansion import Overrides, plan
from ddl_bench.results.paths import row_path
from ddl_bench.results.rows import Row
from tests.conftest import PLUGINS
from tests.ddl_bench.harness.conftest import StartJob

PLUGIN = PLUGINS / "untidy.py"
OVERRIDES = Overrides(plugins=(PLUGIN,))
TRACK = """
name = "t"
machine = {{ threads = 1 }}
limits = {{ time_s = 60, memory_gb = 1.5 }}
budget = {{ epochs = 1 }}
datasets = [{{ source = "digits" }}]
methods = [{methods}]
"""


@pytest.fixture
def write_track(tmp_path: Path) -> Callable[..., str]:
    def write(*ways: str) -> str:
        methods = [
            f'{{ name = "untidy", label = "{way}", params = {{ way = "{way}" }} }}' for way in ways
        ]
        path = tmp_path / "t.toml"
        path.write_text(TRACK.format(methods=", ".join(methods)))
        return str(path)

    return write


def first_cell(track: str) -> Cell:
    """Plan the first cell of a track."""
    return plan(track, OVERRIDES)[0]


def wait_for(job: Job) -> Row:
    """Poll a job until its row is there."""
    try:
        while True:
            row = job.poll()
            if row is not None:
                return row
            time.sleep(0.02)
    finally:
        job.release()


def seen_by(out: Path, row: Row) -> dict[str, Any]:
    """What the method of a cell saw of its process."""
    for line in (out / "work" / f"{row.cell.id}.log").read_text().splitlines():
        if line.startswith("SEEN "):
            seen: dict[str, Any] = json.loads(line.removeprefix("SEEN "))
            return seen
    raise AssertionError("the method printed nothing")


def sleepers(seconds: int) -> list[psutil.Process]:
    """Living processes `sleep SECONDS`."""
    alive = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if process.cmdline() == ["sleep", str(seconds)]:
                alive.append(process)
    return alive


def test_what_a_method_does_to_its_process_is_not_seen_by_the_next_cell(
    write_track: Callable[..., str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    rows = run(write_track("look", "disorder", "wait"), out, overrides=OVERRIDES, jobs=1)
    assert [row.status for row in rows] == ["ok"] * 3
    first, disorderly, after = (seen_by(out, row) for row in rows)
    assert first["forked"]
    assert first["session"]
    assert first["terminates"]
    assert not first["replaced"]
    assert first["n_threads"] == 1
    assert len(first["cores"]) == 1
    for seen in (disorderly, after):
        assert int(seen.pop("peak")) == pytest.approx(int(first["peak"]), rel=0.2)
        assert seen == {key: value for key, value in first.items() if key != "peak"}


def test_a_fork_sees_what_a_fresh_interpreter_sees(
    write_track: Callable[..., str], tmp_path: Path
) -> None:
    track = write_track("look")
    seen = {}
    for is_fresh in (False, True):
        out = tmp_path / str(is_fresh)
        (row,) = run(track, out, overrides=OVERRIDES, jobs=1, fresh_process=is_fresh)
        assert row.status == "ok"
        assert row.provenance["process"] == {True: "interpreter", False: "fork"}[is_fresh]
        assert row.provenance["command"].endswith(" --fresh-process") is is_fresh
        seen[is_fresh] = seen_by(out, row)
        del seen[is_fresh]["peak"]
        assert seen[is_fresh].pop("forked") is not is_fresh
    assert seen[False] == seen[True]


def test_children_in_sessions_of_their_own_end_with_the_cell(
    write_track: Callable[..., str], tmp_path: Path, start_job: StartJob
) -> None:
    row = wait_for(start_job(first_cell(write_track("session")), tmp_path / "out"))
    assert row.status == "ok"
    assert not sleepers(611)


def test_children_in_sessions_of_their_own_end_with_a_killed_runner(
    write_track: Callable[..., str], tmp_path: Path
) -> None:
    options = ["--plugin", str(PLUGIN), "--out", str(tmp_path / "out"), "--no-report"]
    command = [sys.executable, "-m", "ddl_bench", "run", write_track("session-and-hang"), *options]
    runner = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not sleepers(612) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sleepers(612)
    runner.kill()
    runner.wait()
    deadline = time.monotonic() + 60
    while sleepers(612) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not sleepers(612)


def test_a_long_log_is_cut_to_its_end(
    write_track: Callable[..., str],
    tmp_path: Path,
    start_job: StartJob,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervise, "LONGEST_LOG_BYTES", 2**20)
    job = start_job(first_cell(write_track("flood")), tmp_path / "out")
    row = wait_for(job)
    assert row.status == "crashed"
    assert "last output: 'the last line'" in row.reason
    assert job.log.stat().st_size < 2**20


@pytest.mark.parametrize("step_s", [3600, -3600])
def test_a_step_of_the_clock_changes_no_row(
    step_s: int,
    write_track: Callable[..., str],
    tmp_path: Path,
    start_job: StartJob,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = start_job(first_cell(write_track("wait")), tmp_path / "out")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + step_s)
    assert 0 <= job.seconds < 60
    row = wait_for(job)
    assert row.status == "ok"
    assert row.wall_s is not None
    assert 0 < row.wall_s < 60


def test_a_run_folder_that_vanishes_is_one_line(
    write_track: Callable[..., str], tmp_path: Path, launcher: Launcher
) -> None:
    out = tmp_path / "out"
    cell = plan(write_track("look"), OVERRIDES)[0]
    make_folders(out)
    claimed = claim(claims_folder(out), cell.id)
    taken = cores.take([0], 1)
    assert claimed is not None
    assert taken is not None
    claimed.release()
    claims_folder(out).rmdir()
    (out / "work").rmdir()
    (out / "work").write_text("in the way")
    with pytest.raises(UserError, match="cannot write there"):
        Job(out, cell, claimed, taken, launcher)
    taken.release()


def test_a_cell_whose_fork_server_dies_is_a_row_and_the_next_one_runs(
    write_track: Callable[..., str], tmp_path: Path, start_job: StartJob
) -> None:
    track = write_track("wait", "look")
    job = start_job(first_cell(track), tmp_path / "out")
    parent = psutil.Process(job.pid).parent()
    assert parent is not None
    parent.send_signal(signal.SIGKILL)
    row = wait_for(job)
    assert row.status == "crashed"
    assert "SIGKILL" in row.reason
    assert wait_for(start_job(first_cell(track), tmp_path / "next")).status == "ok"


def test_a_row_that_was_just_written_counts_at_the_limit(
    start_job: StartJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cell,) = plan("quick", Overrides.of(methods="nearest-mean", seeds=0))
    job = start_job(cell.model_copy(update={"limits": Limits(time_s=1e-3)}), tmp_path)
    answers = iter([None])  # its end is not seen yet
    ended = job._process.poll
    monkeypatch.setattr(job._process, "poll", lambda: next(answers, ended()))
    path = row_path(tmp_path, cell.id)
    end_s = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end_s
        time.sleep(0.01)
    row = job.poll()
    assert row is not None
    assert row.status == "ok"
