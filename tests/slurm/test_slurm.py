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

from ddl_bench.harness.claims import claims_folder, holder
from ddl_bench.harness.run import run
from ddl_bench.results.rows import Row, load_rows
from tests.conftest import PLUGINS, ddl_bench

PLUGIN = PLUGINS / "walking.py"
N_SEEDS = 15
N_CELLS = 60
ROUNDS = int(os.environ.get("SLURM_ROUNDS", "0"))
N_FEW = 4
FEW = ["--methods", "walking", "--seeds", f"0-{N_FEW - 1}", "--budget", "40e"]
LONG = ["--methods", "walking", "--seeds", "0-1", "--budget", "1000e"]
# Cells of two seconds, in which a kill or a signal often finds a checkpoint, and quick ones.
METHODS = ["walking", *(f"walking[step_s=0.00{number}]" for number in (1, 2, 3))]
MANY = ["--methods", ",".join(METHODS), "--seeds", f"0-{N_SEEDS - 1}", "--budget", "40e"]


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


def requeue(task: str) -> None:
    """Requeue a task as an administrator does, without the two minutes that Slurm lets it wait."""
    job, _, number = task.partition("_")
    ask("scontrol", "requeue", task)
    wait_until(lambda: states(job).get(number) == "PENDING", 120)
    ask("scontrol", "update", f"JobId={task}", "StartTime=now")


def values(rows: list[Row]) -> dict[int, set[tuple[float | None, float | None]]]:
    """What must be equal in two runs, by seed; the length of steps changes no result."""
    results: dict[int, set[tuple[float | None, float | None]]] = {}
    for row in rows:
        both = (row.measured.accuracy, row.measured.val_accuracy)
        results.setdefault(row.cell.seed, set()).add(both)
    return results


def local(out: Path, n_seeds: int) -> dict[int, set[tuple[float | None, float | None]]]:
    """What one local runner has for these seeds, by steps that take no time."""
    rows = run(
        "quick",
        out,
        methods="walking[step_s=0]",
        seeds=range(n_seeds),
        budget="40e",
        threads=1,
        plugins=PLUGIN,
    )
    return values(rows)


def output_of(out: Path, job: str) -> str:
    """What the first runner of an array has printed, on one line."""
    paths = out.glob(f"work/runners/{job}_0*.out")
    return " ".join(" ".join(path.read_text().split()) for path in paths)


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
    assert values(load_rows(out)) == local(tmp_path / "local", N_FEW)
    assert set(Counter(log.read_text().split()[:N_FEW]).values()) == {1}
    assert not list(out.glob("work/claims/*.claim.*"))
    assert "cancelled" in ddl_bench(["cancel", out])


STUB = """#!/bin/sh
echo "$0 $*" >> {calls}
exit 1
"""


def test_a_runner_out_of_time_asks_nobody_and_is_not_requeued(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where there is no accounting, and the nodes have no `scontrol`."""
    out = tmp_path / "out"
    calls = tmp_path / "calls"
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        for name in ("sacct", "scontrol"):
            (tmp_path / name).write_text(STUB.format(calls=calls))
            (tmp_path / name).chmod(0o755)
        job = submit(out, LONG, "--runners", "1", "--time", "30s")
    wait_until(lambda: not states(job), 120)
    assert "2 cells left for the next one" in output_of(out, job)
    assert not calls.exists()
    assert not list(out.glob("work/claims/*.claim.*"))
    assert not log.exists()


def test_a_preempted_runner_needs_no_requeue(tmp_path: Path, log: Path) -> None:
    """This Slurm preempts nobody: `scancel` sends what PreemptMode=CANCEL does, CONT and TERM."""
    out = tmp_path / "out"
    job = submit(out, FEW, "--runners", "1", "--time", "5m")
    wait_until(lambda: n_rows(out) >= 1, 120)
    ask("scancel", job)
    wait_until(lambda: not states(job), 120)
    assert n_rows(out) < N_FEW
    again = submit(out, FEW, "--runners", "1", "--time", "5m")
    wait_until(lambda: not states(again), 120)
    trainings = Counter(log.read_text().split())
    assert trainings == Counter(map(str, range(N_FEW)))
    assert values(load_rows(out)) == local(tmp_path / "local", N_FEW)


@pytest.mark.skipif(not ROUNDS, reason="takes minutes: tox -e slurm")
@pytest.mark.parametrize("number", range(ROUNDS))
def test_runners_that_end_in_every_way_lose_and_double_nothing(
    number: int, tmp_path: Path, log: Path
) -> None:
    out = tmp_path / "out"
    short = submit(out, MANY, "--runners", "1", "--time", "30s")
    job = submit(out, MANY, "--runners", "4", "--time", "30m")
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
    requeue(f"{job}_2")
    wait_until(lambda: not states(job) and not states(short), 600)
    rows = load_rows(out)
    assert len(rows) == N_CELLS
    trainings = Counter(log.read_text().split())
    assert values(rows) == local(tmp_path / "local", N_SEEDS)
    assert set(trainings) == {str(seed) for seed in range(N_SEEDS)}
    assert min(trainings.values()) == len(METHODS)
    assert "the time of this runner is over" in output_of(out, short)
    assert sum(trainings.values()) <= N_CELLS + int(killed)  # the kill may hit between two writes
    assert not any(holder(claims_folder(out), row.cell.id) for row in rows)
