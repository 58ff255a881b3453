"""The pursuits: optimality by KKT residual and duality gap, and agreement with independent solvers."""

from typing import Any

import cvxpy
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.decomposition import sparse_encode
from sklearn.linear_model import Lasso, orthogonal_mp_gram

from baselines.pursuit import fista
from baselines.pursuit.encode import Encoding, encode, encode_blocks
from baselines.pursuit.objective import Problem

EXACT: dict[str, Any] = {"tol": 1e-12, "max_iter": 100_000}


def problem(
    seed: int, n_samples: int, n_features: int, n_atoms: int
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    D = rng.standard_normal((n_features, n_atoms))
    return rng.standard_normal((n_samples, n_features)), D / np.linalg.norm(D, axis=0)


def objective(
    X: np.ndarray,
    D: np.ndarray,
    codes: Any,
    lmbd: Any,
    alpha: float = 0.0,
    linear: Any = 0.0,
    axis: int | None = None,
) -> Any:
    cost = lmbd * np.abs(codes) + 0.5 * alpha * codes**2 + linear * codes
    return 0.5 * np.square(X - codes @ D.T).sum(axis) + cost.sum(axis)


def kkt(
    X: np.ndarray,
    D: np.ndarray,
    codes: np.ndarray,
    lmbd: Any,
    alpha: float,
    positive: bool,
    linear: Any = 0.0,
) -> float:
    """Largest violation of the optimality conditions."""
    v = (X - codes @ D.T) @ D - alpha * codes - linear
    at_zero = np.maximum((v if positive else np.abs(v)) - lmbd, 0)
    return float(np.where(codes != 0, np.abs(v - lmbd * np.sign(codes)), at_zero).max(initial=0.0))


@st.composite
def nasty(draw: st.DrawFn) -> dict[str, Any]:
    """Problems as they should not be: coherent, duplicate and zero atoms, zero samples, few features, big penalties."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_samples, n_features, n_atoms = (
        draw(st.integers(low, high)) for low, high in ((0, 6), (1, 12), (1, 20))
    )
    X, D = rng.standard_normal((n_samples, n_features)), rng.standard_normal((n_features, n_atoms))
    D += draw(st.sampled_from([0, 3, 30])) * rng.standard_normal(
        (n_features, 1)
    )  # 30: coherence about 0.999
    D /= np.linalg.norm(D, axis=0)
    if draw(st.booleans()):
        D[:, rng.integers(n_atoms)] = D[:, rng.integers(n_atoms)]
    if draw(st.booleans()):
        D[:, rng.integers(n_atoms)] = 0
    if n_samples and draw(st.booleans()):
        X[rng.integers(n_samples)] = 0
    lmbd = draw(st.sampled_from([0.02, 0.1, 0.5, 100.0]))
    penalty = lmbd * rng.uniform(0.5, 2, n_atoms) if draw(st.booleans()) else lmbd
    alpha = draw(st.sampled_from([0.0, 0.01, 1.0]))
    shape = draw(st.sampled_from([None, (n_atoms,), (n_samples, n_atoms)]))
    most = (
        1.0 if alpha else 0.9 * float(np.min(penalty))
    )  # beyond the penalty, a problem without ridge is unbounded
    linear = None if shape is None else most * rng.uniform(-1, 1, shape)
    return {
        "X": X,
        "D": D,
        "lmbd": penalty,
        "alpha": alpha,
        "positive": draw(st.booleans()),
        "linear": linear,
    }


@settings(deadline=None, max_examples=150)
@given(drawn=nasty())
def test_coordinate_descent_satisfies_the_kkt_conditions(drawn: dict[str, Any]) -> None:
    found = encode(**drawn, **EXACT)
    codes, linear = found.codes, 0.0 if drawn["linear"] is None else drawn["linear"]
    assert codes.shape == (len(drawn["X"]), drawn["D"].shape[1])
    assert not drawn["positive"] or codes.min(initial=0) >= 0
    residual = kkt(
        drawn["X"], drawn["D"], codes, drawn["lmbd"], drawn["alpha"], drawn["positive"], linear
    )
    assert residual < 1e-6
    assert found.kkt == pytest.approx(residual, abs=1e-9)
    if drawn["linear"] is None:
        assert found.gap < 1e-9
    if np.min(drawn["lmbd"]) >= 50:
        assert not codes.any()


@settings(deadline=None, max_examples=80)
@given(drawn=nasty(), method=st.sampled_from(["coordinate_descent", "fista"]))
def test_single_precision_ends_near_the_minimum(drawn: dict[str, Any], method: str) -> None:
    drawn["alpha"] = max(drawn["alpha"], 0.1 if method == "fista" else 0.0)
    best = encode(**drawn, **EXACT).codes
    single: dict[str, Any] = {
        name: it.astype(np.float32) if isinstance(it, np.ndarray) else it
        for name, it in drawn.items()
    }
    found = encode(**single, method=method, tol=1e-6, max_iter=20_000)
    assert found.codes.dtype == np.float32
    assert np.isfinite(found.codes).all()
    linear, terms = (0.0 if drawn["linear"] is None else drawn["linear"]), (drawn["X"], drawn["D"])
    ends = [
        objective(*terms, codes, drawn["lmbd"], drawn["alpha"], linear)
        for codes in (found.codes, best)
    ]
    assert ends[0] <= ends[1] + 1e-5 * (np.square(drawn["X"]).sum() + abs(ends[1])) + 1e-9


@pytest.mark.parametrize(
    ("seed", "n_features", "n_atoms", "coherence"), [(6, 30, 20, 3), (8, 12, 5, 30), (12, 8, 4, 30)]
)
def test_every_atom_may_be_active(
    seed: int, n_features: int, n_atoms: int, coherence: float
) -> None:
    """And one of them violate its condition by rounding: then there is no room to make."""
    rng = np.random.default_rng(seed)
    X, D = rng.standard_normal((1, n_features)), rng.standard_normal((n_features, n_atoms))
    D += coherence * rng.standard_normal((n_features, 1))
    found = encode(X, D / np.linalg.norm(D, axis=0), lmbd=0.02, **EXACT)
    assert found.kkt < 1e-9
    assert np.count_nonzero(found.codes) >= n_atoms - 1


@settings(deadline=None, max_examples=40)
@given(drawn=nasty(), method=st.sampled_from(["fista", "ista"]))
def test_gradient_methods_end_where_coordinate_descent_does(
    drawn: dict[str, Any], method: str
) -> None:
    drawn["alpha"] = max(
        drawn["alpha"], 0.1
    )  # or a coherent dictionary takes them a hundred thousand steps
    linear = 0.0 if drawn["linear"] is None else drawn["linear"]
    terms = (drawn["X"], drawn["D"])
    best = encode(**drawn, **EXACT).codes
    found = encode(**drawn, method=method, tol=1e-9, max_iter=50_000)
    values = [
        objective(*terms, codes, drawn["lmbd"], drawn["alpha"], linear)
        for codes in (found.codes, best)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-6, abs=1e-9)
    if drawn["linear"] is None:  # else the gradient tells the end, and scales are other ones
        assert found.gap <= 1e-8


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_the_objective_is_that_of_cvxpy(positive: bool, alpha: float) -> None:
    X, D = problem(0, 4, 12, 25)
    rng = np.random.default_rng(1)
    penalty, linear = rng.uniform(0.1, 0.5, 25), 0.2 * rng.standard_normal((4, 25))
    codes = encode(X, D, lmbd=penalty, alpha=alpha, positive=positive, linear=linear, **EXACT).codes
    U = cvxpy.Variable((4, 25), nonneg=positive)
    cost = cvxpy.sum(
        cvxpy.multiply(np.tile(penalty, (4, 1)), cvxpy.abs(U)) + cvxpy.multiply(linear, U)
    )
    cost += 0.5 * cvxpy.sum_squares(X - U @ D.T) + 0.5 * alpha * cvxpy.sum_squares(U)
    accuracy = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-12)
    least = cvxpy.Problem(cvxpy.Minimize(cost)).solve(solver=cvxpy.CLARABEL, **accuracy)
    assert objective(X, D, codes, penalty, alpha, linear) == pytest.approx(least, rel=1e-8)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.2])
def test_the_objective_is_that_of_spams(positive: bool, alpha: float) -> None:
    spams = pytest.importorskip("spams", reason="the extra spams is not installed")
    X, D = problem(
        3, 30, 20, 50
    )  # SPAMS gives no code more non-zeros than there are features: hence the large penalty
    codes = encode(X, D, lmbd=0.6, alpha=alpha, positive=positive, **EXACT).codes
    columns = np.asfortranarray(X.T), np.asfortranarray(D)
    theirs = spams.lasso(
        *columns, lambda1=0.6, lambda2=alpha, pos=positive, mode=2, numThreads=1
    ).T.toarray()
    assert np.count_nonzero(codes, axis=1).max() < 20
    assert objective(X, D, codes, 0.6, alpha) == pytest.approx(
        objective(X, D, theirs, 0.6, alpha), rel=1e-8
    )


@pytest.mark.parametrize("positive", [False, True])
def test_the_objective_is_that_of_scikit_learn(positive: bool) -> None:
    X, D = problem(0, 30, 20, 50)
    codes = encode(X, D, lmbd=0.3, positive=positive, **EXACT).codes
    lasso = Lasso(
        alpha=0.3 / 20, fit_intercept=False, positive=positive, tol=1e-12, max_iter=100_000
    )
    theirs = np.stack([lasso.fit(D, x).coef_.copy() for x in X])
    assert objective(X, D, codes, 0.3) == pytest.approx(objective(X, D, theirs, 0.3), rel=1e-8)
    assert 0 < np.count_nonzero(codes) < codes.size
    lars = sparse_encode(
        X, np.ascontiguousarray(D.T), algorithm="lasso_lars", alpha=0.3, positive=positive
    )
    assert objective(X, D, codes, 0.3) == pytest.approx(objective(X, D, lars, 0.3), rel=1e-8)


@pytest.mark.parametrize("sparse", [False, True])
def test_a_warm_start_ends_in_the_same_codes(sparse: bool) -> None:
    X, D = problem(8, 20, 12, 30)
    cold = encode(X, D, lmbd=0.2, sparse=sparse, **EXACT)
    warm = encode(
        X, D, lmbd=0.2, sparse=sparse, warm=encode(X, D, lmbd=0.25, sparse=sparse).codes, **EXACT
    )
    again = encode(X, D, lmbd=0.2, warm=cold.codes, method="fista", tol=1e-9)
    for other in (warm, again):
        codes = other.codes.toarray() if hasattr(other.codes, "toarray") else other.codes
        dense = cold.codes.toarray() if sparse else cold.codes
        np.testing.assert_allclose(codes, dense, atol=1e-6)
    assert again.n_iter <= 10


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


def test_ormp_agrees_with_spams_and_with_its_definition() -> None:
    X, D = problem(9, 30, 16, 32)
    codes = encode(X, D, n_nonzero=4, method="ormp").codes
    for x, code in zip(X[:10], codes, strict=False):
        chosen: list[int] = []
        for _ in range(4):  # the atom whose least squares with those before leave the least
            left = {
                j: np.linalg.lstsq(D[:, [*chosen, j]], x, rcond=None)[1].sum()
                for j in {*range(32)} - {*chosen}
            }
            chosen.append(min(left, key=lambda j: left[j]))
        np.testing.assert_allclose(
            code[chosen], np.linalg.lstsq(D[:, chosen], x, rcond=None)[0], atol=1e-8
        )
    spams = pytest.importorskip("spams", reason="the extra spams is not installed")
    theirs = spams.omp(
        np.asfortranarray(X.T), np.asfortranarray(D), L=4, eps=0.0, numThreads=1
    ).T.toarray()
    np.testing.assert_allclose(codes, theirs, atol=1e-8)


@settings(deadline=None, max_examples=80)
@given(
    drawn=nasty(),
    n_nonzero=st.integers(0, 8),
    method=st.sampled_from(["omp", "ormp"]),
    single=st.booleans(),
)
def test_greedy_codes_are_least_squares_on_their_support(
    drawn: dict[str, Any], n_nonzero: int, method: str, single: bool
) -> None:
    X, D = (drawn[name].astype(np.float32 if single else np.float64) for name in "XD")
    codes = encode(X, D, n_nonzero=n_nonzero, method=method).codes
    assert codes.dtype == X.dtype
    assert (np.count_nonzero(codes, axis=1) <= n_nonzero).all()
    for x, code in zip(X.astype(float), codes, strict=True):
        S = np.flatnonzero(code)
        strongest = np.abs(x @ D).max(initial=0) / max(
            np.linalg.norm(D, axis=0).max(initial=0), 1e-30
        )
        assert (
            n_nonzero == 0
            or len(S) > 0
            or strongest <= (1e-5 if single else 1e-10) * np.linalg.norm(x)
        )
        least = np.linalg.lstsq(D[:, S].astype(float), x, rcond=None)[0]
        best, mine = (np.linalg.norm(x - D[:, S] @ it) for it in (least, code[S]))
        assert mine <= best + (2e-3 if single else 1e-6) * np.linalg.norm(
            x
        )  # coherent atoms magnify rounding


def test_omp_takes_one_of_duplicate_atoms() -> None:
    X, D = (array.astype(np.float32) for array in problem(7, 20, 16, 12))
    D = np.hstack([D, D])
    codes = encode(X, D, n_nonzero=10).codes
    assert not ((codes[:, :12] != 0) & (codes[:, 12:] != 0)).any()
    assert np.square(X - codes @ D.T).sum() < np.square(X).sum()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either lmbd or n_nonzero"),
        ({"lmbd": 1.0, "n_nonzero": 2}, "either lmbd or n_nonzero"),
        ({"lmbd": -1.0}, "must be 0 or more"),
        ({"n_nonzero": -1}, "must be 0 or more"),
        ({"n_nonzero": 1, "D": np.ones((2, 4))}, "as many features"),
        ({"n_nonzero": 1, "D": np.full((3, 4), np.nan)}, "not finite"),
        ({"lmbd": 1.0, "method": "omp"}, "no method 'omp' for lmbd"),
        ({"lmbd": 1.0, "linear": np.zeros(3)}, r"linear has shape \(3,\)"),
        ({"lmbd": 1.0, "linear": np.full(4, np.nan)}, "linear has entries that are not finite"),
        ({"lmbd": np.ones(3)}, r"lmbd has shape \(3,\); expected \(4,\)"),
        ({"lmbd": np.ones((2, 4))}, r"lmbd has shape \(2, 4\); expected \(4,\)"),
        ({"lmbd": np.inf}, "lmbd has entries that are not finite"),
        ({"lmbd": 1.0, "alpha": np.nan}, "must be 0 or more"),
        ({"lmbd": 1.0, "warm": np.zeros((1, 4))}, r"warm has shape \(1, 4\); expected \(2, 4\)"),
        ({"lmbd": 1.0, "warm": csr_array((2, 2_000_000))}, r"warm has shape \(2, 2000000\)"),
        ({"lmbd": 1.0, "warm": np.full((2, 4), np.nan)}, "warm has entries that are not finite"),
        ({"lmbd": 1.0, "gram": np.eye(3)}, r"gram has shape \(3, 3\)"),
        ({"n_nonzero": 1, "gram": np.eye(3)}, r"gram has shape \(3, 3\)"),
        ({"lmbd": 1.0, "D": np.ones((3, 0))}, "at least one feature and one atom"),
        (
            {"n_nonzero": 1, "X": np.ones((2, 0)), "D": np.ones((0, 4))},
            "at least one feature and one atom",
        ),
        ({"lmbd": 1.0, "max_iter": 0, "method": "fista"}, "max_iter=0 must be at least 1"),
        ({"n_nonzero": 1, "n_threads": 0}, "n_threads=0 must be at least 1"),
        ({"lmbd": 1.0, "X": [[1.0, 2.0, 3.0]]}, "X is a list; expected an array or a tensor"),
        ({"lmbd": 1.0, "X": np.ones((2, 3), complex)}, "X has numbers of type complex128"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    X, D = problem(0, 2, 3, 4)
    with pytest.raises(ValueError, match=message):
        encode(**{"X": X, "D": D} | options)


@pytest.mark.parametrize("method", ["fista", "coordinate_descent"])
def test_samples_that_are_not_finite_are_refused(method: str) -> None:
    X, D = problem(0, 2, 3, 4)
    X[1, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        encode(X, D, lmbd=0.1, method=method)


@pytest.mark.parametrize("method", ["fista", "ista", "coordinate_descent"])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_every_pursuit_reaches_its_duality_gap(method: str, kind: str) -> None:
    X, D = problem(4, 50, 20, 40)
    if kind == "torch":
        found = encode(
            torch.from_numpy(X),
            torch.from_numpy(D),
            lmbd=0.3,
            method=method,
            tol=1e-7,
            max_iter=20_000,
        )
        assert isinstance(found.codes, torch.Tensor)
    else:
        found = encode(X, D, lmbd=0.3, method=method, tol=1e-7, max_iter=20_000)
    codes = np.asarray(found.codes)
    assert found.method == method
    assert found.gap <= 1e-7
    assert found.kkt == pytest.approx(kkt(X, D, codes, 0.3, 0.0, False), abs=1e-9)
    best = encode(X, D, lmbd=0.3, **EXACT).codes
    np.testing.assert_allclose(codes @ D.T, best @ D.T, atol=1e-2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("positive", [False, True])
def test_a_gpu_reaches_the_same_objective(positive: bool) -> None:
    X, D = problem(10, 300, 20, 40)
    on_gpu = (torch.from_numpy(array).cuda() for array in (X, D))
    found = encode(*on_gpu, lmbd=0.3, positive=positive, tol=1e-9, max_iter=20_000)
    assert found.codes.is_cuda
    assert found.method == "fista"
    values = [objective(X, D, codes, 0.3) for codes in (found.codes.cpu().numpy(), encode(X, D, lmbd=0.3,
              positive=positive, **EXACT).codes)]  # fmt: skip
    assert values[0] == pytest.approx(values[1], rel=1e-8)


def test_the_tensor_path_takes_the_steps_of_the_array_path() -> None:
    X, D = problem(11, 20, 12, 30)
    for n_iter in (1, 7, 25):
        arrays = encode(X, D, lmbd=0.1, method="fista", tol=0, max_iter=n_iter).codes
        tensors = _tensor_path(X, D, n_iter)
        np.testing.assert_allclose(arrays, tensors, atol=1e-12)


def _tensor_path(X: np.ndarray, D: np.ndarray, n_iter: int) -> np.ndarray:
    """What other devices run, on the CPU."""

    data, atoms, penalty = (
        torch.from_numpy(X),
        torch.from_numpy(D),
        torch.full((D.shape[1],), 0.1, dtype=torch.float64),
    )
    return np.asarray(fista.fista(Problem(data, atoms, penalty, tol=0, max_iter=n_iter))[0])


def test_the_certificate_tells_good_codes_from_bad() -> None:
    X, D = problem(5, 20, 10, 20)
    good = encode(X, D, lmbd=0.3, alpha=0.1, **EXACT)
    assert good.gap < 1e-10
    bad = Encoding(good.codes + 0.1, "by hand", 0, good.problem)
    assert bad.gap > 1e-2
    assert bad.kkt > 0.05
    assert np.isnan(encode(X, D, n_nonzero=2).gap)


@pytest.mark.parametrize("positive", [False, True])
def test_fista_is_its_textbook_recursion_step_by_step(positive: bool) -> None:
    X, D = problem(6, 5, 10, 15)
    step = 1 / np.linalg.norm(D, 2) ** 2
    U, Y, t = np.zeros((5, 15)), np.zeros((5, 15)), np.ones((5, 1))
    for n_iter in range(1, 61):
        V = Y + step * (X - Y @ D.T) @ D
        following = np.maximum(V - 0.2 * step, 0) - (
            0 if positive else np.maximum(-V - 0.2 * step, 0)
        )
        t = np.where(((Y - following) * (following - U)).sum(1, keepdims=True) > 0, 1, t)
        older = (1 + np.sqrt(1 + 4 * t * t)) / 2
        Y, U, t = following + (t - 1) / older * (following - U), following, older
        codes = encode(
            X, D, lmbd=0.2, positive=positive, method="fista", tol=0, max_iter=n_iter
        ).codes
        np.testing.assert_allclose(codes, U, atol=1e-11)


def test_more_non_zeros_than_features_are_found_with_a_ridge() -> None:
    X, D = problem(12, 5, 4, 60)
    found = encode(X, D, lmbd=0.01, alpha=1.0, **EXACT)
    assert np.count_nonzero(found.codes, axis=1).max() > 8
    assert found.kkt < 1e-9


@settings(deadline=None, max_examples=60)
@given(drawn=nasty(), scale=st.sampled_from([0.0, 0.1, 1.0]))
def test_the_compiled_certificate_is_its_formula(drawn: dict[str, Any], scale: float) -> None:
    """At any codes, also such as no pursuit gives."""
    X, D, positive, alpha = drawn["X"], drawn["D"], drawn["positive"], drawn["alpha"]
    penalty = np.zeros(D.shape[1]) + drawn["lmbd"]
    rng = np.random.default_rng(0)
    codes = (
        scale * rng.standard_normal((len(X), D.shape[1])) * (rng.random((len(X), D.shape[1])) < 0.5)
    )
    codes = np.maximum(codes, 0) if positive else codes
    value, gap, _ = Problem(X, D, penalty, alpha, positive).certificate(codes)
    found, R = np.empty((2, len(X))), X - codes @ D.T
    certify: Any = fista._certify
    certify(X, R, R @ D, codes, penalty, alpha, positive, *found)
    np.testing.assert_allclose(found, [value, gap], rtol=1e-8, atol=1e-9)
