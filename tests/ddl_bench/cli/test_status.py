"""What `ddl-bench status` prints."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from rich.console import Console

from ddl_bench.cli import live
from ddl_bench.cli import status as view
from ddl_bench.cli.live import said, share_of
from ddl_bench.cli.output import as_duration
from ddl_bench.harness.claims import Claim, claim
from ddl_bench.harness.folder import make_folders
from ddl_bench.harness.planned import write_plan
from ddl_bench.harness.progress import Seen, write
from ddl_bench.harness.supervise import Job
from tests.conftest import ddl_bench, make_cell, make_row, put


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run with one cell done, one failed, one running in this process and one waiting."""
    make_folders(tmp_path)
    cells = [make_cell(label, expected_s=60.0) for label in ("a", "b", "c", "d")]
    write_plan(tmp_path, cells)
    put(tmp_path, cells[0], accuracy=90.0, wall_s=60.0)
    put(tmp_path, cells[1], status="diverged", reason="the loss is nan [1]")
    claimed = claim(tmp_path / "work", cells[2].id)
    assert isinstance(claimed, Claim)
    seen = Seen("training", 0.25, train_s=100.0, remaining_s=300.0, val_accuracy=91.5)
    write(tmp_path / "work" / f"{cells[2].id}.progress.json", json.dumps(seen._asdict()))
    return tmp_path


def test_status_for_people(folder: Path) -> None:
    text = ddl_bench(["status", folder])
    words = " ".join(text.split())
    assert "1 done, 1 failed, 1 waiting, 1 running; about 6 min left" in words
    assert "b on digits, seed 0" in words
    assert "the loss is nan [1]" in words
    for part in ("c on digits, seed 0", "training", "25 %", "91.5 %", "5 min"):
        assert part in words, part


def test_status_for_scripts(folder: Path) -> None:
    record = json.loads(ddl_bench(["status", folder, "--json"]))
    assert record["counts"] == {"running": 1, "stale": 0, "waiting": 1, "failed": 1, "done": 1}
    assert record["remaining_s"] == 360
    assert [cell["state"] for cell in record["cells"]] == ["done", "failed", "running", "waiting"]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_watching_ends_when_nothing_is_left(
    folder: Path, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def finish(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            for path in (folder / "work").glob("*.claim.*"):
                path.unlink()
            for label in ("c", "d"):
                put(folder, make_cell(label, expected_s=60.0), accuracy=95.0)

    monkeypatch.setattr(view, "time", SimpleNamespace(sleep=finish))  # threads of others sleep, too
    text = ddl_bench(["status", folder, "--watch", *options])
    assert looks == 2
    if options:
        assert [json.loads(line)["counts"]["done"] for line in text.splitlines()] == [1, 1, 3]
    else:
        headlines = [line for line in text.splitlines() if " done" in line and "failed" in line]
        assert len(headlines) == 2, "one for each change"
        assert "3 done, 1 failed" in headlines[-1]


def test_long_lists_are_cut(tmp_path: Path) -> None:
    for seed in range(view.MOST_LINES + 3):
        put(tmp_path, make_cell("a", seed=seed), status="failed", reason="broken")
    text = ddl_bench(["status", tmp_path])
    assert text.count("broken") == view.MOST_LINES
    assert "and 3 more" in text
    assert "no plan is kept" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (99, "99 s"),
        (180, "3 min"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (86_400, "1 day"),
        (71_336.7 * 60, "49 days 13 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert as_duration(seconds) == text


def test_a_bar_says_accuracy_and_time() -> None:
    assert said(Seen()) == "starting"
    assert said(Seen("training", 0.5)) == "training"
    seen = Seen("training", 0.5, train_s=60.0, remaining_s=240.0, val_accuracy=91.52)
    assert said(seen) == "training, 91.5 % on validation images, 4 min left"
    assert said(seen._replace(phase="saving")) == "saving, 91.5 % on validation images"
    assert share_of(seen) == 0.5
    assert share_of(seen._replace(phase="evaluation")) == 0.5, "between epochs"
    assert share_of(seen._replace(phase="evaluation", scored=0.3)) == 0.3


class StubJob:
    """A running cell that is half through its training."""

    def __init__(self, label: str) -> None:
        self.cell = make_cell(label, expected_s=60.0)

    is_asked = False

    def progress(self) -> Seen:
        return Seen("training", 0.5, train_s=60.0, remaining_s=120.0, val_accuracy=91.5)


def test_a_piped_run_prints_a_line_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr(live, "monotonic", lambda: now_s)
    console = Console(file=io.StringIO(), width=300)
    view = live.Live(console)
    job = StubJob("b")
    finished = make_row(make_cell("a", expected_s=60.0), status="ok", wall_s=90.0, accuracy=90.0)
    with view:
        view.planned(3, [finished])
        view.waiting([job.cell, make_cell("c", expected_s=60.0)])
        for _ in range(121):
            view.tick(cast(list[Job], [job]))
            now_s += 1
    lines = [text for text in output_of(console).splitlines() if "done" in text]
    assert len(lines) == 2
    # b takes 120 s more, and c 90 s: half as long again as the track says, as a did.
    assert lines[0] == (
        "  1 of 3 cells done; about 4 min left; "
        "b on digits, seed 0: training, 91.5 % on validation images, 2 min left, 50 %"
    )


def output_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
