"""Race sparse codes beside SPAMS: as many samples as time allows, and one cell of a grid."""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from pytest_benchmark.fixture import BenchmarkFixture

from baselines.pursuit import encode
from baselines.pursuit.compiled import Array
from tests.benchmarks.peers import N_THREADS, objective, spams_lasso
from tests.benchmarks.race import race, seconds_of

RUN_S = 4.0  # of the slower library in one run, at most
LONG_RUN_S = 1.0  # of the slower, above which there are fewer rounds
SHORT_RUN_S = 0.1  # of the slower, below which there are more
LEAST_SAMPLES = 1000
MOST_EXCESS = 1e-5  # of our objective above theirs, relative


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


class Trial(NamedTuple):
    """What a run returned, and its seconds."""

    codes: Any
    seconds: float


def trial(run: Callable[[], Any]) -> Trial:
    """Run once."""
    begin = time.perf_counter()
    codes = run()
    return Trial(codes, time.perf_counter() - begin)


def rounds_of(*trials: Trial) -> int:
    """Return how often to alternate runs, each of which was tried once."""
    seconds = max(each.seconds for each in trials)
    if seconds > 2 * RUN_S:
        return 1
    if seconds > LONG_RUN_S:
        return 3
    return 5 if seconds > SHORT_RUN_S else 15


def lasso_cell(
    benchmark: BenchmarkFixture,
    grid: str,
    X: Array,
    D: Array,
    lmbd: float,
    positive: bool,
    bar: float,
) -> float:
    """Race one cell of a grid of lasso problems, and compare objectives in double precision.

    Returns theirs / ours.
    """

    def ours(samples: Array) -> Any:
        return encode(
            samples, D, lmbd=lmbd, positive=positive, sparse=True, n_threads=N_THREADS
        ).codes

    def theirs(samples: Array) -> Any:
        return spams_lasso(samples, D, lmbd, positive)()

    X = affordable(ours, theirs, X)
    our_run = partial(ours, X)
    rival_run = spams_lasso(X, D, lmbd, positive)  # its copies of the arrays are made off the clock
    our_trial = trial(our_run)
    rival_trial = trial(rival_run)
    our_value = objective(X, D, our_trial.codes, lmbd)
    rival_value = objective(X, D, rival_trial.codes, lmbd)
    rival_failed = not math.isfinite(rival_value)
    excess = None if rival_failed else our_value / rival_value - 1
    is_equal = excess <= MOST_EXCESS if excess is not None else math.isfinite(our_value)
    benchmark.extra_info.update(grid=grid, n_atoms=D.shape[1], lmbd=lmbd, positive=positive)
    benchmark.extra_info.update(n_patches=len(X), excess=excess, equal=is_equal)
    benchmark.extra_info["rival_failed"] = rival_failed
    n_rounds = rounds_of(our_trial, rival_trial)
    ratio = race(benchmark, our_run, rival_run, bar, n_rounds, is_warm=True)
    assert is_equal, f"SPAMS has a better objective: ours / theirs = {our_value / rival_value}"
    return ratio
