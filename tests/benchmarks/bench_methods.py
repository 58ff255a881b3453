"""The time of a training step and of a batch of predictions, of every registered method.

`timing.py` says what a step is. A method that takes twice the committed time of docs/speed.md
fails, both times in units of a fixed computation that is timed beside it, so that a faster or
slower machine matters little.
"""

from functools import cache
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from ddl_bench.api import Skip
from ddl_bench.registry import methods
from reports.speed import benchmarks
from tests.benchmarks.timing import SHAPES, Times, times_of, yardstick

MOST = 2.0  # times the committed time


@cache
def committed() -> dict[str, dict[str, Any]]:
    """Return the committed times of methods by the names of their benchmarks."""
    return {run["name"]: run for run in benchmarks() if "yardstick_s" in run}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Any:
    """Compute on one thread, as workers of a run do by default."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", list(methods()))
def test_times_of_a_method(benchmark: BenchmarkFixture, method: str, shape: str) -> None:
    measured: list[Times] = []
    try:
        benchmark.pedantic(lambda: measured.append(times_of(method, shape)))
    except Skip as reason:
        pytest.skip(str(reason))
    (times,) = measured
    benchmark.extra_info.update(method=method, shape=shape, threads=1, yardstick_s=yardstick())
    benchmark.extra_info.update(times._asdict())
    print(
        f"\n{benchmark.name}: {1e3 * times.step_s:.3g} ms a step,"
        f" {1e6 * times.image_s:.3g} us an image"
    )
    before = committed().get(benchmark.name)
    if before is not None:
        for name, seconds in times._asdict().items():
            units = seconds / yardstick()
            most = MOST * before[name] / before["yardstick_s"]
            assert units <= most, f"{name} is {units:.3g} units, at most {most:.3g}"
