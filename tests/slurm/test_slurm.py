"""Runners on a real Slurm: killed, cancelled, requeued, out of time, they lose and double nothing.

`tox -e slurm` repeats the long test SLURM_ROUNDS times. Where no Slurm answers, all is skipped.
"""

import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ddl_bench.harness.run import run
from ddl_bench.results.rows import Row, load_rows
from tests.conftest import PLUGINS, ddl_bench

PLUGIN = PLUGINS / "walking.py"
N_CELLS = 60
ROUNDS = int(os.environ.get("SLURM_ROUNDS", "0"))
FEW = ["--methods", "walking", "--seeds", "0-5", "--budget", "40e"]
MANY = ["--methods", "walking", "--seeds", f"0-{N_CELLS - 1}", "--budget", "40e"]


def answers() -> bool:
    """Whether there is a Slurm with an idle node."""
    if shutil.which("sinfo") is None:
        return False
    done = ask("sinfo", "--noheader", "--format", "%T")
    return done.returncode == 0 and "idle" in done.stdout


def ask(*command: str) -> "subprocess.CompletedProcess[str]":
    """Run a program of Slurm."""
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


pytestmark = [
    pytest.mark.skipif(not answers(), reason="no Slurm with an idle node answers"),
]
pytest.importorskip("submitit", reason="submitit is not installed")


def states(job: str) -> dict[str, str]:
    """State of each task of an array that is not yet forgotten, by its number."""
    done = ask("squeue", "--noheader", "--array", "--jobs", job, "--format", "%K %T")
    return dict(line.split() for line in done.stdout.splitlines())


def submit(out: Path, cells: list[str], *options: str) -> str:
    """Submit runners; returns the number of their array."""
    where = ["--plugin", str(PLUGIN), "--threads", "1", "--out", str(out)]
    text = ddl_bench(["run", *cells, *where, "--jobs", "1", "--engine", "slurm", *options])
    return text.partition("Slurm job ")[2].partition(":")[0]


def wait_until(is_true: Callable[[], object], seconds: float) -> None:
    """Wait for something that must happen in time."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def n_rows(out: Path) -> int:
    return len(list(out.glob("cells/*.json")))


def runner_of(job: str, task: str) -> psutil.Process:
    """The process of a runner, by the variables that Slurm gives it."""
    for process in psutil.process_iter():
        try:
            variables = process.environ()
            words = process.cmdline()
        except (psutil.Error, OSError):
            continue
        is_job = variables.get("SLURM_ARRAY_JOB_ID") == job
        is_runner = words[1:4] == ["-m", "ddl_bench", "run"]
        if is_job and is_runner and variables.get("SLURM_ARRAY_TASK_ID") == task:
            return process
    raise AssertionError(f"no runner {job}_{task}")


def values(rows: list[Row]) -> dict[int, tuple[float | None, float | None]]:
    """What must be equal in two runs, by seed."""
    return {row.cell.seed: (row.measured.accuracy, row.measured.val_accuracy) for row in rows}


def local(out: Path, n_cells: int) -> dict[int, tuple[float | None, float | None]]:
    """The same cells by one local runner, with shorter steps: these change no result."""
    rows = run(
        "quick",
        out,
        methods="walking[step_s=0]",
        seeds=range(n_cells),
        budget="40e",
        threads=1,
        plugins=PLUGIN,
    )
    return values(rows)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which each training that ends leaves its seed."""
    path = tmp_path / "trainings"
    monkeypatch.setenv("WALKING_LOG", str(path))
    return path


def test_a_cancelled_runner_leaves_its_cell_to_the_other(tmp_path: Path, log: Path) -> None:
    out = tmp_path / "out"
    job = submit(out, FEW, "--runners", "2", "--time", "5m")
    wait_until(lambda: n_rows(out) >= 1, 60)
    ask("scancel", f"{job}_0")
    wait_until(lambda: not states(job), 60)
    assert values(load_rows(out)) == local(tmp_path / "local", 6)
    assert set(Counter(log.read_text().split()[:6]).values()) == {1}
    assert not list(out.glob("work/claims/*.claim.*"))
    assert "cancelled" in ddl_bench(["cancel", out])


@pytest.mark.skipif(not ROUNDS, reason="takes minutes: tox -e slurm")
@pytest.mark.parametrize("number", range(ROUNDS))
def test_runners_that_end_in_every_way_lose_and_double_nothing(
    number: int, tmp_path: Path, log: Path
) -> None:
    out = tmp_path / "out"
    short = submit(out, MANY, "--runners", "1", "--time", "1m")
    job = submit(out, MANY, "--runners", "3", "--time", "30m")
    killed = False

    def is_running(task: str) -> bool:
        return states(job).get(task) == "RUNNING"

    wait_until(lambda: is_running("0") and n_rows(out) >= 4, 120)
    runner_of(job, "0").send_signal(signal.SIGKILL)
    killed = True
    wait_until(lambda: is_running("1"), 120)
    n_before = n_rows(out)
    wait_until(lambda: n_rows(out) >= n_before + 4, 120)
    ask("scancel", f"{job}_1")
    wait_until(lambda: is_running("2"), 120)
    n_before = n_rows(out)
    wait_until(lambda: n_rows(out) >= n_before + 4 or not states(short), 120)
    ask("scontrol", "requeue", f"{job}_2")
    wait_until(lambda: not states(job) and not states(short), 600)
    rows = load_rows(out)
    assert len(rows) == N_CELLS
    assert values(rows) == local(tmp_path / "local", N_CELLS)
    trainings = Counter(log.read_text().split()[:-N_CELLS])
    assert set(trainings) == {str(seed) for seed in range(N_CELLS)}
    assert sum(trainings.values()) <= N_CELLS + int(killed)  # the kill may hit between two writes
    assert not list(out.glob("work/claims/*.claim.*"))
