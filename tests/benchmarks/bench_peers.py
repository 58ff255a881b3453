"""Our pursuits and learners beside SPAMS, scikit-learn and dictlearn.

Same samples, dictionary, threads and machine. `tox -e bench` runs the full sizes on generated
images; DDL_BENCH_IMAGES names an .npz file with `x_train` of real ones, and DDL_BENCH_PATCHES the
number of patches. test_peers.py runs the same comparisons small, without a clock.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from baselines.learning.ksvd import KSVD
from baselines.learning.learner import first_atoms, learn
from baselines.learning.online import Online
from baselines.pursuit import encode
from baselines.pursuit.fista import BLOCK_ENTRIES, CHECK_ITERATIONS
from baselines.pursuit.threads import over_blocks
from tests.benchmarks.peers import (
    IMAGES,
    N_PATCHES,
    N_THREADS,
    dictionary,
    objective,
    patches,
    spams_lasso,
    spams_omp,
    time_to,
)


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
) -> None:
    """Alternate both; hold the median of their ratio, theirs / ours, against `bar`.

    Theirs does a `share` of the work.
    """
    rounds: list[Round] = []

    def alternate() -> None:
        rounds.append(Round(seconds_of(ours), seconds_of(theirs) / share))

    ours()
    benchmark.pedantic(alternate, rounds=n_rounds)
    hold(benchmark, rounds, bar)


def hold(benchmark: BenchmarkFixture, rounds: list[Round], bar: float) -> None:
    """Record the medians of both and of their ratio, and hold the ratio against the bar."""
    ratio = statistics.median(each.theirs / each.ours for each in rounds)
    ours = statistics.median(each.ours for each in rounds)
    theirs = statistics.median(each.theirs for each in rounds)
    images = Path(IMAGES or "generated").name
    benchmark.extra_info.update(n_patches=N_PATCHES, images=images, threads=N_THREADS)
    benchmark.extra_info.update(ours_s=ours, theirs_s=theirs, ratio=ratio, bar=bar)
    print(
        f"\n{benchmark.name}: ours {ours:.3f} s, theirs {theirs:.3f} s,"
        f" ratio {ratio:.2f}, bar {bar}"
    )
    assert ratio >= bar


@pytest.mark.parametrize("positive", [True, False], ids=["positive", "signed"])
@pytest.mark.parametrize("lmbd", [0.2, 0.05, 0.5])
@pytest.mark.parametrize("n_atoms", [512, 128, 2048, 6000])
def test_lasso_beside_spams(
    benchmark: BenchmarkFixture, n_atoms: int, lmbd: float, positive: bool
) -> None:
    X = patches()[: N_PATCHES * 512 // max(n_atoms, 512)]
    D = dictionary(n_atoms)
    is_main = (n_atoms, lmbd, positive) == (512, 0.2, True)
    bar, n_rounds, excess = (6, 15, 1e-6) if is_main else (1, 5, 5e-6)
    options: dict[str, Any] = {
        "lmbd": lmbd,
        "positive": positive,
        "sparse": True,
        "n_threads": N_THREADS,
    }
    single = encode(X, D, **options)
    exact = encode(X.astype(np.float64), D.astype(np.float64), tol=1e-10, **options)
    assert single.gap < 5e-6
    least = objective(X, D, exact.codes, lmbd)
    assert objective(X, D, single.codes, lmbd) <= least * (1 + excess)
    theirs = spams_lasso(X, D, lmbd, positive)
    race(benchmark, lambda: encode(X, D, **options), theirs, bar, n_rounds)


# it runs out of iterations, and of time
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("algorithm", ["lasso_lars", "lasso_cd"])
def test_lasso_beside_scikit_learn(benchmark: BenchmarkFixture, algorithm: str) -> None:
    from sklearn.decomposition import sparse_encode

    X = patches()
    D = dictionary(512)
    rows = np.ascontiguousarray(D.T)
    tenth = X[: N_PATCHES // 10]  # or it takes minutes

    def theirs() -> None:
        sparse_encode(
            tenth,
            rows,
            algorithm=algorithm,
            alpha=0.2,
            positive=True,
            n_jobs=N_THREADS,
            check_input=False,
        )

    def ours() -> None:
        encode(X, D, lmbd=0.2, positive=True, sparse=True, n_threads=N_THREADS)

    race(benchmark, ours, theirs, 150, n_rounds=3, share=0.1)


@pytest.mark.parametrize(("method", "bar"), [("omp", 2), ("ormp", 1)], ids=["omp", "ormp"])
def test_omp_beside_spams(benchmark: BenchmarkFixture, method: str, bar: float) -> None:
    X = patches()
    D = dictionary(512)

    def ours() -> None:
        encode(X, D, n_nonzero=10, method=method, sparse=True, n_threads=N_THREADS)

    race(benchmark, ours, spams_omp(X, D, 10), bar)


def test_fista_beside_its_own_products(benchmark: BenchmarkFixture) -> None:
    X = patches()
    D = dictionary(512)
    n_iter = 40
    n_products = n_iter + n_iter // CHECK_ITERATIONS  # the stop criterion takes two each time, too

    def products(rows: slice) -> None:
        codes = np.zeros((rows.stop - rows.start, 512), np.float32)
        R = np.empty_like(X[rows])
        for _ in range(n_products):
            np.matmul(codes, D.T, out=R)
            np.matmul(R, D, out=codes)

    def theirs() -> None:
        over_blocks(products, len(X), N_THREADS, BLOCK_ENTRIES // 512)

    def ours() -> None:
        options: dict[str, Any] = {"tol": 0, "max_iter": n_iter, "n_threads": N_THREADS}
        encode(X, D, lmbd=0.2, positive=True, method="fista", **options)

    race(benchmark, ours, theirs, 1 / 1.3)


def test_online_learning_beside_spams(benchmark: BenchmarkFixture) -> None:
    spams = pytest.importorskip("spams", reason="the extra spams is not installed")
    held_out = patches()[: N_PATCHES // 10]
    X = patches()[N_PATCHES // 10 :]
    learner = Online(n_atoms=512, lmbd=0.2, positive=True, n_threads=N_THREADS)
    columns = np.asfortranarray(X.T)
    start = np.asfortranarray(first_atoms(X, 512, np.random.default_rng(0)))
    rounds: list[Round] = []

    def both() -> None:
        begin = time.perf_counter()
        D = spams.trainDL(
            columns,
            D=start,
            lambda1=0.2,
            posAlpha=True,
            mode=2,
            batchsize=512,
            iter=300,
            numThreads=N_THREADS,
            verbose=False,
        )
        theirs = time.perf_counter() - begin
        goal = learner.objective(held_out, np.ascontiguousarray(D))
        ours = time_to(
            learner,
            X,
            lambda state: state.n_iter % 10 == 0 and learner.objective(held_out, state.D) <= goal,
            most=600,
        )
        rounds.append(Round(ours, theirs))

    learn(learner, X[:2000], n_iter=2)
    benchmark.pedantic(both, rounds=3)
    hold(benchmark, rounds, 2)


@pytest.mark.parametrize(
    ("update", "algorithm", "n_iter", "bar"),
    [("approximate", "aksvd", 3, 4), ("exact", "ksvd", 1, 30)],
    ids=["approximate", "exact"],
)
def test_ksvd_beside_dictlearn(
    benchmark: BenchmarkFixture, update: Any, algorithm: str, n_iter: int, bar: float
) -> None:
    dictlearn = pytest.importorskip("dictlearn", reason="the package dictlearn is not installed")
    X = patches()
    start = first_atoms(X, 512, np.random.default_rng(0))
    peer = dictlearn.DictionaryLearning(
        512,
        fit_algorithm=algorithm,
        n_nonzero_coefs=10,
        max_iter=n_iter,
        dict_init=np.ascontiguousarray(start.T),
        random_state=0,
    )
    learner = KSVD(n_atoms=512, n_nonzero=10, update=update, n_threads=N_THREADS)
    rounds: list[Round] = []

    def both() -> None:
        theirs = seconds_of(lambda: peer.fit(X))
        goal = 1.001 * 0.5 * float(peer.error_[-1]) ** 2 * X.shape[1]
        ours = time_to(learner, X, lambda state: state.history[-1] <= goal, most=3 * n_iter)
        rounds.append(Round(ours, theirs))

    learn(learner, X[:2000], n_iter=1)
    benchmark.pedantic(both, rounds=3)
    hold(benchmark, rounds, bar)
