"""Time two pieces of work alternately, and hold the ratio of their times against a bar."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pytest_benchmark.fixture import BenchmarkFixture
from threadpoolctl import threadpool_info

from tests.benchmarks.peers import IMAGES, N_PATCHES, N_THREADS


class Round(NamedTuple):
    """Seconds of both in one round."""

    ours: float
    theirs: float


def seconds_of(work: Callable[[], object]) -> float:
    """Return the wall time of a call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def race(
    benchmark: BenchmarkFixture,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    bar: float,
    n_rounds: int = 5,
    share: float = 1.0,
    is_warm: bool = False,
) -> float:
    """Alternate both; hold the median of their ratio, theirs / ours, against `bar`; return it.

    Theirs does a `share` of the work. Ours runs once before, unless it `is_warm`.
    """
    rounds: list[Round] = []

    def alternate() -> None:
        rounds.append(Round(seconds_of(ours), seconds_of(theirs) / share))

    if not is_warm:
        ours()
    benchmark.pedantic(alternate, rounds=n_rounds)
    return hold(benchmark, rounds, bar)


def hold(benchmark: BenchmarkFixture, rounds: list[Round], bar: float) -> float:
    """Record the medians of both and of their ratio, hold the ratio against the bar, return it."""
    ratio = statistics.median(each.theirs / each.ours for each in rounds)
    ours = statistics.median(each.ours for each in rounds)
    theirs = statistics.median(each.theirs for each in rounds)
    benchmark.extra_info.setdefault("n_patches", N_PATCHES)
    benchmark.extra_info.setdefault("images", Path(IMAGES or "generated").name)
    benchmark.extra_info.update(threads=N_THREADS, blas=blas_kernels())
    benchmark.extra_info.update(ours_s=ours, theirs_s=theirs, ratio=ratio, bar=bar)
    print(
        f"\n{benchmark.name}: ours {ours:.3f} s, theirs {theirs:.3f} s,"
        f" ratio {ratio:.2f}, bar {bar}"
    )
    assert ratio >= bar
    return ratio


def blas_kernels() -> str:
    """Name the BLAS of each loaded library, its version and the kernels that it chose.

    Examples
    --------
    >>> blas_kernels()
    'numpy: openblas 0.3.31 Haswell, spams_bin: openblas 0.3.15 Haswell'
    """
    texts = set()
    for library in threadpool_info():
        if library["user_api"] == "blas":
            owner = Path(library["filepath"]).parent.name.removesuffix(".libs")
            version = ".".join(str(library["version"]).split(".")[:3])
            kernels = library.get("architecture", "")
            texts.add(f"{owner}: {library['internal_api']} {version} {kernels}".strip())
    return ", ".join(sorted(texts))
