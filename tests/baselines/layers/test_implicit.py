"""Gradients of sparse codes: finite differences, unrolled iterations, dense linear algebra."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from baselines.layers.implicit import (
    TOL,
    ImplicitCoding,
    SparseCode,
    solve,
    solve_padded,
    sparse_code,
)
from baselines.pursuit.objective import Problem
from ddl_bench.training.backbones import ConvolutionPlan

SEEDS = st.integers(0, 10**6)
Inputs = Sequence[Tensor]  # X, D, lmbd, alpha, linear


def inputs(
    n: int = 5, n_features: int = 8, n_atoms: int = 12, *, seed: int = 0, each: bool = False
) -> Inputs:
    """In double precision; `each`: a linear term a sample."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    lmbd = 0.1 + 0.2 * torch.rand(n_atoms, generator=generator, dtype=torch.float64)
    linear = 0.1 * draw(*((n, n_atoms) if each else (n_atoms,)))
    return (
        draw(n, n_features),
        F.normalize(draw(n_features, n_atoms), dim=0),
        lmbd,
        draw().abs() + 0.02,
        linear,
    )


def codes(of: Inputs, positive: bool = True) -> Tensor:
    X, D, lmbd, alpha, linear = of
    return sparse_code(X, D, lmbd, alpha=alpha, linear=linear, positive=positive, tol=1e-12)


def slack(c: Tensor, of: Inputs, positive: bool) -> float:
    """How far the support is from a change: the least code on it, the least margin off it."""
    X, D, lmbd, _, linear = of
    g = (X - c @ D.T) @ D - linear
    margin = lmbd - (g if positive else g.abs())
    return float(torch.where(c != 0, c.abs(), margin).min())


def unrolled(of: Inputs, positive: bool, n_iter: int) -> Tensor:
    """ISTA on the smooth part with the elastic net in it, by autograd."""
    X, D, lmbd, alpha, linear = of
    step = 1 / (torch.linalg.matrix_norm(D.detach(), 2) ** 2 + alpha.detach())
    c = torch.zeros(len(X), D.shape[1], dtype=X.dtype)
    for _ in range(n_iter):
        v = c - step * ((c @ D.T - X) @ D + alpha * c + linear)
        c = F.relu(v - step * lmbd) if positive else v.sign() * F.relu(v.abs() - step * lmbd)
    return c


def gradients(output: Tensor, wanted: Tensor, of: Any) -> tuple[Tensor, ...]:
    found: tuple[Tensor, ...] = torch.autograd.grad((output * wanted).sum(), of)
    return found


@settings(max_examples=20)
@given(
    shape=st.tuples(*map(st.integers, (1, 1, 1), (4, 7, 9))),
    positive=st.booleans(),
    each=st.booleans(),
    seed=SEEDS,
)
def test_gradients_are_finite_differences(
    shape: tuple[int, int, int], positive: bool, each: bool, seed: int
) -> None:
    given_ = inputs(*shape, seed=seed, each=each)
    # Or a difference steps over a change of support.
    assume(slack(codes(given_, positive), given_, positive) > 1e-3)
    tensors = tuple(tensor.requires_grad_() for tensor in given_)
    assert torch.autograd.gradcheck(
        lambda *args: codes(args, positive), tensors, eps=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gradients_are_those_of_a_thousand_unrolled_steps(positive: bool, seed: int) -> None:
    given_ = inputs(6, 9, 14, seed=seed)
    given_ = (*given_[:3], given_[3] + 0.3, given_[4])
    tensors = [tensor.detach().requires_grad_() for tensor in given_]
    mine, theirs = codes(tensors, positive), unrolled(tensors, positive, 1000)
    torch.testing.assert_close(mine, theirs, atol=1e-9, rtol=1e-9)
    assert 0.2 < float((mine != 0).double().mean()) < 0.8
    wanted = torch.randn(
        mine.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64
    )
    for ours, other in zip(
        gradients(mine, wanted, tensors), gradients(theirs, wanted, tensors), strict=True
    ):
        torch.testing.assert_close(ours, other, atol=1e-8, rtol=1e-8)


def test_gradients_are_the_formulas() -> None:
    """D v in x, (x - D c) v' - (D v) c' in D, -v in linear, -sign(c) v in lmbd, -v'c in alpha."""
    X, D, lmbd, alpha, linear = (tensor.requires_grad_() for tensor in inputs(7, 8, 12, seed=3))
    c = codes([X, D, lmbd, alpha, linear], False)
    wanted = torch.randn(c.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = gradients(c, wanted, (X, D, lmbd, alpha, linear))
    with torch.no_grad():
        v = torch.zeros_like(c)
        for row, code, g in zip(v, c, wanted, strict=True):
            S = code.nonzero()[:, 0]
            row[S] = torch.linalg.solve(D[:, S].T @ D[:, S] + alpha * torch.eye(len(S)), g[S])
        in_D = (X - c @ D.T).T @ v - (v @ D.T).T @ c
        expected = v @ D.T, in_D, -(c.sign() * v).sum(0), -(v * c).sum(), -v.sum(0)
    for ours, other in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, other)


@settings(max_examples=25)
@given(
    n=st.integers(0, 6),
    n_atoms=st.integers(1, 20),
    density=st.floats(0, 1),
    alpha=st.floats(0.01, 1),
    seed=SEEDS,
)
def test_both_solvers_solve_on_the_support(
    n: int, n_atoms: int, density: float, alpha: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    D, c, g = (torch.randn(k, n_atoms, generator=generator, dtype=torch.float64) for k in (7, n, n))
    c = c * (torch.rand(c.shape, generator=generator) < density)
    G = D.T @ D
    for v in (solve(c, g, G, alpha), solve_padded(c, g, G, alpha)):
        assert not v[c == 0].any()
        assert not ((v @ G + alpha * v - g) * (c != 0)).abs().gt(1e-9).any()


def test_dependent_atoms_are_held() -> None:
    """With twins and alpha = 0 the system is singular: the first takes the gradient, exactly."""
    X, D, *_ = inputs(4, 6, 3)
    twins = torch.cat([D, D], 1)
    c = torch.ones(4, 6, dtype=torch.float64)
    g = torch.randn(c.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    v = solve(c, g, twins.T @ twins, 0.0)
    assert not v[:, 3:].any()
    torch.testing.assert_close(v[:, :3], torch.linalg.solve(D.T @ D, g[:, :3].T).T)
    assert torch.isfinite(solve_padded(c, g, twins.T @ twins, 0.0)).all()
    leaves = [twins.requires_grad_(), torch.tensor(0.05, dtype=torch.float64, requires_grad=True)]
    found = sparse_code(X, *leaves, positive=False)
    assert found.any()
    assert all(torch.isfinite(tensor).all() for tensor in gradients(found, g, leaves))


@pytest.mark.parametrize("positive", [True, False])
def test_at_a_change_of_the_support_the_gradient_is_one_sided(positive: bool) -> None:
    """One unit-norm atom: max(x - lmbd, 0) / (1 + alpha) has slope 1 / (1 + alpha) or 0."""
    D, lmbd = torch.ones(1, 1, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    X = torch.tensor(
        [[0.5], [0.5 + 1e-9], [0.5 - 1e-9], [-0.7]], dtype=torch.float64, requires_grad=True
    )
    c = sparse_code(X, D, lmbd, alpha=0.25, positive=positive, tol=1e-13)
    (slope,) = gradients(c, torch.ones_like(c), [X])
    assert slope[0, 0] in (0, slope[1, 0])
    assert slope[1:, 0].tolist() == pytest.approx([0.8, 0, 0 if positive else 0.8])
    # On all supports of a path through many changes: at most 1 / (least eigenvalue + alpha).
    X, D, lmbd, alpha, linear = inputs(2, 5, 9, seed=4)
    path = torch.linspace(-4, 4, 400, dtype=torch.float64)[:, None] * X[:1] + X[1:]
    path.requires_grad_()
    c = codes([path, D, lmbd, alpha, linear], positive)
    assert len({tuple(row) for row in (c != 0).tolist()}) > 3
    (slope,) = gradients(c, torch.ones_like(c), [path])
    assert float(slope.norm(dim=1).max()) <= math.sqrt(9) * float(
        torch.linalg.matrix_norm(D, 2) / alpha
    )


def test_empty_supports_have_no_gradient() -> None:
    X, D, lmbd, alpha, linear = (tensor.requires_grad_() for tensor in inputs(4))
    c = codes([X, D, lmbd + 100, alpha, linear])
    assert not c.any()
    assert all(
        not tensor.any() for tensor in gradients(c, torch.ones_like(c), (X, D, lmbd, alpha, linear))
    )
    assert sparse_code(X[:0], D, lmbd).shape == (0, 12)


def test_a_batch_is_its_samples_and_types_are_kept() -> None:
    given_ = inputs(6, 10, 30, seed=5)
    X, D, lmbd, alpha, linear = (tensor.requires_grad_() for tensor in given_)
    c = codes([X, D, lmbd, alpha, linear])
    (together,) = gradients(c, torch.ones_like(c), [X])
    for i in range(6):
        alone = codes([X[i : i + 1], D, lmbd, alpha, linear])
        torch.testing.assert_close(alone[0], c[i])
        torch.testing.assert_close(gradients(alone, torch.ones_like(alone), [X])[0][i], together[i])
    singles = [tensor.detach().float().requires_grad_() for tensor in given_]
    single = sparse_code(singles[0], singles[1], singles[2], alpha=singles[3], linear=singles[4])
    torch.testing.assert_close(single, c.float(), atol=3e-4, rtol=1e-3)
    (found,) = gradients(single, torch.ones_like(single), [singles[0]])
    assert single.dtype == found.dtype == torch.float32
    torch.testing.assert_close(found, together.float(), atol=1e-3, rtol=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        half = sparse_code(
            singles[0].bfloat16().float(),
            singles[1],
            singles[2],
            alpha=singles[3],
            linear=singles[4],
        )
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, single, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("positive", [True, False])
def test_codes_are_optimal_to_the_tolerance(positive: bool) -> None:
    X, D, lmbd, alpha, linear = inputs(200, 20, 50, seed=6)
    c = sparse_code(X, D, lmbd, alpha=alpha, linear=linear, positive=positive)
    problem = Problem(X.numpy(), D.numpy(), lmbd.numpy(), float(alpha), positive, linear.numpy())
    *_, kkt = problem.certificate(c.numpy())
    assert (torch.from_numpy(kkt) <= 1.01 * TOL * (X @ D - linear).abs().max(1).values).all()
    assert 0.1 < float((c != 0).double().mean()) < 0.7


def test_what_is_not_finite_gives_codes_and_gradients_that_are_not() -> None:
    X, D, lmbd, _, _ = inputs(3)
    for which in range(3):
        spoilt = [tensor.clone() for tensor in (X, D, lmbd)]
        spoilt[which].view(-1)[0] = torch.nan
        spoilt[0].requires_grad_()
        c = sparse_code(*spoilt)
        assert c.isnan().all()
        assert gradients(c, torch.ones_like(c), spoilt[:1])[0].isnan().any()


def test_only_the_codes_are_kept() -> None:
    """However many steps the solver takes: nothing beside codes, Gram matrix and alpha."""
    X, D, lmbd, alpha, _ = (tensor.requires_grad_() for tensor in inputs(50, 20, 40))
    for tol in (1e-1, 1e-12):
        kept: list[Tensor] = []

        def keep(tensor: Tensor, kept: list[Tensor] = kept) -> Tensor:
            kept.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            SparseCode.apply(X @ D, D.T @ D, lmbd, alpha, True, tol, 1)
        sizes = sorted(tensor.numel() for tensor in kept)
        assert sizes == sorted([50 * 20, 20 * 40, 20 * 40, 20 * 40, 50 * 40, 40 * 40, 1])


def test_a_ridge_is_the_same_before_and_after_the_first_step() -> None:
    plan = ConvolutionPlan(2, 7, 3, 1)
    layer = ImplicitCoding(
        plan, lmbd=0.02, alpha=0.0, per_atom=False, batch_norm=True, learned=False
    )
    before = layer.alpha.item()
    layer.project_()
    assert layer.alpha.item() == before == pytest.approx(1e-3)


@settings(max_examples=10)
@given(
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 3),
    per_atom=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_maps_are_coded_patch_by_patch(kernel: int, stride: int, per_atom: bool, seed: int) -> None:
    torch.manual_seed(seed)
    layer = ImplicitCoding(
        ConvolutionPlan(2, 7, kernel, stride),
        lmbd=0.02,
        alpha=0.1,
        per_atom=per_atom,
        batch_norm=True,
    ).double()
    if layer.linear is not None:
        layer.linear.data.normal_(std=0.01)
    maps = torch.randn(3, 2, 7, 6, dtype=torch.float64, requires_grad=True)
    signals = layer.signals(maps)
    found = layer.codes(signals)
    patches = layer.patches(signals).transpose(1, 2).flatten(0, 1)
    linear = layer.linear if layer.linear is not None else torch.zeros(7)
    expected = sparse_code(patches, layer.D, layer.lmbd, alpha=layer.alpha, linear=linear)
    rows, columns = found.shape[2:]
    assert (rows, columns) == (-(-7 // stride), -(-6 // stride))
    torch.testing.assert_close(found.permute(0, 2, 3, 1).reshape(-1, 7), expected)
    wanted = torch.randn(expected.shape, dtype=torch.float64)
    of = [maps, layer.D]
    mine = torch.autograd.grad(
        (found.permute(0, 2, 3, 1).reshape(-1, 7) * wanted).sum(), of, retain_graph=True
    )
    for ours, other in zip(mine, gradients(expected, wanted, of), strict=True):
        torch.testing.assert_close(ours, other)
    layer.D.data.mul_(3)
    layer.lmbd.data.sub_(1)
    layer.alpha.data.sub_(1)
    layer.project_()
    torch.testing.assert_close(layer.D.norm(dim=0), torch.ones(7, dtype=torch.float64))
    assert float(layer.lmbd.detach().min()) == 0 < float(layer.alpha.detach())
