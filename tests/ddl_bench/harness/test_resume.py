"""A killed cell is resumed from its checkpoint and ends bit-identical."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from ddl_bench.api import Budget, Resumable, Training
from ddl_bench.contract.toys import toy_task
from ddl_bench.errors import UserError
from ddl_bench.harness import checkpoint
from ddl_bench.harness.checkpoint import MADE_BY, Checkpoint, Mark, Point, packed
from ddl_bench.harness.clock import Phases
from ddl_bench.harness.earlier import now, read_time
from ddl_bench.harness.folder import checkpoint_path
from ddl_bench.harness.run import run
from ddl_bench.harness.supervise import Job
from ddl_bench.harness.view import Silent, View
from ddl_bench.plan.expansion import Overrides, plan
from ddl_bench.registry import load_method
from ddl_bench.results.rows import Row, arrays, load_rows
from tests.conftest import PLUGINS, Clock

PLUGIN = PLUGINS / "resumable.py"
TRACK = """
name = "t"
machine = { threads = 1 }
budget = { epochs = 25 }
datasets = [{ source = "digits" }]
[[methods]]
name = "drops"
label = "d/r"
params = { recipe = { batch_size = 512 } }
grid = { dropout = [0.5, 0.2] }
"""


@pytest.mark.parametrize("name", ["drops", "plainnet", "lista", "detrame-plainnet", "averaged"])
def test_state_and_load_give_the_same_end(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "EVERY_S", 0.0)
    task, _ = toy_task()

    def start(n_epochs: int, seed: int = 2) -> Any:
        torch.manual_seed(seed)
        training = load_method(name, [PLUGIN])().start(task, Budget(epochs=4, seed=1))
        for _ in range(n_epochs):
            training.advance(Clock())
        return training

    straight = start(4)
    killed = start(2)
    Checkpoint(tmp_path / "x", Phases({})).save(Mark(n_advances=2), killed)
    killed.advance(SoonOver(2))  # this half of an epoch is lost
    reopened = Checkpoint(tmp_path / "x", Phases({}))
    resumed: Any = reopened.begin(lambda: start(0, seed=3), reopened.mark)[0]
    assert (reopened.mark.n_advances, reopened.resumed) == (2, 1)
    is_resumable = isinstance(resumed, Resumable)
    assert is_resumable
    assert [resumed.advance(Clock()) for _ in range(2)] == [True, False]
    after_kill = resumed.state()
    undisturbed = straight.state()
    for state in (after_kill, undisturbed):
        (optimiser,) = state["optimisers"]
        del optimiser["param_groups"]  # which hold None, which is not compared
    torch.testing.assert_close(after_kill, undisturbed, rtol=0, atol=0)


@dataclass
class SoonOver:
    """A deadline that has expired when it is looked at for the n-th time."""

    n_looks: int

    def fraction(self) -> float:
        return 0.0

    def expired(self) -> bool:
        self.n_looks -= 1
        return self.n_looks <= 0

    def report(self, share: float) -> None:
        pass


@dataclass
class Killer(Silent):
    """Kills the worker so many seconds after its first checkpoint."""

    after_s: float

    def tick(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            path = job.run / "work" / f"{job.cell.id}.checkpoint"
            if path.exists() and path.stat().st_mtime > time.time() - job.seconds:
                time.sleep(self.after_s)
                with contextlib.suppress(ProcessLookupError):  # it may have ended meanwhile
                    os.killpg(job.pid, signal.SIGKILL)


class Undisturbed(NamedTuple):
    """A run that nobody disturbs, beside the tests: its track, its folder, and its process."""

    track: str
    out: Path
    process: "subprocess.Popen[bytes]"


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Undisturbed]:
    out = tmp_path_factory.mktemp("straight")
    track = out / "t.toml"
    track.write_text(TRACK)
    options = ["--plugin", str(PLUGIN), "--out", str(out), "--no-report"]
    command = [sys.executable, "-m", "ddl_bench", "run", str(track), *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        yield Undisturbed(str(track), out, process)


def test_killed_workers_are_resumed_to_the_identical_end(
    straight: Undisturbed, tmp_path: Path
) -> None:
    def run_again(view: View | None = None) -> Row:
        overrides = Overrides(plugins=(PLUGIN,))
        (row,) = run(straight.track, tmp_path, overrides=overrides, rerun="failed", view=view)
        return row

    rng = random.Random(0)
    for moments in ((0.0, 0.5), (0.8, 1.4)):  # in the first grid point, and in the second
        row = run_again(Killer(rng.uniform(*moments)))
        assert "killed by SIGKILL" in row.reason, row
    row = run_again()
    assert straight.process.wait(300) == 0
    (expected,) = load_rows(straight.out)
    assert row.measured.accuracy == expected.measured.accuracy
    assert row.measured.passes == expected.measured.passes
    assert (row.resumed, expected.resumed) == (2, 0)
    after_kills = arrays(tmp_path, row.cell.id)
    undisturbed = arrays(straight.out, row.cell.id)
    for name in ("predictions", "loss_mean", "loss_step"):
        assert np.array_equal(after_kills[name], undisturbed[name]), name
    assert (np.diff(after_kills["loss_seconds"]) > 0.09).all(), "the clock goes on"
    for each in (row, expected):
        assert min(each.measured.train_s or 0, each.measured.search_s or 0) > 25 * 3 * 0.03
        assert sum(each.phases.values()) == pytest.approx(each.wall_s, rel=0.1)
    assert not list((tmp_path / "work").glob("*checkpoint*"))


def saved(**changes: object) -> bytes:
    content = {
        "made_by": MADE_BY,
        "mark": Mark(),
        "best": None,
        "spent_s": 1.0,
        "resumed": 1,
        "phases": {},
    }
    return packed(content | changes)


@pytest.mark.parametrize("seed", range(60))
def test_a_flipped_byte_is_never_loaded(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = torch.arange(100.0)
    data = bytearray(saved(mark=Mark(n_advances=1, state={"training": weights})))
    rng = np.random.default_rng(seed)
    place = int(rng.integers(len(data)))
    data[place] ^= int(rng.integers(1, 256))
    (tmp_path / "x").write_bytes(data)
    assert Checkpoint(tmp_path / "x", Phases({})).mark == Mark()
    assert "SHA-256 is wrong" in capsys.readouterr().out


def test_a_worker_that_was_overruled_leaves_the_checkpoint_of_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "EVERY_S", 0.0)
    task, _ = toy_task()
    training = load_method("drops", [PLUGIN])().start(task, Budget(epochs=1, seed=1))
    path = tmp_path / "x"
    overruled = Checkpoint(path, Phases({}), before_writing=sys.exit)
    path.write_bytes(b"of the other")
    with pytest.raises(SystemExit):
        overruled.save(Mark(n_advances=1), training)
    assert path.read_bytes() == b"of the other"


def test_a_pipe_is_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "x")
    assert Checkpoint(tmp_path / "x", Phases({})).mark == Mark()
    assert "checkpoint ignored" in capsys.readouterr().out


def test_a_mark_comes_back_with_its_curves(tmp_path: Path) -> None:
    mark = Mark(n_advances=1, curve=[Point(1.0, 90.0, 1)], losses=[Point(1.0, 0.5, 1)])
    (tmp_path / "x").write_bytes(saved(mark=mark, phases={"training": 2.0}))
    phases = Phases({"training": 1.0})
    reopened = Checkpoint(tmp_path / "x", phases)
    assert reopened.mark == mark
    assert reopened.mark.curve[-1].value == 90
    assert (reopened.spent_s, reopened.resumed, reopened.earlier_s) == (1.0, 1, 2.0)
    assert phases.seconds == {"training": 3.0}


JUNK = [
    b"",
    b"junk",
    saved()[:-200],
    saved(made_by={"format": 0}),
    saved(spent_s=os.getpid),
    saved(mark=[1]),
]


@pytest.mark.parametrize("junk", JUNK, ids=["empty", "junk", "torn", "version", "code", "parts"])
def test_what_is_no_checkpoint_is_ignored(
    junk: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").write_bytes(junk)
    reopened = Checkpoint(tmp_path / "x", Phases({}))
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'x'}: checkpoint ignored: ")
    assert (reopened.mark, reopened.best) == (Mark(), None)
    assert (reopened.spent_s, reopened.resumed) == (0, 0)
    _, mark = reopened.begin(start_drops, Mark(n_advances=1))  # with no state in it
    assert "ignored: KeyError" in capsys.readouterr().out
    assert (mark, reopened.resumed) == (Mark(), 0)


def start_drops() -> Training:
    task, _ = toy_task()
    return load_method("drops", [PLUGIN])().start(task, Budget(epochs=1))


def test_a_stale_checkpoint_goes_with_its_row_and_is_not_used_by_rerun_all(tmp_path: Path) -> None:
    overrides = Overrides(methods=["nearest-mean"], seeds=[0])
    (cell,) = plan("quick", overrides)
    stale = tmp_path / "work" / f"{cell.id}.checkpoint"
    log = stale.with_suffix(".log")
    stale.parent.mkdir()
    for rerun, is_read in (("", True), ("all", False)):
        stale.write_bytes(b"junk")
        (row,) = run("quick", tmp_path, overrides=overrides, rerun=rerun)
        assert row.status == "ok"
        assert ("checkpoint ignored" in log.read_text()) == is_read
        assert not stale.exists()


def test_a_rerun_that_was_stopped_goes_on_with_its_rest(tmp_path: Path) -> None:
    overrides = Overrides.of(methods="nearest-mean", seeds=[0, 1])
    before = {row.cell.id: row for row in run("quick", tmp_path, overrides=overrides)}
    first, second = before
    stamp = now()
    (again,) = run("quick", tmp_path, methods="nearest-mean", seeds=0, rerun="all")
    assert again.started > before[first].started
    checkpoint = checkpoint_path(tmp_path, second)
    checkpoint.write_bytes(b"junk")
    rest = run("quick", tmp_path, overrides=overrides, rerun="all", rerun_before=stamp)
    rows = {row.cell.id: row for row in rest}
    assert rows[first] == again
    assert rows[second].started > stamp
    log = (tmp_path / "work" / f"{second}.log").read_text()
    assert "checkpoint ignored" in log, "it was left for the rest"
    third = run("quick", tmp_path, overrides=overrides, rerun="all", rerun_before=stamp)
    assert {row.cell.id: row for row in third} == rows


def test_a_time_of_a_rerun_is_read_or_refused(tmp_path: Path) -> None:
    overrides = Overrides.of(methods="nearest-mean", seeds=0)
    for rerun, before, message in (
        ("all", "noon", "--rerun-before 'noon': expected a time such"),
        ("", "2026-11-30", "--rerun-before: only with --rerun"),
    ):
        with pytest.raises(UserError, match=message):
            run("quick", tmp_path, overrides=overrides, rerun=rerun, rerun_before=before)
    assert read_time("2026-11-30T12:00") == read_time("2026-11-30T13:00+01:00")


def test_a_checkpoint_is_written_seldom_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)
    costs = iter([0.125, 0.5, 5.0, 0.0625, 0.0])
    saves: list[float] = []

    def write(*_: object) -> None:
        saves.append(clock.now)
        clock.now += next(costs)

    monkeypatch.setattr(checkpoint, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(checkpoint, "write_atomically", write)
    reopened = Checkpoint(tmp_path / "x", Phases({}))
    training = start_drops()
    while len(saves) < 5:
        clock.now += 0.125
        reopened.save(Mark(), training)
    assert np.diff([0.0, *saves]).tolist() == [1.0, 0.125 + 6.25, 0.5 + 25, 5 + 30, 0.0625 + 3.125]
