"""The leading singular vector of a matrix with few columns, in compiled code: Lanczos' method."""

from functools import partial
from typing import Any

import numpy as np

from baselines.pursuit.compiled import Array, compiled

BASIS = 30  # vectors at most before it starts again from the best of their span
STARTS = 20


def room(n: int, n_features: int, dtype: Any) -> tuple[Array, ...]:
    """Memory for `leading`: E of up to n rows, the basis, and the tridiagonal matrix and its eigenvector."""
    most = min(n_features, BASIS)
    return (
        np.zeros((n + 3, n_features), dtype),
        np.empty((most + 1, n_features), dtype),
        *np.empty((3, most)),
    )


@partial(compiled, inline=True)
def _through(E: Array, n: int, v: Array, out: Array) -> None:
    """out = E'E v of the first n rows of E, four at a time; rows of zeros fill up the last four."""
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
    """Largest eigenvalue of the tridiagonal matrix with a[:k] on and b[:k-1] > 0 beside the diagonal.

    By Newton's method on the characteristic polynomial: from above it never steps over the largest root. `s` becomes
    the eigenvector, of norm 1 and positive; solved from its last entry on, rounding does not grow.
    """
    x = a[0]
    for i in range(k):
        x = max(x, a[i] + (b[i] if i + 1 < k else 0.0) + (b[i - 1] if i else 0.0))
    for _ in range(60):
        d, slope = max(x - a[0], 1e-300), 1.0
        total = 1 / d
        for i in range(1, k):
            q = b[i - 1] / d
            slope = 1 + q * q * slope
            d = max(x - a[i] - q * b[i - 1], 1e-300)
            total += slope / d
        x -= 1 / total
        if 1 / total <= 1e-15 * x:
            break
    s[k - 1] = norm = 1.0
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
def leading(n: int, tol: float, work: Any) -> bool:
    """Make V[0] the unit v with ||E'E v - s^2 v|| <= tol * s^2, s the largest singular value of E; False if V[0] is 0.

    In the basis of V[0], E'E V[0], (E'E)^2 V[0], ... without its overlaps, E'E is tridiagonal. Where that has no room
    to converge it starts again from the best vector so far.

    Should it not get there in STARTS starts, V[0] is the best vector so far.

    work: of `room`, with E in its first n rows, and where to start in V[0]: not at right angles to the vector sought.
    """
    E, V, a, b, s = work
    for k in range(n, (n + 3) // 4 * 4):
        for f in range(E.shape[1]):
            E[k, f] = 0
    new = V[0]
    if _normalise(new) <= 0:
        return False
    for _ in range(STARTS):
        k, left = 0, 1.0
        while left > tol and k < len(V) - 1:
            w = V[k + 1]
            _through(E, n, V[k], w)
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
            left = b[k - 1] * s[k - 1] / square
        for i in range(k):
            share = V.dtype.type(s[i])
            for f in range(len(new)):
                new[f] = share * V[i, f] + (new[f] if i else 0)
        if left <= tol:
            break
    _normalise(new)
    return True
