"""Runners are started, found again and cancelled; the real Slurm is tried in tests/slurm."""

import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ddl_bench.cli.main import app
from ddl_bench.errors import UserError
from ddl_bench.harness import engine
from ddl_bench.harness.claims import born_at, claim, claims_folder, this_process
from ddl_bench.harness.folder import make_folders
from ddl_bench.plan.expansion import Overrides, plan
from ddl_bench.results.rows import load_rows
from tests.conftest import PLUGINS, ddl_bench

RUN = ["run", "--methods", "nearest-mean", "--seeds", "0-3", "--budget", "1e", "--threads", "1"]


def test_the_script_for_sbatch_has_every_option(tmp_path: Path) -> None:
    text = ddl_bench(
        [
            *(*RUN, "--out", tmp_path / "a b", "--engine", "slurm", "--dry-run"),
            *("--runners", "3", "--time", "90m", "--cpus", "2", "--memory", "16G"),
            *("--partition", "long", "--gres", "gpu:1"),
            *("--setup", "module load python", "--sbatch", "account=physics"),
        ]
    )
    first, *lines = text.splitlines()
    assert first == "#!/bin/bash"
    options = {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}
    assert options >= {
        *("array=0-2", "time=90", "cpus-per-task=2", "mem=16G", "partition=long"),
        *("gres=gpu:1", "account=physics", "signal=USR2@90"),
    }
    assert lines[-2] == "module load python"
    words = shlex.split(lines[-1])
    start = words.index(sys.executable)
    assert words[start : start + 5] == [sys.executable, "-P", "-m", "ddl_bench", "run"]
    assert words[start + 5 :] == [
        *("--methods", "nearest-mean", "--seeds", "0-3", "--budget", "1e", "--threads", "1"),
        *("--out", str(tmp_path / "a b"), "--no-report", "--for", "5400s"),
    ]
    assert not (tmp_path / "a b").exists()
    assert "output=ddl-bench-%A_%a.log" in options, "a folder that exists when it is submitted"


def test_the_script_has_no_hints_in_it(tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    X = np.zeros((40, 8, 8), np.uint8)
    y = np.arange(40) % 2
    np.savez(path, x_train=X, y_train=y, x_test=X, y_test=y)
    command = [*RUN, "--datasets", str(path), "--engine", "slurm", "--dry-run"]
    printed = CliRunner().invoke(app, command)
    assert printed.stdout.startswith("#!/bin/bash\n")
    assert "images.npz: training mirrors no image" in printed.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--runners", "0"], "--runners 0: expected 1 to 4"),
        (["--runners", "5"], "--runners 5: expected 1 to 4"),
        (["--time", "soon"], "--time 'soon'"),
        (["--engine", "slurm", "--cpus", "0"], "--cpus 0"),
        (["--engine", "slurm", "--sbatch", "account"], "--sbatch 'account': expected KEY=VALUE"),
        (
            ["--partition", "gpu", "--memory", "4G"],
            "--memory, --partition: only with --engine slurm",
        ),
        (["--methods", "nearest-men"], "did you mean 'nearest-mean'"),
    ],
)
def test_mistakes_are_found_before_anything_is_started(
    options: list[str], message: str, tmp_path: Path
) -> None:
    usual = {"--methods": "nearest-mean", "--engine": "local", "--seeds": "0-3", "--budget": "1e"}
    given = usual | dict(zip(options[::2], options[1::2], strict=True))
    words = [word for pair in given.items() for word in pair]
    with pytest.raises(UserError, match=message):
        ddl_bench(["run", "--out", tmp_path / "out", "--threads", "1", *words])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--runners", "2", "--time", "2h"], "--runners, --time: only with --engine slurm or"),
        (["--for", "nan"], "--for 'nan': expected a time"),
        (["--engine", "local", "--for", "1h", "--wide"], "--for, --wide: not with --engine local"),
        (["--engine", "slurm", "--report", "--open"], "--report, --open: not with --engine slurm"),
        (["--engine", "slurm", "--columns", "seeds"], "--columns: not with --engine slurm, which"),
        (["--engine", "slurm", "--calibrate"], "--calibrate: not with --engine slurm, which"),
    ],
)
def test_options_that_would_do_nothing_are_refused(options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ddl_bench([*RUN, "--dry-run", *options])


def test_a_dry_run_starts_no_runners(tmp_path: Path) -> None:
    text = ddl_bench([*RUN, "--out", tmp_path / "out", "--engine", "local", "--dry-run"])
    assert "results go to" in text
    assert not (tmp_path / "out" / "work" / "runners").exists()


def test_slurm_without_its_programs_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="--engine slurm"):
        ddl_bench([*RUN, "--out", tmp_path / "out", "--engine", "slurm"])


@pytest.mark.parametrize(("options", "code"), [([], 1), (["--for", "5m"], 0)])
def test_cells_that_others_hold_fail_no_runner_of_many(
    options: list[str], code: int, tmp_path: Path
) -> None:
    overrides = Overrides.of(methods="nearest-mean", seeds=range(4), budget="1e", threads=1)
    make_folders(tmp_path)
    held = [claim(claims_folder(tmp_path), cell.id) for cell in plan("quick", overrides)]
    assert None not in held
    text = " ".join(ddl_bench([*RUN, "--out", tmp_path, *options], code).split())
    assert f"without a row: 4 of the cells, held by process {os.getpid()} on" in text


def test_a_short_job_is_not_asked_to_stop_at_its_start() -> None:
    request = engine.RunnerRequest(words=["x"], n_runners=1, seconds=30.0, cpus=1)
    assert request.signal_before_s == 12


def test_local_runners_finish_a_run(tmp_path: Path) -> None:
    ddl_bench([*RUN, "--out", tmp_path, "--engine", "local", "--runners", "2", "--time", "5m"])
    log = tmp_path / "work" / "runners" / "local.log"
    wait_until(lambda: len(list(tmp_path.glob("cells/*.json"))) == 4, log)
    assert {row.status for row in load_rows(tmp_path)} == {"ok"}
    assert "nearest-mean" in log.read_text()


def test_cancelled_local_runners_keep_their_checkpoints(tmp_path: Path) -> None:
    walking = ["run", "--plugin", PLUGINS / "walking.py", "--methods", "walking", "--seeds", "0"]
    ddl_bench([*walking, "--budget", "900e", "--threads", "1", "--out", tmp_path, *LOCAL])
    log = tmp_path / "work" / "runners" / "local.log"
    wait_until(lambda: list(tmp_path.glob("work/*.checkpoint")), log)
    assert "asked to stop" in ddl_bench(["cancel", tmp_path])
    wait_until(lambda: not list(tmp_path.glob("work/claims/*.claim.*")), log)
    assert list(tmp_path.glob("work/*.checkpoint"))
    assert "no engine has started runners" in ddl_bench(["cancel", tmp_path])


LOCAL = ["--engine", "local", "--time", "5m"]


def wait_until(is_true: Callable[[], object], log: Path) -> None:
    deadline = time.monotonic() + 60
    while not is_true() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert is_true(), log.read_text()


@pytest.mark.parametrize("pid", ['"x"', "null", "[1]", "-1", "1e400", "true"])
def test_a_damaged_note_stops_no_cancelling(pid: str, tmp_path: Path) -> None:
    folder = engine.folder_of(tmp_path)
    folder.mkdir(parents=True)
    place = json.dumps(this_process()["place"])
    note = f'{{"engine": "local", "pid": {pid}, "born": 1, "place": {place}}}'
    (folder / "local-1.json").write_text(note)
    (folder / "local-2.json").write_text("[" * 100_000)
    os.mkfifo(folder / "local-3.json")
    (line,) = engine.cancel(tmp_path)
    assert line.endswith("had ended already")


def test_what_cannot_be_cancelled_is_said(tmp_path: Path) -> None:
    folder = engine.folder_of(tmp_path)
    folder.mkdir(parents=True)
    (folder / "local-1.json").write_text(json.dumps({"engine": "local", "pid": 1, "place": "else"}))
    (folder / "junk.json").write_text("{")
    for _ in range(2):  # it stays noted
        (line,) = engine.cancel(tmp_path)
        assert "cannot be reached from here" in line
    with pytest.raises(UserError, match="no such folder"):
        ddl_bench(["cancel", tmp_path / "none"])


@pytest.mark.parametrize(
    ("script", "line", "is_over"),
    [
        ("exit 0", "cancelled", True),
        ("echo Invalid job id specified >&2; exit 1", "Invalid job id specified", True),
        ("echo Access denied >&2; exit 1", "Access denied", False),
    ],
)
def test_a_job_that_slurm_did_not_cancel_stays_noted(
    script: str, line: str, is_over: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scancel = tmp_path / "scancel"
    scancel.write_text(f"#!/bin/sh\n{script}\n")
    scancel.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    note = engine.folder_of(tmp_path) / "slurm-12.json"
    engine.write_note(note, {"engine": "slurm", "job": "12", "n_runners": 1})
    assert engine.cancel(tmp_path) == [f"Slurm job 12: {line}"]
    assert note.exists() != is_over


def test_a_process_that_has_ended_is_not_signalled(tmp_path: Path) -> None:
    note = this_process() | {"engine": "local", "born": -1, "pid": os.getpid()}
    assert engine.cancel_process(note) == (f"process {os.getpid()}: had ended already", True)


def test_a_runner_of_another_user_stays_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    pid = os.getpid()
    note = this_process() | {"engine": "local", "born": born_at(pid), "pid": pid}
    monkeypatch.setattr(os, "kill", refuse)
    assert engine.cancel_process(note) == (
        f"process {pid}: of another user, who can cancel it",
        False,
    )


def test_runners_of_a_rerun_share_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ddl_bench([*RUN, "--out", tmp_path])
    requests: list[list[str]] = []

    def note(request: engine.RunnerRequest, run: Path) -> list[int]:
        requests.append(list(request.words))
        return [1]

    monkeypatch.setattr(engine, "start_local", note)
    monkeypatch.setattr(sys, "argv", ["ddl-bench", "run", "quick"])
    local = [*RUN, "--out", tmp_path, *LOCAL]
    for rerun in (["all"], ["failed"], ["all", "--rerun-before", "2026-11-30"]):
        text = " ".join(ddl_bench([*local, "--rerun", *rerun]).split())
        assert ("ddl-bench run --rerun-before 20" in text) == (len(rerun) == 1)
    assert "run quick" in " ".join(ddl_bench(local).split())
    *reruns, plain = requests
    for words in reruns:
        assert words[1:4] == ["-P", "-m", "ddl_bench"]
        assert words.count("--rerun-before") == 1
    assert "--rerun-before" not in plain
    for wrong in (["--rerun", "all", "--rerun-before", "noon"], ["--rerun-before", "2026-11-30"]):
        with pytest.raises(UserError, match="--rerun-before"):
            ddl_bench([*local, *wrong])
    assert len(requests) == 4
