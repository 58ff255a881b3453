"""The kernels of coordinate descent: rounds in which violating atoms enter the active set.

A sample runs by the Gram matrix until it is done or rounding hides the rest. Then it waits for its
correlations to be computed from its residual, round after round, together with other samples.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from baselines.pursuit.active_set import ActiveSet, Atoms, enter, refine
from baselines.pursuit.compiled import (
    Array,
    Scores,
    compiled,
    empty_scores,
    highest_chunk,
    peak_atom,
    subtract,
)

ENTRY_RATIO = 0.6  # share of the worst violation at which atoms enter; 0.5 to 0.7 are as fast
MOST_REFINEMENTS = 3  # in a row that do not help, before the inverse is given up
LEAST_OBJECTIVE = 1e-300  # where rounding has made one negative
MOST_GRAM_ROUNDS = 200  # by the Gram matrix; most samples need fewer than 30
WORSE_THAN_ZERO = 1.01  # times the squared norm of a sample: no residual on the way is as large
ALLOWED = 10  # a gap of so many times `tol` counts as reached where rounding stops the descent

# what becomes of a sample
RUNNING, WAITING, DONE, CROWDED, SPOILT, FAILED = range(6)


class Limits(NamedTuple):
    """Where the descent ends.

    Parameters
    ----------
    least_penalty, least_ridge
        The smallest penalty and ridge of an atom.
    tol
        Relative duality gap to stop at; 0 where a gap proves nothing.
    flatness
        Share of the largest correlation that no violation need exceed; 0 where there is a gap.
    accuracy
        Share of the norm of a sample, or of its residual, that rounding makes of correlations.
    rounding
        What rounding makes of codes in single precision, relative to their sum; 0 in double.
    least_curvature
        Share of its squared norm that an atom must add to the span of the active ones.
    max_rounds
        Rounds for a sample.
    most_exact_rounds
        Rounds by the residual after which single precision gives up.
    """

    least_penalty: Any
    least_ridge: Any
    tol: Any
    flatness: Any
    accuracy: Any
    rounding: Any
    least_curvature: Any
    max_rounds: int
    most_exact_rounds: int


class States(NamedTuple):
    """Where the samples of a block stand.

    Those that are not finished each have a slot of their own in the memory of active sets.

    Parameters
    ----------
    inverse, atoms, c
        As in `ActiveSet`, for each slot.
    counts
        The memory of the next seven.
    k, slot, status, n_rounds, n_vain
        For each sample: active atoms, its slot, what becomes of it, rounds, vain refinements.
    n_entries, n_renewals, residual, converged
        For each sample: entries tried, how often its inverse was computed anew, the largest
        residual of the conditions of active atoms in the round before, and whether the gap was
        reached.
    """

    inverse: Array
    atoms: Array
    c: Array
    counts: Array
    k: Array
    slot: Array
    status: Array
    n_rounds: Array
    n_vain: Array
    n_entries: Array
    n_renewals: Array
    residual: Array
    converged: Array


class Scratch(NamedTuple):
    """Memory of one thread for the sample at hand."""

    g: Array
    penalty: Array
    which: Array
    weights: Array
    scores: Scores
    queue: Array
    base: Array
    left: Array
    left_base: Array
    h: Array
    u: Array
    row: Array
    residual: Array


@partial(compiled, inline=True)
def _relative_gap(
    violation: Any,
    least_penalty: Any,
    least_ridge: Any,
    n_atoms: int,
    value: Any,
    l1: Any,
) -> Any:
    """Bound the relative duality gap where no violation exceeds `violation`.

    Scaled by 1 - d the residual of the sample is dual feasible, and its gap is d*(d*value + l1).
    With a ridge it is feasible as it is, and its gap is at most sum(violation**2) / (2*ridge).
    """
    value = max(value, LEAST_OBJECTIVE)
    gap = value
    if least_penalty + violation > 0:
        d = violation / (least_penalty + violation)
        gap = d * (d * value + l1)
    if least_ridge > 0:
        gap = min(gap, n_atoms * violation * violation / (2 * least_ridge))
    return gap / value


class Progress(NamedTuple):
    """Where a code stands.

    Parameters
    ----------
    l1
        The l1 term of the objective.
    worst
        The largest violation of an atom that is not active.
    residual
        The largest residual of the conditions of the active atoms.
    chunk
        Which chunk of atoms holds the worst.
    """

    l1: Any
    worst: Any
    residual: Any
    chunk: Any


@partial(compiled, inline=True)
def _look(k: int, g: Array, positive: bool, active: ActiveSet, work: Scratch) -> Progress:
    """Find the violations of all atoms from their correlations g, k of them active.

    They become the scores, residuals of active atoms go to `active.u`, coefficients to `base`.
    """
    penalty = work.penalty
    scores = work.scores
    values = scores.values
    c = active.c
    u = active.u
    if positive:
        for j in range(len(g)):
            values[j] = g[j] - penalty[j]
    else:
        for j in range(len(g)):
            values[j] = abs(g[j]) - penalty[j]
    l1 = np.float64(0)
    residual = g.dtype.type(0)
    for p in range(k):
        j = active.atoms[p]
        values[j] = -1
        u[p] = g[j] - (penalty[j] if c[p] > 0 else -penalty[j])
        residual = max(residual, abs(u[p]))
        l1 += penalty[j] * abs(c[p])
        active.base[p] = c[p]
    chunk = highest_chunk(scores)
    worst = max(scores.peaks[chunk], g.dtype.type(0))
    return Progress(l1, worst, residual, chunk)


@partial(compiled, inline=True)
def _is_reached(
    progress: Progress,
    smooth: Any,
    size: Any,
    noise: Any,
    scale: Any,
    n_atoms: int,
    limits: Limits,
) -> int:
    """Tell whether what was asked for is reached: 1 if it is, 0 if not, -1 if rounding hides it.

    Parameters
    ----------
    smooth
        Objective without its l1 term.
    size
        What a violation is compared with where there is no gap.
    noise
        What rounding makes of correlations: a smaller violation is none.
    scale
        What the sample was multiplied by.
    """
    largest = max(progress.worst, progress.residual)
    if limits.tol == 0:
        if largest > max(noise, limits.flatness * size):
            return 0
        return 1 if noise <= ALLOWED * limits.flatness * size else -1
    l1 = progress.l1
    value = smooth + l1
    least_penalty = limits.least_penalty * scale
    # rounded codes c, of at most l1 / least_penalty in all, change D c by so much
    change = limits.rounding * l1 / max(least_penalty, LEAST_OBJECTIVE)
    survives = change * change <= ALLOWED * limits.tol * value
    gap = _relative_gap(largest, least_penalty, limits.least_ridge, n_atoms, value, l1)
    if gap <= limits.tol:
        return 1 if survives else -1
    if largest > noise:
        return 0
    gap = _relative_gap(noise, least_penalty, limits.least_ridge, n_atoms, value, l1)
    return 1 if gap <= ALLOWED * limits.tol and survives else -1


@partial(compiled, inline=True)
def _enter_worst(
    i: int,
    g: Array,
    progress: Progress,
    floor: Any,
    n_left: Any,
    exact: bool,
    problem: Atoms,
    limits: Limits,
    active: ActiveSet,
    states: States,
    work: Scratch,
) -> int:
    """Let the worst atom of each chunk enter if it is nearly as bad as the worst of all.

    Returns what becomes of the sample.
    """
    scores = work.scores
    cut = max(g.dtype.type(ENTRY_RATIO) * progress.worst, floor)
    chunk = progress.chunk
    n_queued = 0
    for _ in range(len(scores.peaks)):
        if scores.peaks[chunk] >= cut:
            work.queue[n_queued] = peak_atom(scores, chunk)
            n_queued += 1
        chunk += 1
        if chunk == len(scores.peaks):
            chunk = 0
    k = states.k[i]
    status = RUNNING
    for q in range(n_queued):
        if k == len(active.inverse):
            status = CROWDED
            break
        move = enter(
            work.queue[q],
            g,
            work.penalty,
            problem,
            active,
            k,
            n_left,
            floor,
            limits.least_curvature,
        )
        k = move.k
        n_left = move.n_left
        states.n_entries[i] += 1
        if move.refused:
            status = SPOILT if exact else WAITING
    states.k[i] = k
    return status


@partial(compiled, inline=True)
def _advance(
    i: int,
    g: Array,
    smooth: Any,
    size: Any,
    noise: Any,
    exact: bool,
    problem: Atoms,
    limits: Limits,
    scale: Any,
    active: ActiveSet,
    states: States,
    work: Scratch,
) -> int:
    """Judge sample i by its correlations g, and move on unless it is finished.

    The parameters are those of `_is_reached`; `exact` tells that g comes from the residual. Returns
    what becomes of the sample.
    """
    progress = _look(states.k[i], g, problem.positive, active, work)
    reached = _is_reached(progress, smooth, size, noise, scale, len(g), limits)
    if reached == 1:
        states.converged[i] = True
        return DONE
    if reached == -1:
        return FAILED if exact else WAITING
    if states.n_rounds[i] >= limits.max_rounds:
        return DONE
    if exact and states.n_rounds[i] >= limits.most_exact_rounds:
        return FAILED
    if not exact and states.n_rounds[i] >= MOST_GRAM_ROUNDS:
        return WAITING
    states.n_rounds[i] += 1
    n_left = np.int64(0)
    residual = progress.residual
    is_spoilt = 2 * residual > progress.worst
    if is_spoilt and (not exact or 2 * residual > states.residual[i]):
        states.n_vain[i] += 1
        if states.n_vain[i] > MOST_REFINEMENTS:
            states.n_vain[i] = 0
            return SPOILT if exact else WAITING
    elif is_spoilt or exact:
        states.n_vain[i] = 0
    if is_spoilt or exact:
        states.residual[i] = residual
        move = refine(active, states.k[i], n_left)
        states.k[i] = move.k
        n_left = move.n_left
    floor = max(noise, limits.flatness * size)
    return _enter_worst(i, g, progress, floor, n_left, exact, problem, limits, active, states, work)


@partial(compiled, inline=True)
def _view(states: States, work: Scratch, slot: int) -> ActiveSet:
    """Return the active set of a slot."""
    return ActiveSet(
        states.inverse[slot],
        states.atoms[slot],
        states.c[slot],
        work.base,
        work.left,
        work.left_base,
        work.h,
        work.u,
        work.row,
    )


class Out(NamedTuple):
    """Codes of a block as they get finished: those of sample i are data[starts[i] :][: counts[i]].

    Parameters
    ----------
    used
        How many entries are in use, shape (1,).
    """

    data: Array
    indices: Array
    starts: Array
    counts: Array
    used: Array


@partial(compiled, inline=True)
def _write(i: int, active: ActiveSet, k: int, scale: Any, atom_powers: Array, out: Out) -> None:
    """Append the code of sample i, in the units of the caller."""
    end = out.used[0]
    n = 0
    for p in range(k):
        if active.c[p] != 0:
            j = active.atoms[p]
            out.data[end + n] = active.c[p] / (scale * atom_powers[j])
            out.indices[end + n] = j
            n += 1
    out.starts[i] = end
    out.counts[i] = n
    out.used[0] = end + n


@partial(compiled, inline=True)
def _scale_penalty(penalty: Array, scale: Any, work: Scratch) -> None:
    """Write the penalties of the atoms in the units of a sample."""
    most = np.float64(np.finfo(work.penalty.dtype).max / 4)
    for j in range(len(penalty)):
        work.penalty[j] = min(penalty[j] * scale, most)


@compiled
def descend_on_gram(
    B: Array,
    squares: Array,
    sizes: Array,
    scales: Array,
    penalty: Array,
    seeds: tuple[Array, Array],
    n_slots: int,
    atom_powers: Array,
    problem: Atoms,
    limits: Limits,
    states: States,
    work: Scratch,
    out: Out,
) -> int:
    """Solve for the samples of a block that are still running, from B = X D - linear.

    Returns the number of slots in use, those of the samples that wait or need more room.
    """
    g = work.g
    last = np.float64(0)
    half = np.float64(0.5)
    for i in range(len(B)):
        if states.status[i] != RUNNING:
            continue
        scale = scales[i]
        if scale != last:
            _scale_penalty(penalty, scale, work)
            last = scale
        b = B[i]
        noise = limits.accuracy * sizes[i]
        is_new = states.slot[i] < 0
        if is_new:
            states.slot[i] = n_slots
            n_slots += 1
        active = _view(states, work, states.slot[i])
        status = RUNNING
        if is_new:
            _start(i, b, noise, seeds, problem, limits, active, states, work)
        while status == RUNNING:
            k = states.k[i]
            for p in range(k):
                work.which[p] = active.atoms[p]
                work.weights[p] = active.c[p]
            for j in range(len(b)):
                g[j] = b[j]
            subtract(g, problem.gram, work.which, work.weights, k)
            smooth = np.float64(squares[i])
            for p in range(k):
                a = active.atoms[p]
                smooth -= active.c[p] * (b[a] + g[a])
            status = _advance(
                i,
                g,
                half * smooth,
                sizes[i],
                noise,
                False,
                problem,
                limits,
                scale,
                active,
                states,
                work,
            )
        states.status[i] = status
        if status == WAITING:
            states.n_rounds[i] = 0
        if status == DONE:
            _write(i, active, states.k[i], scale, atom_powers, out)
            if is_new:
                n_slots -= 1
    return n_slots


@compiled
def _start(
    i: int,
    g: Array,
    noise: Any,
    seeds: tuple[Array, Array],
    problem: Atoms,
    limits: Limits,
    active: ActiveSet,
    states: States,
    work: Scratch,
) -> None:
    """Let the atoms to start from enter, as far as there is room."""
    k = np.int64(0)
    n_left = np.int64(0)
    for q in range(seeds[0][i], seeds[0][i + 1]):
        if k < len(active.inverse):
            move = enter(
                seeds[1][q],
                g,
                work.penalty,
                problem,
                active,
                k,
                n_left,
                noise,
                limits.least_curvature,
            )
            k = move.k
            n_left = move.n_left
            states.n_entries[i] += 1
    states.k[i] = k


@compiled
def find_residuals(
    X: Array,
    which: Array,
    problem: Atoms,
    states: States,
    R: Array,
    squares: Array,
    work: Scratch,
) -> None:
    """Compute the residual of each sample in `which`, and its squared norm, in double precision."""
    r = work.residual
    for m in range(len(which)):
        i = which[m]
        for f in range(len(r)):
            r[f] = X[i, f]
        slot = states.slot[i]
        for p in range(states.k[i]):
            row = problem.rows[states.atoms[slot, p]]
            c = states.c[slot, p]
            for f in range(len(r)):
                r[f] -= c * row[f]
        square = np.float64(0)
        for f in range(len(r)):
            R[m, f] = r[f]
            square += r[f] * r[f]
        squares[m] = square


@compiled
def descend_on_residuals(
    G: Array,
    which: Array,
    squares: Array,
    scaled_squares: Array,
    sizes: Array,
    linear_sizes: Array,
    scales: Array,
    penalty: Array,
    seeds: tuple[Array, Array],
    atom_powers: Array,
    problem: Atoms,
    limits: Limits,
    states: States,
    work: Scratch,
    out: Out,
) -> None:
    """Take one round of each sample in `which`, from G = R D - linear of its residual R.

    `squares` holds the squared norm of each residual, `scaled_squares` of each sample.
    """
    last = np.float64(0)
    half = np.float64(0.5)
    for m in range(len(which)):
        i = which[m]
        scale = scales[i]
        if scale != last:
            _scale_penalty(penalty, scale, work)
            last = scale
        g = G[m]
        noise = limits.accuracy * max(np.sqrt(squares[m]), linear_sizes[i])
        active = _view(states, work, states.slot[i])
        if states.k[i] == 0 and states.n_rounds[i] == 0 and seeds[0][i] < seeds[0][i + 1]:
            states.n_rounds[i] += 1
            _start(i, g, noise, seeds, problem, limits, active, states, work)
            continue
        smooth = half * squares[m]
        if linear_sizes[i] == 0 and not squares[m] <= WORSE_THAN_ZERO * scaled_squares[i]:
            states.k[i] = 0  # rounding errors have grown beyond use
            states.status[i] = SPOILT
            continue
        for p in range(states.k[i]):
            a = active.atoms[p]
            ridge = problem.ridge[a]
            g[a] -= ridge * active.c[p]
            smooth += half * ridge * active.c[p] * active.c[p]
        status = _advance(
            i,
            g,
            smooth,
            sizes[i],
            noise,
            True,
            problem,
            limits,
            scale,
            active,
            states,
            work,
        )
        states.status[i] = status
        if status == DONE:
            _write(i, active, states.k[i], scale, atom_powers, out)


@compiled
def write_failed(
    scales: Array, atom_powers: Array, states: States, work: Scratch, out: Out
) -> None:
    """Write what codes there are of the samples that failed."""
    for i in range(len(scales)):
        if states.status[i] == FAILED:
            active = _view(states, work, states.slot[i])
            _write(i, active, states.k[i], scales[i], atom_powers, out)


def empty_scratch(n_features: int, n_atoms: int, room: int, kind: Any) -> Scratch:
    """Return memory for one sample with up to `room` active atoms."""
    size = room + 4  # `subtract` needs spare entries
    return Scratch(
        g=np.empty(n_atoms, kind),
        penalty=np.empty(n_atoms, kind),
        which=np.empty(size, np.int64),
        weights=np.empty(size, kind),
        scores=empty_scores(n_atoms, kind),
        queue=np.empty(n_atoms, np.int64),
        base=np.empty(size),
        left=np.empty(size, np.int64),
        left_base=np.empty(size),
        h=np.empty(size, kind),
        u=np.empty(size, kind),
        row=np.empty(size, kind),
        residual=np.empty(n_features),
    )
