"""The moves of an active set of atoms that stays optimal.

An atom violates its optimality condition where the size of its correlation with the residual
exceeds its penalty. Such an atom enters: its coefficient moves, and those of the active atoms
follow so that their conditions still hold. Where one of these reaches zero it leaves, and the move
goes on without it. With the inverse of the active atoms' Gram matrix at hand, the direction of a
move is a matrix-vector product, and each entry or exit is a rank-one update of the inverse.

The inverse is as exact as the type allows only while no active atom is nearly a sum of the others.
Such atoms are not appended. What errors remain show as residuals of the active atoms' conditions,
and `refine` removes them.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from baselines.pursuit.compiled import Array, compiled

LANES = 32  # rows of the inverse end in zeros up to a multiple: loops without a remainder
UNBOUNDED = 1e300  # a step that only an exit ends


class Atoms(NamedTuple):
    """Minimise 0.5*norm(x - D c)**2 + sum(penalty*abs(c)) + 0.5*sum(ridge*c**2) for each x.

    Parameters
    ----------
    gram
        D'D with the ridge added to its diagonal, shape (n_atoms, n_atoms); (0, n_atoms) if there
        is no memory for it.
    rows
        D', shape (n_atoms, n_features).
    ridge
        Of each atom, shape (n_atoms,).
    positive
        Whether only c >= 0 are allowed.
    rank
        As many atoms may be independent of each other.
    """

    gram: Array
    rows: Array
    ridge: Array
    positive: bool
    rank: int


class ActiveSet(NamedTuple):
    """Memory for the active atoms of one sample, of which the first k entries are in use.

    Parameters
    ----------
    inverse
        Inverse of the active atoms' Gram matrix, the ridge included, shape (room, room).
    atoms
        Which atoms are active, shape (room,), of integers.
    c, base
        Their coefficients, and those for which the correlations were computed; float64, (room,).
    left, left_base
        Atoms that left since, and their coefficients in `base`, shape (room,).
    h, u, row
        Scratch: products with the entering atom, the direction of a move, and a row of the inverse;
        shape (room,).
    """

    inverse: Array
    atoms: Array
    c: Array
    base: Array
    left: Array
    left_base: Array
    h: Array
    u: Array
    row: Array


class Move(NamedTuple):
    """Active atoms, atoms in `left`, and whether an atom was refused as a sum of active ones."""

    k: Any
    n_left: Any
    refused: bool


def padded_size(k: int) -> int:
    """Round k up to a multiple of LANES."""
    return (k + LANES - 1) // LANES * LANES


padded = compiled(padded_size, inline=True)


@partial(compiled, inline=True)
def multiply(matrix: Array, v: Array, k: int, out: Array) -> None:
    """Compute out = matrix @ v for a symmetric matrix of k rows, which end in zeros.

    Four rows at a time, so that each entry of `out` is loaded and stored a quarter as often.
    """
    width = padded(k)
    for q in range(width):
        out[q] = 0
    p = 0
    while p + 4 <= k:
        v0, v1, v2, v3 = v[p], v[p + 1], v[p + 2], v[p + 3]
        r0, r1, r2, r3 = matrix[p], matrix[p + 1], matrix[p + 2], matrix[p + 3]
        for q in range(width):
            out[q] += v0 * r0[q] + v1 * r1[q] + v2 * r2[q] + v3 * r3[q]
        p += 4
    while p < k:
        v0 = v[p]
        r0 = matrix[p]
        for q in range(width):
            out[q] += v0 * r0[q]
        p += 1


@partial(compiled, inline=True)
def add_outer(matrix: Array, v: Array, scale: Any, k: int) -> None:
    """Compute matrix += scale * v v' for a matrix of k rows, which end in zeros as v does.

    Four rows at a time, so that each entry of `v` is loaded a quarter as often.
    """
    width = padded(k)
    p = 0
    while p + 4 <= k:
        w0, w1, w2, w3 = scale * v[p], scale * v[p + 1], scale * v[p + 2], scale * v[p + 3]
        r0, r1, r2, r3 = matrix[p], matrix[p + 1], matrix[p + 2], matrix[p + 3]
        for q in range(width):
            x = v[q]
            r0[q] += w0 * x
            r1[q] += w1 * x
            r2[q] += w2 * x
            r3[q] += w3 * x
        p += 4
    while p < k:
        w0 = scale * v[p]
        r0 = matrix[p]
        for q in range(width):
            r0[q] += w0 * v[q]
        p += 1


@compiled
def leave(p: Any, active: ActiveSet, k: Any, n_left: Any) -> Any:
    """Take the p-th of k active atoms out; the last one takes its place.

    Eliminating row p from the others leaves, without row and column p, the inverse of the smaller
    matrix. Returns the new number of atoms in `left`.
    """
    inverse = active.inverse
    last = k - 1
    width = padded(k)
    row = active.row
    for r in range(width):
        row[r] = inverse[p, r]
    add_outer(inverse, row, -inverse.dtype.type(1) / row[p], k)
    if p != last:
        for r in range(width):
            inverse[p, r] = inverse[last, r]
        inverse[p, p] = inverse[last, last]
        for r in range(last):
            inverse[r, p] = inverse[p, r]
    for r in range(k):
        inverse[r, last] = 0
    if active.base[p] != 0:
        active.left[n_left] = active.atoms[p]
        active.left_base[n_left] = active.base[p]
        n_left += 1
    active.atoms[p] = active.atoms[last]
    active.c[p] = active.c[last]
    active.base[p] = active.base[last]
    active.h[p] = active.h[last]
    active.u[p] = active.u[last]
    active.c[last] = 0
    active.h[last] = 0
    active.u[last] = 0
    return n_left


@compiled
def append(j: int, sign: Any, curvature: Any, value: Any, active: ActiveSet, k: int) -> None:
    """Make atom j, at `value`, the k-th active one.

    With u = sign * inverse @ gram[atoms, j], the larger inverse is the old one plus u u'/curvature,
    bordered by -sign * u / curvature and 1 / curvature.
    """
    inverse = active.inverse
    u = active.u
    scale = inverse.dtype.type(1) / curvature
    width = padded(k)
    add_outer(inverse, u, scale, k)
    if k == width:
        width += LANES
        for p in range(k):
            for q in range(k, width):
                inverse[p, q] = 0
    border = inverse[k]
    for q in range(width):
        border[q] = 0
    for q in range(k):
        border[q] = -sign * scale * u[q]
        inverse[q, k] = border[q]
    border[k] = scale
    active.atoms[k] = j
    active.c[k] = value
    active.base[k] = 0


@partial(compiled, inline=True)
def first_to_vanish(active: ActiveSet, k: int, step: Any) -> int:
    """Return which coefficient reaches 0 first in a move by less than -step*u; -1 if none does."""
    c = active.c
    u = active.u
    beyond = c.dtype.type(-1)
    for p in range(k):
        excess = step * abs(u[p]) - abs(c[p])
        beyond = max(beyond, excess if c[p] * u[p] > 0 else -1.0)
    leaving = np.int64(-1)
    if beyond > 0:
        for p in range(k):
            if c[p] * u[p] > 0 and abs(c[p]) < step * abs(u[p]):
                step = c[p] / u[p]
                leaving = p
    return leaving


@compiled
def enter(
    j: int,
    g: Array,
    penalty: Array,
    problem: Atoms,
    active: ActiveSet,
    k: Any,
    n_left: Any,
    tol: Any,
    least_curvature: Any,
) -> Move:
    """Move atom j, which is not active, to its optimum unless its violation is at most `tol`.

    While c[j] grows by t, the active coefficients move by -t*u and the violation falls by
    t * curvature, the squared norm of what atom j adds to the span of the active ones. The move
    ends where the violation is 0, and pauses where an active coefficient reaches 0 and leaves. If
    atom j adds less than `least_curvature` of its squared norm, it does not enter, but the move
    still goes as far as to the exit of another.

    Parameters
    ----------
    g
        Correlations of all atoms with the residual of the coefficients `base`.
    penalty
        Of each atom.
    """
    c = active.c
    h = active.h
    u = active.u
    violation = np.float64(g[j])
    if len(problem.gram) > 0:
        row = problem.gram[j]
        own = row[j]
        for p in range(k):
            h[p] = row[active.atoms[p]]
        for p in range(n_left):
            violation += row[active.left[p]] * active.left_base[p]
    else:
        own = inner(problem.rows, j, j) + problem.ridge[j]
        for p in range(k):
            h[p] = inner(problem.rows, j, active.atoms[p])
        for p in range(n_left):
            violation += inner(problem.rows, j, active.left[p]) * active.left_base[p]
    for p in range(k):
        violation -= h[p] * (c[p] - active.base[p])
    sign = g.dtype.type(1)
    if violation <= 0 and not problem.positive:
        sign = -sign
    violation = sign * violation - penalty[j]
    if violation <= tol:
        return Move(k, n_left, False)
    multiply(active.inverse, h, k, u)
    curvature = own
    for p in range(k):
        curvature -= h[p] * u[p]
        u[p] *= sign
    has_ridge = problem.ridge[j] > 0
    moved = np.float64(0)
    while True:
        is_new = curvature > least_curvature * own and (k < problem.rank or has_ridge)
        step = violation / curvature if is_new else UNBOUNDED
        leaving = first_to_vanish(active, k, step)
        if leaving < 0:
            if not is_new:
                if moved == 0:
                    return Move(k, n_left, True)
                step = np.float64(0)
                curvature = least_curvature * own
            for p in range(k):
                c[p] -= step * u[p]
            append(j, sign, curvature, sign * (moved + step), active, k)
            return Move(k + 1, n_left, False)
        step = c[leaving] / u[leaving]
        moved += step
        for p in range(k):
            c[p] -= step * u[p]
        violation -= step * curvature
        # without atom p the direction is u - inverse[:, p] * (u[p] / inverse[p, p])
        line = active.inverse[leaving]
        share = u[leaving] / line[leaving]
        curvature += share * u[leaving]
        for p in range(k):
            u[p] -= share * line[p]
        n_left = leave(leaving, active, k, n_left)
        k -= 1


@partial(compiled, inline=True)
def inner(rows: Array, i: int, j: int) -> Any:
    """Compute the inner product of two rows."""
    a = rows[i]
    b = rows[j]
    s = rows.dtype.type(0)
    for f in range(rows.shape[1]):
        s += a[f] * b[f]
    return s


@compiled
def refine(active: ActiveSet, k: Any, n_left: Any) -> Move:
    """Add inverse @ u to the active coefficients, one step of iterative refinement.

    Where a coefficient would change its sign, the move ends there and its atom leaves.
    """
    c = active.c
    h = active.h
    u = active.u
    multiply(active.inverse, u, k, h)
    step = np.float64(1)
    leaving = np.int64(-1)
    for p in range(k):
        if c[p] * h[p] < 0 and abs(c[p]) <= step * abs(h[p]):
            step = -c[p] / h[p]
            leaving = p
    for p in range(k):
        c[p] += step * h[p]
    if leaving >= 0:
        n_left = leave(leaving, active, k, n_left)
        k -= 1
    return Move(k, n_left, False)
