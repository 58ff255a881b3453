"""The comparisons of bench_peers.py at small sizes: what is timed there solves the same problem equally well."""

from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import sparse_encode

from baselines.learning.ksvd import KSVD
from baselines.learning.learner import first_atoms, learn
from baselines.pursuit.encode import encode
from tests.benchmarks.bench_peers import (
    dictionary,
    objective,
    patches,
    spams_lasso,
    spams_omp,
    time_to,
)

SMALL = 3000


def test_patches_are_whitened_and_of_unit_norm() -> None:
    X = patches(SMALL)
    np.testing.assert_allclose(np.linalg.norm(X, axis=1), 1, atol=1e-4)
    spread = np.linalg.eigvalsh(np.cov(X.T))
    assert X.shape == (SMALL, 108)
    assert spread[-1] < 5 * np.median(spread)


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("lmbd", [0.2, 0.05, 0.5])
@pytest.mark.parametrize("n_atoms", [64, 256])
def test_lasso(n_atoms: int, lmbd: float, positive: bool) -> None:
    X, D = patches(SMALL)[:500], dictionary(n_atoms, SMALL)
    found = encode(X, D, lmbd=lmbd, positive=positive, sparse=True)
    assert found.gap < 5e-6  # float32; the certificate itself is computed in float64
    value = objective(X, D, found.codes, lmbd)
    theirs = objective(X, D, spams_lasso(X, D, lmbd, positive)(), lmbd)
    assert value <= theirs * (1 + 2e-5)
    assert value == pytest.approx(
        theirs, rel=1e-3
    )  # SPAMS ends a code at as many non-zeros as there are features
    lars = sparse_encode(
        X.astype(float),
        D.T.astype(float),
        algorithm="lasso_lars",
        alpha=lmbd,
        positive=positive,
        max_iter=2000,
    )
    assert value == pytest.approx(objective(X, D, lars, lmbd), rel=2e-5)


def test_ormp_is_what_spams_calls_omp() -> None:
    X, D = patches(SMALL)[:500], dictionary(256, SMALL)
    ours, theirs = (
        encode(X, D, n_nonzero=10, method="ormp", sparse=True).codes,
        spams_omp(X, D, 10)(),
    )
    errors = [np.square(X - codes @ D.T).sum(1) for codes in (ours, theirs)]
    np.testing.assert_allclose(errors[0], errors[1], atol=1e-4)


@pytest.mark.parametrize(("update", "theirs"), [("approximate", "aksvd"), ("exact", "ksvd")])
def test_ksvd_reaches_the_error_of_dictlearn(update: Any, theirs: str) -> None:
    dictlearn = pytest.importorskip("dictlearn", reason="the package dictlearn is not installed")
    X, n_iter = patches(SMALL), 3
    start = first_atoms(X, 128, np.random.default_rng(0))
    peer = dictlearn.DictionaryLearning(
        128,
        fit_algorithm=theirs,
        n_nonzero_coefs=5,
        max_iter=n_iter,
        dict_init=start.T.copy(),
        random_state=0,
    ).fit(X.astype(float))
    ours = learn(KSVD(n_atoms=128, n_nonzero=5, update=update), X, n_iter=n_iter)
    assert ours.history[-1] <= 1.01 * 0.5 * peer.error_[-1] ** 2 * X.shape[1]
    assert time_to(KSVD(n_atoms=128, n_nonzero=5), X, lambda at: at.n_iter == 2, most=3) > 0
