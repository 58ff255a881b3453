"""Runners that seem to be on other machines share a folder: containers, and clocks that are off.

The processes are real; `python -m tests.faults --only claims` tries the same without containers.
"""

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ddl_bench.results.rows import load_rows
from tests.conftest import PLUGINS, ROOT

N_CELLS = 3
LONG_S = 180.0
CONTAINER = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
# Times of files are those of the file system, and durations are measured by another clock.
REAL_TIMES = {"NO_FAKE_STAT": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
# libfaketime refuses a sleep whose end has passed.
PATIENT = """
import time
sleep = time.sleep
def patient(seconds):
    try:
        sleep(seconds)
    except OSError:
        pass
time.sleep = patient
"""


def may_unshare() -> bool:
    """Whether this user may make a namespace of processes."""
    if shutil.which(CONTAINER[0]) is None:
        return False
    return subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode == 0


NOT_PERMITTED = pytest.mark.skipif(not may_unshare(), reason="unshare is missing or not permitted")
pytestmark = [NOT_PERMITTED, pytest.mark.no_cover]


def start(
    out: Path, log: Path, name: str, shift: str = "", container: bool = True
) -> "subprocess.Popen[str]":
    """Start a runner, by default in a container of its own, with a clock that is off by `shift`."""
    temporary = out.with_name(f"temporary-{name}")  # with the locks of its cores
    temporary.mkdir()
    (temporary / "sitecustomize.py").write_text(PATIENT)
    command = [*CONTAINER] if container else []
    if shift:
        command += ["faketime", "-f", shift]
    command += [sys.executable, "-m", "ddl_bench", "run", "--methods", "nap[seconds=1]"]
    command += ["--seeds", f"0-{N_CELLS - 1}", "--plugin", str(PLUGINS / "naps.py"), "--jobs", "1"]
    command += ["--threads", "1", "--no-report", "--out", str(out)]
    variables = {
        "DDL_BENCH_NAPS": str(log),
        "TMPDIR": str(temporary),
        "PYTHONPATH": f"{temporary}:{ROOT}",
    }
    return subprocess.Popen(
        command,
        env={**os.environ, **REAL_TIMES, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def check(out: Path, log: Path, runners: list["subprocess.Popen[str]"]) -> None:
    """Wait for all runners; each cell was trained once, by one of them, and no row replaced."""
    for runner in runners:
        output, _ = runner.communicate(timeout=LONG_S)
        assert runner.returncode in (0, 1), output
        if runner.returncode:
            assert "held by process" in output
    words = [line.split() for line in log.read_text().splitlines()]
    starts = Counter(seed for event, seed, _ in words if event == "start")
    assert starts == Counter(map(str, range(N_CELLS)))
    rows = load_rows(out)
    assert [row.status for row in rows] == ["ok"] * N_CELLS
    assert not list(out.glob("work/claims/*.claim.*"))


def test_two_containers_of_one_machine_do_no_cell_twice(tmp_path: Path) -> None:
    out = tmp_path / "out"
    log = tmp_path / "log"
    runners = [start(out, log, "machine", container=False), start(out, log, "container")]
    check(out, log, runners)


@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
def test_clocks_that_are_off_double_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    log = tmp_path / "log"
    shifts = ["", "-120s", "+3600s"]
    runners = [start(out, log, f"clock{shift}", shift) for shift in shifts]
    check(out, log, runners)
