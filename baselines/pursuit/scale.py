"""Powers of two that bring samples and atoms to norms about 1, without a rounding error."""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from baselines.pursuit.compiled import Array, compiled
from baselines.pursuit.objective import ArrayOrTensor, Problem, is_tensor, namespace

MOST_EXPONENT = 1000  # of a power of two whose inverse is not infinite
SAFE_DOUBLE_SQUARE = 1e-280
SAFE_SQUARE = 1e-25  # squared norms from it to its inverse are exact in single precision


def require_finite(sizes: Array | float) -> None:
    """Raise ValueError unless the sizes of all samples are finite."""
    if not np.isfinite(sizes).all():
        raise ValueError("encode: X has entries that are not finite; expected finite samples")


class Scaled(NamedTuple):
    """A problem with samples and atoms of norm 1 at most, and what its codes are to be divided by.

    Its penalty is of the type of the samples.
    """

    problem: Problem
    codes_power: float


def norms_of(rows: Array) -> Array:
    """Compute the norm of each row in double precision, (n_rows,), also where squares overflow."""
    with np.errstate(over="ignore", under="ignore"):
        squares = np.einsum("ij,ij->i", rows, rows)
    norms: Array = np.sqrt(squares, dtype=np.float64)
    is_safe = (squares > SAFE_SQUARE) & (squares < 1 / SAFE_SQUARE)
    if not is_safe.all():
        rest = rows[~is_safe].astype(np.float64)
        sizes = np.abs(rest).max(1, initial=0)
        powers = nearest_powers(sizes)
        norms[~is_safe] = np.linalg.norm(rest / powers[:, None], axis=1) * powers
    return norms


@compiled
def measure(X: Array, scales: Array, norms: Array, squares: Array) -> int:
    """Find the powers of two that bring the rows of X to norms about 1, and the norms then.

    Returns
    -------
    How many rows the powers change, or -1 if a squared norm overflows or underflows. Squares of
    rows that are not finite are not finite.
    """
    n_changed = 0
    for i in range(len(X)):
        square = np.float64(0)
        for f in range(X.shape[1]):
            x = np.float64(X[i, f])
            square += x * x
        scale: Any = np.float64(1)
        if square < SAFE_DOUBLE_SQUARE:
            for f in range(X.shape[1]):
                if X[i, f] != 0:
                    return -1
        elif square <= 1 / SAFE_DOUBLE_SQUARE:
            _, exponent = math.frexp(square)
            scale = math.ldexp(1.0, -(exponent // 2))  # the square lies in 0.5 to 2 then
        else:
            return -1
        n_changed += scale != 1
        scales[i] = scale
        squares[i] = square * scale * scale
        norms[i] = np.sqrt(squares[i])
    return n_changed


def nearest_powers(norms: Array) -> Array:
    """Return the power of two nearest to each norm, and 1 for a norm of 0.

    Norms of sqrt(0.5) to sqrt(2) give 1, so what has unit norm but for rounding stays as it is.
    """
    fractions, exponents = np.frexp(norms)
    exponents = np.where(fractions < np.sqrt(0.5), exponents - 1, exponents)
    exponents = np.clip(exponents, -MOST_EXPONENT, MOST_EXPONENT)
    powers: Array = np.where(norms > 0, np.ldexp(1.0, exponents), 1.0)
    return powers


def scaled(problem: Problem) -> Scaled:
    """Scale all samples by one power of two, and all atoms by another."""
    X_power = _power_of(problem.X)
    D_power = _power_of(problem.D)
    units = X_power * D_power
    xp = namespace(problem.X)
    most = float(xp.finfo(problem.X.dtype).max) / 4
    penalty = (problem.penalty * units).clip(None, most)
    if is_tensor(problem.X):
        penalty = penalty.to(problem.X.dtype)
    else:
        penalty = penalty.astype(problem.X.dtype)
    codes_power = X_power / D_power
    if units == 1 and codes_power == 1:
        return Scaled(replace(problem, penalty=penalty), codes_power)
    other = replace(
        problem,
        X=problem.X * X_power,
        D=problem.D * D_power,
        penalty=penalty,
        alpha=problem.alpha * D_power**2,
        linear=None if problem.linear is None else problem.linear * units,
        warm=None if problem.warm is None else problem.warm * codes_power,
        gram=None,
    )
    return Scaled(other, codes_power)


def _power_of(A: ArrayOrTensor) -> float:
    """Return the power of two that brings the largest entry to 0.5 to 1; 1 for zeros."""
    largest = float(abs(A).max()) if len(A) else 0.0
    require_finite(largest)
    return float(1 / nearest_powers(np.array(largest)))
