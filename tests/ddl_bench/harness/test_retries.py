"""Cells that crashed or ran out of memory are tried again, and their rows say so."""

from pathlib import Path

import pytest

from ddl_bench.cli.live import Live
from ddl_bench.harness.run import run
from ddl_bench.harness.view import Silent
from ddl_bench.plan.expansion import Overrides
from ddl_bench.results.rows import Row, load_rows
from tests.conftest import PLUGINS, ddl_bench

OVERRIDES = Overrides(plugins=(PLUGINS / "misbehaving.py",))
TRACK = """
name = "t"
machine = {{ threads = 1 }}
limits = {{ time_s = 60, memory_gb = 1.5 }}
budget = {{ epochs = 1 }}
datasets = [{{ source = "digits" }}]

[[methods]]
name = "misbehave"
label = "weak"
params = {{ way = "broken-twice", marker = "{marker}" }}

[[methods]]
name = "misbehave"
label = "wrong"
params = {{ way = "raise" }}

[[methods]]
name = "misbehave"
label = "fine"
"""


class Listener(Silent):
    """Remembers what it is told of rows, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def retried(self, row: Row) -> None:
        self.events.append((row.cell.label, f"retried {row.status}"))

    def finished(self, row: Row) -> None:
        self.events.append((row.cell.label, f"finished {row.status}"))


@pytest.fixture
def track(tmp_path: Path) -> str:
    """A method that breaks down twice, one that fails by itself, and one that succeeds."""
    path = tmp_path / "t.toml"
    path.write_text(TRACK.format(marker=tmp_path / "marker"))
    return str(path)


def test_broken_cells_are_tried_again_after_the_others(track: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    listener = Listener()
    rows = run(track, out, overrides=OVERRIDES, retries=3, jobs=1, view=listener)
    assert listener.events == [
        ("weak", "retried crashed"),
        ("wrong", "finished failed"),
        ("fine", "finished ok"),
        ("weak", "retried oom"),
        ("weak", "finished ok"),
    ]
    weak, wrong, fine = rows
    crashed, no_memory = weak.failed_attempts
    assert crashed.startswith("crashed: killed by SIGKILL")
    assert no_memory == "oom: MemoryError: no more"
    assert wrong.failed_attempts == fine.failed_attempts == ()
    kept = {row.cell.label: row for row in load_rows(out)}
    assert kept["weak"] == weak
    assert not list((out / "work" / "claims").iterdir())


def test_tries_are_bounded(track: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    listener = Listener()
    run(track, out, overrides=OVERRIDES, retries=1, jobs=1, view=listener)
    assert listener.events[0] == ("weak", "retried crashed")
    assert listener.events[-1] == ("weak", "finished oom")
    (weak,) = [row for row in load_rows(out) if row.cell.label == "weak"]
    assert weak.status == "oom"
    assert len(weak.failed_attempts) == 1


def test_the_command_line_says_that_a_cell_is_tried_again(track: str, tmp_path: Path) -> None:
    options = ["--plugin", PLUGINS / "misbehaving.py", "--out", tmp_path / "out", "--no-report"]
    text = ddl_bench(["run", track, "--methods", "weak", "--retries", 2, *options])
    words = " ".join(text.split())
    assert words.count("(tried again after the others)") == 2
    assert "ok weak on" in words
    assert "failed_attempts" in ddl_bench(["show", "weak", "--run", tmp_path / "out"])


def test_views_take_what_a_run_tells() -> None:
    events = {name for name in vars(Silent) if not name.startswith("_")}
    assert events <= set(dir(Live))
