"""The moves of an active set of atoms that stays optimal, on the Gram matrix.

An atom that violates its optimality condition enters: its coefficient moves, and those of the active atoms answer so
that theirs still hold. Where one of them reaches zero it leaves, and the move goes on without it. With the inverse of
the active atoms' Gram matrix at hand, each entry or exit is a rank-one update.

`problem` is (gram, penalty, alpha, positive); `work` is (inverse, active, c, h, u, g, v, v_bits, peak_bits, peaks): the
inverse, the active atoms, their coefficients, two vectors of their number, and the correlations, violations and
peaks of all.
"""

from typing import Any

import numpy as np

from baselines.pursuit.compiled import Array, compiled, find_peaks, subtract


@compiled
def leave(p: int, inverse: Array, active: Array, c: Array, h: Array, k: int) -> None:
    """Take the p-th of k active atoms out; the last one takes its place."""
    last = k - 1
    row = inverse[p]
    for q in range(k):
        if q != p:
            line = inverse[q]
            f = line[p] / row[p]
            for r in range(k):
                line[r] -= f * row[r]
    if p != last:
        for r in range(last):
            inverse[p, r] = inverse[last, r]
        inverse[p, p] = inverse[last, last]
        for r in range(last):
            inverse[r, p] = inverse[p, r]
    active[p], c[p], h[p] = active[last], c[last], h[last]


@compiled
def append(
    j: int,
    step: Any,
    curvature: Any,
    value: Any,
    inverse: Array,
    active: Array,
    c: Array,
    u: Array,
    k: int,
) -> None:
    """Make atom j, at `value`, the k-th active one; the others move by -step*u, u = +-inverse @ gram[active, j]."""
    sign = c.dtype.type(1) if value > 0 else -c.dtype.type(1)
    scale = sign * sign / curvature
    for p in range(k):
        c[p] -= step * u[p]
        line = inverse[p]
        f = scale * u[p]
        for q in range(k):
            line[q] += f * u[q]
        line[k] = inverse[k, p] = -sign * f
    inverse[k, k] = scale
    active[k], c[k] = j, value


@compiled
def enter(
    j: int, b: Array, gram: Array, penalty: Array, alpha: Any, positive: bool,
    inverse: Array, active: Array, c: Array, h: Array, u: Array, k: int, eps: Any,
) -> tuple[int, bool]:  # fmt: skip
    """Move atom j to its optimum; the new number of active atoms, and False where rounding has spoilt the inverse."""
    row = gram[j]
    left = b[j]
    for p in range(k):
        if active[p] == j:
            return k, True
        h[p] = row[active[p]]
        left -= h[p] * c[p]
    sign = b.dtype.type(1) if left > 0 or positive else -b.dtype.type(1)
    left = sign * left - penalty[j]
    if left <= eps:
        return k, True
    floor = b.dtype.type(256 * np.finfo(b.dtype).eps) * (row[j] + alpha)
    moved = b.dtype.type(0)
    while True:
        curvature = row[j] + alpha
        for p in range(k):
            line = inverse[p]
            s = b.dtype.type(0)
            for q in range(k):
                s += line[q] * h[q]
            u[p] = sign * s
            curvature -= s * h[p]
        step = left / max(curvature, floor)
        first = np.int64(-1)
        for p in range(k):
            if c[p] * u[p] > 0 and abs(c[p]) < step * abs(u[p]):
                step = c[p] / u[p]
                first = p
        moved += step
        if first < 0:
            append(j, step, max(curvature, floor), sign * moved, inverse, active, c, u, k)
            return k + 1, curvature > floor
        for p in range(k):
            c[p] -= step * u[p]
        left -= step * curvature
        leave(first, inverse, active, c, h, k)
        k -= 1


@compiled
def scan(
    b: Array, gram: Array, penalty: Array, alpha: Any, positive: bool, active: Array, c: Array, k: int,
    g: Array, v: Array, v_bits: Array, peak_bits: Array,
) -> int:  # fmt: skip
    """Correlations g and violations v of all atoms, the peaks of v, and the number of the highest peak."""
    for j in range(len(b)):
        g[j] = b[j]
    subtract(g, gram, active, c, k)
    if alpha != 0:
        for p in range(k):
            g[active[p]] -= alpha * c[p]
    if positive:
        for j in range(len(g)):
            v[j] = g[j] - penalty[j]
    else:
        for j in range(len(g)):
            v[j] = abs(g[j]) - penalty[j]
    best = find_peaks(v_bits, peak_bits)
    first = 0
    while peak_bits[first] != best:
        first += 1
    return first


@compiled
def gauge(
    b: Array, g: Array, penalty: Array, active: Array, c: Array, u: Array, k: int, square: Any
) -> tuple[Any, Any, Any]:
    """Objective, its l1 part, and the largest of the residuals u of the active atoms' optimality conditions."""
    half, l1, inside = b.dtype.type(0.5), b.dtype.type(0), b.dtype.type(0)
    value = half * square
    for p in range(k):
        j = active[p]
        u[p] = g[j] - (penalty[j] if c[p] > 0 else -penalty[j])
        inside = max(inside, abs(u[p]))
        value -= half * c[p] * (b[j] + g[j])
        l1 += penalty[j] * abs(c[p])
    return value + l1, l1, inside


@compiled
def repair(inverse: Array, c: Array, h: Array, u: Array, k: int) -> bool:
    """One step of iterative refinement of the active coefficients; False where one would change its sign."""
    for p in range(k):
        h[p] = c[p]
        for q in range(k):
            h[p] += inverse[p, q] * u[q]
        if h[p] * c[p] <= 0:
            return False
    for p in range(k):
        c[p] = h[p]
    return True
