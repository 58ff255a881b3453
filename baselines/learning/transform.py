"""Sparsifying transforms (Ravishankar and Bresler, 2013), one or a union of them (Wen, Ravishankar and Bresler, 2015).

For samples X (n_samples, n_features), a square transform W (n_features, n_features) and codes Z of the same shape as X:
minimise norm(X W' - Z)**2 + threshold**2 * count_nonzero(Z) + lmbd * (norm(W)**2 - log abs det W). Both steps are
exact: Z keeps what is larger than the threshold, W has a closed form. The last term bounds the condition number of W.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular

Floats = NDArray[Any]


def shrink(V: Floats, threshold: float) -> Floats:
    """The codes of least cost for V = X W': entries not above the threshold in size become 0."""
    return np.asarray(V * (np.abs(V) > threshold))


def penalty(W: Floats) -> float:
    """norm(W)**2 - log abs det W, least, n_features * (1 + log 2) / 2, where all singular values are 1 / sqrt(2)."""
    return float(np.square(W).sum() - np.linalg.slogdet(W)[1])


def objective(X: Floats, W: Floats, Z: Floats, *, lmbd: float, threshold: float) -> float:
    """What is minimised, a sum over the samples."""
    error = float(np.square(X @ W.T - Z).sum())
    return error + threshold**2 * np.count_nonzero(Z) + lmbd * penalty(W)


def condition_bound(W: Floats) -> float:
    """No transform of this or a smaller penalty has a larger condition number.

    With singular values s, penalty = sum(s**2 - log s), where each term is at least c = (1 + log 2) / 2, so that two
    of them are at most penalty - (n - 2) c; and s**2 + t**2 - log(s t) >= log(k + 1/k) + 1 for s / t = k.
    """
    n = len(W)
    excess = penalty(W) - (n - 2) * (1 + np.log(2)) / 2 - 1
    half = np.exp(excess) / 2
    return float(half + np.sqrt(max(half**2 - 1, 0)))


def transform(gram: Floats, cross: Floats, lmbd: float) -> Floats:
    """The W that minimises norm(X W' - Z)**2 + lmbd * (norm(W)**2 - log abs det W); gram = X'X, cross = X'Z, lmbd > 0.

    With L L' = X'X + lmbd I and Q S R' = inv(L) X'Z: W = R (S + (S**2 + 2 lmbd I)^(1/2)) Q' inv(L) / 2.
    """
    L = cholesky(gram + lmbd * np.eye(len(gram)), lower=True)
    Q, S, Rt = np.linalg.svd(solve_triangular(L, cross, lower=True))
    stretched = (S + np.sqrt(S**2 + 2 * lmbd)) / 2
    return np.asarray((Rt.T * stretched) @ solve_triangular(L, Q, lower=True, trans="T").T)


@dataclass(frozen=True, kw_only=True)
class Union:
    """Learns `n_transforms` transforms, each from the samples that it represents at the least cost.

    The cost of sample x with codes z in transform W is norm(W x - z)**2 + threshold**2 * count_nonzero(z)
    + lmbd * norm(x)**2 * penalty(W): each step, codes and choice, then transforms, lowers the sum of the costs.
    """

    n_transforms: int = 1
    lmbd: float
    threshold: float
    seed: int = 0

    def steps(self, X: Floats) -> Iterator[tuple[Floats, float]]:
        """Transforms (n_transforms, n_features, n_features), and the sum of the costs before each step, without end."""
        rng, n = np.random.default_rng(self.seed), X.shape[1]
        W = np.stack(
            [
                np.linalg.qr(rng.standard_normal((n, n)))[0] / np.sqrt(2)
                for _ in range(self.n_transforms)
            ]
        )
        while True:
            costs = np.stack([self.costs(X, each) for each in W])
            nearest = costs.argmin(0)
            W = np.stack([self._updated(X[nearest == k], each) for k, each in enumerate(W)])
            yield W, float(costs.min(0).sum())

    def costs(self, X: Floats, W: Floats) -> Floats:
        """Cost of each sample in transform W, (n_samples,): what an entry v of W x adds is min(v**2, threshold**2)."""
        squares = np.square(X @ W.T.astype(X.dtype))
        return np.asarray(np.minimum(squares, self.threshold**2, out=squares).sum(1, dtype=np.float64)
                          + self.lmbd * penalty(W) * np.square(X).sum(1))  # fmt: skip

    def _updated(self, X: Floats, W: Floats) -> Floats:
        energy = float(np.square(X).sum(dtype=np.float64))
        if energy == 0:
            return W
        Z = shrink(X @ W.T.astype(X.dtype), self.threshold)
        return transform(
            (X.T @ X).astype(np.float64), (X.T @ Z).astype(np.float64), self.lmbd * energy
        )
