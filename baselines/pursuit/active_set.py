"""The moves of an active set of atoms that stays optimal, on the Gram matrix.

For a sample x the codes depend on its correlations b = D'x - linear and on gram = D'D alone. An
atom violates its optimality condition where abs(b - gram c - alpha c) exceeds its penalty. Such an
atom enters: its coefficient moves, and those of the active atoms follow so that their conditions
still hold. Where one of these reaches zero it leaves, and the move goes on without it. With the
inverse of the active atoms' Gram matrix at hand, the direction of a move is a matrix-vector
product, and each entry or exit is a rank-one update of the inverse.
"""

from typing import Any, NamedTuple

import numpy as np

from baselines.pursuit.compiled import Array, Scores, compiled, highest_chunk, subtract


class GramProblem(NamedTuple):
    """Minimise 0.5*c'gram c - b'c + sum(penalty*abs(c)) + 0.5*alpha*norm(c)**2 for each b.

    Parameters
    ----------
    gram
        D'D, shape (n_atoms, n_atoms).
    penalty
        Of each atom, shape (n_atoms,).
    alpha
        Weight of the ridge.
    positive
        Whether only c >= 0 are allowed.
    """

    gram: Array
    penalty: Array
    alpha: Any
    positive: bool


class ActiveSet(NamedTuple):
    """Memory for up to n active atoms, of which the first k entries are in use.

    Parameters
    ----------
    inverse
        Inverse of the active atoms' Gram matrix with alpha added to its diagonal, shape (n, n).
    atoms
        Which atoms are active, shape (n + 4,), of integers.
    c
        Their coefficients, shape (n + 4,).
    h, u
        Scratch: products with the entering atom, and the direction of a move; shape (n + 4,).
    """

    inverse: Array
    atoms: Array
    c: Array
    h: Array
    u: Array


class Progress(NamedTuple):
    """Where a code stands: objective, its l1 part, and the largest residual of active atoms."""

    objective: Any
    l1: Any
    residual: Any


def empty_active_set(n: int, dtype: Any) -> ActiveSet:
    """Return memory for up to n active atoms; 3 spare entries are for `subtract`."""
    c, h, u = (np.empty(n + 4, dtype) for _ in range(3))
    return ActiveSet(np.empty((n, n), dtype), np.empty(n + 4, np.int64), c, h, u)


@compiled
def leave(p: int, active: ActiveSet, k: int) -> None:
    """Take the p-th of k active atoms out; the last one takes its place.

    Eliminating row p from the others leaves, without row and column p, the inverse of the smaller
    matrix.
    """
    inverse = active.inverse
    last = k - 1
    row = inverse[p]
    for q in range(k):
        if q != p:
            line = inverse[q]
            factor = line[p] / row[p]
            for r in range(k):
                line[r] -= factor * row[r]
    if p != last:
        for r in range(last):
            inverse[p, r] = inverse[last, r]
        inverse[p, p] = inverse[last, last]
        for r in range(last):
            inverse[r, p] = inverse[p, r]
    active.atoms[p] = active.atoms[last]
    active.c[p] = active.c[last]
    active.h[p] = active.h[last]


@compiled
def append(j: int, step: Any, curvature: Any, value: Any, active: ActiveSet, k: int) -> None:
    """Make atom j, at `value`, the k-th active one; the others move by -step*u.

    With u = sign * inverse @ gram[atoms, j], the larger inverse is the old one plus u u'/curvature,
    bordered by -sign * u / curvature and 1 / curvature.
    """
    inverse = active.inverse
    c = active.c
    u = active.u
    sign = c.dtype.type(1) if value > 0 else -c.dtype.type(1)
    scale = sign * sign / curvature
    for p in range(k):
        c[p] -= step * u[p]
        line = inverse[p]
        factor = scale * u[p]
        for q in range(k):
            line[q] += factor * u[q]
        border = -sign * factor
        inverse[k, p] = border
        line[k] = border
    inverse[k, k] = scale
    active.atoms[k] = j
    c[k] = value


@compiled
def enter(
    j: int, b: Array, problem: GramProblem, active: ActiveSet, k: int, tol: Any
) -> tuple[int, bool]:
    """Move atom j to its optimum unless it violates its condition by at most `tol`.

    While c[j] grows by t, the active coefficients move by -t*u and the violation falls by
    t * curvature, the squared norm of what atom j adds to the span of the active ones. The move
    ends where the violation is 0, and pauses where an active coefficient reaches 0 and leaves.

    Returns
    -------
    The new number of active atoms, and False where rounding has spoilt the inverse.
    """
    alpha = problem.alpha
    inverse = active.inverse
    c = active.c
    h = active.h
    u = active.u
    row = problem.gram[j]
    violation = b[j]
    for p in range(k):
        if active.atoms[p] == j:
            return k, True
        h[p] = row[active.atoms[p]]
        violation -= h[p] * c[p]
    sign = b.dtype.type(1)
    if violation <= 0 and not problem.positive:
        sign = -sign
    violation = sign * violation - problem.penalty[j]
    if violation <= tol:
        return k, True
    least_curvature = b.dtype.type(256 * np.finfo(b.dtype).eps) * (row[j] + alpha)
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
        step = violation / max(curvature, least_curvature)
        leaving = np.int64(-1)
        for p in range(k):
            if c[p] * u[p] > 0 and abs(c[p]) < step * abs(u[p]):
                step = c[p] / u[p]
                leaving = p
        moved += step
        if leaving < 0:
            append(j, step, max(curvature, least_curvature), sign * moved, active, k)
            return k + 1, curvature > least_curvature
        for p in range(k):
            c[p] -= step * u[p]
        violation -= step * curvature
        leave(leaving, active, k)
        k -= 1


@compiled
def find_violations(
    b: Array, problem: GramProblem, atoms: Array, c: Array, k: int, g: Array, scores: Scores
) -> int:
    """Compute correlations g = b - gram c - alpha c and the violations of all atoms.

    The violations become the scores. Returns the chunk that holds the largest one.
    """
    penalty = problem.penalty
    values = scores.values
    for j in range(len(b)):
        g[j] = b[j]
    subtract(g, problem.gram, atoms, c, k)
    if problem.alpha != 0:
        for p in range(k):
            g[atoms[p]] -= problem.alpha * c[p]
    if problem.positive:
        for j in range(len(g)):
            values[j] = g[j] - penalty[j]
    else:
        for j in range(len(g)):
            values[j] = abs(g[j]) - penalty[j]
    return highest_chunk(scores)


@compiled
def measure(
    b: Array, g: Array, penalty: Array, atoms: Array, c: Array, u: Array, k: int, square: Any
) -> Progress:
    """Measure the code of a sample of squared norm `square`, from its correlations g.

    The residuals g - sign(c) * penalty of the active atoms' conditions are left in `u`. The
    objective follows from them without the residual of the sample: its smooth part is
    0.5 * (square - sum of c * (b + g)).
    """
    half = b.dtype.type(0.5)
    l1 = b.dtype.type(0)
    largest = b.dtype.type(0)
    value = half * square
    for p in range(k):
        j = atoms[p]
        u[p] = g[j] - (penalty[j] if c[p] > 0 else -penalty[j])
        largest = max(largest, abs(u[p]))
        value -= half * c[p] * (b[j] + g[j])
        l1 += penalty[j] * abs(c[p])
    return Progress(value + l1, l1, largest)


@compiled
def refine(active: ActiveSet, k: int) -> bool:
    """Add inverse @ u to the active coefficients, one step of iterative refinement.

    Returns False, and changes none, where one would change its sign.
    """
    c = active.c
    h = active.h
    for p in range(k):
        h[p] = c[p]
        for q in range(k):
            h[p] += active.inverse[p, q] * active.u[q]
        if h[p] * c[p] <= 0:
            return False
    for p in range(k):
        c[p] = h[p]
    return True
