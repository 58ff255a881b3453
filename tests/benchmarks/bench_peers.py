"""Our pursuits and learners beside SPAMS, scikit-learn and dictlearn: same samples, dictionary, threads and machine.

`tox -e bench` runs the full sizes on generated images; DDL_BENCH_IMAGES names an .npz file with `x_train` of real ones,
and DDL_BENCH_PATCHES the number of patches. test_peers.py runs the same comparisons small, without a clock.
"""

import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from baselines.features.patches import Whitening, extract
from baselines.learning.ksvd import KSVD
from baselines.learning.learner import Learner, first_atoms, learn
from baselines.learning.online import Online
from baselines.pursuit.compiled import over_blocks
from baselines.pursuit.encode import encode
from baselines.pursuit.fista import BLOCK, CHECK

N = int(os.environ.get("DDL_BENCH_PATCHES", "50000"))
THREADS = len(os.sched_getaffinity(0))
Floats = np.ndarray[Any, np.dtype[Any]]


@cache
def patches(n: int = N) -> Floats:
    """Whitened 6x6 patches of colour images, of unit norm: (n, 108), float32."""
    rng = np.random.default_rng(0)
    if path := os.environ.get("DDL_BENCH_IMAGES"):
        with np.load(path) as file:
            images = torch.from_numpy(file["x_train"][: n // 50 + 1]).permute(0, 3, 1, 2)
    else:  # power falls with frequency as in photographs, and edges come from the sign
        frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32))) + 1 / 32
        spectrum = np.fft.fft2(rng.standard_normal((n // 50 + 1, 3, 32, 32))) / frequency
        images = torch.from_numpy(
            128
            + 60 * np.sign(np.fft.ifft2(spectrum).real)
            + 5 * rng.standard_normal((1, 3, 32, 32))
        )
    drawn = extract(images, 6, 1)
    drawn = drawn[torch.from_numpy(rng.permutation(len(drawn))[:n])]
    X = Whitening.learn(drawn, contrast=0.01, regulariser=0.1)(drawn).numpy()
    return np.ascontiguousarray(X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-6))


@cache
def dictionary(n_atoms: int, n: int = N) -> Floats:
    """Learned by SPAMS where it is installed and not too slow for it."""
    if n_atoms <= 512 and importlib.util.find_spec("spams"):
        columns, spams = np.asfortranarray(patches(n).T), importlib.import_module("spams")
        return np.ascontiguousarray(spams.trainDL(columns, K=n_atoms, lambda1=0.2, posAlpha=True, mode=2, iter=200,
                                                  batchsize=512, numThreads=THREADS, verbose=False))  # fmt: skip
    learner = Online(n_atoms=n_atoms, lmbd=0.2, positive=True)
    return learn(learner, patches(n), n_iter=200 if n_atoms <= 512 else 100).D


def objective(X: Floats, D: Floats, codes: Any, lmbd: float) -> float:
    """0.5*norm(x - D c)**2 + lmbd*norm1(c), summed over samples, of dense or CSR codes."""
    R = X.astype(np.float64) - codes @ D.T.astype(np.float64)
    return 0.5 * float(np.square(R).sum()) + lmbd * float(abs(codes).sum())


def spams_lasso(X: Floats, D: Floats, lmbd: float, positive: bool) -> Callable[[], Any]:
    spams = pytest.importorskip("spams", reason="the extra spams is not installed")
    columns, atoms = np.asfortranarray(X.T), np.asfortranarray(D)
    return lambda: (
        spams.lasso(columns, D=atoms, lambda1=lmbd, pos=positive, mode=2, numThreads=THREADS).T
    )


def spams_omp(X: Floats, D: Floats, n_nonzero: int) -> Callable[[], Any]:
    spams = pytest.importorskip("spams", reason="the extra spams is not installed")
    columns, atoms = np.asfortranarray(X.T), np.asfortranarray(D)
    return lambda: spams.omp(columns, D=atoms, L=n_nonzero, eps=0.0, numThreads=THREADS).T


def race(
    benchmark: BenchmarkFixture,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    bar: float,
    rounds: int = 5,
    share: float = 1.0,
) -> None:
    """Alternate both; the median of their ratio, theirs / ours, is at least `bar`; theirs does a `share` of it."""
    seconds: list[tuple[float, float]] = []

    def clock(work: Callable[[], object]) -> float:
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    ours()
    benchmark.pedantic(lambda: seconds.append((clock(ours), clock(theirs) / share)), rounds=rounds)
    tell(benchmark, seconds, bar)


def tell(benchmark: BenchmarkFixture, seconds: list[tuple[float, float]], bar: float) -> None:
    """Record the medians of (ours, theirs) and of their ratio, and hold it against the bar."""
    ratio = statistics.median(b / a for a, b in seconds)
    mine, other = (statistics.median(column) for column in zip(*seconds, strict=True))
    images = Path(os.environ.get("DDL_BENCH_IMAGES", "generated")).name
    benchmark.extra_info.update(n_patches=N, images=images, threads=THREADS)
    benchmark.extra_info.update(ours_s=mine, theirs_s=other, ratio=ratio, bar=bar)
    print(
        f"\n{benchmark.name}: ours {mine:.3f} s, theirs {other:.3f} s, ratio {ratio:.2f}, bar {bar}"
    )
    assert ratio >= bar


@pytest.mark.parametrize("positive", [True, False], ids=["positive", "signed"])
@pytest.mark.parametrize("lmbd", [0.2, 0.05, 0.5])
@pytest.mark.parametrize("n_atoms", [512, 128, 2048, 6000])
def test_lasso_beside_spams(
    benchmark: BenchmarkFixture, n_atoms: int, lmbd: float, positive: bool
) -> None:
    X, D = patches()[: N * 512 // max(n_atoms, 512)], dictionary(n_atoms)
    bar = 6 if (n_atoms, lmbd, positive) == (512, 0.2, True) else 1
    how: dict[str, Any] = {"lmbd": lmbd, "positive": positive, "sparse": True, "n_threads": THREADS}
    mine, exact = (
        encode(X, D, **how),
        encode(X.astype(np.float64), D.astype(np.float64), **how | {"tol": 1e-10}),
    )
    least = objective(X, D, exact.codes, lmbd)
    assert mine.gap < 5e-6
    assert objective(X, D, mine.codes, lmbd) <= least * (1 + (1e-6 if bar > 1 else 5e-6))
    race(
        benchmark,
        lambda: encode(X, D, **how),
        spams_lasso(X, D, lmbd, positive),
        bar,
        rounds=15 if bar > 1 else 5,
    )


@pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"
)  # it runs out of iterations, and of time
@pytest.mark.parametrize("algorithm", ["lasso_lars", "lasso_cd"])
def test_lasso_beside_scikit_learn(benchmark: BenchmarkFixture, algorithm: str) -> None:
    from sklearn.decomposition import sparse_encode

    X, D = patches(), dictionary(512)
    some, rows = (
        X[: N // 10],
        np.ascontiguousarray(D.T),
    )  # a tenth of the samples, or it takes minutes

    def theirs() -> None:
        sparse_encode(
            some,
            rows,
            algorithm=algorithm,
            alpha=0.2,
            positive=True,
            n_jobs=THREADS,
            check_input=False,
        )

    how: dict[str, Any] = {"lmbd": 0.2, "positive": True, "sparse": True, "n_threads": THREADS}
    race(benchmark, lambda: encode(X, D, **how), theirs, 150, rounds=3, share=0.1)


@pytest.mark.parametrize(("method", "bar"), [("omp", 2), ("ormp", 1)], ids=["omp", "ormp"])
def test_omp_beside_spams(benchmark: BenchmarkFixture, method: str, bar: float) -> None:
    X, D = patches(), dictionary(512)
    ours: dict[str, Any] = {"n_nonzero": 10, "method": method, "sparse": True, "n_threads": THREADS}
    race(benchmark, lambda: encode(X, D, **ours), spams_omp(X, D, 10), bar)


def test_fista_beside_its_own_products(benchmark: BenchmarkFixture) -> None:
    X, D, n_iter = patches(), dictionary(512), 40
    transposed = D.T

    def products(rows: slice) -> None:
        codes, R = np.zeros((rows.stop - rows.start, 512), np.float32), np.empty_like(X[rows])
        for _ in range(
            n_iter + n_iter // CHECK
        ):  # the stop criterion takes two products each time, too
            np.matmul(codes, transposed, out=R)
            np.matmul(R, D, out=codes)

    def ours() -> None:
        encode(
            X, D, lmbd=0.2, positive=True, method="fista", tol=0, max_iter=n_iter, n_threads=THREADS
        )

    race(benchmark, ours, lambda: over_blocks(products, len(X), THREADS, BLOCK // 512), 1 / 1.3)


def time_to(learner: Learner, X: Floats, reached: Callable[[Any], bool], most: int) -> float:
    """Seconds of learning until `reached`, which is asked off the clock."""
    total, steps = 0.0, learner.steps(X)
    for _ in range(most):
        begin = time.perf_counter()
        at = next(steps)
        total += time.perf_counter() - begin
        if reached(at):
            return total
    raise AssertionError(f"not reached in {most} iterations")


def test_online_learning_beside_spams(benchmark: BenchmarkFixture) -> None:
    spams = pytest.importorskip("spams", reason="the extra spams is not installed")
    X, held_out = patches()[N // 10 :], patches()[: N // 10]
    learner = Online(n_atoms=512, lmbd=0.2, positive=True, n_threads=THREADS)
    columns, start = (
        np.asfortranarray(X.T),
        np.asfortranarray(first_atoms(X, 512, np.random.default_rng(0))),
    )
    found: list[tuple[float, float]] = []

    def theirs() -> None:
        begin = time.perf_counter()
        D = spams.trainDL(columns, D=start, lambda1=0.2, posAlpha=True, mode=2, batchsize=512, iter=300,
                          numThreads=THREADS, verbose=False)  # fmt: skip
        seconds = time.perf_counter() - begin
        goal = learner.objective(held_out, np.ascontiguousarray(D))
        ours = time_to(
            learner,
            X,
            lambda at: at.n_iter % 10 == 0 and learner.objective(held_out, at.D) <= goal,
            most=600,
        )
        found.append((ours, seconds))

    learn(learner, X[:2000], n_iter=2)
    benchmark.pedantic(theirs, rounds=3)
    tell(benchmark, found, 2)


@pytest.mark.parametrize(
    ("update", "theirs", "bar"),
    [("approximate", "aksvd", 4), ("exact", "ksvd", 30)],
    ids=["approximate", "exact"],
)
def test_ksvd_beside_dictlearn(
    benchmark: BenchmarkFixture, update: Any, theirs: str, bar: float
) -> None:
    dictlearn = pytest.importorskip("dictlearn", reason="the package dictlearn is not installed")
    X, n_iter = patches(), 3 if theirs == "aksvd" else 1
    start = first_atoms(X, 512, np.random.default_rng(0))
    peer = dictlearn.DictionaryLearning(512, fit_algorithm=theirs, n_nonzero_coefs=10, max_iter=n_iter,
                                        dict_init=np.ascontiguousarray(start.T), random_state=0)  # fmt: skip
    learner = KSVD(n_atoms=512, n_nonzero=10, update=update, n_threads=THREADS)
    found: list[tuple[float, float]] = []

    def both() -> None:
        begin = time.perf_counter()
        peer.fit(X)
        seconds = time.perf_counter() - begin
        goal = 0.5 * float(peer.error_[-1]) ** 2 * X.shape[1]
        found.append(
            (
                time_to(learner, X, lambda at: at.history[-1] <= 1.001 * goal, most=3 * n_iter),
                seconds,
            )
        )

    learn(learner, X[:2000], n_iter=1)
    benchmark.pedantic(both, rounds=3)
    tell(benchmark, found, bar)
