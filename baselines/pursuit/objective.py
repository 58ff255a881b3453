"""What a pursuit minimises, and proof of how far codes are from the minimum."""

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any  # a numpy array or a torch tensor: what is written here holds for both


@dataclass(frozen=True)
class Problem:
    """Minimise 0.5*norm(x - D c)**2 + sum(penalty*abs(c)) + 0.5*alpha*norm(c)**2 + linear.c for each row x of `X`.

    `X` (n_samples, n_features), `D` (n_features, n_atoms), `penalty` (n_atoms,), `linear` (n_atoms,) or (n_samples,
    n_atoms): arrays or tensors of one floating type. `positive`: only c >= 0. `warm`: codes to start from, dense or
    CSR. `gram`: D'D where it is known.
    """

    X: Array
    D: Array
    penalty: Array
    alpha: float = 0.0
    positive: bool = False
    linear: Array | None = None
    tol: float = 1e-6
    max_iter: int = 1000
    n_threads: int | None = None
    warm: Any = None
    gram: Array | None = None

    def __post_init__(self) -> None:
        check(self.X, self.D, self.gram, self.n_threads)
        each, all_codes = (self.D.shape[1],), (len(self.X), self.D.shape[1])
        warm = self.warm.data if hasattr(self.warm, "toarray") else self.warm
        for name, value, entries, shapes in (
            ("lmbd", self.penalty, self.penalty, (each,)),
            ("linear", self.linear, self.linear, (each, all_codes)),
            ("warm", self.warm, warm, (all_codes,)),
        ):
            if value is not None and tuple(value.shape) not in shapes:
                wanted = " or ".join(map(str, shapes))
                raise ValueError(
                    f"encode: {name} has shape {tuple(value.shape)}; expected {wanted}"
                )
            if value is not None and not bool(namespace(entries).isfinite(entries).all()):
                raise ValueError(f"encode: {name} has entries that are not finite")
        if not (bool((self.penalty >= 0).all()) and 0 <= self.alpha < np.inf):
            raise ValueError("encode: lmbd and alpha must be 0 or more")
        if self.max_iter < 1:
            raise ValueError(f"encode: max_iter={self.max_iter} must be at least 1")

    def linear_of(self, rows: slice) -> Array:
        """The linear term of some samples, (n_rows or 1, n_atoms)."""
        if self.linear is None:
            return namespace(self.X).zeros_like(self.D[:1])
        return self.linear[rows] if self.linear.ndim == 2 else self.linear[None]

    def objective(self, codes: Array, rows: slice = slice(None)) -> Array:
        """The objective of some samples at `codes` (n_rows, n_atoms): (n_rows,)."""
        R = self.X[rows] - codes @ self.D.T
        cost = (
            self.penalty * abs(codes) + 0.5 * self.alpha * codes**2 + self.linear_of(rows) * codes
        )
        return 0.5 * (R * R).sum(1) + cost.sum(1)

    def certificate(self, codes: Array, rows: slice = slice(None)) -> tuple[Array, Array, Array]:
        """Objective, duality gap and KKT residual of some samples, three arrays (n_rows,).

        With r = x - D c and v = D'r - linear, the KKT residual is the largest distance of v - alpha c from the
        subdifferential of the penalty. The dual value at u = s r is
        0.5*norm(x)**2 - 0.5*norm(x - u)**2 - sum(max(abs(D'u - linear) - penalty, 0)**2) / (2 alpha), with s = 1, or
        the feasible scale nearest to it, where the last term is 0.
        """
        xp, X, linear = namespace(self.X), self.X[rows], self.linear_of(rows)
        R = X - codes @ self.D.T
        rr, xr, corr = (R * R).sum(1), (X * R).sum(1), R @ self.D
        primal = self.objective(codes, rows)
        high, low = self.penalty + linear, linear - (np.inf if self.positive else self.penalty)
        scale = _feasible(xp, corr, high, low)
        dual = xp.where(xp.isnan(scale), -np.inf, scale * xr - 0.5 * scale**2 * rr)
        if self.alpha > 0:
            excess = (corr - high).clip(0) + (low - corr).clip(0)
            dual = xp.maximum(dual, xr - 0.5 * rr - (excess**2).sum(1) / (2 * self.alpha))
        v = corr - self.alpha * codes
        outside = (v - high).clip(0) + (low - v).clip(0)
        residual = xp.where(codes > 0, abs(v - high), xp.where(codes < 0, abs(v - low), outside))
        return primal, (primal - dual).clip(0), xp.amax(residual, 1)


def _feasible(xp: Any, corr: Array, high: Array, low: Array) -> Array:
    """The s nearest to 1 with low <= s * corr <= high, NaN where there is none: (n_rows,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        to_high, to_low = high / corr, low / corr
    upper = xp.amin(xp.where(corr > 0, to_high, xp.where(corr < 0, to_low, np.inf)), 1)
    lower = xp.amax(xp.where(corr > 0, to_low, xp.where(corr < 0, to_high, -np.inf)), 1)
    never = ((corr == 0) & ((high < 0) | (low > 0))).any(1) | (lower > upper)
    return xp.where(never, np.nan, xp.maximum(xp.minimum(xp.ones_like(upper), upper), lower))


def check(X: Array, D: Array, gram: Array | None = None, n_threads: int | None = None) -> None:
    """Raise ValueError where they are not samples, a dictionary of as many features and its D'D, or D is not finite."""
    if X.ndim != 2 or D.ndim != 2 or X.shape[1] != D.shape[0]:
        raise ValueError(
            f"encode: X has shape {tuple(X.shape)}, D {tuple(D.shape)}; expected as many features"
        )
    if 0 in D.shape:
        raise ValueError(
            f"encode: D has shape {tuple(D.shape)}; expected at least one feature and one atom"
        )
    if not bool(namespace(D).isfinite(D).all()):
        raise ValueError("encode: D has entries that are not finite")
    if gram is not None and gram.shape != (D.shape[1],) * 2:
        raise ValueError(
            f"encode: gram has shape {tuple(gram.shape)}; expected that of D'D, {(D.shape[1],) * 2}"
        )
    if n_threads is not None and n_threads < 1:
        raise ValueError(f"encode: n_threads={n_threads} must be at least 1")


def certify(problem: Problem, codes: Any, block: int = 1024) -> tuple[float, float]:
    """Total duality gap / total objective, and the largest KKT residual, of dense or CSR codes, in double precision."""
    X, D, penalty, linear = (
        double(A) for A in (problem.X, problem.D, problem.penalty, problem.linear)
    )
    exact = Problem(X, D, penalty, problem.alpha, problem.positive, linear)
    total, gaps, kkt = 0.0, 0.0, 0.0
    for start in range(0, len(problem.X), block):
        rows = slice(start, start + block)
        part = codes[rows].toarray() if hasattr(codes, "toarray") else codes[rows]
        if isinstance(exact.X, np.ndarray) and hasattr(part, "detach"):
            part = part.numpy()
        value, gap, residual = exact.certificate(double(part), rows)
        total, gaps, kkt = (
            total + float(value.sum()),
            gaps + float(gap.sum()),
            float(np.maximum(kkt, float(residual.max()))),
        )
    return gaps / abs(total) if gaps else 0.0, kkt


def double(A: Array | None) -> Array | None:
    """`A` in double precision."""
    return A if A is None else A.astype(np.float64) if isinstance(A, np.ndarray) else A.double()


def namespace(A: Array) -> Any:
    """The module with the functions for `A`: numpy or torch."""
    if isinstance(A, np.ndarray):
        return np
    import torch

    return torch


def squared_norms(X: Array) -> Array:
    """norm(x)**2 of each row of an array, (n_samples,)."""
    squares = np.einsum("ij,ij->i", X, X)
    if not np.isfinite(squares).all():
        raise ValueError(
            "encode: X has entries that are not finite, or too large to be squared; expected finite samples"
        )
    return squares
