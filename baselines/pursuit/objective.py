"""What a pursuit minimises, and proof of how far codes are from the minimum."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from baselines.pursuit.compiled import Array

ArrayOrTensor = Any  # a numpy array or a torch tensor: what is written here holds for both

ROUNDING = 16  # units in the last place of norm(x)*norm(d) that a correlation d'x may be wrong by


class Certificate(NamedTuple):
    """Objective, duality gap and KKT residual of some samples, each (n_rows,)."""

    objective: ArrayOrTensor
    gap: ArrayOrTensor
    kkt: ArrayOrTensor


class Solution(NamedTuple):
    """What a pursuit returns.

    Parameters
    ----------
    codes
        Shape (n_samples, n_atoms): an array or tensor as the samples are, or a CSR array.
    converged
        Whether each sample reached the gap asked for, an array (n_samples,).
    n_iter
        Mean number of steps for a sample.
    """

    codes: Any
    converged: Array
    n_iter: float


@dataclass(frozen=True)
class Problem:
    """Minimise the objective below over `codes`, sample by sample.

    0.5*norm(X - codes @ D.T)**2 + sum(penalty*abs(codes)) + 0.5*alpha*norm(codes)**2
    + sum(linear*codes)

    Arrays and tensors are of one floating type.

    Parameters
    ----------
    X, D
        Samples (n_samples, n_features) and dictionary (n_features, n_atoms).
    penalty
        Of each atom, (n_atoms,), in double precision.
    alpha
        Weight of the ridge.
    positive
        Allow only codes >= 0.
    linear
        Linear term, (n_atoms,) or (n_samples, n_atoms).
    tol, max_iter
        Duality gap / objective to stop at, and rounds or iterations at most.
    n_threads
        None for all cores.
    warm
        Codes to start from, (n_samples, n_atoms), dense or CSR.
    gram
        D'D where it is known.

    Raises
    ------
    ValueError
        If shapes do not fit, entries are not finite, or a number is out of its range.
    """

    X: ArrayOrTensor
    D: ArrayOrTensor
    penalty: ArrayOrTensor
    alpha: float = 0.0
    positive: bool = False
    linear: ArrayOrTensor | None = None
    tol: float = 1e-6
    max_iter: int = 1000
    n_threads: int | None = None
    warm: Any = None
    gram: ArrayOrTensor | None = None

    def __post_init__(self) -> None:
        check(self.X, self.D, self.gram, self.n_threads)
        n_atoms = self.D.shape[1]
        of_atoms = (n_atoms,)
        of_codes = (len(self.X), n_atoms)
        check_entries("lmbd", self.penalty, of_atoms)
        check_entries("linear", self.linear, of_atoms, of_codes)
        check_entries("warm", self.warm, of_codes)
        if not bool((self.penalty >= 0).all()):
            raise ValueError("encode: lmbd must be 0 or more")
        if not self.tol >= 0:
            raise ValueError(f"encode: tol={self.tol} must be 0 or more")
        if self.max_iter < 1:
            raise ValueError(f"encode: max_iter={self.max_iter} must be at least 1")

    @property
    def has_gap(self) -> bool:
        """Whether a duality gap tells the distance from the minimum while a pursuit runs.

        With a linear term, or with atoms without penalty and ridge, the residual gives no dual
        point that is feasible before the end. There the largest violation tells when to stop.
        """
        return self.linear is None and (self.alpha > 0 or bool((self.penalty > 0).all()))

    @property
    def is_gram_only(self) -> bool:
        """Whether `linear` and `gram` state the problem, and D is 0."""
        return self.gram is not None and not bool(self.D.any())

    def in_double(self, rows: Any, warm: Any = None) -> "Problem":
        """Return the problem of some samples in double precision, to start from codes `warm`."""
        linear = self.linear
        if linear is not None and linear.ndim == 2:
            linear = linear[rows]
        return replace(
            self,
            X=double(self.X[rows]),
            D=double(self.D),
            linear=double(linear),
            warm=warm,
            gram=double(self.gram) if self.is_gram_only else None,
        )

    def linear_of(self, rows: slice) -> ArrayOrTensor:
        """Return the linear term of some samples, (n_rows or 1, n_atoms)."""
        if self.linear is None:
            return namespace(self.X).zeros_like(self.D[:1])
        return self.linear[rows] if self.linear.ndim == 2 else self.linear[None]

    def objective(self, codes: ArrayOrTensor, rows: slice = slice(None)) -> ArrayOrTensor:
        """Compute the objective of some samples at `codes` (n_rows, n_atoms): (n_rows,)."""
        R = self.X[rows] - codes @ self.D.T
        cost = (
            self.penalty * abs(codes) + 0.5 * self.alpha * codes**2 + self.linear_of(rows) * codes
        )
        if self.is_gram_only:
            cost = cost + 0.5 * codes * (codes @ self.gram)
        return 0.5 * (R * R).sum(1) + cost.sum(1)

    def certificate(self, codes: ArrayOrTensor, rows: slice = slice(None)) -> Certificate:
        """Compute how far `codes` (n_rows, n_atoms) of some samples are from the minimum.

        With r = x - D c and v = D'r - linear, the KKT residual is the largest distance of
        v - alpha*c from the subdifferential of the penalty. The dual value at u = s*r is

            0.5*norm(x)**2 - 0.5*norm(x - u)**2
            - sum(max(abs(D'u - linear) - penalty, 0)**2) / (2*alpha)

        with s = 1, or the feasible scale nearest to it, where the last term is 0. Atoms without
        penalty leave only u that are orthogonal to them: there r is projected. Feasible means but
        for rounding errors.
        """
        xp = namespace(self.X)
        X = self.X[rows]
        linear = self.linear_of(rows)
        R = X - codes @ self.D.T
        corr = self._correlations(R, codes)
        v = corr - linear - self.alpha * codes
        primal = self.objective(codes, rows)
        high = self.penalty + linear
        low = linear - (np.inf if self.positive else self.penalty)
        residual = _violation(xp, v, codes, self.penalty, self.positive)
        free = self.penalty == 0
        if bool(free.any()) and not self.positive and self.alpha == 0 and self.linear is None:
            basis = xp.linalg.pinv(self.D[:, free])
            R = R - (R @ self.D[:, free]) @ basis
            corr = R @ self.D
        rr = (R * R).sum(1)
        if self.is_gram_only:
            rr = rr - (codes * corr).sum(1)
        xr = (X * R).sum(1)
        eps = ROUNDING * xp.finfo(X.dtype).eps
        slack = eps * (X * X).sum(1)[:, None] ** 0.5 * (self.D * self.D).sum(0) ** 0.5
        scale = _feasible(xp, corr, high + slack, low - slack)
        dual = xp.where(xp.isnan(scale), -np.inf, scale * xr - 0.5 * scale**2 * rr)
        if self.alpha > 0:
            excess = (corr - high).clip(0) + (low - corr).clip(0)
            dual = xp.maximum(dual, xr - 0.5 * rr - (excess**2).sum(1) / (2 * self.alpha))
        return Certificate(primal, (primal - dual).clip(0), xp.amax(residual, 1))

    def _correlations(self, R: ArrayOrTensor, codes: ArrayOrTensor) -> ArrayOrTensor:
        """Return D'r of residuals, (n_rows, n_atoms); -D'D c where `gram` states the problem."""
        return -(codes @ self.gram) if self.is_gram_only else R @ self.D


def _violation(
    xp: Any, v: ArrayOrTensor, codes: ArrayOrTensor, penalty: ArrayOrTensor, positive: bool
) -> ArrayOrTensor:
    """Return the distances of v = D'r - linear - alpha*codes from the subdifferential."""
    outside = (v - penalty).clip(0)
    if not positive:
        outside = outside + (-penalty - v).clip(0)
    at_positive = abs(v - penalty)
    at_negative = abs(v + penalty)
    if positive:
        at_negative = at_negative + np.inf
    return xp.where(codes > 0, at_positive, xp.where(codes < 0, at_negative, outside))


def _feasible(xp: Any, corr: ArrayOrTensor, high: ArrayOrTensor, low: ArrayOrTensor) -> Any:
    """Return the s nearest to 1 with low <= s*corr <= high, NaN where there is none: (n_rows,)."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        to_high = high / corr
        to_low = low / corr
    upper = xp.amin(xp.where(corr > 0, to_high, xp.where(corr < 0, to_low, np.inf)), 1)
    lower = xp.amax(xp.where(corr > 0, to_low, xp.where(corr < 0, to_high, -np.inf)), 1)
    never = ((corr == 0) & ((high < 0) | (low > 0))).any(1) | (lower > upper)
    return xp.where(never, np.nan, xp.maximum(xp.minimum(xp.ones_like(upper), upper), lower))


def check(
    X: ArrayOrTensor,
    D: ArrayOrTensor,
    gram: ArrayOrTensor | None = None,
    n_threads: int | None = None,
) -> None:
    """Raise ValueError unless the arguments fit each other and the dictionary is finite."""
    for name, A in (("X", X), ("D", D)):
        if A.ndim != 2:
            raise ValueError(
                f"encode: {name} has shape {tuple(A.shape)}; expected two dimensions:"
                " samples and features for X, features and atoms for D"
            )
    if X.shape[1] != D.shape[0]:
        raise ValueError(
            f"encode: X has shape {tuple(X.shape)}, D {tuple(D.shape)}; expected as many features"
        )
    if 0 in D.shape:
        raise ValueError(
            f"encode: D has shape {tuple(D.shape)}; expected at least one feature and one atom"
        )
    if not bool(namespace(D).isfinite(D).all()):
        raise ValueError("encode: D has entries that are not finite")
    n_atoms = D.shape[1]
    if gram is not None and gram.shape != (n_atoms, n_atoms):
        raise ValueError(
            f"encode: gram has shape {tuple(gram.shape)}; expected that of D'D,"
            f" {(n_atoms, n_atoms)}"
        )
    if n_threads is not None and n_threads < 1:
        raise ValueError(f"encode: n_threads={n_threads} must be at least 1")


def check_entries(name: str, value: Any, *shapes: tuple[int, ...]) -> None:
    """Raise ValueError unless `value`, dense or CSR, has one of the shapes and is finite."""
    if value is None:
        return
    if tuple(value.shape) not in shapes:
        wanted = " or ".join(map(str, shapes))
        raise ValueError(f"encode: {name} has shape {tuple(value.shape)}; expected {wanted}")
    entries = value.data if hasattr(value, "toarray") else value
    if not bool(namespace(entries).isfinite(entries).all()):
        raise ValueError(f"encode: {name} has entries that are not finite")


def double(A: ArrayOrTensor | None) -> ArrayOrTensor | None:
    """Convert `A` to double precision."""
    if A is None:
        return None
    return A.astype(np.float64) if isinstance(A, np.ndarray) else A.double()


def is_tensor(A: Any) -> bool:
    """Tell whether `A` is a tensor, without importing torch."""
    return hasattr(A, "detach")


def namespace(A: ArrayOrTensor) -> Any:
    """Return the module with the functions for `A`: numpy or torch."""
    if isinstance(A, np.ndarray):
        return np
    import torch

    return torch
