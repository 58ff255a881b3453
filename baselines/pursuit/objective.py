"""What every pursuit minimises, and how far from the minimum codes are."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def objective(X: Floats, D: Floats, codes: Any, lmbd: Any, alpha: float = 0.0, linear: Any = 0.0) -> Floats:
    """0.5*norm(x - D c)**2 + sum(lmbd*abs(c)) + 0.5*alpha*norm(c)**2 + linear.c of each sample, shape (n_samples,)."""
    R = X - codes @ D.T
    terms = lmbd * np.abs(codes) + 0.5 * alpha * codes**2 + linear * codes
    return np.asarray(0.5 * (R * R).sum(1) + terms.sum(1))


def certify(
    X: Floats, D: Floats, codes: Any, lmbd: Any, alpha: float = 0.0, positive: bool = False, linear: Any = 0.0
) -> tuple[Floats, Floats, Floats]:
    """Objective, duality gap and KKT residual of each sample, three arrays of shape (n_samples,).

    With r = x - D c and v = D'r - linear, the dual value at u = s r is 0.5*norm(x)**2 - 0.5*norm(x - u)**2 - g*(D'u), where
    g* is the conjugate of the penalty; s is 1, or for alpha = 0 the largest scale up to 1 that keeps u feasible. The KKT
    residual is the largest distance of v - alpha c from lmbd times the subdifferential of the penalty at c.
    """
    codes = codes.toarray() if hasattr(codes, "toarray") else np.asarray(codes)
    lam = np.broadcast_to(np.asarray(lmbd, X.dtype), (D.shape[1],))
    R = X - codes @ D.T
    rr, xr = (R * R).sum(1), (X * R).sum(1)
    primal = 0.5 * rr + (lam * np.abs(codes) + 0.5 * alpha * codes**2 + linear * codes).sum(1)
    corr = R @ D

    def dual(s: Floats) -> Floats:
        v = s[:, None] * corr - linear
        excess = np.maximum((v if positive else np.abs(v)) - lam, 0)
        conjugate = (excess**2).sum(1) / (2 * alpha) if alpha > 0 else np.zeros(len(X))
        return np.asarray(s * xr - 0.5 * s * s * rr - conjugate)

    scale = _feasible(corr, lam, linear, positive)
    lower = np.where(np.isnan(scale), -np.inf, dual(np.nan_to_num(scale)))
    if alpha > 0:
        lower = np.maximum(lower, dual(np.ones(len(X), X.dtype)))
    slack = corr - linear - alpha * codes
    at_zero = np.maximum((slack if positive else np.abs(slack)) - lam, 0)
    kkt = np.where(codes != 0, np.abs(slack - lam * np.sign(codes)), at_zero)
    return primal, np.maximum(primal - lower, 0), kkt.max(1, initial=0)


def _feasible(corr: Floats, lam: Floats, linear: Any, positive: bool) -> Floats:
    """Largest s <= 1 with s*corr - linear within the penalty's bounds, NaN where there is none."""
    linear = np.broadcast_to(linear, corr.shape)
    high, low = lam + linear, -np.inf if positive else linear - lam
    with np.errstate(divide="ignore", invalid="ignore"):
        above = np.where(corr > 0, high / corr, np.where(corr < 0, low / corr, np.inf))
        below = np.where(corr < 0, high / corr, np.where(corr > 0, low / corr, -np.inf))
    s = np.minimum(above.min(1, initial=1), 1)
    ok = (s >= below.max(1, initial=-np.inf)) & ~((corr == 0) & ((high < 0) | (low > 0))).any(1)
    return np.where(ok, s, np.nan)
