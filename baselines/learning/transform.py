"""Sparsifying transforms, one or a union of them.

For samples X (n_samples, n_features), a square transform W (n_features, n_features) and codes Z of
the shape of X, minimise

    norm(X W' - Z)**2 + threshold**2 * count_nonzero(Z) + lmbd * (norm(W)**2 - log abs det W).

Both steps are exact: Z keeps what is larger than the threshold, W has a closed form. The last term
bounds the condition number of W.

References
----------
Ravishankar and Bresler, Learning sparsifying transforms, 2013 (the problem).
Ravishankar and Bresler, L0 sparsifying transform learning, 2015 (the closed form).
Wen, Ravishankar and Bresler, Structured overcomplete sparsifying transform learning, 2015 (unions).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from baselines.learning.samples import (
    as_floats,
    as_samples,
    check_counts,
    check_weights,
    in_unit,
    unit_of,
)
from baselines.pursuit.compiled import Array

MOST_THRESHOLD = 2.0**40  # in the unit of the samples: with this and more all codes are 0
LEAST_LMBD = 1e-12  # with less, rounding errors of X'X would decide, also in double precision
SINGLE_LMBD = 1e-4  # from which X'X is exact enough in single precision


def hard_threshold(V: Array, threshold: float) -> Array:
    """Return V * (abs(V) > threshold): the codes of least cost for V = X W'."""
    return np.asarray(V * (np.abs(V) > threshold))


def penalty(W: Array) -> float:
    """Compute norm(W)**2 - log abs det W.

    Its least value, n_features * (1 + log 2) / 2, is where all singular values are 1 / sqrt(2).
    """
    return float(np.square(W).sum() - np.linalg.slogdet(W)[1])


def objective(X: Array, W: Array, Z: Array, *, lmbd: float, threshold: float) -> float:
    """Compute what is minimised, a sum over the samples."""
    error = float(np.square(X @ W.T - Z).sum())
    return error + threshold**2 * np.count_nonzero(Z) + lmbd * penalty(W)


def condition_bound(W: Array) -> float:
    """Return a bound on the condition number of all transforms of this or a smaller penalty.

    With singular values s, penalty = sum(s**2 - log s), where each term is at least
    (1 + log 2) / 2 = c, so that two of them are at most penalty - (n - 2) c; and
    s**2 + t**2 - log(s t) >= log(k + 1/k) + 1 for s / t = k.
    """
    n = len(W)
    excess = penalty(W) - (n - 2) * (1 + np.log(2)) / 2 - 1
    half = np.exp(excess) / 2
    return float(half + np.sqrt(max(half**2 - 1, 0)))


def transform(gram: Array, cross: Array, lmbd: float) -> Array:
    """Return the W that minimises norm(X W' - Z)**2 + lmbd * (norm(W)**2 - log abs det W).

    With L L' = X'X + lmbd I and Q S R' = inv(L) X'Z:
    W = R (S + (S**2 + 2 lmbd I)**0.5) Q' inv(L) / 2.

    Parameters
    ----------
    gram, cross
        X'X and X'Z, (n_features, n_features).
    lmbd
        Above 0.
    """
    L = cholesky(gram + lmbd * np.eye(len(gram)), lower=True)
    Q, S, Rt = np.linalg.svd(solve_triangular(L, cross, lower=True))
    stretched = (S + np.sqrt(S**2 + 2 * lmbd)) / 2
    return np.asarray((Rt.T * stretched) @ solve_triangular(L, Q, lower=True, trans="T").T)


class UnionStep(NamedTuple):
    """Transforms (n_transforms, n_features, n_features), and the sum of the costs before them."""

    W: Array
    cost: float


@dataclass(frozen=True, kw_only=True)
class Union:
    """Learns `n_transforms` transforms, each from the samples that it represents at the least cost.

    The cost of sample x with codes z in transform W is

        norm(W x - z)**2 + threshold**2 * count_nonzero(z) + lmbd * norm(x)**2 * penalty(W).

    Each step, codes and choice, then transforms, lowers the sum of the costs.

    Parameters
    ----------
    n_transforms
        Number of transforms.
    lmbd
        Weight of the penalty, above 0. Less than 1e-12 counts as 1e-12.
    threshold
        Size from which an entry of W x is kept.
    seed
        Of the first transforms.
    """

    n_transforms: int = 1
    lmbd: float
    threshold: float
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts("Union", n_transforms=self.n_transforms)
        check_counts("Union", least=0, seed=self.seed)
        check_weights("Union", lmbd=self.lmbd, threshold=self.threshold)
        if self.lmbd == 0:
            raise ValueError("Union: lmbd=0 must be above 0: it keeps transforms invertible")

    def steps(self, X: Array) -> Iterator[UnionStep]:
        """Yield the transforms after each step on X (n_samples, n_features), without end.

        A transform of which no sample is the nearest stays as it is.

        Raises
        ------
        ValueError
            If `X` is no array or tensor of finite samples.
        """
        X = as_floats(as_samples(X))
        unit = unit_of(X)
        X = in_unit(X, unit)
        rng = np.random.default_rng(self.seed)
        n_features = X.shape[1]
        draws = [rng.standard_normal((n_features, n_features)) for _ in range(self.n_transforms)]
        W = np.stack([np.linalg.qr(draw)[0] / np.sqrt(2) for draw in draws])
        while True:
            costs = np.stack([self._costs(X, each, unit) for each in W])
            nearest = costs.argmin(0)
            W = np.stack([self._updated(X[nearest == k], each, unit) for k, each in enumerate(W)])
            yield UnionStep(W, float(costs.min(0).sum()) * unit * unit)

    def costs(self, X: Array, W: Array) -> Array:
        """Compute the cost of each sample in transform W, (n_samples,).

        An entry v of W x adds min(v**2, threshold**2).
        """
        X = as_floats(as_samples(X, least=0))
        unit = unit_of(X)
        return self._costs(in_unit(X, unit), W, unit) * unit * unit

    def _costs(self, X: Array, W: Array, unit: float) -> Array:
        """Compute the costs of samples that were divided by `unit`, divided by its square."""
        squares = np.square(X @ W.T.astype(X.dtype))
        np.minimum(squares, self._threshold(unit) ** 2, out=squares)
        weights = max(self.lmbd, LEAST_LMBD) * penalty(W) * np.square(X).sum(1)
        return np.asarray(squares.sum(1, dtype=np.float64) + weights)

    def _threshold(self, unit: float) -> float:
        return min(self.threshold / unit, MOST_THRESHOLD)

    def _updated(self, X: Array, W: Array, unit: float) -> Array:
        """Return the best transform for the codes of X in W."""
        energy = float(np.square(X).sum(dtype=np.float64))
        if energy == 0:
            return W
        if self.lmbd < SINGLE_LMBD:
            X = X.astype(np.float64)
        Z = hard_threshold(X @ W.T.astype(X.dtype), self._threshold(unit))
        gram = (X.T @ X).astype(np.float64)
        cross = (X.T @ Z).astype(np.float64)
        return transform(gram, cross, max(self.lmbd, LEAST_LMBD) * energy)
