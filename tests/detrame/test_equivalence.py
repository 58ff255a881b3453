"""Dictionary problems as layers and back, and the prox, against independent solvers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from detrame.equivalence import Array, DictionaryProblem, QMetricLayer, from_layer, prox, to_layer
from detrame.layer import QMetricReLU

cp = pytest.importorskip("cvxpy")

seeds = st.integers(0, 10**6)


def problem(
    seed: int, n_features: int = 12, n_atoms: int = 6, noise: float = 0.04, **penalties: float
) -> DictionaryProblem:
    """Nearly orthogonal atoms where the noise is small, and a tilt d."""
    rng = np.random.default_rng(seed)
    frame = np.linalg.qr(rng.standard_normal((max(n_features, n_atoms),) * 2))[0][
        :n_features, :n_atoms
    ]
    D = frame + noise * rng.standard_normal((n_features, n_atoms))
    d = 0.2 * rng.standard_normal(n_atoms)
    return DictionaryProblem(D=D, d=d, **{"lmbd": 0.2, "alpha": 0.3, "beta": 0.4} | penalties)


def metric_of(made: DictionaryProblem) -> Array:
    return made.D.T @ made.D + made.alpha * np.eye(made.D.shape[1])


def module(layer: QMetricLayer, n_steps: int, tol: float | None = None) -> QMetricReLU:
    made = QMetricReLU(len(layer.h), 1, n_steps, tol=tol).double()
    for name, value in (
        ("weight", layer.W_tilde[:, :, None, None]),
        ("h", layer.h),
        ("b", layer.b),
    ):
        made.state_dict()[name].copy_(torch.from_numpy(value))
    made.project_()  # a start out of bounds would then not end in the codes
    return made


def elastic_net(X: Array, made: Any) -> Array:
    """The codes of X by an interior-point solver, from the problem as it is stated."""
    codes = cp.Variable((len(X), made.D.shape[1]), nonneg=True)
    penalty = cp.sum(codes @ (made.lmbd + made.d)) + 0.5 * (
        made.alpha + made.beta
    ) * cp.sum_squares(codes)
    fit = cp.Minimize(0.5 * cp.sum_squares(X - codes @ made.D.T) + penalty)
    cp.Problem(fit).solve(solver=cp.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
    return np.asarray(codes.value)


def exact_codes(X: Array, made: DictionaryProblem) -> Array:
    layer = to_layer(made)
    return prox(X @ layer.W.T + layer.c, metric_of(made), made.lmbd, made.beta)


@settings(max_examples=15)
@given(seed=seeds, alpha=st.floats(0.0, 0.5), beta=st.floats(0.0, 1.0), lmbd=st.floats(0.0, 0.5))
def test_a_dictionary_s_layer_ends_in_the_elastic_net_code(
    seed: int, alpha: float, beta: float, lmbd: float
) -> None:
    made = problem(seed, alpha=alpha, beta=beta, lmbd=lmbd)
    Q = metric_of(made)
    assert (2 * np.diag(Q) > np.abs(Q).sum(0)).all(), "the example is not diagonally dominant"
    X = 2 * np.random.default_rng(seed + 1).standard_normal((5, 12))
    layer = to_layer(made)
    recursion = module(layer, 1000, tol=1e-14)
    codes = recursion(torch.from_numpy(X @ layer.W.T + layer.c)).detach().numpy()
    assert recursion.n_steps_used < 1000
    exact = elastic_net(X, made)
    assert (exact > 1e-3).any()
    np.testing.assert_allclose(codes, exact, atol=1e-6)
    np.testing.assert_allclose(prox(X @ layer.W.T + layer.c, Q, lmbd, beta), codes, atol=1e-10)


@settings(max_examples=30)
@given(
    seed=seeds, n_features=st.integers(4, 12), noise=st.floats(0.0, 1.0), alpha=st.floats(0.05, 1.0)
)
def test_the_fixed_points_are_the_exact_prox(
    seed: int, n_features: int, noise: float, alpha: float
) -> None:
    """For any metric a step leaves the prox where it is, and moves everything else."""
    made = problem(seed, n_features, noise=noise, alpha=alpha)
    layer = to_layer(made)
    Q = metric_of(made)
    rng = np.random.default_rng(seed + 1)
    Z = 2 * rng.standard_normal((4, 6))

    def step(U: Array) -> Array:
        return np.asarray((layer.h * Z + (U - Z) @ layer.W_tilde.T - layer.b).clip(0))

    exact = prox(Z, Q, made.lmbd, made.beta)
    np.testing.assert_allclose(step(exact), exact, atol=1e-9)
    # The size of the step bounds the distance to the prox, so there is no other fixed point.
    other = (exact + 0.1 * rng.standard_normal(Z.shape)).clip(0)
    levels = np.linalg.eigvalsh(Q + made.beta * np.eye(6))
    scale = np.diag(Q) + made.beta
    error = np.linalg.norm(other - exact, axis=1)
    moved = np.linalg.norm(step(other) - other, axis=1)
    assert (levels[0] * error <= (scale.max() + levels[-1]) * moved + 1e-12).all()


def test_with_coherent_atoms_the_recursion_cycles_and_a_ridge_tames_it() -> None:
    gram = 0.9 + 0.1 * np.eye(8)
    made = DictionaryProblem(D=np.asarray(np.linalg.cholesky(gram).T), lmbd=0.1)
    layer = to_layer(made)
    assert np.abs(np.linalg.eigvals(layer.W_tilde)).max() == pytest.approx(6.3)
    Z = torch.from_numpy(1 + np.random.default_rng(0).random((3, 8)))
    exact = prox(Z.numpy(), gram, 0.1)
    assert (exact > 0).all(), "all codes are active"
    steps = [module(layer, n_steps)(Z).detach().numpy() for n_steps in (400, 401, 402)]
    np.testing.assert_allclose(steps[2], steps[0], atol=1e-12)
    assert min(np.abs(steps[0] - steps[1]).max(), *(np.abs(U - exact).max() for U in steps)) > 0.5
    stopped = module(layer, 50, tol=1e-3)
    stopped(Z)
    assert stopped.n_steps_used == 50
    layer = to_layer(replace(made, beta=6.0))
    assert np.abs(np.linalg.eigvals(np.abs(layer.W_tilde))).max() < 1
    np.testing.assert_allclose(
        module(layer, 400)(Z).detach().numpy(), prox(Z.numpy(), gram, 0.1, 6.0), atol=1e-10
    )


@settings(max_examples=30)
@given(seed=seeds, size=st.integers(1, 8), lmbd=st.floats(0.0, 1.0), beta=st.floats(0.0, 1.0))
def test_the_prox_is_optimal_and_firmly_non_expansive(
    seed: int, size: int, lmbd: float, beta: float
) -> None:
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((size, size))
    Q = root @ root.T + 0.05 * np.eye(size)
    Z = 3 * rng.standard_normal((2, size))
    U = prox(Z, Q, lmbd, beta)
    slope = (U - Z) @ Q + lmbd + beta * U
    assert U.min() >= 0
    assert slope.min() > -1e-8
    assert np.abs(slope * U).max() < 1e-7
    moved = U[0] - U[1]
    apart = Z[0] - Z[1]
    assert moved @ Q @ moved <= moved @ Q @ apart + 1e-8


def test_the_prox_of_no_samples_is_empty() -> None:
    assert prox(np.ones((0, 3)), np.eye(3), 0.1).shape == (0, 3)


@settings(max_examples=40)
@given(
    seed=seeds,
    sizes=st.tuples(st.integers(2, 12), st.integers(2, 8)),
    alpha=st.floats(0.1, 1.0),
    beta=st.sampled_from([0.0, 0.3]),
    factor=st.sampled_from([None, 1.0, 2.5]),
)
def test_back_is_the_same_up_to_scale(
    seed: int, sizes: Any, alpha: float, beta: float, factor: float | None
) -> None:
    made = problem(seed, sizes[0], sizes[1], 0.3, alpha=alpha, beta=beta)
    # The search finds alpha to about 1e-8, which moves the square of a singular value of D.
    assume(np.linalg.svd(made.D, compute_uv=False).min() > 0.03)
    lmbd = None if factor is None else factor * made.lmbd
    found = from_layer(to_layer(made), lmbd)
    factor = factor or 1.0  # left out, the scale is that of the problem
    assert found.violated == ()
    assert found.distance < 1e-6
    assert found.gain == pytest.approx(factor**0.5, rel=1e-5)
    np.testing.assert_allclose(found.problem.D, factor**0.5 * made.D, atol=1e-4)
    np.testing.assert_allclose(
        metric_of(found.problem), factor * metric_of(made), rtol=1e-4, atol=1e-5
    )
    for name in ("lmbd", "alpha", "beta"):
        assert getattr(found.problem, name) == pytest.approx(factor * getattr(made, name), rel=1e-3)
    X = 2 * np.random.default_rng(0).standard_normal((3, len(made.D)))
    np.testing.assert_allclose(
        exact_codes(found.gain * X, found.problem), exact_codes(X, made), atol=1e-4
    )


def test_a_layer_of_no_dictionary_names_what_is_violated() -> None:
    """Later steps may then fit less well too, earlier ones not."""
    layer = to_layer(problem(0))
    narrow = to_layer(problem(1, n_features=3))
    twist = np.eye(6, k=1)
    rng = np.random.default_rng(0)
    cases = {
        "constraints": replace(layer, W_tilde=layer.W_tilde + 0.01 * np.eye(6)),
        "binding": replace(layer, b=layer.b * np.linspace(1, 1.1, 6)),
        "symmetry": replace(layer, W_tilde=layer.W_tilde + 0.01 * twist),
        "definiteness": replace(layer, W_tilde=-15 * (1 - np.eye(6)) * layer.b[:, None]),
        "rank": replace(
            narrow, W_tilde=narrow.W_tilde + 0.01 * (twist + twist.T) * narrow.b[:, None]
        ),
        "transform": replace(layer, W=layer.W + 0.01 * rng.standard_normal(layer.W.shape)),
    }
    for name, perturbed in cases.items():
        found = from_layer(perturbed)
        assert found.violated[0] == name
        assert 1e-4 < found.distance < 1


@pytest.mark.parametrize("n_features", [4, 8])
def test_any_layer_leads_to_a_problem(n_features: int) -> None:
    """A new layer, whose scale is free, and one after training, whose projections are active."""
    rng = np.random.default_rng(0)
    W = rng.standard_normal((6, n_features))
    relu = QMetricLayer(W=W, c=np.zeros(6), W_tilde=np.zeros((6, 6)), h=np.ones(6), b=np.zeros(6))
    assert set(from_layer(relu).violated) <= {"rank", "transform"}
    clamped = np.array([0.0, 0.0, 0.1, 0.2, 0.1, 0.2])
    trained = replace(
        relu,
        W_tilde=0.2 * rng.standard_normal((6, 6)),
        h=1 - clamped[::-1],
        b=clamped,
        c=rng.random(6),
    )
    found = from_layer(trained)
    assert 0.01 < found.distance < 2
    assert np.linalg.eigvalsh(metric_of(found.problem)).min() > 0


def circulant(kernel: Array, grid: int) -> Array:
    """A convolution on the torus as a matrix, column by column, with torch's own convolution."""
    units = torch.eye(kernel.shape[1] * grid**2, dtype=torch.float64).reshape(
        -1, kernel.shape[1], grid, grid
    )
    padded = F.pad(units, (kernel.shape[-1] // 2,) * 4, mode="circular")
    return F.conv2d(padded, torch.from_numpy(kernel.copy())).flatten(1).numpy().T


def test_a_convolutional_layer_is_the_dense_one_on_the_torus() -> None:
    rng = np.random.default_rng(0)
    d = rng.standard_normal(3)
    made = DictionaryProblem(
        D=rng.standard_normal((3, 2, 3, 3)), lmbd=0.1, alpha=2.0, beta=0.5, d=d
    )
    layer = to_layer(made, kernel=7, grid=7)
    assert layer.truncation == 0
    dense = to_layer(replace(made, D=circulant(made.D, 7).T, d=np.repeat(d, 49)))
    np.testing.assert_allclose(circulant(layer.W, 7), dense.W, atol=1e-12)
    np.testing.assert_allclose(circulant(layer.W_tilde, 7), dense.W_tilde, atol=1e-12)
    for name in ("c", "h", "b"):
        np.testing.assert_allclose(
            np.repeat(getattr(layer, name), 49), getattr(dense, name), atol=1e-12
        )
    cut = to_layer(made, kernel=5, grid=7)
    np.testing.assert_allclose(cut.W, layer.W[:, :, 1:-1, 1:-1])
    assert cut.truncation == pytest.approx(
        (1 - np.square(cut.W).sum() / np.square(layer.W).sum()) ** 0.5
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: DictionaryProblem(D=np.eye(2), lmbd=-1.0),
            r"DictionaryProblem\(lmbd=-1.0, alpha=0.0, beta=0.0\): must be at least 0",
        ),
        (
            lambda: DictionaryProblem(D=np.eye(2), lmbd=0.1, alpha=np.nan),
            r"DictionaryProblem\(lmbd=0.1, alpha=nan, .*at least 0 and finite",
        ),
        (
            lambda: DictionaryProblem(D=np.eye(2), lmbd=0.1, beta=np.inf),
            r"DictionaryProblem\(lmbd=0.1, .*beta=inf\): must be at least 0 and",
        ),
        (
            lambda: DictionaryProblem(D=np.full((2, 2), np.nan), lmbd=0.1),
            r"DictionaryProblem\(D of shape \(2, 2\)\): must be finite",
        ),
        (
            lambda: DictionaryProblem(D=np.ones(2), lmbd=0.1),
            r"DictionaryProblem\(D of shape \(2,\)\): .*\(n_features, n_atoms\) or",
        ),
        (
            lambda: DictionaryProblem(D=np.ones((2, 1, 4, 4)), lmbd=0.1),
            r"DictionaryProblem\(D of shape \(2, 1, 4, 4\)\): .* an odd side",
        ),
        (
            lambda: DictionaryProblem(D=np.ones((2, 1, 3, 5)), lmbd=0.1),
            r"DictionaryProblem\(D of shape \(2, 1, 3, 5\)\): .* an odd side",
        ),
        (
            lambda: DictionaryProblem(D=np.ones((2, 3)), lmbd=0.1, d=np.ones(2)),
            r"DictionaryProblem\(d of shape \(2,\)\): .* \(3,\)",
        ),
        (
            lambda: DictionaryProblem(D=np.eye(2), lmbd=0.1, d=np.array([0, np.nan])),
            r"DictionaryProblem\(d of shape \(2,\)\): must be fin",
        ),
        (
            lambda: replace(to_layer(problem(0)), W=np.full((6, 12), np.nan)),
            r"QMetricLayer\(W of shape .*: must be finite",
        ),
        (
            lambda: replace(to_layer(problem(0)), W_tilde=np.full((6, 6), np.inf)),
            r"QMetricLayer\(W_tilde of .*must be finite",
        ),
        (
            lambda: replace(to_layer(problem(0)), W=np.ones((5, 12))),
            r"QMetricLayer\(W of shape \(5, 12\)\): .* \(n_atoms, n_f",
        ),
        (
            lambda: replace(to_layer(problem(0)), b=np.ones(5)),
            r"QMetricLayer\(b of shape \(5,\)\): .* \(n_atoms,\)",
        ),
        (
            lambda: to_layer(
                DictionaryProblem(D=np.ones((2, 1, 3, 3)), lmbd=0.1), kernel=-1, grid=9
            ),
            r"kernel=-1, grid=9\): must",
        ),
        (
            lambda: prox(np.ones((1, 3)), np.eye(2), 0.1),
            r"prox\(Z of shape \(1, 3\)\): .*of shape \(n_samples, 2\)",
        ),
        (
            lambda: prox(np.ones(2), np.eye(2), 0.1),
            r"prox\(Z of shape \(2,\)\): .*of shape \(n_samples, 2\)",
        ),
        (
            lambda: prox(np.full((1, 2), np.nan), np.eye(2), 0.1),
            r"prox\(Z of shape \(1, 2\)\): must be finite",
        ),
        (
            lambda: prox(np.ones((1, 2)), np.ones((2, 3)), 0.1),
            r"prox\(Q of shape \(2, 3\)\): .*\(n_atoms, n_atoms\)",
        ),
        (
            lambda: prox(np.ones((1, 2)), np.eye(2), -0.1),
            r"prox\(lmbd=-0.1, beta=0.0\): must be at least 0",
        ),
        (
            lambda: prox(np.ones((1, 2)), np.eye(2), 0.1, -0.5),
            r"prox\(lmbd=0.1, beta=-0.5\): must be at least 0",
        ),
        (
            lambda: from_layer(to_layer(problem(0)), np.nan),
            r"from_layer\(lmbd=nan\): sets no scale",
        ),
        (
            lambda: to_layer(DictionaryProblem(D=np.ones((2, 3)), lmbd=0.1)),
            r"to_layer\(alpha=0.0\): .* is singular",
        ),
        (
            lambda: to_layer(DictionaryProblem(D=np.eye(2), lmbd=0.1), kernel=3, grid=3),
            r"must be 1 and 1 as D is dense",
        ),
        (
            lambda: to_layer(DictionaryProblem(D=np.ones((2, 1, 3, 3)), lmbd=0.1), grid=4),
            r"grid=4\): must be .* at least 5",
        ),
        (
            lambda: prox(np.ones((1, 2)), np.tri(2), 0.1),
            r"prox\(Q\): must be symmetric and positive definite",
        ),
        (
            lambda: prox(np.ones((1, 2)), np.eye(2) - 2, 0.1),
            r"prox\(Q\): must be symmetric and positive definite",
        ),
        (
            lambda: from_layer(to_layer(problem(0, lmbd=0.0)), 1.0),
            r"from_layer\(lmbd=1.0\): sets no scale",
        ),
        (
            lambda: from_layer(replace(to_layer(problem(0)), W_tilde=np.ones((6, 6, 3, 3)))),
            r"must be dense or 1x1",
        ),
        (
            lambda: from_layer(replace(to_layer(problem(0)), W=np.zeros((6, 12)))),
            r"from_layer\(W\): it is 0",
        ),
    ],
)
def test_a_wrong_argument_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
