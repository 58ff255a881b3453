"""Coordinate descent over the atoms that violate their optimality condition, on the Gram matrix.

Each round finds the violations of all atoms in one pass and lets the worst ones enter the active
set, whose atoms follow exactly (see `active_set`). A code has few active atoms, so a round costs
little more than one pass over the rows of the Gram matrix that belong to them. Rounds end at a
duality gap, which the largest violation bounds. Where rounding spoils the inverse of the active
set, as with coherent atoms, plain cyclic coordinate descent takes over from the code reached.
"""

from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from baselines.pursuit.active_set import (
    ActiveSet,
    GramProblem,
    empty_active_set,
    enter,
    find_violations,
    measure,
    refine,
)
from baselines.pursuit.compiled import (
    Array,
    Scores,
    compiled,
    empty_scores,
    peak_atom,
    soft_threshold,
)
from baselines.pursuit.csr import SparseRows, join_rows
from baselines.pursuit.objective import Problem, squared_norms
from baselines.pursuit.threads import gram_of, over_blocks, split_rows

BLOCK_SAMPLES = 256  # whose correlations with 512 atoms stay in a second-level cache
FIRST_ATOMS = 128  # room for active atoms to begin with; doubled where a code needs more
ENTRY_RATIO = 0.6  # share of the worst violation at which atoms enter; 0.5 to 0.7 are as fast
SWEEPS_PER_ROUND = 100  # of cyclic descent for each round allowed
REFRESH_SWEEPS = 100  # of cyclic descent between two computations of the correlations anew
MOST_REFINEMENTS = 3


class Limits(NamedTuple):
    """Where the descent ends.

    Parameters
    ----------
    least_penalty
        The smallest penalty of an atom.
    tol
        Relative duality gap to stop at; 0 where there is a linear term.
    flatness
        Share of the largest correlation that no violation need fall below; 0 without linear term.
    accuracy
        Share of a sample's norm that rounding makes of correlations.
    max_rounds
        Rounds for a sample.
    """

    least_penalty: Any
    tol: Any
    flatness: Any
    accuracy: Any
    max_rounds: int


class Workspace(NamedTuple):
    """Memory of one thread: active set, correlations, violations, and atoms that will enter."""

    active: ActiveSet
    g: Array
    scores: Scores
    queue: Array


class Seeds(NamedTuple):
    """Atoms to start from: those of sample i are indices[indptr[i] : indptr[i + 1]]."""

    indptr: Array
    indices: Array


class Outcome(NamedTuple):
    """Non-zeros found, -1 if there was no room for the active atoms, and entries tried."""

    n_nonzero: int
    n_entries: int


@compiled
def _gap_closed(worst: Any, value: Any, l1: Any, limits: Limits) -> bool:
    """Tell whether the relative duality gap is at most `tol` where no violation exceeds `worst`.

    Scaled by 1 - d the residual of the sample is dual feasible, and its gap is d*(d*value + l1).
    """
    d = worst / (limits.least_penalty + worst)
    return bool(d * (d * value + l1) <= limits.tol * abs(value))


@compiled
def _descend(
    b: Array, square: Any, floor: Any, problem: GramProblem, limits: Limits, work: Workspace, k: int
) -> int:
    """Descend over one atom after the other, all of them in each sweep, from k active ones on.

    Slow but robust: it needs no inverse, and computes the correlations g anew every REFRESH_SWEEPS,
    which ends the rounding errors of their updates.

    Returns
    -------
    The number of non-zeros, -1 if there is no room for them.
    """
    gram = problem.gram
    penalty = problem.penalty
    alpha = problem.alpha
    active = work.active
    g = work.g
    z = work.scores.values  # the dense code
    room = len(active.inverse)
    zero = b.dtype.type(0)
    for j in range(len(b)):
        z[j] = 0
    for p in range(k):
        z[active.atoms[p]] += active.c[p]
    for sweep in range(SWEEPS_PER_ROUND * limits.max_rounds):
        k = 0
        worst = zero
        for j in range(len(b)):
            if sweep % REFRESH_SWEEPS == 0:
                g[j] = b[j]
                for q in range(len(b)):
                    g[j] -= gram[j, q] * z[q]
                g[j] -= alpha * z[j]
            curvature = gram[j, j] + alpha
            new = soft_threshold(g[j] + curvature * z[j], penalty[j], problem.positive)
            new = new / curvature if curvature > 0 else zero
            delta = new - z[j]
            if delta != 0:
                worst = max(worst, abs(delta) * curvature)
                row = gram[j]
                for q in range(len(b)):
                    g[q] -= delta * row[q]
                g[j] -= alpha * delta
                z[j] = new
            if new != 0:
                if k < room:
                    active.atoms[k] = j
                    active.c[k] = new
                k += 1
        if k <= room:
            progress = measure(b, g, penalty, active.atoms, active.c, active.u, k, square)
            if worst <= floor or _gap_closed(worst, progress.objective, progress.l1, limits):
                return k
    return k if k <= room else -1


@compiled
def _solve_one(
    b: Array,
    square: Any,
    floor: Any,
    problem: GramProblem,
    limits: Limits,
    work: Workspace,
    seeds: Array,
) -> Outcome:
    """Solve for one sample of squared norm `square`; violations of at most `floor` are none.

    The gap is computed only where the largest violation is small enough to close it. Once the
    residuals of the active atoms exceed half of the largest violation, the inverse has gathered
    rounding errors: a step of refinement repairs it, a few times, then cyclic descent takes over.
    """
    active = work.active
    g = work.g
    scores = work.scores
    queue = work.queue
    room = len(active.inverse)
    k = np.int64(0)
    tried = 0
    refinements = 0
    good = True
    n_queued = len(seeds)
    for q in range(n_queued):
        queue[q] = seeds[q]
    for _ in range(limits.max_rounds):
        for q in range(n_queued):
            if k == room < len(b):
                return Outcome(-1, tried)
            if good:
                k, good = enter(queue[q], b, problem, active, k, floor)
                tried += 1
        if not good:
            break
        chunk = find_violations(b, problem, active.atoms, active.c, k, g, scores)
        worst = scores.peaks[chunk]
        reach = limits.least_penalty + worst
        if worst * worst <= limits.tol * reach * reach or worst <= floor:  # else far from the end
            progress = measure(b, g, problem.penalty, active.atoms, active.c, active.u, k, square)
            largest = max(worst, progress.residual)
            if largest <= floor or _gap_closed(largest, progress.objective, progress.l1, limits):
                return Outcome(k, tried)
            if 2 * progress.residual > worst:
                good = refinements < MOST_REFINEMENTS and refine(active, k)
                refinements += 1
        n_queued = 0
        cut = max(ENTRY_RATIO * worst, floor)
        for _ in range(len(scores.peaks)):
            if scores.peaks[chunk] >= cut:
                queue[n_queued] = peak_atom(scores, chunk)
                n_queued += 1
            chunk += 1
            if chunk == len(scores.peaks):
                chunk = 0
    return Outcome(_descend(b, square, floor, problem, limits, work, k), tried)


@compiled
def _solve(
    B: Array,
    squares: Array,
    problem: GramProblem,
    limits: Limits,
    work: Workspace,
    seeds: Seeds,
    out: SparseRows,
) -> Outcome:
    """Write the codes of the rows of B = X D - linear, one after the other, into `out`."""
    active = work.active
    total = 0
    end = 0
    for i in range(len(B)):
        floor = limits.accuracy * np.sqrt(squares[i])
        if limits.flatness > 0:
            for j in range(B.shape[1]):
                floor = max(floor, limits.flatness * abs(B[i, j]))
        start = seeds.indices[seeds.indptr[i] : seeds.indptr[i + 1]]
        k, tried = _solve_one(B[i], squares[i], floor, problem, limits, work, start)
        if k < 0:
            return Outcome(-1, 0)
        for p in range(k):
            out.data[end + p] = active.c[p]
            out.indices[end + p] = active.atoms[p]
        end += k
        out.counts[i] = k
        total += tried
    return Outcome(end, total)


def coordinate_descent(problem: Problem) -> tuple[csr_array, float]:
    """Minimise the objective of `Problem`, for arrays.

    Returns
    -------
    Codes as a CSR array (n_samples, n_atoms), and the mean number of entries tried for a sample.
    """
    X = problem.X
    n_features, n_atoms = problem.D.shape
    gram = problem.gram
    if gram is None:
        gram = gram_of(problem.D, problem.n_threads)
    limits = _limits(problem, gram)
    alpha = X.dtype.type(problem.alpha)
    gram_problem = GramProblem(gram, problem.penalty, alpha, problem.positive)

    def encode(rows: slice) -> list[tuple[SparseRows, int]]:
        g = np.empty(n_atoms, X.dtype)
        scores = empty_scores(n_atoms, X.dtype)
        queue = np.empty(n_atoms, np.int64)
        room = min(n_atoms, n_features + 4, FIRST_ATOMS)
        work = Workspace(empty_active_set(room, X.dtype), g, scores, queue)
        out = _empty_rows(room, X.dtype)
        # made once: fresh pages would take as long as the product
        buffer = np.empty((BLOCK_SAMPLES, n_atoms), X.dtype)
        parts = []
        for block in split_rows(rows.start, rows.stop, BLOCK_SAMPLES):
            B = _correlations(problem, block, buffer)
            squares = squared_norms(X[block])
            seeds = _seeds(problem, block)
            outcome = _solve(B, squares, gram_problem, limits, work, seeds, out)
            while outcome.n_nonzero < 0:
                room = min(2 * room, n_atoms)
                work = Workspace(empty_active_set(room, X.dtype), g, scores, queue)
                out = _empty_rows(room, X.dtype)
                outcome = _solve(B, squares, gram_problem, limits, work, seeds, out)
            n = outcome.n_nonzero
            counts = out.counts[: block.stop - block.start].copy()
            part = SparseRows(out.data[:n].copy(), out.indices[:n].copy(), counts)
            parts.append((part, outcome.n_entries))
        return parts

    parts = list(chain.from_iterable(over_blocks(encode, len(X), problem.n_threads)))
    codes = join_rows([rows for rows, _ in parts], (len(X), n_atoms), X.dtype)
    n_entries = sum(n for _, n in parts)
    return codes, n_entries / max(len(X), 1)


def _limits(problem: Problem, gram: Array) -> Limits:
    """Return where the descent ends.

    A duality gap proves nothing where there is a linear term: `_gap_closed` scales the residual,
    which may make it infeasible. There the largest violation tells the end.
    """
    kind = problem.X.dtype.type
    has_linear = problem.linear is not None
    return Limits(
        least_penalty=problem.penalty.min(initial=np.inf),
        tol=kind(0 if has_linear else problem.tol),
        flatness=kind(problem.tol if has_linear else 0),
        accuracy=kind(4 * np.finfo(kind).eps * np.sqrt(gram.diagonal().max(initial=0))),
        max_rounds=problem.max_iter,
    )


def _empty_rows(room: int, dtype: Any) -> SparseRows:
    """Return memory for the codes of a block of samples with up to `room` non-zeros each."""
    most = room * BLOCK_SAMPLES
    counts = np.empty(BLOCK_SAMPLES, np.int64)
    return SparseRows(np.empty(most, dtype), np.empty(most, np.int32), counts)


def _correlations(problem: Problem, rows: slice, buffer: Array) -> Array:
    """Compute X D - linear for some samples, (n_rows, n_atoms), in the first rows of `buffer`."""
    out = np.matmul(problem.X[rows], problem.D, out=buffer[: rows.stop - rows.start])
    if problem.linear is not None:
        out -= problem.linear_of(rows)
    return out


def _seeds(problem: Problem, rows: slice) -> Seeds:
    """Return the non-zeros of the codes to start some samples from."""
    if problem.warm is None:
        return Seeds(np.zeros(rows.stop - rows.start + 1, np.int64), np.zeros(0, np.int64))
    warm = csr_array(problem.warm[rows])
    return Seeds(warm.indptr.astype(np.int64), warm.indices.astype(np.int64))
