"""The pursuits: KKT residual and duality gap, and agreement with independent solvers."""

import doctest
import importlib
from dataclasses import replace
from typing import Any, NamedTuple

import cvxpy
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.decomposition import sparse_encode
from sklearn.linear_model import Lasso, orthogonal_mp_gram

from baselines.pursuit import Encoding, encode, encode_blocks
from baselines.pursuit.compiled import soft_threshold
from baselines.pursuit.fista import State, Step, certify_array, fista
from baselines.pursuit.objective import Problem
from tests.conftest import random_problem

EXACT: dict[str, Any] = {"tol": 1e-12, "max_iter": 100_000}


class Drawn(NamedTuple):
    """A problem, as `encode` takes it."""

    X: np.ndarray
    D: np.ndarray
    lmbd: Any
    alpha: float
    positive: bool
    linear: np.ndarray | None

    def options(self) -> dict[str, Any]:
        """Return what `encode` takes beside samples and dictionary."""
        return {
            "lmbd": self.lmbd,
            "alpha": self.alpha,
            "positive": self.positive,
            "linear": self.linear,
        }


def encode_drawn(drawn: Drawn, **options: Any) -> Encoding:
    """Encode the samples of a drawn problem."""
    return encode(drawn.X, drawn.D, **drawn.options(), **options)


def objective(
    X: np.ndarray,
    D: np.ndarray,
    codes: Any,
    lmbd: Any,
    alpha: float = 0.0,
    linear: Any = None,
) -> float:
    """Compute the objective of `encode` from its definition."""
    cost = lmbd * np.abs(codes) + 0.5 * alpha * codes**2
    if linear is not None:
        cost = cost + linear * codes
    return float(0.5 * np.square(X - codes @ D.T).sum() + cost.sum())


def value_of(drawn: Drawn, codes: np.ndarray) -> float:
    """Compute the objective of a drawn problem at `codes`."""
    return objective(drawn.X, drawn.D, codes, drawn.lmbd, drawn.alpha, drawn.linear)


def largest_violation(drawn: Drawn, codes: np.ndarray) -> float:
    """Compute the largest violation of the optimality conditions."""
    v = (drawn.X - codes @ drawn.D.T) @ drawn.D - drawn.alpha * codes
    if drawn.linear is not None:
        v = v - drawn.linear
    size = v if drawn.positive else np.abs(v)
    at_zero = np.maximum(size - drawn.lmbd, 0)
    elsewhere = np.abs(v - drawn.lmbd * np.sign(codes))
    return float(np.where(codes != 0, elsewhere, at_zero).max(initial=0.0))


@st.composite
def nasty(draw: st.DrawFn) -> Drawn:
    """Draw problems as they should not be.

    Coherent, duplicate and zero atoms, zero samples, few features, large penalties.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_samples = draw(st.integers(0, 6))
    n_features = draw(st.integers(1, 12))
    n_atoms = draw(st.integers(1, 20))
    X = rng.standard_normal((n_samples, n_features))
    D = rng.standard_normal((n_features, n_atoms))
    strength = draw(st.sampled_from([0, 3, 30]))  # 30: a coherence of about 0.999
    D += strength * rng.standard_normal((n_features, 1))
    D /= np.linalg.norm(D, axis=0)
    if draw(st.booleans()):
        D[:, rng.integers(n_atoms)] = D[:, rng.integers(n_atoms)]
    if draw(st.booleans()):
        D[:, rng.integers(n_atoms)] = 0
    if n_samples and draw(st.booleans()):
        X[rng.integers(n_samples)] = 0
    lmbd: Any = draw(st.sampled_from([0.02, 0.1, 0.5, 100.0]))
    if draw(st.booleans()):
        lmbd = lmbd * rng.uniform(0.5, 2, n_atoms)
    alpha = draw(st.sampled_from([0.0, 0.01, 1.0]))
    shape = draw(st.sampled_from([None, (n_atoms,), (n_samples, n_atoms)]))
    linear = None
    if shape is not None:
        # beyond the penalty, a problem without ridge is unbounded
        most = 1.0 if alpha else 0.9 * float(np.min(lmbd))
        linear = most * rng.uniform(-1, 1, shape)
    return Drawn(X, D, lmbd, alpha, draw(st.booleans()), linear)


def dense(codes: Any) -> np.ndarray:
    """Return codes as a dense array."""
    return np.asarray(codes.toarray() if hasattr(codes, "toarray") else codes)


@settings(max_examples=150)
@given(drawn=nasty())
def test_coordinate_descent_satisfies_the_kkt_conditions(drawn: Drawn) -> None:
    encoding = encode_drawn(drawn, **EXACT)
    codes = encoding.codes
    assert codes.shape == (len(drawn.X), drawn.D.shape[1])
    assert not drawn.positive or codes.min(initial=0) >= 0
    residual = largest_violation(drawn, codes)
    assert residual < 1e-6
    assert encoding.kkt == pytest.approx(residual, abs=1e-9)
    if drawn.linear is None:
        assert encoding.gap < 1e-9
    if np.min(drawn.lmbd) >= 50:
        assert not codes.any()


@settings(max_examples=80)
@given(drawn=nasty(), method=st.sampled_from(["coordinate_descent", "fista"]))
@pytest.mark.filterwarnings("default::baselines.pursuit.ConvergenceWarning")
def test_single_precision_ends_near_the_minimum(drawn: Drawn, method: str) -> None:
    if method == "fista":
        drawn = drawn._replace(alpha=max(drawn.alpha, 0.1))
    best = encode_drawn(drawn, **EXACT).codes
    changes: dict[str, Any] = {
        name: value.astype(np.float32)
        for name, value in drawn._asdict().items()
        if isinstance(value, np.ndarray)
    }
    encoding = encode_drawn(drawn._replace(**changes), method=method, tol=1e-6, max_iter=20_000)
    assert encoding.codes.dtype == np.float32
    assert np.isfinite(encoding.codes).all()
    least = value_of(drawn, best)
    allowed = 1e-5 * (np.square(drawn.X).sum() + abs(least)) + 1e-9
    assert value_of(drawn, encoding.codes) <= least + allowed


@pytest.mark.parametrize(
    ("seed", "n_features", "n_atoms", "coherence"), [(6, 30, 20, 3), (8, 12, 5, 30), (12, 8, 4, 30)]
)
def test_every_atom_may_be_active(
    seed: int, n_features: int, n_atoms: int, coherence: float
) -> None:
    """And one of them violate its condition by rounding: then there is no room to make."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((1, n_features))
    D = rng.standard_normal((n_features, n_atoms))
    D += coherence * rng.standard_normal((n_features, 1))
    encoding = encode(X, D / np.linalg.norm(D, axis=0), lmbd=0.02, **EXACT)
    assert encoding.kkt < 1e-9
    assert np.count_nonzero(encoding.codes) >= n_atoms - 1


@settings(max_examples=40)
@given(drawn=nasty(), method=st.sampled_from(["fista", "ista"]))
def test_gradient_methods_end_where_coordinate_descent_does(drawn: Drawn, method: str) -> None:
    # without a ridge a coherent dictionary takes them a hundred thousand steps
    drawn = drawn._replace(alpha=max(drawn.alpha, 0.1))
    best = encode_drawn(drawn, **EXACT).codes
    encoding = encode_drawn(drawn, method=method, tol=1e-9, max_iter=50_000)
    least = value_of(drawn, best)
    assert value_of(drawn, encoding.codes) == pytest.approx(least, rel=1e-6, abs=1e-9)
    if drawn.linear is None:  # else the gradient tells the end, and scales are other ones
        assert encoding.gap <= 1e-8


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_the_objective_is_that_of_cvxpy(positive: bool, alpha: float) -> None:
    X, D = random_problem(0, 4, 12, 25)
    rng = np.random.default_rng(1)
    penalty = rng.uniform(0.1, 0.5, 25)
    linear = 0.2 * rng.standard_normal((4, 25))
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
    # SPAMS gives no code more non-zeros than there are features: hence the large penalty
    X, D = random_problem(3, 30, 20, 50)
    codes = encode(X, D, lmbd=0.6, alpha=alpha, positive=positive, **EXACT).codes
    theirs = spams.lasso(
        np.asfortranarray(X.T),
        np.asfortranarray(D),
        lambda1=0.6,
        lambda2=alpha,
        pos=positive,
        mode=2,
        numThreads=1,
    ).T.toarray()
    assert np.count_nonzero(codes, axis=1).max() < 20
    assert objective(X, D, codes, 0.6, alpha) == pytest.approx(
        objective(X, D, theirs, 0.6, alpha), rel=1e-8
    )


@pytest.mark.parametrize("positive", [False, True])
def test_the_objective_is_that_of_scikit_learn(positive: bool) -> None:
    X, D = random_problem(0, 30, 20, 50)
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
    X, D = random_problem(8, 20, 12, 30)
    cold = encode(X, D, lmbd=0.2, sparse=sparse, **EXACT)
    nearby = encode(X, D, lmbd=0.25, sparse=sparse).codes
    warm = encode(X, D, lmbd=0.2, sparse=sparse, warm=nearby, **EXACT)
    again = encode(X, D, lmbd=0.2, warm=cold.codes, method="fista", tol=1e-9)
    for other in (warm, again):
        np.testing.assert_allclose(dense(other.codes), dense(cold.codes), atol=1e-6)
    assert again.n_iter <= 10


def test_blocks_and_sparse_codes_are_the_same_codes() -> None:
    X, D = (array.astype(np.float32) for array in random_problem(1, 40, 16, 32))
    whole = encode(X, D, lmbd=0.4).codes
    parts = [part.codes for part in encode_blocks(np.split(X, 4), D, lmbd=0.4, sparse=True)]
    np.testing.assert_allclose(np.vstack([part.toarray() for part in parts]), whole, atol=1e-5)
    assert whole.dtype == np.float32


def test_blocks_of_other_types_have_the_codes_of_a_call_of_their_own() -> None:
    X, D = random_problem(1, 40, 16, 32)
    D = D.astype(np.float32)
    blocks = [X[:20].astype(np.float32), X[20:]]
    options: dict[str, Any] = {"lmbd": 0.4, "tol": 1e-12}
    for block, found in zip(blocks, encode_blocks(blocks, D, **options), strict=True):
        alone = encode(block, D, **options)
        assert found.codes.dtype == alone.codes.dtype
        np.testing.assert_allclose(found.codes, alone.codes, rtol=1e-6)
    assert found.kkt < 1e-12, "the gram of the first block has single precision"


@pytest.mark.parametrize("kind", ["array", "tensor"])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_a_problem_of_gram_and_linear_alone_is_certified(kind: str, alpha: float) -> None:
    X, D = random_problem(3, 20, 16, 12)
    wanted = encode(X, D, lmbd=0.2, alpha=alpha, **EXACT)
    problem: dict[str, Any] = {
        "X": np.zeros((20, 1)),
        "D": np.zeros((1, 12)),
        "linear": -X @ D,
        "gram": D.T @ D,
    }
    if kind == "tensor":
        problem = {name: torch.from_numpy(value) for name, value in problem.items()}
    found = encode(**problem, lmbd=0.2, alpha=alpha, method="coordinate_descent", **EXACT)
    np.testing.assert_allclose(dense(found.codes), dense(wanted.codes), atol=1e-8)
    assert found.kkt < 1e-8
    if alpha > 0:  # without a ridge a linear term leaves no dual point that is sure to be feasible
        assert found.gap < 1e-8


def test_omp_agrees_with_scikit_learn() -> None:
    X, D = random_problem(2, 40, 16, 32)
    codes = encode(X, D, n_nonzero=4).codes
    assert (np.count_nonzero(codes, axis=1) <= 4).all()
    theirs = orthogonal_mp_gram(D.T @ D, D.T @ X.T, n_nonzero_coefs=4, copy_Xy=True)
    np.testing.assert_allclose(codes, theirs.T, atol=1e-8)


def test_ormp_agrees_with_spams_and_with_its_definition() -> None:
    X, D = random_problem(9, 30, 16, 32)
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


@settings(max_examples=80)
@given(
    drawn=nasty(),
    n_nonzero=st.integers(0, 8),
    method=st.sampled_from(["omp", "ormp"]),
    single=st.booleans(),
)
def test_greedy_codes_are_least_squares_on_their_support(
    drawn: Drawn, n_nonzero: int, method: str, single: bool
) -> None:
    dtype = np.float32 if single else np.float64
    eps = float(np.finfo(dtype).eps)
    least_gain = 1e-5 if single else 1e-10
    X = drawn.X.astype(dtype)
    D = drawn.D.astype(dtype)
    codes = encode(X, D, n_nonzero=n_nonzero, method=method).codes
    assert codes.dtype == dtype
    assert (np.count_nonzero(codes, axis=1) <= n_nonzero).all()
    longest = max(np.linalg.norm(D, axis=0).max(initial=0), 1e-30)
    for x, code in zip(X.astype(float), codes, strict=True):
        support = np.flatnonzero(code)
        if n_nonzero > 0 and not len(support):
            assert np.abs(x @ D).max(initial=0) <= least_gain * np.linalg.norm(x) * longest
        best = np.linalg.lstsq(D[:, support].astype(float), x, rcond=None)[0]
        least = np.linalg.norm(x - D[:, support] @ best)
        error = np.linalg.norm(x - D[:, support] @ code[support])
        # the Gram matrix squares the condition number of the atoms: rounding grows with it
        condition = np.linalg.cond(D[:, support].astype(float)) if len(support) else 1.0
        assert error <= least + 10 * eps * condition**2 * np.linalg.norm(x)


def test_omp_takes_one_of_duplicate_atoms() -> None:
    X, D = (array.astype(np.float32) for array in random_problem(7, 20, 16, 12))
    D = np.hstack([D, D])
    codes = encode(X, D, n_nonzero=10).codes
    assert not ((codes[:, :12] != 0) & (codes[:, 12:] != 0)).any()
    assert np.square(X - codes @ D.T).sum() < np.square(X).sum()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either lmbd, or n_nonzero"),
        ({"lmbd": 1.0, "n_nonzero": 2}, "either lmbd, or n_nonzero"),
        ({"lmbd": -1.0}, "lmbd=-1.0 must be a finite number, 0 or more"),
        ({"n_nonzero": -1}, "must be 0 or more"),
        ({"n_nonzero": 1, "D": np.ones((2, 4))}, "as many features"),
        ({"n_nonzero": 1, "D": np.full((3, 4), np.nan)}, "not finite"),
        ({"lmbd": 1.0, "method": "omp"}, "no method 'omp' for lmbd"),
        ({"lmbd": 1.0, "linear": np.zeros(3)}, r"linear has shape \(3,\)"),
        ({"lmbd": 1.0, "linear": np.full(4, np.nan)}, "linear has entries that are not finite"),
        ({"lmbd": np.ones(3)}, r"lmbd has shape \(3,\); expected \(4,\)"),
        ({"lmbd": np.ones((2, 4))}, r"lmbd has shape \(2, 4\); expected \(4,\)"),
        ({"lmbd": np.inf}, "lmbd=inf must be a finite number"),
        ({"lmbd": 1.0, "alpha": np.nan}, "alpha=nan must be a finite number"),
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
    X, D = random_problem(0, 2, 3, 4)
    with pytest.raises(ValueError, match=message):
        encode(**{"X": X, "D": D} | options)


@pytest.mark.parametrize("method", ["fista", "coordinate_descent"])
def test_samples_that_are_not_finite_are_refused(method: str) -> None:
    X, D = random_problem(0, 2, 3, 4)
    X[1, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        encode(X, D, lmbd=0.1, method=method)


@pytest.mark.parametrize("method", ["fista", "ista", "coordinate_descent"])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_every_pursuit_reaches_its_duality_gap(method: str, kind: str) -> None:
    X, D = random_problem(4, 50, 20, 40)
    arguments: Any = (X, D)
    if kind == "torch":
        arguments = (torch.from_numpy(X), torch.from_numpy(D))
    encoding = encode(*arguments, lmbd=0.3, method=method, tol=1e-7, max_iter=20_000)
    assert isinstance(encoding.codes, type(arguments[0]))
    assert encoding.method == method
    assert encoding.gap <= 1e-7
    codes = np.asarray(encoding.codes)
    violation = largest_violation(Drawn(X, D, 0.3, 0.0, False, None), codes)
    assert encoding.kkt == pytest.approx(violation, abs=1e-9)
    best = encode(X, D, lmbd=0.3, **EXACT).codes
    np.testing.assert_allclose(codes @ D.T, best @ D.T, atol=1e-2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("positive", [False, True])
def test_a_gpu_reaches_the_same_objective(positive: bool) -> None:
    X, D = random_problem(10, 300, 20, 40)
    on_gpu = (torch.from_numpy(array).cuda() for array in (X, D))
    encoding = encode(*on_gpu, lmbd=0.3, positive=positive, tol=1e-9, max_iter=20_000)
    assert encoding.codes.is_cuda
    assert encoding.method == "active_set"
    best = encode(X, D, lmbd=0.3, positive=positive, **EXACT).codes
    value = objective(X, D, encoding.codes.cpu().numpy(), 0.3)
    assert value == pytest.approx(objective(X, D, best, 0.3), rel=1e-8)


def test_the_tensor_path_takes_the_steps_of_the_array_path() -> None:
    """The tensor path is what other devices run; here on the CPU."""
    X, D = random_problem(11, 20, 12, 30)
    data = torch.from_numpy(X)
    atoms = torch.from_numpy(D)
    penalty = torch.full((30,), 0.1, dtype=torch.float64)
    for n_iter in (1, 7, 25):
        arrays = encode(X, D, lmbd=0.1, method="fista", tol=0, max_iter=n_iter).codes
        tensors = fista(Problem(data, atoms, penalty, tol=0, max_iter=n_iter)).codes
        np.testing.assert_allclose(arrays, np.asarray(tensors), atol=1e-12)


def test_the_certificate_tells_good_codes_from_bad() -> None:
    X, D = random_problem(5, 20, 10, 20)
    good = encode(X, D, lmbd=0.3, alpha=0.1, **EXACT)
    assert good.gap < 1e-10
    bad = replace(good, codes=good.codes + 0.1)
    assert bad.gap > 1e-2
    assert bad.kkt > 0.05
    assert np.isnan(encode(X, D, n_nonzero=2).gap)


@pytest.mark.parametrize("positive", [False, True])
def test_fista_is_its_textbook_recursion_step_by_step(positive: bool) -> None:
    X, D = random_problem(6, 5, 10, 15)
    step = 1 / np.linalg.norm(D, 2) ** 2
    U = np.zeros((5, 15))
    Y = np.zeros((5, 15))
    t = np.ones((5, 1))
    for n_iter in range(1, 61):
        V = Y + step * (X - Y @ D.T) @ D
        following = np.maximum(V - 0.2 * step, 0)
        if not positive:
            following -= np.maximum(-V - 0.2 * step, 0)
        t = np.where(((Y - following) * (following - U)).sum(1, keepdims=True) > 0, 1, t)
        older = (1 + np.sqrt(1 + 4 * t * t)) / 2
        Y = following + (t - 1) / older * (following - U)
        U = following
        t = older
        options: dict[str, Any] = {"positive": positive, "tol": 0, "max_iter": n_iter}
        codes = encode(X, D, lmbd=0.2, method="fista", **options).codes
        np.testing.assert_allclose(codes, U, atol=1e-11)


def test_more_non_zeros_than_features_are_found_with_a_ridge() -> None:
    X, D = random_problem(12, 5, 4, 60)
    encoding = encode(X, D, lmbd=0.01, alpha=1.0, **EXACT)
    assert np.count_nonzero(encoding.codes, axis=1).max() > 8
    assert encoding.kkt < 1e-9


@settings(max_examples=60)
@given(drawn=nasty(), scale=st.sampled_from([0.0, 0.1, 1.0]))
def test_the_compiled_certificate_is_its_formula(drawn: Drawn, scale: float) -> None:
    """At any codes, also such as no pursuit gives."""
    X = drawn.X
    D = drawn.D
    shape = (len(X), D.shape[1])
    penalty = np.zeros(D.shape[1]) + drawn.lmbd
    rng = np.random.default_rng(0)
    codes = scale * rng.standard_normal(shape) * (rng.random(shape) < 0.5)
    if drawn.positive:
        codes = np.maximum(codes, 0)
    wanted = Problem(X, D, penalty, drawn.alpha, drawn.positive).certificate(codes)
    R = X - codes @ D.T
    state = State(codes, codes, R @ D, np.ones(len(X)))
    linear = np.zeros((1, D.shape[1]))
    step = Step(1.0, penalty, linear, drawn.alpha, drawn.positive, True)
    value = np.empty(len(X))
    gap = np.empty(len(X))
    certify_array(X, R, state, step, value, gap)
    np.testing.assert_allclose(value, wanted.objective, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(gap, wanted.gap, rtol=1e-8, atol=1e-9)


def test_thresholds_keep_their_type() -> None:
    values = np.array([-2.0, -0.5, 0.25, 3.0])
    for dtype in (np.float32, np.float64):
        for positive, wanted in ((False, [-1.0, 0, 0, 2.0]), (True, [0, 0, 0, 2.0])):
            codes = [soft_threshold(dtype(v), dtype(1), positive) for v in values]
            assert codes == wanted


def test_the_example_of_the_docstring_runs() -> None:
    result = doctest.testmod(importlib.import_module("baselines.pursuit.encode"))
    assert result.attempted > 0
    assert result.failed == 0
