"""Our pursuits and learners beside scikit-learn, SPAMS and dictlearn, on patches of images.

Same samples, dictionary, threads and machine. `tox -e bench` runs the full sizes on generated
images; DDL_BENCH_IMAGES names an .npz file with `x_train` of real ones, and DDL_BENCH_PATCHES the
number of patches. test_peers.py runs the same comparisons small, without a clock.
"""

import time
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from sklearn.decomposition import MiniBatchDictionaryLearning, sparse_encode

from baselines.learning.ksvd import KSVD
from baselines.learning.learner import first_atoms, learn
from baselines.learning.online import Online
from baselines.pursuit import encode
from baselines.pursuit.fista import BLOCK_ENTRIES, CHECK_ITERATIONS
from baselines.pursuit.threads import over_blocks
from tests.benchmarks.peers import N_PATCHES, N_THREADS, dictionary, patches, time_to
from tests.benchmarks.race import Round, hold, race, seconds_of


# it runs out of iterations, and of time
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("algorithm", ["lasso_lars", "lasso_cd"])
def test_lasso_beside_scikit_learn(benchmark: BenchmarkFixture, algorithm: str) -> None:
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


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # it ends its descent
def test_online_learning_beside_scikit_learn(benchmark: BenchmarkFixture) -> None:
    """Both learn from batches of 512; ours until it has the held-out objective of theirs."""
    held_out = patches()[: N_PATCHES // 25]
    X = patches()[N_PATCHES // 25 :]
    n_batches = 8
    start = np.ascontiguousarray(first_atoms(X, 512, np.random.default_rng(0)).T)
    learner = Online(n_atoms=512, lmbd=0.2, positive=True, n_threads=N_THREADS)
    rounds: list[Round] = []

    def both() -> None:
        peer = MiniBatchDictionaryLearning(
            n_components=512,
            alpha=0.2,
            fit_algorithm="cd",
            positive_code=True,
            batch_size=512,
            dict_init=start,
            n_jobs=N_THREADS,
            random_state=0,
        )
        begin = time.perf_counter()
        for k in range(n_batches):
            peer.partial_fit(X[512 * k : 512 * (k + 1)])
        theirs = time.perf_counter() - begin
        rows = peer.components_  # of at most unit norm, where ours have unit norm
        D = np.ascontiguousarray((rows / np.linalg.norm(rows, axis=1, keepdims=True)).T)
        goal = learner.objective(held_out, D)
        ours = time_to(
            learner, X, lambda state: learner.objective(held_out, state.D) <= goal, most=600
        )
        rounds.append(Round(ours, theirs))

    learn(learner, X[:2000], n_iter=2)
    benchmark.pedantic(both, rounds=2)
    hold(benchmark, rounds, 10)


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
