"""The solvers under `sdl`: optimality by the KKT conditions, and agreement with independent solvers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Lasso, orthogonal_mp_gram

from baselines.ksvd import ksvd
from baselines.online import online
from baselines.pursuit import Encoding, encode, encode_blocks


def problem(seed: int, n_samples: int, n_features: int, n_atoms: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    D = rng.standard_normal((n_features, n_atoms))
    return rng.standard_normal((n_samples, n_features)), D / np.linalg.norm(D, axis=0)


def kkt(X: np.ndarray, D: np.ndarray, codes: np.ndarray, lmbd: float, alpha: float, positive: bool) -> float:
    """Largest violation of the optimality conditions of the elastic net."""
    correlation = (X - codes @ D.T) @ D - alpha * codes
    on = codes != 0
    at_zero = np.maximum(correlation if positive else np.abs(correlation), lmbd) - lmbd
    return float(np.where(on, np.abs(correlation - lmbd * np.sign(codes)), at_zero).max(initial=0.0))


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    n_samples=st.integers(1, 12),
    n_features=st.integers(1, 12),
    n_atoms=st.integers(1, 24),
    lmbd=st.floats(0.05, 3),
    alpha=st.sampled_from([0.0, 0.1, 1.0]),
    positive=st.booleans(),
)
def test_codes_satisfy_the_kkt_conditions(
    seed: int, n_samples: int, n_features: int, n_atoms: int, lmbd: float, alpha: float, positive: bool
) -> None:
    X, D = problem(seed, n_samples, n_features, n_atoms)
    codes = encode(X, D, lmbd=lmbd, alpha=alpha, positive=positive, tol=1e-12).codes
    assert codes.shape == (n_samples, n_atoms)
    assert not positive or codes.min() >= 0
    assert kkt(X, D, codes, lmbd, alpha, positive) < 1e-5


@pytest.mark.parametrize("positive", [False, True])
def test_objective_is_that_of_scikit_learn(positive: bool) -> None:
    X, D = problem(0, 30, 20, 50)
    codes = encode(X, D, lmbd=0.3, positive=positive, tol=1e-12).codes
    lasso = Lasso(alpha=0.3 / 20, fit_intercept=False, positive=positive, tol=1e-12, max_iter=100_000)
    theirs = np.stack([lasso.fit(D, x).coef_.copy() for x in X])

    def objective(U: np.ndarray) -> float:
        return float(0.5 * np.square(X - U @ D.T).sum() + 0.3 * np.abs(U).sum())

    assert objective(codes) == pytest.approx(objective(theirs), rel=1e-8)
    assert 0 < np.count_nonzero(codes) < codes.size


def test_blocks_and_sparse_codes_are_the_same_codes() -> None:
    X, D = problem(1, 40, 16, 32)
    X, D = X.astype(np.float32), D.astype(np.float32)
    whole = encode(X, D, lmbd=0.4).codes
    parts = [part.codes for part in encode_blocks(np.split(X, 4), D, lmbd=0.4, sparse=True)]
    np.testing.assert_allclose(np.vstack([part.toarray() for part in parts]), whole, atol=1e-5)
    assert whole.dtype == np.float32


def test_omp_agrees_with_scikit_learn() -> None:
    X, D = problem(2, 40, 16, 32)
    codes = encode(X, D, n_nonzero=4).codes
    assert (np.count_nonzero(codes, axis=1) <= 4).all()
    theirs = orthogonal_mp_gram(D.T @ D, D.T @ X.T, n_nonzero_coefs=4, copy_Xy=True)
    np.testing.assert_allclose(codes, theirs.T, atol=1e-8)


def planted(n_samples: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    D = rng.standard_normal((20, 30))
    D /= np.linalg.norm(D, axis=0)
    codes = np.zeros((n_samples, 30))
    for code in codes:
        code[rng.choice(30, 3, replace=False)] = rng.standard_normal(3) + np.sign(rng.standard_normal(3))
    return codes @ D.T, D


@pytest.mark.parametrize("exact", [False, True])
def test_ksvd_recovers_a_planted_dictionary(exact: bool) -> None:
    X, D = planted()
    learned = ksvd(X, 30, n_nonzero=3, n_iter=40, seed=0, exact=exact).D
    np.testing.assert_allclose(np.linalg.norm(learned, axis=0), 1, atol=1e-6)
    assert (np.abs(learned.T @ D).max(0) > 0.98).mean() > 0.8


def test_online_learning_lowers_the_objective() -> None:
    X, _ = planted()

    def objective(D: np.ndarray) -> float:
        codes = encode(X, D, lmbd=0.1).codes
        return float(0.5 * np.square(X - codes @ D.T).sum() + 0.1 * np.abs(codes).sum())

    few, many = (online(X, 30, lmbd=0.1, batch_size=100, n_iter=n_iter, seed=0).D for n_iter in (2, 200))
    assert objective(many) < 0.8 * objective(few)
    np.testing.assert_allclose(np.linalg.norm(many, axis=0), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [({}, "either lmbd or n_nonzero"), ({"lmbd": 1.0, "n_nonzero": 2}, "either lmbd or n_nonzero")],
)
def test_wrong_arguments(options: dict[str, float], message: str) -> None:
    X, D = problem(0, 2, 3, 4)
    with pytest.raises(ValueError, match=message):
        encode(X, D, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["fista", "ista", "coordinate_descent"])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_every_pursuit_reaches_its_duality_gap(method: str, kind: str) -> None:
    X, D = problem(4, 50, 20, 40)
    if kind == "torch":
        found = encode(torch.from_numpy(X), torch.from_numpy(D), lmbd=0.3, method=method, tol=1e-7, max_iter=20_000)
        assert isinstance(found.codes, torch.Tensor)
    else:
        found = encode(X, D, lmbd=0.3, method=method, tol=1e-7, max_iter=20_000)
    codes = np.asarray(found.codes)
    assert found.method == method
    assert found.gap <= 1e-7
    assert found.kkt == pytest.approx(kkt(X, D, codes, 0.3, 0.0, False), abs=1e-9)
    best = encode(X, D, lmbd=0.3, tol=1e-12).codes
    np.testing.assert_allclose(codes @ D.T, best @ D.T, atol=1e-2)


def test_the_certificate_tells_good_codes_from_bad() -> None:
    X, D = problem(5, 20, 10, 20)
    good = encode(X, D, lmbd=0.3, alpha=0.1, tol=1e-12)
    assert good.gap < 1e-10
    bad = Encoding(good.codes + 0.1, "by hand", 0, good.problem)
    assert bad.gap > 1e-2
    assert bad.kkt > 0.05
    assert np.isnan(encode(X, D, n_nonzero=2).gap)


def test_fista_is_its_textbook_recursion() -> None:
    X, D = problem(6, 5, 10, 15)
    lipschitz = np.linalg.norm(D, 2) ** 2
    U, Y, t = np.zeros((5, 15)), np.zeros((5, 15)), 1.0
    for _ in range(3000):
        V = Y + (X - Y @ D.T) @ D / lipschitz
        following = np.sign(V) * np.maximum(np.abs(V) - 0.2 / lipschitz, 0)
        t, before = (1 + np.sqrt(1 + 4 * t * t)) / 2, t
        Y, U = following + (before - 1) / t * (following - U), following
    codes = encode(X, D, lmbd=0.2, method="fista", tol=1e-10, max_iter=20_000).codes
    np.testing.assert_allclose(codes, U, atol=1e-4)


def test_omp_takes_one_of_duplicate_atoms() -> None:
    X, D = (array.astype(np.float32) for array in problem(7, 20, 16, 12))
    D = np.hstack([D, D])
    codes = encode(X, D, n_nonzero=10).codes
    assert not ((codes[:, :12] != 0) & (codes[:, 12:] != 0)).any()
    assert np.square(X - codes @ D.T).sum() < np.square(X).sum()
