"""A killed cell goes on from its checkpoint to the bit-identical end; curves for TensorBoard. Also a plugin."""

import io
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
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from ddl_bench.api import Budget, Resumable, Task
from ddl_bench.cli import main as cli
from ddl_bench.contract import toy_task
from ddl_bench.errors import UserError
from ddl_bench.harness import checkpoint
from ddl_bench.harness.checkpoint import MADE_BY, Checkpoint, Mark
from ddl_bench.harness.clock import Phases
from ddl_bench.harness.run import Silent, run
from ddl_bench.harness.supervise import Job
from ddl_bench.plan.expansion import Overrides, plan
from ddl_bench.registry import load_method
from ddl_bench.results import tensorboard as curves
from ddl_bench.results.rows import arrays, load_rows
from ddl_bench.training.backbones import Normalise
from ddl_bench.training.method import NetworkMethod
from ddl_bench.training.recipe import RecipeOptions
from detrame.methods.fastnet import DeTraMeFastNet

PLUGIN = Path(__file__)
PHASES = Phases({}, lambda name: None)
NEVER: Any = SimpleNamespace(fraction=float, expired=bool)
TRACK = """
name = "t"
machine = { threads = 1 }
budget = { epochs = 25 }
datasets = [{ source = "digits" }]
methods = [{ name = "drops", label = "d/r", params = { recipe = { batch_size = 512 } }, grid = { dropout = [0.5, 0.2] } }]
"""


class Lag(nn.Dropout):
    """Draws from torch's own generator at each step, which then takes 30 ms more."""

    def project_(self) -> None:
        time.sleep(0.03)


@dataclass(frozen=True, kw_only=True)
class Drops(NetworkMethod):
    name: ClassVar[str] = "drops"
    dropout: float = 0.5

    def network(self, task: Task) -> nn.Module:
        linear = nn.Linear(task.train.X[0].numel(), task.n_classes)
        return nn.Sequential(
            Normalise(1), nn.Flatten(), linear, nn.BatchNorm1d(task.n_classes), Lag(self.dropout)
        )


AVERAGED = RecipeOptions(lookahead=True)


@dataclass(frozen=True, kw_only=True)
class Averaged(DeTraMeFastNet):
    name: ClassVar[str] = "averaged"
    recipe: Literal["fast", "paper"] | RecipeOptions = AVERAGED


@pytest.mark.parametrize("name", ["drops", "plainnet", "lista", "detrame-plainnet", "averaged"])
def test_state_and_load_give_the_same_end(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    task, _ = toy_task()

    def start(n_epochs: int, seed: int = 2) -> Any:
        torch.manual_seed(seed)
        training = load_method(name, [PLUGIN])().start(task, Budget(epochs=4, seed=1))
        assert [training.advance(NEVER) for _ in range(n_epochs)] == [True, True, True, False][
            :n_epochs
        ]
        return training

    straight, killed = start(4), start(2)
    Checkpoint(tmp_path / "x", PHASES).save(Mark(n_advances=2), killed)
    killed.advance(
        SimpleNamespace(fraction=float, expired=iter([False, True, True]).__next__)
    )  # lost in mid-epoch
    kept = Checkpoint(tmp_path / "x", PHASES)
    after: Any = kept.begin(lambda: start(0, seed=3), kept.mark)[0]
    assert (kept.mark.n_advances, kept.resumed, isinstance(after, Resumable)) == (2, 1, True)
    assert [after.advance(NEVER) for _ in range(2)] == [True, False]
    ours, theirs = after.state(), straight.state()
    for state in (ours, theirs):
        (optimiser,) = state["optimisers"]
        del optimiser["param_groups"]  # which hold None, which is not compared
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@dataclass
class Killer(Silent):
    """Kills the worker so many seconds after its first checkpoint."""

    after: float

    def tick(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            path = job.run / "work" / f"{job.cell.id}.checkpoint"
            if path.exists() and path.stat().st_mtime > time.time() - job.seconds:
                time.sleep(self.after)
                os.killpg(job._process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def straight(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, Path, "subprocess.Popen[bytes]"]]:
    """A run that nobody disturbs, beside the others: its track, its folder, and its process."""
    out = tmp_path_factory.mktemp("straight")
    track = out / "t.toml"
    track.write_text(TRACK)
    command = [
        "-m",
        "ddl_bench",
        "run",
        str(track),
        "--plugin",
        __file__,
        "--out",
        str(out),
        "--no-report",
    ]
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL) as process:
        yield str(track), out, process


def test_killed_workers_go_on_to_the_identical_end(
    straight: tuple[str, Path, Any], tmp_path: Path
) -> None:
    (track, out, process), overrides = straight, Overrides(plugins=(PLUGIN,))
    for moments in ((0.0, 0.5), (0.8, 1.4)):  # in the first grid point, and in the second
        (row,) = run(
            track,
            tmp_path,
            overrides=overrides,
            rerun="failed",
            view=Killer(random.uniform(*moments)),
        )
        assert "killed by SIGKILL" in row.reason, row
    (row,) = run(track, tmp_path, overrides=overrides, rerun="failed")
    assert process.wait(300) == 0
    (expected,) = load_rows(out)
    assert (row.measured.accuracy, row.measured.passes, row.resumed, expected.resumed) == (
        expected.measured.accuracy,
        expected.measured.passes,
        2,
        0,
    )
    ours, theirs = (arrays(folder, row.cell.id) for folder in (tmp_path, out))
    assert all(
        np.array_equal(ours[name], theirs[name])
        for name in ("predictions", "loss_mean", "loss_step")
    )
    assert (np.diff(ours["loss_seconds"]) > 0.09).all(), "the clock goes on"
    for each in (row, expected):
        assert min(each.measured.train_s or 0, each.measured.search_s or 0) > 25 * 3 * 0.03
        assert sum(each.phases.values()) == pytest.approx(each.wall_s, rel=0.1)
    assert not list((tmp_path / "work").glob("*checkpoint*"))


def saved(**changes: object) -> bytes:
    content = {
        "made_by": MADE_BY,
        "mark": Mark(),
        "best": None,
        "spent": 1.0,
        "resumed": 1,
        "phases": {},
    }
    buffer = io.BytesIO()
    torch.save(content | changes, buffer)
    return buffer.getvalue()


JUNK = [b"", b"junk", saved()[:-200], saved(made_by={"format": 0}), saved(spent=os.getpid)]


@pytest.mark.parametrize("junk", JUNK, ids=["empty", "junk", "torn", "version", "code"])
def test_what_is_no_checkpoint_is_ignored(
    junk: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").write_bytes(junk)
    kept = Checkpoint(tmp_path / "x", PHASES)
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'x'}: checkpoint ignored: ")
    assert (kept.mark, kept.best, kept.spent, kept.resumed) == (Mark(), None, 0, 0)
    _, mark = kept.begin(lambda: Drops().start(toy_task()[0], Budget(epochs=1)), Mark(n_advances=1))
    assert (mark, kept.resumed, "ignored: KeyError" in capsys.readouterr().out) == (
        Mark(),
        0,
        True,
    ), "no state in it"


def test_a_stale_checkpoint_goes_with_its_row_and_is_not_used_by_rerun_all(tmp_path: Path) -> None:
    overrides = Overrides(methods=["nearest-mean"], seeds=[0])
    (cell,) = plan("quick", overrides)
    stale, log = (tmp_path / "work" / f"{cell.id}.{part}" for part in ("checkpoint", "log"))
    stale.parent.mkdir()
    for rerun, used in (("", True), ("all", False)):
        stale.write_bytes(b"junk")
        (row,) = run("quick", tmp_path, overrides=overrides, rerun=rerun)
        assert (row.status, "checkpoint ignored" in log.read_text(), stale.exists()) == (
            "ok",
            used,
            False,
        )


def test_a_checkpoint_is_written_seldom_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, costs, saves = SimpleNamespace(now=0.0), iter([0.125, 0.5, 5.0, 0.0625, 0.0]), []

    def write(*_: object) -> None:
        saves.append(clock.now)
        clock.now += next(costs)

    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(checkpoint, "write_atomically", write)
    kept, training = (
        Checkpoint(tmp_path / "x", PHASES),
        Drops().start(toy_task()[0], Budget(epochs=1)),
    )
    while len(saves) < 5:
        clock.now += 0.125
        kept.save(Mark(), training)
    assert np.diff([0.0, *saves]).tolist() == [1.0, 0.125 + 6.25, 0.5 + 25, 5 + 30, 0.0625 + 3.125]


def test_tensorboard_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'ddl-bench\[tensorboard\]'$"):
        CliRunner().invoke(
            cli.app,
            ["run", "--tensorboard", "--out", str(tmp_path / "out")],
            catch_exceptions=False,
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore")  # of tensorboard's own
def test_tensorboard_shows_the_curves(straight: tuple[str, Path, Any]) -> None:
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="an extra"
    )
    track, out, process = straight
    assert process.wait(300) == 0
    for _ in range(2):  # written anew, not twice
        options = ["--plugin", str(PLUGIN), "--out", str(out), "--no-report", "--tensorboard"]
        assert CliRunner().invoke(cli.app, ["run", track, *options]).exit_code == 0
    events = reader.EventAccumulator(str(out / "tensorboard" / "digits" / "d_r-0")).Reload()
    kept = arrays(out, load_rows(out)[0].cell.id)
    for tag, (of, what) in curves.CURVES.items():
        found = events.Scalars(tag)
        assert [event.value for event in found] == pytest.approx(kept[f"{of}_{what}"])
        assert [event.step for event in found] == kept[f"{of}_step"].tolist()
        assert np.diff([event.wall_time for event in found]) == pytest.approx(
            np.diff(kept[f"{of}_seconds"]), abs=1e-3
        )
