"""What has become of the cells of a run folder, read from its files."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ddl_bench.errors import UserError
from ddl_bench.harness import progress
from ddl_bench.harness.claims import STALE_AFTER_S, claim, claims_folder, this_process
from ddl_bench.harness.clock import Phases
from ddl_bench.harness.folder import make_folders
from ddl_bench.harness.planned import plan_files, read_plans, write_plan
from ddl_bench.harness.progress import Progress, Seen, TrainingProgress
from ddl_bench.harness.run import run
from ddl_bench.harness.status import CellStatus, RunStatus, State, read_status
from ddl_bench.plan.cell import Cell, settings_of
from tests.conftest import make_cell, put

N_CELLS = 10_000
MOST_CPU_S = 1.0
MOST_MB = 500


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_folders(tmp_path)
    return tmp_path


def claim_as(folder: Path, cell: Cell, **changes: Any) -> Path:
    """Write the claim of another runner."""
    path = claims_folder(folder) / f"{cell.id}.claim.1"
    path.write_text(json.dumps({**this_process(), "token": "other", **changes}))
    return path


def states(status: RunStatus) -> dict[str, State]:
    return {cell.label: cell.state for cell in status.cells}


def only(status: RunStatus, state: State) -> CellStatus:
    (cell,) = status.of(state)
    return cell


def test_each_state(folder: Path) -> None:
    cells = [make_cell(label) for label in ("a", "b", "c", "d", "e", "f")]
    done, failed, mine, gone, elsewhere, _ = cells
    write_plan(folder, cells)
    put(folder, done, accuracy=90.0)
    put(folder, failed, status="crashed", reason="killed by SIGKILL")
    assert claim(claims_folder(folder), mine.id) is not None
    claim_as(folder, gone, pid=2**22 + 1)
    claim_as(folder, elsewhere, host="node7", place="node7 elsewhere", pid=12)
    status = read_status(folder)
    assert states(status) == {
        "a": "done",
        "b": "failed",
        "c": "running",
        "d": "stale",
        "e": "running",
        "f": "waiting",
    }
    assert status.counts() == {"running": 2, "stale": 1, "waiting": 1, "failed": 1, "done": 1}
    assert only(status, "failed").reason == "killed by SIGKILL"
    assert only(status, "done").accuracy == 90
    running = {cell.label: cell for cell in status.of("running")}
    assert running["c"].holder.startswith(f"process {os.getpid()} on ")
    assert running["e"].holder == "process 12 on node7"


def test_a_runner_of_another_machine_is_stale_without_signs_of_life(folder: Path) -> None:
    cell = make_cell("a")
    path = claim_as(folder, cell, host="node7", place="node7 elsewhere")
    assert only(read_status(folder), "running").cell == cell.id
    long_ago_s = time.time() - STALE_AFTER_S - 60
    os.utime(path, (long_ago_s, long_ago_s))
    assert "node7 is gone" in only(read_status(folder), "stale").reason


def test_a_cell_that_is_run_again_is_running(folder: Path) -> None:
    cell = make_cell("a")
    put(folder, cell, status="failed")
    assert claim(claims_folder(folder), cell.id) is not None
    assert only(read_status(folder), "running").label == "a"


def test_plans_of_several_runs_are_united(folder: Path) -> None:
    first = [make_cell("a"), make_cell("b")]
    second = [make_cell("b"), make_cell("c", seed=3)]
    assert write_plan(folder, first) != write_plan(folder, second)
    write_plan(folder, first)
    assert len(plan_files(folder)) == 2
    planned = {(entry.label, entry.seed) for entry in read_plans(folder).values()}
    assert planned == {("a", 0), ("b", 0), ("c", 3)}


def test_a_pipe_in_place_of_a_plan_is_left_out(folder: Path) -> None:
    before = read_plans(folder)
    os.mkfifo(folder / "work" / "plan-pipe.json")
    assert read_plans(folder) == before


def test_newer_code_of_a_method_replaces_its_plan_and_its_rows(folder: Path) -> None:
    old = make_cell("a", source="old")
    new = make_cell("a", source="new")
    other = make_cell("b")
    write_plan(folder, [old, other])
    put(folder, old)
    put(folder, make_cell("z"))
    write_plan(folder, [new, other])
    assert len(plan_files(folder)) == 1
    status = read_status(folder)
    assert [cell.cell for cell in status.of("waiting")] == [new.id, other.id]
    assert only(status, "done").label == "z"
    assert status.n_outdated == 1


def test_the_settings_of_a_stored_cell_are_those_of_the_cell() -> None:
    cell = make_cell("a", params={"depth": 3}, seed=5)
    assert settings_of(json.loads(cell.model_dump_json())) == cell.settings


def test_a_folder_without_a_plan_shows_what_it_can(folder: Path) -> None:
    put(folder, make_cell("a"))
    started = make_cell("b", seed=4)
    (folder / "work" / f"{started.id}.cell.json").write_text(started.model_dump_json())
    claim_as(folder, started)
    status = read_status(folder)
    assert not status.is_planned
    assert states(status) == {"a": "done", "b": "running"}
    assert only(status, "running").seed == 4


def test_damaged_files_are_left_out(folder: Path) -> None:
    cell = make_cell("a")
    write_plan(folder, [cell])
    (folder / "work" / "plan-damaged.json").write_text('{"columns": 3')
    (folder / "cells" / f"{cell.id}.json").write_text("{")
    (claims_folder(folder) / f"{cell.id}.claim.x").write_text("")
    assert states(read_status(folder)) == {"a": "waiting"}


def test_what_is_no_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run folder"):
        read_status(tmp_path)


def test_the_time_that_is_left_follows_what_is_done(folder: Path) -> None:
    cells = [make_cell("a", seed=seed, expected_s=10.0) for seed in range(3)]
    cells += [make_cell("b", expected_s=50.0), make_cell("c", expected_s=50.0)]
    write_plan(folder, cells)
    assert read_status(folder).remaining_s is None, "nothing runs"
    put(folder, cells[0], wall_s=20.0)
    assert claim(claims_folder(folder), cells[1].id) is not None
    assert claim(claims_folder(folder), cells[3].id) is not None
    write_seen(folder, cells[3], Seen("training", 0.5, train_s=30.0, remaining_s=30.0))
    # One of a kind: 20 s, as measured. Others: twice the track, as `a` took. Two at a time.
    assert read_status(folder).remaining_s == pytest.approx((20 + 20 + 30 + 100) / 2)


def test_one_that_trains_says_how_long_its_kind_takes(folder: Path) -> None:
    cells = [make_cell("a", seed=seed) for seed in range(3)]
    write_plan(folder, cells)
    assert claim(claims_folder(folder), cells[0].id) is not None
    write_seen(folder, cells[0], Seen("training", 0.25, train_s=10.0, remaining_s=30.0))
    assert read_status(folder).remaining_s == pytest.approx(30 + 40 + 40)


def write_seen(folder: Path, cell: Cell, seen: Seen) -> None:
    path = folder / "work" / f"{cell.id}.progress.json"
    progress.write(path, json.dumps(seen._asdict()))


def test_progress_is_shown_with_accuracy_and_time(folder: Path) -> None:
    cell = make_cell("a")
    assert claim(claims_folder(folder), cell.id) is not None
    phases = Phases({})
    path = folder / "work" / f"{cell.id}.progress.json"
    with phases("training"), Progress(path, phases) as written:
        written.standing = lambda: TrainingProgress(0.25, 10.0, 30.0, 91.5)
        wait_for(path, "91.5")
    running = only(read_status(folder), "running")
    assert (running.phase, running.share) == ("training", 0.25)
    assert (running.train_s, running.remaining_s, running.val_accuracy) == (10, 30, 91.5)
    assert progress.read(path).pid == os.getpid()


def wait_for(path: Path, text: str) -> None:
    deadline_s = time.monotonic() + 60
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < deadline_s, path.read_text()
        time.sleep(0.02)


def test_progress_of_an_older_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    path.write_text('{"phase": "training", "fraction": 0.5}')
    assert progress.read(path) == Seen("training", 0.5)
    path.write_text('{"phase": "training"}')
    assert progress.read(path) == Seen()


@pytest.mark.parametrize(
    "damage",
    [
        {"remaining_s": "soon"},
        {"val_accuracy": [1]},
        {"scored": 3.0},
        {"fraction": 7},
        {"fraction": float("nan")},
        {"remaining_s": float("inf")},
    ],
)
def test_damaged_progress_is_none(tmp_path: Path, damage: dict[str, Any]) -> None:
    path = tmp_path / "progress.json"
    path.write_text(json.dumps({"phase": "training", "fraction": 0.5} | damage))
    assert progress.read(path) == Seen()


@pytest.mark.parametrize("measured", [None, 3, ["accuracy"]])
def test_a_row_whose_numbers_are_damaged_ends_no_look(folder: Path, measured: object) -> None:
    cell = make_cell("a")
    put(folder, cell, accuracy=90.0)
    path = folder / "cells" / f"{cell.id}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"measured": measured}))
    assert only(read_status(folder), "done").accuracy is None


def test_a_run_leaves_its_plan(tmp_path: Path) -> None:
    run("quick", tmp_path, methods="nearest-mean", seeds=[0, 1], limit_train=400)
    status = read_status(tmp_path)
    assert status.is_planned
    assert status.counts()["done"] == len(status.cells) == 2
    assert all(cell.expected_s for cell in status.cells)


def test_ten_thousand_cells_take_a_second(folder: Path) -> None:
    cells = [make_cell("a", seed=seed) for seed in range(N_CELLS)]
    row = put(folder, cells[0], accuracy=90.0, wall_s=3.0, provenance={"versions": "x" * 900})
    text = row.model_dump_json(indent=1)
    for cell in cells[1 : N_CELLS // 2]:
        content = text.replace('"seed": 0', f'"seed": {cell.seed}')
        (folder / "cells" / f"{cell.id}.json").write_text(content)
    write_plan(folder, cells)
    code = (
        "import sys, time; from pathlib import Path; from ddl_bench.cli import main; "
        "from ddl_bench.harness.status import read_status; "
        "print(read_status(Path(sys.argv[1])).counts()['waiting'], time.process_time()); "
        "from ddl_bench.harness.worker import peak_memory; "
        "print(peak_memory() / 1e6, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    waiting, cpu_s, megabytes, has_torch = done.stdout.split()
    assert int(waiting) == N_CELLS // 2
    assert float(cpu_s) < MOST_CPU_S
    assert float(megabytes) < MOST_MB
    assert has_torch == "False"
