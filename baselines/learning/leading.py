"""The leading singular vector of a matrix with few columns, in compiled code: Lanczos' method."""

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from baselines.pursuit.compiled import Array, compiled

MOST_VECTORS = 30  # in the basis, before it starts again from the best of their span
MOST_STARTS = 20
NEWTON_STEPS = 60
MOST_EXPONENT_SINGLE = 126  # of a power of two that its type holds, as its inverse
MOST_EXPONENT_DOUBLE = 1022


class Workspace(NamedTuple):
    """Memory for `leading`, with room for up to n rows of E.

    Parameters
    ----------
    E
        The matrix, (n + 3, n_features); 3 spare rows fill up the last four.
    basis
        Orthonormal vectors as rows, (n_vectors + 1, n_features). The first is where to start, and
        later the result.
    diagonal, beside, eigenvector
        The tridiagonal matrix E'E in that basis and its leading eigenvector, (n_vectors,), float64.
    """

    E: Array
    basis: Array
    diagonal: Array
    beside: Array
    eigenvector: Array


def empty_workspace(n_rows: int, n_features: int, dtype: Any) -> Workspace:
    """Return memory for a matrix of up to `n_rows` rows."""
    n_vectors = min(n_features, MOST_VECTORS)
    return Workspace(
        E=np.zeros((n_rows + 3, n_features), dtype),
        basis=np.empty((n_vectors + 1, n_features), dtype),
        diagonal=np.empty(n_vectors),
        beside=np.empty(n_vectors),
        eigenvector=np.empty(n_vectors),
    )


@compiled
def near_one(v: Array) -> Any:
    """Return the power of two that brings the largest absolute entry to between 0.5 and 1.

    Multiplied by it, which rounds nothing, small and large vectors have squares within the range of
    their type. It is 0 for a vector of zeros.
    """
    peak = v.dtype.type(0)
    for f in range(len(v)):
        peak = max(peak, abs(v[f]))
    if peak == 0:
        return peak
    limit = MOST_EXPONENT_SINGLE if v.itemsize == 4 else MOST_EXPONENT_DOUBLE
    return v.dtype.type(math.ldexp(1.0, min(-math.frexp(peak)[1], limit)))


@partial(compiled, inline=True)
def _through(E: Array, n: int, v: Array, out: Array) -> None:
    """Compute out = E'E v for the first n rows of E.

    In one pass over E, four rows at a time; rows of zeros fill up the last four.
    """
    for f in range(len(v)):
        out[f] = 0
    for k in range(0, n, 4):
        r0, r1, r2, r3 = E[k], E[k + 1], E[k + 2], E[k + 3]
        s0 = s1 = s2 = s3 = E.dtype.type(0)
        for f in range(len(v)):
            s0 += r0[f] * v[f]
            s1 += r1[f] * v[f]
            s2 += r2[f] * v[f]
            s3 += r3[f] * v[f]
        for f in range(len(v)):
            out[f] += s0 * r0[f] + s1 * r1[f] + s2 * r2[f] + s3 * r3[f]


@compiled
def _top(a: Array, b: Array, k: int, s: Array) -> Any:
    """Return the largest eigenvalue of the tridiagonal matrix with a[:k] on its diagonal.

    b[:k-1] > 0 stands beside the diagonal. Newton's method on the characteristic polynomial starts
    from Gershgorin's bound: from above it never steps over the largest root. `s` becomes the
    eigenvector, of norm 1 and positive; solved from its last entry on, rounding does not grow.
    """
    x = a[0]
    for i in range(k):
        bound = a[i]
        if i + 1 < k:
            bound += b[i]
        if i > 0:
            bound += b[i - 1]
        x = max(x, bound)
    for _ in range(NEWTON_STEPS):
        d = max(x - a[0], 1e-300)
        slope = 1.0
        total = 1 / d
        for i in range(1, k):
            q = b[i - 1] / d
            slope = 1 + q * q * slope
            d = max(x - a[i] - q * b[i - 1], 1e-300)
            total += slope / d
        x -= 1 / total
        if 1 / total <= 1e-15 * x:
            break
    s[k - 1] = 1.0
    norm = 1.0
    for i in range(k - 1, 0, -1):
        s[i - 1] = ((x - a[i]) * s[i] - (b[i] * s[i + 1] if i + 1 < k else 0.0)) / b[i - 1]
        norm += s[i - 1] * s[i - 1]
    for i in range(k):
        s[i] /= np.sqrt(norm)
    return x


@partial(compiled, inline=True)
def _normalise(v: Array) -> Any:
    """Divide v by its norm, which is returned; 0 stays 0."""
    square = v.dtype.type(0)
    for f in range(len(v)):
        square += v[f] * v[f]
    norm = np.sqrt(square)
    for f in range(len(v)):
        v[f] /= max(norm, v.dtype.type(1e-30))
    return norm


@compiled
def leading(n: int, tol: float, work: Workspace) -> bool:
    """Find the unit v with norm(E'E v - s**2 v) <= tol * s**2, s the largest singular value of E.

    In the basis of v, E'E v, (E'E)**2 v, ..., each without its overlaps with those before, E'E is
    tridiagonal, and the leading eigenvector of a few rows of it tells which combination of the
    basis comes closest. Where the basis has no room to converge it starts again from the best
    vector so far; after MOST_STARTS that is the result, converged or not.

    Parameters
    ----------
    n
        Rows of E.
    tol
        Relative residual to stop at.
    work
        Of `empty_workspace`, with E in its first n rows and where to start in basis[0]: not at
        right angles to the vector sought. basis[0] becomes v.

    Returns
    -------
    False if basis[0] is 0.
    """
    E, V, a, b, s = work
    for k in range(n, (n + 3) // 4 * 4):
        for f in range(E.shape[1]):
            E[k, f] = 0
    new = V[0]
    scale = near_one(new)
    for f in range(len(new)):
        new[f] *= scale
    if _normalise(new) <= 0:
        return False
    scale = V.dtype.type(1)  # of E'E, known after the first product
    for start in range(MOST_STARTS):
        k = 0
        residual = 1.0
        while residual > tol and k < len(V) - 1:
            w = V[k + 1]
            _through(E, n, V[k], w)
            if start == 0 and k == 0:
                scale = near_one(w)
            for f in range(len(w)):
                w[f] *= scale
            for i in range(k, -1, -1):
                overlap = V.dtype.type(0)
                for f in range(len(w)):
                    overlap += w[f] * V[i, f]
                for f in range(len(w)):
                    w[f] -= overlap * V[i, f]
                if i == k:
                    a[k] = overlap
            b[k] = _normalise(w)
            k += 1
            square = _top(a, b, k, s)
            residual = b[k - 1] * s[k - 1] / square
        first_share = V.dtype.type(s[0])
        for f in range(len(new)):
            new[f] = first_share * new[f]
        for i in range(1, k):
            share = V.dtype.type(s[i])
            for f in range(len(new)):
                new[f] = share * V[i, f] + new[f]
        if residual <= tol:
            break
    _normalise(new)
    return True
