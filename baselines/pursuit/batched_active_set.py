"""The lasso for many samples at once, by active sets, in library calls on tensors of any device.

The moves are those of `active_set`, with the same move for all samples of a block at a time. An
atom that violates its optimality condition enters: its coefficient moves, and those of the active
atoms follow so that their conditions still hold; where one of these reaches zero it leaves, and the
entering atom goes on in the next move. Each sample has K slots for atoms and the inverse of its
active atoms' Gram matrix, (K, K), with zeros in the rows of free slots. To enter and to leave are
then the same update of rank one, inverse += v v'/s.

A round finds the violations of all atoms, the only pass over (n, n_atoms), and offers each sample
the worst atom of each of CHUNKS groups. As many moves follow, which touch slots alone. In each
round the host asks once how many samples have closed their duality gap and how many slots are in
use: samples at their end leave the block, and slots are added. Codes are sparse, so that a round
costs less than a step of FISTA, and there are fewer rounds than a code has non-zeros.

In float32, samples whose gap, with a bound on rounding, misses `tol` start once more in float64
from the atoms found. Samples that rounding keeps from their end, as with coherent atoms, go on by
FISTA.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.pursuit.fista import fista
from baselines.pursuit.objective import Problem, Solution
from baselines.pursuit.scale import scaled
from baselines.pursuit.threads import split_rows

CHUNKS = 4  # of atoms, each of which offers its worst one in a round; as many moves follow
ENTRY_RATIO = 0.3  # share of the worst violation at which atoms are offered
FIRST_SLOTS = 16
SPARE_SLOTS = CHUNKS + 1  # that a round may need: one a move, and one of a pending atom
GATHER_SHARE = 0.8  # of the samples: once fewer are open, they are gathered
MOST_STOPS = 4  # rounds of refinement or without a move, after which a sample is given up
BLOCK_BYTES = 2**31  # of all that a block of samples needs
CPU_BLOCK_BYTES = 2**24  # what nearly stays in a cache
WITHOUT_FLOAT64 = ("mps",)  # devices that lack it
N_WIDE = 5  # arrays (n, n_atoms) at a time
N_SQUARE = 2  # arrays (n, K, K) at a time
REPAIRS = 4  # of a start from given atoms


class Setting(NamedTuple):
    """What all samples share.

    Parameters
    ----------
    gram
        D'D with alpha on its diagonal, (n_atoms, n_atoms).
    curvature
        Its diagonal, (n_atoms,).
    penalty, least_penalty
        Of each atom, (n_atoms,), and the smallest of them, ().
    positive
        Whether only codes >= 0 are allowed.
    tol, flatness
        Duality gap / objective to stop at, and share of the largest correlation that no violation
        need fall below. A duality gap proves nothing with a linear term: the former is 0 then, and
        the latter 0 without one.
    least
        Share of an atom's curvature that must lie outside the span of the active atoms.
    accuracy
        Share of a sample's norm that rounding makes of correlations, ().
    """

    gram: Tensor
    curvature: Tensor
    penalty: Tensor
    least_penalty: Tensor
    positive: bool
    tol: float
    flatness: float
    least: float
    accuracy: Tensor


class State(NamedTuple):
    """Where n samples stand, with K slots for atoms each; all arrays change in place.

    Parameters
    ----------
    rows
        Their places among all samples, (n,).
    b, square, floor
        D'x - linear, (n, n_atoms); norm(x)**2 and the violation that is none, (n, 1).
    atoms, c, active
        Of each slot: atom, coefficient, and whether it is active, (n, K).
    inverse
        Of the active atoms' Gram matrix with alpha on its diagonal, (n, K, K).
    slot, sign, pending
        Of the entering atom: slot, sign, and whether it has not come to its end, (n, 1).
    n_rounds, n_entries, n_stops
        Rounds, entries tried, and rounds that rounding kept from the end, (n, 1).
    """

    rows: Tensor
    b: Tensor
    square: Tensor
    floor: Tensor
    atoms: Tensor
    c: Tensor
    active: Tensor
    inverse: Tensor
    slot: Tensor
    sign: Tensor
    pending: Tensor
    n_rounds: Tensor
    n_entries: Tensor
    n_stops: Tensor

    def take(self, which: Tensor | slice) -> "State":
        """Gather some of the samples."""
        return State(*(values[which] for values in self))

    def resized(self, n_slots: int) -> "State":
        """Return the state with more slots."""
        more = n_slots - self.c.shape[1]
        return self._replace(
            atoms=F.pad(self.atoms, (0, more)),
            c=F.pad(self.c, (0, more)),
            active=F.pad(self.active, (0, more)),
            inverse=F.pad(self.inverse, (0, more, 0, more)),
        )


class Progress(NamedTuple):
    """Objective and its l1 part, each (n, 1)."""

    value: Tensor
    l1: Tensor

    def gap_bound(self, worst: Tensor, setting: Setting) -> Tensor:
        """Bound the duality gap where no condition is violated by more than `worst`, (n, 1).

        Scaled by 1 - d the residual of the sample is dual feasible, with this gap.
        """
        d = worst / (setting.least_penalty + worst)
        return d * (d * self.value + self.l1)


class Codes(NamedTuple):
    """What is written while samples come to their end, for all samples.

    Parameters
    ----------
    values
        The codes, (n_samples, n_atoms).
    n_entries
        Entries tried, (n_samples, 1).
    value, gap
        The objective, and what its duality gap is at most, rounding included, (n_samples, 1).
    is_open
        Whether a sample was given up, (n_samples, 1).
    """

    values: Tensor
    n_entries: Tensor
    value: Tensor
    gap: Tensor
    is_open: Tensor


def batched_active_set(problem: Problem, block_bytes: int | None = None) -> Solution:
    """Minimise the objective of `Problem` by active sets, for tensors on any device.

    Parameters
    ----------
    problem
        All options are solved, also ridge, signs, linear term and a penalty for each atom;
        `max_iter` counts rounds, and `n_threads` has no effect. Arrays are taken as tensors.
    block_bytes
        Memory for a block of samples at most; None for BLOCK_BYTES, or on a CPU for what nearly
        stays in a cache. Blocks whose slots outgrow it are split.

    Returns
    -------
    Its `n_iter` is the mean number of entries tried.

    Raises
    ------
    ValueError
        If samples are not finite.

    References
    ----------
    Lee, Battle, Raina and Ng, Efficient sparse coding algorithms, 2006.
    Osborne, Presnell and Turlach, A new approach to variable selection in least squares problems,
    2000.
    """
    if isinstance(problem.X, np.ndarray):
        found = batched_active_set(_as_tensors(problem), block_bytes)
        return found._replace(codes=found.codes.numpy())
    X = problem.X
    n_samples = len(X)
    codes = _empty_codes(X.new_zeros(n_samples, problem.D.shape[1]))
    if n_samples == 0:
        return Solution(codes.values, np.ones(0, bool), 0.0)
    if block_bytes is None:
        block_bytes = CPU_BLOCK_BYTES if X.device.type == "cpu" else BLOCK_BYTES
    scaled_problem, codes_power = scaled(problem)
    if problem.warm is not None:
        warm = scaled_problem.warm
        warm = warm.toarray() if hasattr(warm, "toarray") else warm
        codes.values.copy_(torch.as_tensor(warm, dtype=X.dtype, device=X.device))
    _solve(scaled_problem, codes, block_bytes, problem.warm is not None)
    codes.values.mul_(1 / codes_power)
    if X.dtype == torch.float32 and X.device.type not in WITHOUT_FLOAT64:
        _polish(problem, codes, block_bytes)
    is_open = codes.is_open.squeeze(1)
    converged = ~is_open.cpu().numpy()
    rows = is_open.nonzero().squeeze(1)
    if len(rows) > 0:
        rest = fista(_part(problem, rows, codes.values))
        codes.values[rows] = rest.codes
        converged[~converged] = rest.converged
    return Solution(codes.values, converged, int(codes.n_entries.sum()) / n_samples)


def _as_tensors(problem: Problem) -> Problem:
    """Return the problem with tensors that share the memory of its arrays."""
    names = ("X", "D", "penalty", "linear", "gram")
    arrays = {name: getattr(problem, name) for name in names}
    tensors: dict[str, Any] = {
        name: torch.from_numpy(A) for name, A in arrays.items() if A is not None
    }
    return replace(problem, **tensors)


def _empty_codes(values: Tensor) -> Codes:
    """Return room for what belongs to the codes."""
    counts = torch.zeros(len(values), 1, dtype=torch.int64, device=values.device)
    value = torch.zeros_like(values[:, :1])
    return Codes(values, counts, value, torch.zeros_like(value), counts > 0)


def _part(problem: Problem, rows: Tensor, codes: Tensor) -> Problem:
    """Return the problem of some samples, to start from their codes."""
    linear = problem.linear
    if linear is not None and linear.ndim == 2:
        linear = linear[rows]
    return replace(problem, X=problem.X[rows], linear=linear, warm=codes[rows])


def _polish(problem: Problem, codes: Codes, block_bytes: int) -> None:
    """Solve once more in float64, from the atoms found, where float32 does not prove the gap."""
    is_doubtful = codes.is_open
    if problem.has_gap:
        is_loose = codes.gap > problem.tol * codes.value
        is_doubtful = is_doubtful | (is_loose & (codes.gap.sum() > problem.tol * codes.value.sum()))
    rows = is_doubtful.squeeze(1).nonzero().squeeze(1)
    if len(rows) == 0:
        return
    exact = problem.in_double(rows, codes.values[rows].double())
    scaled_problem, codes_power = scaled(exact)
    better = _empty_codes(scaled_problem.warm.clone())
    _solve(scaled_problem, better, block_bytes, True)
    codes.values[rows] = (better.values / codes_power).to(codes.values.dtype)
    codes.n_entries[rows] += better.n_entries
    codes.is_open[rows] = better.is_open


def _solve(problem: Problem, codes: Codes, block_bytes: int, is_warm: bool) -> None:
    """Solve for all samples, block by block, from the given codes if `is_warm`."""
    setting = _setting(problem)
    n_slots = FIRST_SLOTS
    if is_warm:
        n_slots = max(int((codes.values != 0).sum(1).max()) + SPARE_SLOTS, n_slots)
    itemsize = problem.X.element_size()
    bytes_per_sample = itemsize * (N_WIDE * len(setting.gram) + N_SQUARE * n_slots**2)
    for rows in split_rows(0, len(problem.X), max(block_bytes // bytes_per_sample, 1)):
        state = _start(problem, rows, setting, n_slots)
        if is_warm:
            state = _start_from(codes.values[rows], state, setting)
        blocks = [state]
        while blocks:
            state = blocks.pop()
            n = len(state.rows)
            if n > 1 and itemsize * n * N_SQUARE * state.c.shape[1] ** 2 > block_bytes:
                blocks += [state.take(slice(n // 2)), state.take(slice(n // 2, n))]
                continue
            state = _round(state, setting, codes, problem.max_iter)
            if len(state.rows) > 0:
                blocks.append(state)


def _setting(problem: Problem) -> Setting:
    """Return what all samples share; the Gram matrix has a multiple of CHUNKS columns."""
    D = problem.D
    gram = D.T @ D if problem.gram is None else problem.gram
    longest = gram.diagonal().max().sqrt()
    more = -D.shape[1] % CHUNKS
    ridge = problem.alpha * torch.eye(len(gram), dtype=D.dtype, device=D.device)
    gram = F.pad(gram + ridge, (0, more, 0, more))
    penalty = F.pad(problem.penalty, (0, more), value=torch.inf)
    eps = torch.finfo(D.dtype).eps
    has_gap = problem.has_gap
    return Setting(
        gram=gram,
        curvature=gram.diagonal().contiguous(),
        penalty=penalty,
        least_penalty=penalty.min(),
        positive=problem.positive,
        tol=problem.tol if has_gap else 0.0,
        flatness=0.0 if has_gap else max(problem.tol, 4 * eps),
        least=256 * eps,
        accuracy=4 * eps * longest,
    )


def _start(problem: Problem, rows: slice, setting: Setting, n_slots: int) -> State:
    """Return the state of some samples with codes of zeros."""
    X = problem.X[rows]
    n = len(X)
    b = X @ problem.D
    if problem.linear is not None:
        b -= problem.linear_of(rows)
    square = (X * X).sum(1, keepdim=True)
    floor = setting.accuracy * square.sqrt()
    if setting.flatness > 0:
        floor = floor.maximum(setting.flatness * b.abs().amax(1, keepdim=True))
    counts = torch.zeros(n, 1, dtype=torch.int64, device=X.device)
    slots = torch.zeros(n, n_slots, dtype=torch.int64, device=X.device)
    return State(
        rows=torch.arange(rows.start, rows.stop, device=X.device),
        b=F.pad(b, (0, len(setting.gram) - b.shape[1])),
        square=square,
        floor=floor,
        atoms=slots,
        c=slots.to(X.dtype),
        active=slots > 0,
        inverse=X.new_zeros(n, n_slots, n_slots),
        slot=counts.clone(),
        sign=torch.ones_like(square),
        pending=counts > 0,
        n_rounds=counts.clone(),
        n_entries=counts.clone(),
        n_stops=counts.clone(),
    )


def _start_from(codes: Tensor, state: State, setting: Setting) -> State:
    """Return the state at the optimum for atoms and signs of the codes (n, n_atoms).

    Atoms whose coefficient has another sign there are dropped, a few times; a sample that still has
    such atoms, or dependent ones, starts from zero.
    """
    n_slots = min(state.c.shape[1], codes.shape[1])
    used = codes != 0
    atoms = used.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :n_slots]
    sign = F.pad(codes.gather(1, atoms).sign(), (0, state.c.shape[1] - n_slots))
    state.atoms[:, :n_slots] = atoms
    gram = setting.gram[state.atoms[:, :, None], state.atoms[:, None, :]]
    target = state.b.gather(1, state.atoms) - setting.penalty[state.atoms] * sign
    unit = torch.eye(state.c.shape[1], dtype=codes.dtype, device=codes.device)
    active = sign != 0
    if setting.positive:
        active &= sign > 0
    for _ in range(REPAIRS):
        both = active[:, :, None] & active[:, None, :]
        factor, failure = torch.linalg.cholesky_ex(torch.where(both, gram, unit))
        square = factor.diagonal(dim1=1, dim2=2) ** 2
        is_dependent = active & (square <= setting.least * setting.curvature[state.atoms])
        is_sound = ((failure == 0) & ~is_dependent.any(1))[:, None]
        factor = torch.where(is_sound[:, :, None], factor, unit)
        roots = torch.linalg.solve_triangular(factor, unit, upper=False)
        inverse = torch.bmm(roots.mT, roots).masked_fill_(~both, 0)
        c = torch.bmm(inverse, (target * active)[:, :, None]).squeeze(2)
        is_wrong = active & ~(c * sign > 0)
        is_good = is_sound & ~is_wrong.any(1, keepdim=True)
        active = active & ~is_wrong
    return state._replace(
        c=torch.where(is_good, c, 0),
        active=active & is_good,
        inverse=torch.where(is_good[:, :, None], inverse, 0),
    )


def _round(state: State, setting: Setting, codes: Codes, max_iter: int) -> State:
    """Offer atoms, write the codes of samples that have come to their end, and move the rest."""
    g = _correlations(state, setting)
    violations = (g if setting.positive else g.abs()) - setting.penalty
    groups = violations.view(len(g), CHUNKS, -1)
    size = groups.shape[2]
    largest, first = groups.max(2)
    largest, order = largest.sort(1, descending=True)
    offers = (first + size * torch.arange(CHUNKS, device=g.device)).gather(1, order)
    worst = largest[:, :1].clamp(min=0)
    sign = state.c.sign()
    residual = g.gather(1, state.atoms) - setting.penalty[state.atoms] * sign
    residual.masked_fill_(~state.active, 0)
    off = residual.abs().amax(1, keepdim=True)
    progress = _progress(state, g, setting)
    largest_off = worst.maximum(off)
    is_closed = progress.gap_bound(largest_off, setting) <= setting.tol * progress.value
    is_closed = (is_closed | (largest_off <= state.floor)) & ~state.pending
    is_given_up = (state.n_stops >= MOST_STOPS) | (state.n_rounds >= max_iter)
    ended = is_closed | is_given_up
    n_used = state.active.sum(1).max()
    n_ended, n_used = torch.stack([ended.sum(), n_used]).tolist()
    n = len(state.rows)
    if n - n_ended <= GATHER_SHARE * n:
        order = ended.squeeze(1).to(torch.uint8).argsort(stable=True)
        going = order[: n - n_ended]
        gone = order[n - n_ended :]
        bound = progress.gap_bound(largest_off + state.floor, setting)
        part = Codes(state.b, state.n_entries, progress.value, bound, ~is_closed)
        _write(state.take(gone), Codes(*(values[gone] for values in part)), codes)
        state = state.take(going)
        if n_ended == n:
            return state
        offers, largest, worst, off, residual, ended = (
            values[going] for values in (offers, largest, worst, off, residual, ended)
        )
    if n_used + SPARE_SLOTS > state.c.shape[1]:
        state = state.resized(n_used + SPARE_SLOTS + CHUNKS)
        residual = F.pad(residual, (0, state.c.shape[1] - residual.shape[1]))
    is_settled = ~(ended | state.pending)
    needs_refinement = is_settled & (2 * off > worst)
    _refine(state, residual, needs_refinement)
    cut = (ENTRY_RATIO * worst).maximum(state.floor)
    is_here = (state.atoms[:, :, None] == offers[:, None, :]) & (state.c != 0)[:, :, None]
    is_offered = (largest >= cut) & (largest > state.floor) & ~(ended | is_here.any(1))
    n_before = state.n_entries.clone()
    both = state.active[:, :, None] & state.active[:, None, :]
    state.inverse.masked_fill_(~both, 0)  # atoms that left have left rounding errors
    taken = state.active.clone()
    for move in range(CHUNKS):
        offer = offers[:, move : move + 1]
        _move(state, taken, offer, is_offered[:, move : move + 1], setting)
    is_idle = is_settled & (state.n_entries == n_before)
    state.n_stops.add_((needs_refinement | is_idle).to(torch.int64))
    state.n_rounds.add_(1)
    return state


def _correlations(state: State, setting: Setting) -> Tensor:
    """Compute b - gram c, (n, n_atoms)."""
    g = F.embedding_bag(state.atoms, setting.gram, mode="sum", per_sample_weights=state.c)
    return torch.sub(state.b, g, out=g)


def _progress(state: State, g: Tensor, setting: Setting) -> Progress:
    """Compute the objective from the correlations g, without the residual of the sample."""
    c = state.c
    l1 = (setting.penalty[state.atoms] * c.abs()).sum(1, keepdim=True)
    both = state.b.gather(1, state.atoms) + g.gather(1, state.atoms)
    return Progress(0.5 * (state.square - (c * both).sum(1, keepdim=True)) + l1, l1)


def _refine(state: State, residual: Tensor, which: Tensor) -> None:
    """Add inverse @ residual to the active coefficients, in place, where no sign changes."""
    change = torch.bmm(state.inverse, residual[:, :, None]).squeeze(2)
    new = state.c + change
    keeps_signs = (new.sign() == state.c.sign()).all(1, keepdim=True)
    state.c.copy_(torch.where(which & keeps_signs, new, state.c))


def _move(state: State, taken: Tensor, offer: Tensor, is_offered: Tensor, setting: Setting) -> None:
    """Move an entering atom of each sample to its optimum or to where an active one leaves.

    The offered atom enters samples without a pending one, if its condition is still violated, in a
    slot that is not `taken`. While its coefficient grows by t, the active ones move by -t*u and the
    violation falls by t*curvature, the squared norm of what it adds to the span of the active ones.
    """
    places = torch.arange(state.c.shape[1], device=state.c.device)
    is_new = is_offered & ~state.pending
    slot = torch.where(is_new, taken.to(torch.uint8).argmin(1, True), state.slot)
    here = places == slot
    atom = torch.where(is_new, offer, state.atoms.gather(1, slot))
    state.atoms.copy_(torch.where(here, atom, state.atoms))
    row = setting.gram[atom, state.atoms]
    start = state.c.gather(1, slot)
    g = state.b.gather(1, atom) - (row * state.c).sum(1, True)
    sign = state.sign
    if not setting.positive:
        sign = torch.where(is_new, torch.where(g > 0, 1, -1).to(g.dtype), sign)
    violation = sign * g - setting.penalty[atom]
    is_new &= violation > state.floor
    busy = is_new | state.pending
    u = torch.bmm(state.inverse, row[:, :, None]).squeeze(2) * state.active
    whole = setting.curvature[atom]
    least = setting.least * whole
    curvature = whole - (u * row).sum(1, True)
    is_dependent = curvature <= least
    curvature = curvature.maximum(least)
    u.mul_(sign)
    step = violation.clamp(min=0) / curvature
    until_zero = torch.where(state.c * u > 0, state.c / u, torch.inf)
    first, leaving = until_zero.min(1, keepdim=True)
    pauses = busy & (first < step)
    enters = busy & ~pauses
    gone = (places == leaving) & pauses
    step = torch.where(busy, step.minimum(first), 0)
    state.c.sub_(step * u).masked_fill_(gone, 0)
    state.c.copy_(torch.where(here & busy, start + step * sign, state.c))
    line = state.inverse.gather(1, leaving[:, :, None].expand(-1, -1, u.shape[1])).squeeze(1)
    v = torch.where(pauses, line, torch.where(here, -sign, u))
    pivot = torch.where(pauses, -line.gather(1, leaving), curvature)
    scale = torch.where(busy, 1 / pivot, 0)
    state.inverse.addcmul_((scale * v)[:, :, None], v[:, None, :])
    state.active.logical_or_(here & enters).logical_and_(~gone)
    taken.logical_or_(here & busy)
    state.slot.copy_(slot)
    state.sign.copy_(sign)
    state.pending.copy_(pauses)
    state.n_entries.add_(is_new)
    state.n_stops.add_((enters & is_dependent) * MOST_STOPS)


def _write(state: State, part: Codes, codes: Codes) -> None:
    """Write what is known of samples that have come to their end, or were given up.

    Where rounding has made codes worse than zeros, or not finite, zeros are written.
    """
    n_atoms = codes.values.shape[1]
    c = torch.where(~part.is_open | (part.value <= 0.5 * state.square), state.c, 0)
    values = torch.zeros_like(state.b).scatter_add_(1, state.atoms, c)
    for target, source in zip(codes, part._replace(values=values[:, :n_atoms]), strict=True):
        target[state.rows] = source
