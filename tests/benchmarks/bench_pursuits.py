"""Our sparse codes beside those of SPAMS over whole grids of problems: the worst case counts.

Each cell encodes the same samples in float32 with both libraries, which use all cores. Ours must
reach an objective that is no worse. A cell has fewer samples where the slower library would take
long: see `affordable`. test_peers.py runs the same comparisons small, without a clock.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from scipy.stats import gmean

from baselines.pursuit import encode
from baselines.pursuit.compiled import Array
from tests.benchmarks.peers import (
    N_PATCHES,
    N_THREADS,
    dictionary,
    digit_atoms,
    digit_rows,
    objective,
    patches,
    spams_lasso,
    spams_omp,
)
from tests.benchmarks.race import race, seconds_of

ATOMS = [128, 512, 2048, 8192]
MANY_ATOMS = [4096, 8192, 16_384]
LMBDS = [0.5, 0.2, 0.05, 0.01, 0.001]
SIGNS = pytest.mark.parametrize("positive", [True, False], ids=["positive", "signed"])

RUN_S = 6.0  # of the slower library in one run of a cell, at most
LONG_RUN_S = 1.0  # from which a cell has fewer rounds
LEAST_SAMPLES = 1000
MOST_EXCESS = 1e-5  # of our objective above theirs, relative
LEAST_RATIO = {"patches": 1.5, "digits": 1.0, "atoms": 1.0}
LEAST_MEAN = 5.0  # of the ratios on patches, geometric

ratios: dict[str, list[float]] = {}  # theirs / ours of the cells so far, by grid; 0 if it failed


@pytest.fixture(autouse=True, scope="module")
def no_ratios_yet() -> None:
    """Begin with empty grids."""
    ratios.clear()


def n_patches(n_atoms: int) -> int:
    """Return how many patches are encoded at most: a fifth of them above 512 atoms."""
    return N_PATCHES if n_atoms <= 512 else N_PATCHES // 5


def affordable(run: Callable[[Array], object], rival: Callable[[Array], object], X: Array) -> Array:
    """Return as many of the samples as the slower of two encoders takes `RUN_S` for.

    Never fewer than `LEAST_SAMPLES`, with which both are tried here.
    """
    few = X[:LEAST_SAMPLES]
    slower = 0.0
    for each in (run, rival):
        seconds = seconds_of(partial(each, few))
        if seconds < RUN_S:  # the first call also compiles, and starts threads
            seconds = min(seconds_of(partial(each, few)) for _ in range(2))
        slower = max(slower, seconds)
    n = max(int(len(few) * RUN_S / slower), len(few))
    return X[:n]


def lasso_cell(
    benchmark: BenchmarkFixture,
    grid: str,
    X: Array,
    D: Array,
    lmbd: float,
    positive: bool,
) -> None:
    """Race one cell of a grid of lasso problems, and compare the objectives in double precision."""
    ratios.setdefault(grid, []).append(0.0)

    def ours(samples: Array) -> Any:
        return encode(
            samples, D, lmbd=lmbd, positive=positive, sparse=True, n_threads=N_THREADS
        ).codes

    def theirs(samples: Array) -> Any:
        return spams_lasso(samples, D, lmbd, positive)()

    X = affordable(ours, theirs, X)
    value = objective(X, D, ours(X), lmbd)
    rival = objective(X, D, theirs(X), lmbd)
    excess = value / rival - 1
    benchmark.extra_info.update(
        grid=grid, n_atoms=D.shape[1], lmbd=lmbd, positive=positive, n_patches=len(X), excess=excess
    )
    if grid == "digits":
        benchmark.extra_info["images"] = "scikit-learn's digits"
    run = spams_lasso(X, D, lmbd, positive)  # its copies of the arrays are made off the clock
    n_rounds = 3 if seconds_of(run) > LONG_RUN_S else 5
    ratio = race(benchmark, partial(ours, X), run, LEAST_RATIO[grid], n_rounds)
    assert excess <= MOST_EXCESS, f"SPAMS has a better objective: ours / theirs = 1 + {excess:.1e}"
    ratios[grid][-1] = ratio


@SIGNS
@pytest.mark.parametrize("lmbd", LMBDS)
@pytest.mark.parametrize("n_atoms", ATOMS)
def test_lasso_on_patches(
    benchmark: BenchmarkFixture, n_atoms: int, lmbd: float, positive: bool
) -> None:
    X = patches()[: n_patches(n_atoms)]
    lasso_cell(benchmark, "patches", X, dictionary(n_atoms), lmbd, positive)


def test_geometric_mean_on_patches(benchmark: BenchmarkFixture) -> None:
    """A cell that fails counts as 0."""
    cells = ratios.get("patches", [])
    n_cells = 2 * len(ATOMS) * len(LMBDS)
    if len(cells) < n_cells:
        pytest.skip(f"{len(cells)} of {n_cells} cells of the grid ran before")
    mean = float(benchmark.pedantic(gmean, args=(cells,)))
    benchmark.extra_info.update(grid="patches", geometric_mean=mean, bar=LEAST_MEAN)
    print(f"\n{benchmark.name}: {mean:.2f}, bar {LEAST_MEAN}; least {min(cells):.2f}")
    assert mean >= LEAST_MEAN


@SIGNS
@pytest.mark.parametrize("lmbd", [*LMBDS, 1e-4])
def test_lasso_on_digits(benchmark: BenchmarkFixture, lmbd: float, positive: bool) -> None:
    lasso_cell(benchmark, "digits", digit_rows(), digit_atoms(), lmbd, positive)


@SIGNS
@pytest.mark.parametrize("n_atoms", MANY_ATOMS)
def test_lasso_with_many_atoms(benchmark: BenchmarkFixture, n_atoms: int, positive: bool) -> None:
    X = patches()[: n_patches(n_atoms)]
    lasso_cell(benchmark, "atoms", X, dictionary(n_atoms), 0.2, positive)


@SIGNS
def test_time_grows_at_most_linearly_with_atoms(
    benchmark: BenchmarkFixture, positive: bool
) -> None:
    """Time with the most atoms / time with the fewest, in units of the ratio of their numbers."""
    X = patches()[: n_patches(MANY_ATOMS[0])]
    fewest = dictionary(MANY_ATOMS[0])
    most = dictionary(MANY_ATOMS[-1])
    options: dict[str, Any] = {"lmbd": 0.2, "positive": positive, "sparse": True}
    options["n_threads"] = N_THREADS
    growths: list[float] = []

    def alternate() -> None:
        short = seconds_of(lambda: encode(X, fewest, **options))
        long = seconds_of(lambda: encode(X, most, **options))
        growths.append(long / short / (MANY_ATOMS[-1] / MANY_ATOMS[0]))

    alternate()
    growths.clear()
    benchmark.pedantic(alternate, rounds=3)
    growth = float(np.median(growths))
    benchmark.extra_info.update(ratio=growth, bar=1.0)
    print(f"\n{benchmark.name}: {growth:.2f} of linear growth, bar 1")
    assert growth <= 1


@pytest.mark.parametrize("n_nonzero", [5, 10, 20, 50])
@pytest.mark.parametrize(("method", "bar"), [("omp", 2.0), ("ormp", 1.6)], ids=["omp", "ormp"])
def test_omp_beside_spams(
    benchmark: BenchmarkFixture, method: str, bar: float, n_nonzero: int
) -> None:
    """What SPAMS calls OMP is ORMP."""
    D = dictionary(512)

    def ours(samples: Array) -> Any:
        return encode(
            samples, D, n_nonzero=n_nonzero, method=method, sparse=True, n_threads=N_THREADS
        ).codes

    X = affordable(ours, lambda samples: spams_omp(samples, D, n_nonzero)(), patches())
    benchmark.extra_info.update(n_patches=len(X))
    rival = spams_omp(X, D, n_nonzero)
    n_rounds = 3 if seconds_of(rival) > LONG_RUN_S else 5
    race(benchmark, partial(ours, X), rival, bar, n_rounds)
