"""The Q-metric ReLU against its definition, its exact solution and finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ddl_bench.api import Budget, Split, Task
from detrame.layer import QMetricReLU
from detrame.plainnet import DeTraMePlainNet

cp = pytest.importorskip("cvxpy")


def layer(channels: int, kernel: int, n_steps: int, seed: int = 0) -> QMetricReLU:
    """A layer in float64 whose projections are active in places."""
    generator = torch.Generator().manual_seed(seed)
    made = QMetricReLU(channels, kernel, n_steps).double()
    with torch.no_grad():
        made.weight.copy_(0.2 * torch.randn(made.weight.shape, generator=generator, dtype=torch.float64))
        made.h.copy_(1.2 * torch.rand(channels, generator=generator, dtype=torch.float64))
        made.b.copy_(0.3 * torch.randn(channels, generator=generator, dtype=torch.float64))
    made.project_()
    return made


def equation_9(Z: Tensor, made: QMetricReLU) -> Tensor:
    """The recursion as it is printed, tap by tap and without convolutions, on (n, channels, height, width)."""
    h, b = made.h[:, None, None], made.b[:, None, None]
    U, pad = torch.zeros_like(Z), made.kernel // 2
    height, width = Z.shape[2:]
    for _ in range(made.n_steps):
        V = F.pad(U - Z, (pad, pad, pad, pad))
        mixed = torch.zeros_like(Z)
        for i in range(made.kernel):
            for j in range(made.kernel):
                mixed = mixed + torch.einsum(
                    "ck,nkhw->nchw", made.weight[:, :, i, j], V[:, :, i:, j:][..., :height, :width]
                )
        U = (h * Z + mixed - b).clamp(min=0)
    return U


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 3),
    channels=st.integers(1, 5),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    kernel=st.sampled_from([1, 3, 5]),
    n_steps=st.integers(1, 6),
    seed=st.integers(0, 10**6),
)
def test_it_computes_equation_9(
    n: int, channels: int, height: int, width: int, kernel: int, n_steps: int, seed: int
) -> None:
    made = layer(channels, kernel, n_steps, seed)
    generator = torch.Generator().manual_seed(seed)
    Z = torch.randn(n, channels, height, width, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(made(Z), equation_9(Z, made), rtol=1e-10, atol=1e-12)


def test_one_step_is_one_convolution() -> None:
    made = layer(4, 3, 1)
    Z = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    C = made.h[:, None, None] * Z - F.conv2d(Z, made.weight, padding=1) - made.b[:, None, None]
    torch.testing.assert_close(made(Z), C.clamp(min=0))


def test_dense_inputs_are_images_of_one_pixel() -> None:
    made = layer(6, 1, 4)
    Z = torch.randn(7, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(made(Z), equation_9(Z[:, :, None, None], made).flatten(1))


@pytest.mark.parametrize("kernel", [1, 3])
def test_gradients_match_finite_differences(kernel: int) -> None:
    made = layer(3, kernel, 3)
    Z = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True)

    def run(Z: Tensor, weight: Tensor, h: Tensor, b: Tensor) -> Tensor:
        output: Tensor = torch.func.functional_call(made, {"weight": weight, "h": h, "b": b}, (Z,))
        return output

    assert torch.autograd.gradcheck(run, (Z, made.weight, made.h, made.b))


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), alpha=st.floats(0.0, 0.5), beta=st.floats(0.05, 1.0), lmbd=st.floats(0.0, 0.5))
def test_started_from_a_dictionary_it_ends_in_the_elastic_net_code(
    seed: int, alpha: float, beta: float, lmbd: float
) -> None:
    """Z = Q^-1 D'x and Q = D'D + alpha I: codes of x in D with ridge alpha + beta, Q diagonally dominant."""
    rng = np.random.default_rng(seed)
    D = np.linalg.qr(rng.standard_normal((12, 6)))[0] + 0.04 * rng.standard_normal((12, 6))
    X = 2 * rng.standard_normal((5, 12))
    Q = D.T @ D + alpha * np.eye(6)
    assert (2 * np.diag(Q) > np.abs(Q).sum(0)).all(), "the example is not diagonally dominant"

    scale = np.diag(Q) + beta
    made = QMetricReLU(6, 1, 400).double()
    with torch.no_grad():
        made.weight[:, :, 0, 0] = torch.from_numpy(-(Q - np.diag(np.diag(Q))) / scale[:, None])
        made.h.copy_(torch.from_numpy(np.diag(Q) / scale))
        made.b.copy_(torch.from_numpy(lmbd / scale))
    before = [parameter.clone() for parameter in made.parameters()]
    made.project_()
    assert all(torch.equal(a, b) for a, b in zip(before, made.parameters(), strict=True)), "the start is feasible"
    Z = torch.from_numpy(np.linalg.solve(Q, D.T @ X.T).T)
    codes = made(Z).detach().numpy()

    exact = elastic_net(X, D, lmbd, alpha + beta)
    assert (exact > 1e-3).any()
    np.testing.assert_allclose(codes, exact, atol=1e-5)


def elastic_net(X: NDArray[np.float64], D: NDArray[np.float64], lmbd: float, ridge: float) -> NDArray[np.float64]:
    """argmin over codes >= 0 of 0.5*||X - codes D'||^2 + lmbd*|codes|_1 + 0.5*ridge*||codes||^2."""
    codes = cp.Variable((len(X), D.shape[1]), nonneg=True)
    fit = 0.5 * cp.sum_squares(X - codes @ D.T) + lmbd * cp.sum(codes) + 0.5 * ridge * cp.sum_squares(codes)
    cp.Problem(cp.Minimize(fit)).solve(solver=cp.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
    return np.asarray(codes.value)


def test_projection_is_the_nearest_feasible_point_and_spares_the_rest() -> None:
    made = QMetricReLU(4, 3)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(2 * torch.randn(parameter.shape, generator=generator))
    weight, h, b = (parameter.detach().clone() for parameter in made.parameters())
    made.project_()
    centre = torch.zeros(4, 4, 3, 3, dtype=torch.bool)
    centre[:, :, 1, 1] = torch.eye(4, dtype=torch.bool)
    assert centre.sum() == made.n_structural_zeros
    assert torch.equal(made.weight, torch.where(centre, 0.0, weight))
    assert torch.equal(made.h, h.clamp(0, 1))
    assert torch.equal(made.b, b.clamp(min=0))


def test_a_new_layer_is_a_relu_that_learns_at_once() -> None:
    made = QMetricReLU(5)
    Z = torch.randn(3, 5, 4, 4, generator=torch.Generator().manual_seed(4))
    assert torch.equal(made(Z), Z.clamp(min=0))
    made(Z).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in made.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 0}, r"channels=0\): must be at least 1"),
        ({"channels": 3, "kernel": 2}, r"kernel=2\): must be odd"),
        ({"channels": 3, "n_steps": 0}, r"n_steps=0\): must be at least 1"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QMetricReLU(**arguments)


@pytest.mark.parametrize(("kernel", "shape"), [(3, (2, 4)), (3, (2, 5, 6, 6)), (1, (4,))])
def test_a_wrong_input_is_named(kernel: int, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"QMetricReLU\(channels=4\): expected \(n, 4, height, width\)"):
        QMetricReLU(4, kernel)(torch.zeros(shape))


def test_training_keeps_the_constraints_and_moves_the_metric() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(120) % 3
    X = (torch.randint(0, 120, (120, 1, 8, 8), generator=generator) + 60 * y[:, None, None, None]).to(torch.uint8)
    train = Split(X=X, y=y)
    task = Task(name="levels", class_names=("a", "b", "c"), train=train, val=Split(X=X[:0], y=y[:0]))
    training = DeTraMePlainNet(batch_size=40).start(task, Budget(epochs=3))

    class Never:
        def fraction(self) -> float:
            return 0.0

        def expired(self) -> bool:
            return False

    while training.advance(Never()):
        pass
    state = training.classifier().state()  # type: ignore[attr-defined]  # Network is Keepable
    metrics = [name.removesuffix(".h") for name in state if name.endswith(".h")]
    assert len(metrics) == 2
    for name in metrics:
        weight, h, b = (state[f"{name}.{part}"] for part in ("weight", "h", "b"))
        assert weight[:, :, 1, 1].diagonal().abs().max() == 0
        assert weight.abs().max() > 0
        assert 0 <= h.min() < h.max() <= 1
        assert 0 <= b.min() < b.max()
