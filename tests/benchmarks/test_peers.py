"""The comparisons of bench_peers.py at small sizes: both sides solve the same problem as well."""

from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import sparse_encode

from baselines.learning.ksvd import KSVD
from baselines.learning.learner import first_atoms, learn
from baselines.pursuit import encode
from tests.benchmarks.peers import (
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
    X = patches(SMALL)[:500]
    D = dictionary(n_atoms, SMALL)
    encoding = encode(X, D, lmbd=lmbd, positive=positive, sparse=True)
    assert encoding.gap < 5e-6  # float32; the certificate itself is computed in float64
    value = objective(X, D, encoding.codes, lmbd)
    theirs = objective(X, D, spams_lasso(X, D, lmbd, positive)(), lmbd)
    assert value <= theirs * (1 + 2e-5)
    # SPAMS ends a code at as many non-zeros as there are features
    assert value == pytest.approx(theirs, rel=1e-3)
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
    X = patches(SMALL)[:500]
    D = dictionary(256, SMALL)
    ours = encode(X, D, n_nonzero=10, method="ormp", sparse=True).codes
    theirs = spams_omp(X, D, 10)()
    our_errors = np.square(X - ours @ D.T).sum(1)
    their_errors = np.square(X - theirs @ D.T).sum(1)
    np.testing.assert_allclose(our_errors, their_errors, atol=1e-4)


@pytest.mark.parametrize(("update", "theirs"), [("approximate", "aksvd"), ("exact", "ksvd")])
def test_ksvd_reaches_the_error_of_dictlearn(update: Any, theirs: str) -> None:
    dictlearn = pytest.importorskip("dictlearn", reason="the package dictlearn is not installed")
    X = patches(SMALL)
    n_iter = 3
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
    assert time_to(KSVD(n_atoms=128, n_nonzero=5), X, lambda state: state.n_iter == 2, most=3) > 0
