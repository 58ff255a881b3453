"""Curves for TensorBoard grow while a cell trains, and neither resuming nor faults bend them."""

import errno
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from ddl_bench.errors import UserError
from ddl_bench.files import append_at
from ddl_bench.harness import curves, points
from ddl_bench.harness.checkpoint import Mark, Point
from ddl_bench.harness.claims import claim
from ddl_bench.harness.curves import Follower, GrowingCurves
from ddl_bench.harness.folder import points_path
from ddl_bench.harness.points import Points
from ddl_bench.harness.run import run
from ddl_bench.harness.supervise import Job
from ddl_bench.harness.view import Silent
from ddl_bench.plan.expansion import Overrides, plan
from ddl_bench.results import tensorboard
from ddl_bench.results.rows import Row, arrays, digest
from ddl_bench.results.tensorboard import ACCURACY, LOSS, EventFile, ShownPoint
from tests.conftest import PLUGINS, ddl_bench, make_cell, make_row, put

PLUGIN = PLUGINS / "resumable.py"
PROTOCOL = "tensorboard.compat.proto.event_pb2"
N_EPOCHS = 25
TRACK = f"""
name = "t"
machine = {{ threads = 1 }}
budget = {{ epochs = {N_EPOCHS} }}
datasets = [{{ source = "digits" }}]
[[methods]]
name = "drops"
label = "drops"
params = {{ recipe = {{ batch_size = 512 }} }}
"""
FEW = ["--methods", "nearest-mean", "--seeds", "0", "--budget", "1e", "--no-report"]

needs_extra = pytest.mark.skipif(find_spec("tensorboard") is None, reason="an extra")
pytestmark = pytest.mark.filterwarnings("ignore")  # of tensorboard's own


def reader_of(folder: Path) -> Any:
    """A TensorBoard that looks at a folder, and again at each `Reload`."""
    module = import_module("tensorboard.backend.event_processing.event_accumulator")
    return module.EventAccumulator(str(folder))


def steps(reader: Any, title: str) -> list[int]:
    """The epochs that are shown of a curve."""
    reader.Reload()
    if title not in reader.Tags()["scalars"]:
        return []
    return [event.step for event in reader.Scalars(title)]


class Seen(NamedTuple):
    """The epochs that were shown of both curves at a moment, while the cell trained."""

    accuracy: list[int]
    loss: list[int]


class Watcher(Silent):
    """Looks at the curves of the one cell while it trains; may kill it once there are some."""

    def __init__(self, reader: Any, *, kills: bool) -> None:
        self.seen: list[Seen] = []
        self._reader = reader
        self._kills = kills

    def tick(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self.seen.append(Seen(steps(self._reader, ACCURACY), steps(self._reader, LOSS)))
            has_checkpoint = any(job.run.glob("work/*.checkpoint"))
            if self._kills and has_checkpoint and len({len(each.loss) for each in self.seen}) > 3:
                self._kills = False
                os.killpg(job.pid, signal.SIGKILL)


@needs_extra
def test_curves_grow_while_a_cell_trains_and_go_on_where_it_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "LOOK_EVERY_S", 0.1)
    track = tmp_path / "t.toml"
    track.write_text(TRACK)
    (cell,) = plan(str(track), Overrides(plugins=(PLUGIN,)))
    folder = tensorboard.folder_of(tmp_path, cell)
    folder.mkdir(parents=True)
    reader = reader_of(folder)

    def run_watched(*, kills: bool) -> tuple[Row, list[Seen]]:
        watcher = Watcher(reader, kills=kills)
        (row,) = run(
            str(track),
            tmp_path,
            plugins=[PLUGIN],
            rerun="failed",
            view=watcher,
            tensorboard=True,
        )
        return row, watcher.seen

    killed, before = run_watched(kills=True)
    assert "killed by SIGKILL" in killed.reason
    row, after = run_watched(kills=False)
    assert row.resumed == 1
    for seen in (before, after):
        lengths = [len(each.loss) for each in seen]
        assert len({length for length in lengths if 0 < length < N_EPOCHS}) > 1, "they grow"
    for each in (*before, *after):
        for shown in each:
            assert shown == sorted(set(shown)), "neither doubled nor crossing"
    stored = arrays(tmp_path, row.cell.id)
    assert row.measured.predictions_sha256 == digest(stored["predictions"])
    for _ in range(2):
        for each in (reader, reader_of(folder)):  # one that has seen it all, and a new one
            assert steps(each, LOSS) == stored["loss_step"].tolist()
            assert steps(each, ACCURACY) == stored["curve_step"].tolist()
        # written again from the row
        options = ["--plugin", PLUGIN, "--out", tmp_path, "--no-report", "--tensorboard"]
        ddl_bench(["run", track, *options])
    for title, (prefix, values) in tensorboard.CURVES.items():
        shown = reader.Scalars(title)
        assert [event.value for event in shown] == pytest.approx(stored[f"{prefix}_{values}"])
        seconds = np.diff([event.wall_time for event in shown])
        assert seconds == pytest.approx(np.diff(stored[f"{prefix}_seconds"]), abs=1e-3)
    assert not list(tmp_path.glob("work/*.curves"))


@needs_extra
def test_each_point_of_a_grid_has_curves_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "points"
    path.touch()
    written = Points(path)
    follower = Follower(path, tmp_path / "events", 0.0)
    reader = None
    for index in range(3):
        mark = Mark(index=index)
        for epoch in range(1, 4):
            mark.curve.append(Point(epoch / 2, 90.0, epoch))
            written.write(mark)
            follower.look()
            reader = reader or reader_of(tmp_path / "events")
            assert steps(reader, ACCURACY) == list(range(1, epoch + 1))


def test_without_the_file_of_a_runner_no_points_are_written(tmp_path: Path) -> None:
    Points(tmp_path / "points").write(Mark(losses=[Point(1.0, 0.5, 1)]))
    assert not list(tmp_path.iterdir())


@needs_extra
def test_what_a_full_disk_tore_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def append_some(path: Path, size: int, data: bytes) -> int:
        append_at(path, size, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "points"
    path.touch()
    written = Points(path)
    follower = Follower(path, tmp_path / "events", 0.0)
    mark = Mark()
    for epoch in range(1, 7):
        mark.losses.append(Point(float(epoch), 0.5, epoch))
        is_full = epoch in (1, 2, 4)
        with monkeypatch.context() as patch:
            if is_full:
                patch.setattr(points, "append_at", append_some)
                patch.setattr(tensorboard, "append_at", append_some)
            written.write(mark)
            try:
                follower.look()
            except OSError:
                assert is_full
    assert steps(reader_of(tmp_path / "events"), LOSS) == [1, 2, 3, 4, 5, 6]


@needs_extra
@pytest.mark.parametrize("fault", ["file", "package", "points"])
def test_no_fault_of_curves_is_more_than_a_line(
    fault: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    started = "2026-01-01T00:00:00+00:00"
    row = put(tmp_path, make_cell("a"), np.ones(10, bool), {}, started=started)
    path = points_path(tmp_path, row.cell.id)
    path.parent.mkdir()
    path.write_text(f'[0, "{LOSS}", 1, 1.0, 0.5]\n')
    match fault:
        case "file":
            (tmp_path / "tensorboard").write_text("a file where the folder should be")
        case "package":
            monkeypatch.setitem(sys.modules, PROTOCOL, None)
        case "points":
            path.write_text("[[\n")
    growing = GrowingCurves(tmp_path, is_on=True)
    claimed = claim(path.parent, row.cell.id)
    job: Any = SimpleNamespace(cell=row.cell, claim=claimed, seconds=1.0, is_lost=False)
    monkeypatch.setattr(curves, "LOOK_EVERY_S", 0.0)
    for _ in range(2):
        growing.look([job])
    growing.ended(job, row)
    assert capsys.readouterr().err.count("ddl-bench: no curves for TensorBoard for now: ") == 1


def test_the_option_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PROTOCOL, None)
    for more in ([], ["--engine", "local"]):
        with pytest.raises(UserError, match=r"pip install 'ddl-bench\[tensorboard\]'$"):
            ddl_bench(["run", *FEW, "--tensorboard", "--out", tmp_path / "out", *more])
    assert not (tmp_path / "out").exists()


@needs_extra
def test_curves_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    row = put(tmp_path, make_cell("a"), np.ones(10, bool), {}, started="2026-01-01T00:00:00+00:00")
    (tmp_path / "tensorboard").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot write the curves; the rows are kept"):
        tensorboard.write(tmp_path, [row])
    failed = make_row(make_cell("b"), status="failed", started="2026-01-01T00:00:00+00:00")
    tensorboard.write(tmp_path, [failed])


@needs_extra
def test_cells_of_one_label_and_one_name_of_a_data_set_have_curves_of_their_own(
    tmp_path: Path,
) -> None:
    cells = [make_cell("a", dataset=f"{place}/x.npz", data=place) for place in ("here", "there")]
    rows = [put(tmp_path, cell, np.ones(10, bool), {}, started="not a date") for cell in cells]
    tensorboard.write(tmp_path, rows)
    for cell in cells:
        assert list(tensorboard.folder_of(tmp_path, cell).iterdir())
    assert len({tensorboard.folder_of(tmp_path, cell) for cell in cells}) == 2


@needs_extra
def test_event_files_count_up_and_one_has_content(tmp_path: Path) -> None:
    for number in range(4):
        events = EventFile(tmp_path, 0.0)
        events.append([ShownPoint(LOSS, 1, 1.0, 0.5)])
        paths = sorted(tmp_path.iterdir())
        assert len(paths) == min(number + 1, 2)
        assert paths[-1].name == f"{tensorboard.PREFIX}{number:06d}"
        assert [path.stat().st_size > 0 for path in paths][-2:] in ([True], [False, True])
    os.truncate(paths[-1], 0)
    with pytest.raises(OSError, match="shortened by another process"):
        events.append([ShownPoint(LOSS, 2, 1.0, 0.5)])
