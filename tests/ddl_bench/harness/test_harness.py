"""The harness: every end of a worker becomes a row, rows survive kills, budgets and limits hold."""

import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from rich.console import Console

from ddl_bench.cli.live import Live
from ddl_bench.errors import UserError
from ddl_bench.files import DamagedFile, is_torn
from ddl_bench.harness import cores
from ddl_bench.harness.claims import claim, claims_folder
from ddl_bench.harness.clock import CellDeadline, Stopwatch
from ddl_bench.harness.folder import checkpoint_path, make_folders
from ddl_bench.harness.progress import Seen
from ddl_bench.harness.run import run
from ddl_bench.harness.supervise import Job
from ddl_bench.harness.view import Silent
from ddl_bench.plan.cell import BudgetSpec, Cell, Limits, Machine
from ddl_bench.plan.expansion import Overrides, plan
from ddl_bench.results.frame import load
from ddl_bench.results.rows import Measured, Row, load_rows, read_row, write_row
from ddl_bench.results.table import summary
from tests.conftest import PLUGINS
from tests.ddl_bench.harness.conftest import StartJob

PLUGIN = PLUGINS / "misbehaving.py"
TRACK = """
name = "t"
machine = {{ threads = 1 }}
limits = {{ time_s = {limit}, memory_gb = {memory} }}
budget = {{ {budget} }}
datasets = [{{ source = "digits" }}]
methods = [{methods}]
"""


@pytest.fixture
def write_track(tmp_path: Path) -> Callable[..., str]:
    def write(
        *methods: str, budget: str = "epochs = 1", limit: float = 60, memory: float = 1.5
    ) -> str:
        path = tmp_path / "t.toml"
        text = TRACK.format(methods=", ".join(methods), budget=budget, limit=limit, memory=memory)
        path.write_text(text)
        return str(path)

    return write


def misbehave(*ways: str, megabytes: int = 0) -> list[str]:
    """Methods of a track that go wrong in these ways."""
    params = '{{ way = "{way}", megabytes = {megabytes} }}'
    return [
        f'{{ name = "misbehave", label = "{way}", '
        f"params = {params.format(way=way, megabytes=megabytes)} }}"
        for way in ways
    ]


def equal_methods(n: int) -> list[str]:
    """Methods of a track that succeed, each with an option of its own."""
    return [
        f'{{ name = "misbehave", label = "m{index}", params = {{ megabytes = {index} }} }}'
        for index in range(n)
    ]


OVERRIDES = Overrides(plugins=(PLUGIN,))


def run_by_label(track: str, out: Path) -> dict[str, Row]:
    """Run a track and return its rows by label."""
    return {row.cell.label: row for row in run(track, out, overrides=OVERRIDES)}


def test_every_way_to_fail_is_a_row_with_a_reason_and_the_run_goes_on(
    write_track: Callable[..., str], tmp_path: Path
) -> None:
    expected = {
        "segfault": ("crashed", "SIGSEGV"),
        "killed": ("crashed", "lack of memory"),
        "exit": ("crashed", "exit code 3 and left no valid result; last output: 'last words'"),
        "exit-politely": ("crashed", "exit code 0"),
        "pipes": ("crashed", "exit code 3 and left no valid result; log: "),
        "raise": ("failed", "RuntimeError: a reason in two lines (misbehaving.py:"),
        "skip": ("skipped", "too small for me"),
        "diverge": ("diverged", "step 17: the loss is nan"),
        "oom": ("oom", "MemoryError: no more"),
        "import": ("not_installed", "pip install no_such_package"),
        "classes": ("failed", "scores of shape (144, 11), expected (144, 10)"),
        "paint": ("failed", "changed the images"),
        "nan": ("diverged", "not finite"),
        "ok": ("ok", ""),
    }
    track = write_track(*misbehave(*expected))
    out = tmp_path / "out"
    rows = run_by_label(track, out)
    assert list(rows) == list(expected)
    for way, (status, reason) in expected.items():
        row = rows[way]
        assert row.status == status, row.reason
        assert reason in row.reason
        assert "\n" not in row.reason
        assert row.provenance["command"].startswith("ddl-bench run")
    assert rows["ok"].measured.accuracy == pytest.approx(10, abs=1)  # one class of ten
    assert rows["ok"].measured.data_note.startswith("the same people wrote")
    assert set(load(out)["status"]) == {status for status, _ in expected.values()}

    assert run_by_label(track, out) == rows, "a second run repeats nothing"
    again = run(track, out, overrides=OVERRIDES, rerun=rows["skip"].cell.id[:6])
    changed = [row.cell.label for row in again if row.started != rows[row.cell.label].started]
    assert changed == ["skip"]


def test_hard_limits_end_the_worker_and_its_children(
    write_track: Callable[..., str], tmp_path: Path
) -> None:
    track = write_track(
        *misbehave("hang-with-child", "orphan"), *misbehave("memory", megabytes=1800), limit=15
    )
    begin = time.time()
    rows = run_by_label(track, tmp_path)
    assert rows["hang-with-child"].status == "timeout"
    assert "'training' after 15 s" in rows["hang-with-child"].reason
    assert rows["memory"].status == "oom"
    assert "the limit is 1.5 GB" in rows["memory"].reason
    assert rows["orphan"].status == "ok"
    assert time.time() - begin < 60
    commands = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert ["sleep", "601"] not in commands
    assert ["sleep", "602"] not in commands


def test_seconds_budget_holds_inside_an_epoch_and_an_overrun_is_marked(
    write_track: Callable[..., str], tmp_path: Path
) -> None:
    track = write_track('{ name = "sleeper" }', '{ name = "deaf" }', budget="seconds = 1.2")
    rows = run_by_label(track, tmp_path)
    sleeper = rows["sleeper"].measured
    assert sleeper.train_s == pytest.approx(1.2, rel=0.05)
    assert sleeper.passes == pytest.approx(0.6, abs=0.1)
    assert not sleeper.over_budget
    assert rows["deaf"].status == "ok"
    assert rows["deaf"].measured.over_budget


class Watcher(Silent):
    """Remembers what the workers say of their progress."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def tick(self, jobs: Sequence[Job]) -> None:
        self.seen += [job.progress() for job in jobs]


def test_progress_is_seen_while_a_method_looks_at_no_clock(
    write_track: Callable[..., str], tmp_path: Path
) -> None:
    track = write_track('{ name = "deaf" }', budget="seconds = 4")
    watcher = Watcher()
    run(track, tmp_path, overrides=OVERRIDES, view=watcher)
    training = [seen.fraction for seen in watcher.seen if seen.phase == "training"]
    assert training == sorted(training)
    assert len(set(training)) > 5
    assert max(training) > 0.8
    assert watcher.seen[0] == Seen("starting", 0.0)


def test_a_training_in_one_go_tells_how_far_it_is_and_test_images_are_counted(
    write_track: Callable[..., str], tmp_path: Path
) -> None:
    watcher = Watcher()
    run(write_track('{ name = "telling" }'), tmp_path, overrides=OVERRIDES, view=watcher)
    training = [seen for seen in watcher.seen if seen.phase == "training"]
    assert {seen.fraction for seen in training} >= {0.0, 0.25, 0.5, 0.75}
    half = [seen.remaining_s for seen in training if seen.fraction == 0.5]
    assert half[0] == pytest.approx(1.2, abs=0.7)
    assert {seen.scored for seen in watcher.seen} == {None, 1.0}


def test_no_file_is_written_by_a_look_at_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("written on the timed path")

    monkeypatch.setattr(Path, "write_text", fail)
    watch = Stopwatch("cpu")
    deadline = CellDeadline(watch, 1e-3)
    with watch:
        while not deadline.expired():
            assert 0 <= deadline.fraction() <= 1
    assert CellDeadline(watch, None).fraction() == 0


def test_plainnet_keeps_a_budget_shorter_than_its_epoch(
    write_track: Callable[..., str], tmp_path: Path
) -> None:
    x = np.random.default_rng(0).integers(0, 256, (2000, 32, 32, 3), dtype=np.uint8)
    y = np.arange(2000) % 10
    colour = tmp_path / "colour.npz"
    np.savez(colour, x_train=x, y_train=y, x_test=x[:100], y_test=y[:100])
    method = '{ name = "plainnet", params = { depth = 9 } }'
    track = write_track(method, budget="seconds = 4", memory=4)
    (row,) = run(track, tmp_path / "out", datasets=colour)
    assert row.status == "ok", row.reason
    assert row.measured.passes is not None
    assert row.measured.passes < 1
    assert row.measured.n_views == 1
    assert row.measured.train_s == pytest.approx(4, abs=3)
    assert not row.measured.over_budget


def test_options_beside_overrides_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run: seeds beside overrides"):
        run("quick", tmp_path, overrides=OVERRIDES, seeds=[0])


def test_phases_account_for_the_wall_time(write_track: Callable[..., str], tmp_path: Path) -> None:
    track = write_track('{ name = "sleeper" }', budget="epochs = 2")
    (row,) = run(track, tmp_path, overrides=OVERRIDES)
    measured = row.measured
    assert measured.train_s
    assert measured.n_train
    assert measured.train_s >= 4.0
    assert measured.train_s == pytest.approx(row.phases["training"], rel=0.02)
    per_image_pass = measured.train_s / measured.n_train / 2
    assert measured.train_s_per_image_pass == pytest.approx(per_image_pass)
    assert row.wall_s
    assert sum(row.phases.values()) >= 0.95 * row.wall_s


def test_a_grid_is_chosen_on_validation_and_its_time_is_counted_apart(
    write_track: Callable[..., str], tmp_path: Path
) -> None:
    track = write_track('{ name = "sleeper", grid = { lag = [1.0, 2.0] } }', budget="seconds = 0.5")
    (row,) = run(track, tmp_path, overrides=OVERRIDES)
    assert row.chosen == {"lag": 1.0}
    assert row.measured.train_s == pytest.approx(0.5, rel=0.1)
    assert row.measured.search_s == pytest.approx(0.5, rel=0.1)


def runner(track: str, out: Path) -> "subprocess.Popen[bytes]":
    """Start a run in a process of its own."""
    options = ["--plugin", str(PLUGIN), "--out", str(out), "--no-report"]
    command = [sys.executable, "-m", "ddl_bench", "run", track, *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def workers(out: Path) -> list[psutil.Process]:
    """List the workers of a run folder and their children: their output is a log in there."""
    alive = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            output = os.readlink(f"/proc/{process.pid}/fd/1")
            if Path(output).is_relative_to(out / "work"):
                alive.append(process)
    return alive


def test_kills_at_random_moments_lose_double_and_tear_nothing(
    write_track: Callable[..., str], tmp_path: Path
) -> None:
    track = write_track(*equal_methods(10))
    out = tmp_path / "out"
    rng = random.Random(0)
    started: dict[str, str] = {}
    for kill in range(20):
        process = runner(track, out)
        time.sleep(rng.uniform(0.3, 2.0))
        if kill % 2:
            for worker in workers(out):
                worker.kill()
            time.sleep(0.3)
        process.kill()
        process.wait()
        for path in out.glob("cells/*.json"):
            row = read_row(path)
            assert row is not None, f"torn: {path}"
            if row.status == "ok":
                first = started.setdefault(row.cell.id, row.started)
                assert row.started == first, "a finished cell was run again"
    deadline = time.time() + 3
    while workers(out) and time.time() < deadline:
        time.sleep(0.1)
    assert not workers(out), "workers outlive their runner"
    process = runner(track, out)
    process.wait()
    run(track, out, overrides=OVERRIDES, rerun="failed")
    rows = load_rows(out)
    assert sorted(row.cell.label for row in rows) == sorted(f"m{index}" for index in range(10))
    assert all(row.status == "ok" for row in rows)
    assert started.items() <= {row.cell.id: row.started for row in rows}.items()


def test_two_runners_on_one_folder_share_the_cells(
    write_track: Callable[..., str], tmp_path: Path
) -> None:
    track = write_track(*equal_methods(4))
    out = tmp_path / "out"
    both = [runner(track, out), runner(track, out)]
    codes = {process.wait(120) for process in both}
    assert codes <= {0, 1}, "1 where the other runner still holds a cell"
    assert 0 in codes
    rows = load_rows(out)
    assert len(rows) == 4
    assert {row.status for row in rows} == {"ok"}
    assert len(list(out.glob("work/*.log"))) == 4


def test_stopping_the_runner_ends_its_workers_and_keeps_rows(
    write_track: Callable[..., str], tmp_path: Path
) -> None:
    track = write_track(*misbehave("ok", "hang"))
    out = tmp_path / "out"
    process = runner(track, out)
    deadline = time.time() + 60
    while not list(out.glob("cells/*.json")) and time.time() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    assert not workers(out)
    assert [row.cell.label for row in load_rows(out)] == ["ok"]
    assert not list(claims_folder(out).glob("*.claim.*"))


def test_a_row_of_junk_is_run_again(write_track: Callable[..., str], tmp_path: Path) -> None:
    track = write_track(*misbehave("ok"))
    overrides = Overrides(plugins=(PLUGIN,))
    (row,) = run(track, tmp_path, overrides=overrides)
    path = tmp_path / "cells" / f"{row.cell.id}.json"
    path.write_text(path.read_text()[:100])
    with pytest.warns(DamagedFile, match="not a row"):
        assert read_row(path) is None
    with pytest.warns(DamagedFile, match="not a row"):
        (again,) = run(track, tmp_path, overrides=overrides)
    assert again.status == "ok"


def test_a_cell_with_torn_arrays_is_run_again(
    write_track: Callable[..., str], tmp_path: Path
) -> None:
    track = write_track(*misbehave("ok"))
    overrides = Overrides(plugins=(PLUGIN,))
    (row,) = run(track, tmp_path, overrides=overrides)
    arrays = tmp_path / "cells" / f"{row.cell.id}.npz"
    whole = arrays.read_bytes()
    arrays.write_bytes(whole[: len(whole) // 2])
    with pytest.warns(DamagedFile, match="run again"):
        (again,) = run(track, tmp_path, overrides=overrides)
    assert again.started != row.started
    assert not is_torn(arrays)
    arrays.unlink()  # as in rows that are published without them
    assert run(track, tmp_path, overrides=overrides) == [again]


def test_a_model_that_cannot_be_kept_costs_no_result(
    write_track: Callable[..., str], tmp_path: Path
) -> None:
    track = write_track(
        '{ name = "unkeepable" }', '{ name = "unkeepable", params = { has_state = true } }'
    )
    rows = run(track, tmp_path, plugins=PLUGIN, keep_models=True)
    assert [row.status for row in rows] == ["ok", "ok"]
    notes = [row.measured.model_note for row in rows]
    assert "cannot be kept" in notes[0]
    assert "RuntimeError: no state today" in notes[1]
    assert all(notes[0] in note or notes[1] in note for note in summary(rows)["note"])


def test_a_row_under_the_name_of_another_cell_is_run_again(
    write_track: Callable[..., str], tmp_path: Path
) -> None:
    track = write_track(*equal_methods(2))
    first, second = run(track, tmp_path, overrides=OVERRIDES)
    path = tmp_path / "cells" / f"{second.cell.id}.json"
    path.write_text((tmp_path / "cells" / f"{first.cell.id}.json").read_text())
    with pytest.warns(DamagedFile, match="its row is that of the cell"):
        rows = run(track, tmp_path, overrides=OVERRIDES)
    assert [row.cell.id for row in rows] == [first.cell.id, second.cell.id]
    assert rows[0] == first


def test_cell_id_hashes_what_matters_and_nothing_else(
    write_track: Callable[..., str], tmp_path: Path
) -> None:
    (cell,) = plan(write_track(*misbehave("ok")), OVERRIDES)
    same: list[dict[str, Any]] = [
        {"label": "x"},
        {"limits": Limits(time_s=1.0)},
        {"track": "y"},
        {"keep_model": True},
        {"data_dir": "/elsewhere"},
    ]
    other: list[dict[str, Any]] = [
        {"seed": 1},
        {"params": {}},
        {"data": "x"},
        {"budget": BudgetSpec(epochs=9)},
        {"machine": Machine(threads=2)},
        {"source": "x"},
    ]
    assert {cell.model_copy(update=change).id for change in same} == {cell.id}
    others = {cell.model_copy(update=change).id for change in other}
    assert len(others | {cell.id}) == len(other) + 1
    assert cell.model_copy(update={"source": "x"}).settings == cell.settings


def test_rows_of_old_code_give_way_to_new_ones(
    write_track: Callable[..., str], tmp_path: Path
) -> None:
    from ddl_bench.results.rows import write_row

    (row,) = run(write_track(*misbehave("ok")), tmp_path, overrides=OVERRIDES)
    old = Row(
        cell=row.cell.model_copy(update={"source": "old"}),
        status="ok",
        measured=Measured(accuracy=1.0),
        started="2000-01-01",
    )
    write_row(tmp_path, old)
    assert load_rows(tmp_path) == [row]


def test_full_disk_is_one_line(tmp_path: Path, write_track: Callable[..., str]) -> None:
    from ddl_bench.errors import UserError

    track = write_track(*misbehave("ok"))
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(UserError, match=r"--out .*file.*: cannot write there"):
        run(track, blocked / "out", overrides=OVERRIDES)
    if os.path.exists("/dev/full"):
        from ddl_bench.files import write_atomically

        (tmp_path / "cells").mkdir()
        target = tmp_path / "cells" / "x.json"
        (tmp_path / "cells" / f".x.json.{os.getpid()}.tmp").symlink_to("/dev/full")
        with pytest.raises(UserError, match=r"x\.json: cannot write: No space left"):
            write_atomically(target, b"row" * 10000)
        assert not target.exists()


def test_two_processes_of_one_number_write_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In containers that share a folder; the second writes while the first waits for the disk."""
    from ddl_bench.files import write_shared

    path = tmp_path / "x.json"
    sync = os.fsync

    def meet(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", sync)
        write_shared(path, b"second")

    monkeypatch.setattr(os, "fsync", meet)
    write_shared(path, b"first")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_take_its_name_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ddl_bench.errors import UserError
    from ddl_bench.files import write_shared

    path = tmp_path / "x.json"
    path.write_bytes(b"old")
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if target == path:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(UserError, match=r"x\.json: cannot write"):
        write_shared(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_worker_reports_the_peak_of_its_memory_and_not_its_runners() -> None:
    assert len(b"x" * 400_000_000) == 4e8  # so much, at least, this process had
    script = """
from ddl_bench.harness.worker import peak_memory
before = peak_memory()
size = len(b"x" * int(1e8))
print(before, peak_memory())
"""
    before, after = map(int, subprocess.check_output([sys.executable, "-c", script]).split())
    assert 1e6 < before < 200e6
    assert after - before == pytest.approx(1e8, rel=0.1)


def first_cell(track: str) -> Cell:
    """Plan the first cell of a track."""
    return plan(track, OVERRIDES)[0]


def take_over(job: Job, row: Row | None = None) -> None:
    """Overrule a job's claim, as a runner does that saw no sign of life; and finish the cell."""
    job.claim.path.with_name(f"{job.cell.id}.claim.2").write_text("{}")
    if row is not None:
        write_row(job.run, row)


def test_a_runner_that_was_overruled_gives_up_and_overwrites_nothing(
    write_track: Callable[..., str], tmp_path: Path, start_job: StartJob
) -> None:
    job = start_job(first_cell(write_track(*misbehave("hang"))), tmp_path / "out")
    measured = Measured(accuracy=1.0)
    rival = Row(cell=job.cell, status="ok", measured=measured, started="by the other runner")
    take_over(job, rival)
    deadline = time.time() + 60
    while not job.is_lost and time.time() < deadline:
        assert job.poll() is None
        time.sleep(0.05)
    job.release()
    assert job.is_lost
    assert not workers(tmp_path / "out")
    assert read_row(tmp_path / "out" / "cells" / f"{job.cell.id}.json") == rival


def test_a_worker_whose_runner_was_overruled_writes_no_row(
    write_track: Callable[..., str], tmp_path: Path, start_job: StartJob
) -> None:
    job = start_job(first_cell(write_track(*misbehave("ok"))), tmp_path / "out")
    take_over(job)
    checkpoint = checkpoint_path(job.run, job.cell.id)
    checkpoint.write_bytes(b"of the other runner")
    deadline = time.time() + 60
    while "another runner has taken this cell over" not in job.log.read_text():
        assert time.time() < deadline, "its runner is suspended, so nobody stops it"
        time.sleep(0.05)
    assert job.poll() is None
    job.release()
    assert checkpoint.exists()
    assert job.is_lost
    assert not list((tmp_path / "out" / "cells").iterdir())


def test_a_failed_worker_leaves_a_newer_row_as_it_is(
    write_track: Callable[..., str], tmp_path: Path, start_job: StartJob
) -> None:
    job = start_job(first_cell(write_track(*misbehave("killed"))), tmp_path / "out")
    measured = Measured(accuracy=1.0)
    rival = Row(cell=job.cell, status="ok", measured=measured, started="by the other runner")
    write_row(tmp_path / "out", rival)
    row = None
    deadline = time.time() + 60
    while row is None and time.time() < deadline:
        row = job.poll()
        time.sleep(0.05)
    job.release()
    assert row == rival


def test_cells_that_others_hold_are_named_at_the_end(
    write_track: Callable[..., str], tmp_path: Path
) -> None:
    """One cell is held by a runner that goes on; the other one is run."""

    class Listener(Silent):
        holders: Mapping[str, str] = {}

        def held(self, holders: Mapping[str, str]) -> None:
            self.holders = holders

    track = write_track(*equal_methods(2))
    first, _ = plan(track, OVERRIDES)
    make_folders(tmp_path / "out")
    claimed = claim(claims_folder(tmp_path / "out"), first.id)
    assert claimed is not None
    listener = Listener()
    rows = run(track, tmp_path / "out", overrides=OVERRIDES, view=listener)
    assert [row.cell.label for row in rows] == ["m1"]
    assert list(listener.holders) == [first.id]
    assert f"process {os.getpid()} on" in listener.holders[first.id]
    claimed.release()
    rows = run(track, tmp_path / "out", overrides=OVERRIDES, view=listener)
    assert len(rows) == 2
    assert not listener.holders


def test_a_cell_that_waits_for_cores_says_so_once_and_for_whom(
    write_track: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    n_cores = len(os.sched_getaffinity(0))
    taken = cores.take(sorted(os.sched_getaffinity(0)), n_cores)
    assert taken is not None
    release = taken.release
    seen: list[Sequence[int]] = []

    class Listener(Silent):
        def lacks_cores(self, users: Sequence[int]) -> None:
            seen.append(users)
            Live(Console()).lacks_cores(users)
            time.sleep(0.1)
            release()

    rows = run(write_track(*misbehave("ok")), tmp_path, overrides=OVERRIDES, view=Listener())
    assert [row.status for row in rows] == ["ok"]
    assert len(seen) == 1
    assert "waits for cores that other runs on this machine use" in capsys.readouterr().out
    if cores.LOCKS.exists():
        assert list(seen[0]) == [os.getpid()]
