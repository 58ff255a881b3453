"""The benchmarks of bench_methods.py and bench_pursuits.py run, small and without a clock."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddl_bench.api import Skip
from ddl_bench.registry import methods
from reports import documentation, speed
from tests.benchmarks import grids, keep_speed, race, timing
from tests.benchmarks.peers import dictionary, digit_atoms, digit_rows, patches

SMALL = 3000


class Benchmark:
    """Runs what a benchmark would time once, and keeps what it records."""

    name = "test_something"

    def __init__(self) -> None:
        self.extra_info: dict[str, Any] = {}

    def pedantic(self, work: Callable[[], Any], rounds: int = 1) -> Any:
        """Run the work once."""
        return work()


@pytest.mark.parametrize("method", sorted({*timing.OPTIONS, "nearest-mean", "plainnet", "ddl"}))
def test_a_method_is_timed(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "ROUNDS", 1)
    assert method in methods()
    try:
        times = timing.times_of(method, "1x8x8")
    except Skip as reason:
        pytest.skip(str(reason))
    assert 0 < times.step_s < 60
    assert 0 < times.image_s < 1


@pytest.mark.parametrize("first_s", [0.2, 9.0])
def test_a_first_round_counts_only_if_it_is_long(first_s: float) -> None:
    rounds = iter([first_s, 0.03, 0.02, 0.04])
    least = timing.least_seconds(lambda: next(rounds))
    assert least == {0.2: 0.02, 9.0: 9.0}[first_s]


def test_rounds_end_when_they_took_long_enough() -> None:
    rounds = iter([0.1, 1.1])
    assert timing.least_seconds(lambda: next(rounds)) == 1.1


def test_the_yardstick_is_the_same_computation_each_time() -> None:
    assert 0 < timing.yardstick() < 10
    assert timing.yardstick() == timing.yardstick()


def test_a_cell_records_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("spams", reason="the extra spams is not installed")
    monkeypatch.setattr(grids, "LEAST_SAMPLES", 200)
    benchmark: Any = Benchmark()
    X = patches(SMALL)[:200]
    ratio = grids.lasso_cell(
        benchmark, "patches", X, dictionary(64, SMALL), 0.2, positive=True, bar=0
    )
    recorded = {"cpu": "A", "date": "2026-01-02", **benchmark.extra_info}
    assert recorded["equal"]
    assert "numpy: " in recorded["blas"]
    path = tmp_path / "speed.json"
    path.write_text(json.dumps({"runs": [recorded]}))
    monkeypatch.setattr(speed, "SPEED", path)
    assert f"| 64 | {ratio:.1f} / - |" in speed.grids()


def test_a_cell_whose_objective_is_worse_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("spams", reason="the extra spams is not installed")
    monkeypatch.setattr(grids, "MOST_EXCESS", -0.5)  # which no objective reaches
    benchmark: Any = Benchmark()
    with pytest.raises(AssertionError, match="SPAMS has a better objective"):
        grids.lasso_cell(benchmark, "digits", digit_rows(), digit_atoms(), 0.5, False, bar=0)
    assert not benchmark.extra_info["equal"]


@pytest.mark.parametrize(("seconds", "n"), [(0.0, 1000), (4.0, 500), (40.0, 100)])
def test_a_cell_has_as_many_samples_as_time_allows(
    seconds: float, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grids, "LEAST_SAMPLES", 100)
    monkeypatch.setattr(grids, "seconds_of", lambda work: max(seconds / 5, 1e-3))
    X = np.zeros((1000, 2), np.float32)
    assert len(grids.affordable(len, len, X)) == n


def test_a_ratio_below_its_bar_fails() -> None:
    benchmark: Any = Benchmark()
    rounds = [race.Round(ours=1.0, theirs=theirs) for theirs in (1.0, 3.0, 5.0)]
    assert race.hold(benchmark, rounds, bar=3) == 3
    with pytest.raises(AssertionError):
        race.hold(benchmark, rounds, bar=3.1)
    assert benchmark.extra_info["ratio"] == 3


def test_digits_are_rows_of_unit_norm() -> None:
    np.testing.assert_allclose(np.linalg.norm(digit_rows(), axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(digit_atoms(), axis=0), 1, atol=1e-6)
    assert digit_atoms().shape == (64, 256)


def test_results_are_kept_and_changes_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "speed.json"
    old = {"step_s": 1.0, "image_s": 1.0, "yardstick_s": 0.5}
    other = {"name": "test_times_of_a_method[a]", "cpu": "A", "date": "2026-01-01"}
    kept.write_text(json.dumps({"runs": [{"name": "gone"}, other, {"name": "method", **old}]}))
    page = tmp_path / "page.md"
    page.write_text("<!-- table costs -->\n\n<!-- /table -->\n")
    monkeypatch.setattr(keep_speed, "SPEED", kept)
    monkeypatch.setattr(speed, "SPEED", kept)
    monkeypatch.setattr(documentation, "ROOT", tmp_path)
    monkeypatch.setattr(documentation, "PAGES", ("page.md",))
    report = tmp_path / "report.json"
    new = {"step_s": 2.0, "image_s": 1.9, "yardstick_s": 0.8}
    benchmarks = [
        {"name": "method", "extra_info": new},
        {"name": "test_cost", "extra_info": {"ratio": 2.0, "bar": 3}},
    ]
    conditions = {
        "machine_info": {"cpu": {"brand_raw": "A"}},
        "datetime": "2026-01-02T03:04:05",
        "commit_info": {"id": "abc", "dirty": False},
    }
    report.write_text(json.dumps({**conditions, "benchmarks": benchmarks}))
    keep_speed.keep_speed(str(report))
    assert capsys.readouterr().out.splitlines() == [
        "gone: no longer there",
        "method: step_s 2, now 2.5",
    ]
    names = [run["name"] for run in speed.benchmarks()]
    assert names == ["method", "test_cost", "test_times_of_a_method[a]"]
    assert "| cost | 2 | 3 |" in page.read_text()
