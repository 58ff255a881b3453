"""Sparsifying transforms and the stacks made of them."""

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from baselines.learning.transform import (
    Union,
    condition_bound,
    hard_threshold,
    objective,
    penalty,
    transform,
)
from baselines.methods.adl import ADL
from baselines.methods.adl_sdl import ADLSDL
from baselines.pursuit.compiled import Array
from ddl_bench.api import Split
from tests.conftest import DIGITS, HELD_OUT, fit


def samples_and_codes(seed: int, n: int, n_samples: int) -> tuple[Array, Array]:
    """Draw samples and sparse codes, unrelated to each other, both (n_samples, n)."""
    rng = np.random.default_rng(seed)
    X, Z = rng.standard_normal((2, n_samples, n))
    return X @ rng.standard_normal((n, n)), Z * (rng.random(Z.shape) < 0.4)


def sparse_signs(rng: np.random.Generator, n_samples: int, n: int) -> Array:
    """Draw codes (n_samples, n) of which a fifth are 1 or -1, the rest 0."""
    return rng.choice([-1.0, 1.0], (n_samples, n)) * (rng.random((n_samples, n)) < 0.2)


def transforms_after(union: Union, X: Array, n_steps: int) -> Array:
    """Return the transforms after so many steps."""
    steps = union.steps(X)
    for _ in range(n_steps - 1):
        next(steps)
    return next(steps).W


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 12), st.floats(0.05, 20))
def test_the_closed_form_is_stationary_and_no_minimiser_finds_less(
    seed: int, n: int, n_samples: int, lmbd: float
) -> None:
    X, Z = samples_and_codes(seed, n, n_samples)

    def cost(w: Array) -> float:
        return objective(X, w.reshape(n, n), Z, lmbd=lmbd, threshold=0.0)

    def slope(w: Array) -> Array:
        W = w.reshape(n, n)
        return np.asarray(2 * (X @ W.T - Z).T @ X + lmbd * (2 * W - np.linalg.inv(W).T)).ravel()

    W = transform(X.T @ X, X.T @ Z, lmbd).ravel()
    assert np.abs(slope(W)).max() < 1e-7 * (1 + np.square(X).sum() + lmbd)
    starts = np.random.default_rng(seed).standard_normal((4, n * n))
    minima = [minimize(cost, start, jac=slope, method="BFGS").fun for start in starts]
    assert min(minima) >= cost(W) * (1 - 1e-9) - 1e-9
    nearby = minimize(cost, W * 1.05, jac=slope, method="BFGS")
    assert nearby.fun == pytest.approx(cost(W), rel=1e-6, abs=1e-6)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.1, 2))
def test_thresholding_is_the_best_choice_of_each_entry(seed: int, threshold: float) -> None:
    X, W = np.random.default_rng(seed).standard_normal((2, 4, 4))
    V = X @ W.T
    Z = hard_threshold(V, threshold)
    best = sum(min(v**2, threshold**2) for v in V.ravel())  # an entry is either kept or not
    assert objective(X, W, Z, lmbd=0.0, threshold=threshold) == pytest.approx(best)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 6), st.floats(0.01, 1), st.integers(1, 30))
def test_the_penalty_bounds_the_condition_number(
    seed: int, n: int, lmbd: float, n_samples: int
) -> None:
    """Also of dependent samples, and for codes that ask for a singular transform."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, 1)) * rng.standard_normal(n)
    W = transform(X.T @ X, X.T @ np.zeros_like(X), lmbd)
    free = np.eye(n) / np.sqrt(2)
    assert np.linalg.cond(W) <= condition_bound(W) * (1 + 1e-6)
    assert np.linalg.cond(W) < 2 * np.sqrt(np.square(X).sum() / lmbd + 1)
    assert penalty(free) == pytest.approx(n * (1 + np.log(2)) / 2)
    assert condition_bound(free) == pytest.approx(1, abs=1e-3)
    any_other = rng.standard_normal((n, n))
    assert np.linalg.cond(any_other) <= condition_bound(any_other) * (1 + 1e-9)
    assert penalty(any_other) >= penalty(free)


@pytest.mark.parametrize("n_transforms", [1, 3])
def test_a_union_lowers_its_cost_in_each_step_and_stays_invertible(n_transforms: int) -> None:
    X, _ = samples_and_codes(0, 8, 400)
    steps = Union(n_transforms=n_transforms, lmbd=0.1, threshold=1.0).steps(X)
    costs = []
    for _ in range(25):
        W, cost = next(steps)
        costs.append(cost)
        assert max(np.linalg.cond(each) for each in W) < 40
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in pairwise(costs))
    assert costs[-1] < 0.99 * costs[1]


def test_a_transform_finds_again_the_one_that_makes_samples_sparse() -> None:
    rng = np.random.default_rng(0)
    planted = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    codes = sparse_signs(rng, 2000, 6)
    W = transforms_after(Union(lmbd=1.0, threshold=0.4), codes @ planted, 60)
    response = np.abs(W[0] @ planted.T)
    assert (response.max(1) > 0.99 * np.linalg.norm(response, axis=1)).all()
    assert sorted(response.argmax(1)) == list(range(6))


def test_samples_of_two_kinds_get_a_transform_each() -> None:
    rng = np.random.default_rng(1)
    kinds = np.arange(600) % 2
    planted = [np.linalg.qr(rng.standard_normal((8, 8)))[0] for _ in range(2)]
    codes = sparse_signs(rng, 600, 8)
    X = np.stack([code @ planted[kind] for code, kind in zip(codes, kinds, strict=True)])
    best = 0.0
    for seed in range(5):
        union = Union(n_transforms=2, lmbd=0.5, threshold=0.4, seed=seed)
        W = transforms_after(union, X, 40)
        chosen = np.stack([union.costs(X, each) for each in W]).argmin(0)
        busy = (codes != 0).sum(1) > 1
        best = max(best, abs(2 * (chosen == kinds)[busy].mean() - 1))
    assert best > 0.8


@pytest.mark.parametrize("method", [ADL(), ADLSDL(n_layers=3, patch=3)])
def test_stacks_read_digits_and_come_back_from_their_state(method: ADL | ADLSDL) -> None:
    classifier = fit(method)
    assert float((classifier(HELD_OUT.X).argmax(1) == HELD_OUT.y).float().mean()) > 0.965
    nothing = Split(X=HELD_OUT.X[:0], y=HELD_OUT.y[:0])
    again: Any = method.restore(
        classifier.state(), dataclasses.replace(DIGITS, train=nothing, val=nothing)
    )
    assert torch.equal(again(HELD_OUT.X), classifier(HELD_OUT.X))
    stats, others = classifier.code_stats(HELD_OUT.X), again.code_stats(HELD_OUT.X)
    assert stats == others
    assert 0.05 < stats.n_nonzero / stats.n_entries < 0.5
    assert stats.squared_error < 0.3 * stats.squared_norm
    signals, codes = classifier.layers[0].codes(HELD_OUT.X[:2])
    V = signals @ classifier.layers[0].D.numpy()
    limit = method.threshold / signals.shape[1] ** 0.5
    assert np.array_equal(codes.toarray(), hard_threshold(V, limit))


def test_the_last_layer_of_the_mixed_stack_is_a_pursuit() -> None:
    classifier = fit(ADLSDL())
    deep = classifier.layers[1]
    signals, codes = deep.codes(classifier.layers[0](HELD_OUT.X[:3]))
    corr = (signals - codes @ deep.D.numpy().T) @ deep.D.numpy()
    # dual feasible up to the pursuit's tolerance, so no thresholded analysis
    assert np.abs(corr).max() < 0.1 * 1.1
    assert np.linalg.norm(deep.D.numpy(), axis=0) == pytest.approx(1, abs=1e-4)
    with pytest.raises(ValueError, match=r"ADLSDL\(n_layers=1\)"):
        ADLSDL(n_layers=1)
