"""FISTA with adaptive restart, for each sample on its own.

With step = 1 / lipschitz and the largest eigenvalue of D'D as `lipschitz`,

    new   = soft_threshold(z + step*(D'(x - D z) - linear), step*penalty) / (1 + step*alpha)
    z     = new + momentum*(new - codes)
    codes = new

where the momentum is (age - 1) / older with older = (1 + sqrt(1 + 4*age**2)) / 2, the next age. It
starts anew, at age 1, for a sample with (z - new)'(new - codes) > 0: there the gradient step and
the move disagree.

References
----------
Beck and Teboulle, A fast iterative shrinkage-thresholding algorithm, 2009.
O'Donoghue and Candes, Adaptive restart for accelerated gradient schemes, 2015.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from baselines.pursuit.compiled import Array, compiled, soft_threshold
from baselines.pursuit.objective import ArrayOrTensor, Problem, Solution, double, namespace
from baselines.pursuit.scale import scaled
from baselines.pursuit.threads import over_blocks, split_rows

ALLOWED = 10  # times `tol`: a sample's gap when that of all samples in a block is at most `tol`
LEAST_PENALTY = 1e-30  # of a problem with samples and atoms of norm about 1, to divide by
CHECK_ITERATIONS = 10  # between two computations of the duality gap, each as dear as an iteration
BLOCK_ENTRIES = 2**16  # of codes: three such blocks of float32 fill most of a cache of 1 MB
DEVICE_BLOCK_ENTRIES = 2**26  # of codes, on other devices than the CPU
LEAST_BLOCK_SAMPLES = 16
MOST_BLOCK_SAMPLES = 4096


class State(NamedTuple):
    """Where the iteration of some samples stands; all arrays change in place.

    Parameters
    ----------
    codes, z
        The codes, and the point ahead of them where the gradient is taken; (n_rows, n_atoms).
    u
        On entry of a step D'(x - D z), then scratch; (n_rows, n_atoms).
    ages
        FISTA's sequence t of each sample, (n_rows,).
    """

    codes: ArrayOrTensor
    z: ArrayOrTensor
    u: ArrayOrTensor
    ages: ArrayOrTensor


class Step(NamedTuple):
    """What a step depends on beside the state.

    Parameters
    ----------
    size
        1 / lipschitz.
    penalty, linear
        Of each atom, (n_atoms,); of each sample or of all, (n_rows or 1, n_atoms).
    alpha
        Weight of the ridge.
    positive
        Whether only codes >= 0 are allowed.
    accelerated
        Whether there is momentum.
    """

    size: float
    penalty: ArrayOrTensor
    linear: ArrayOrTensor
    alpha: float
    positive: bool
    accelerated: bool


def fista(problem: Problem, accelerated: bool = True) -> Solution:
    """Minimise the objective of `Problem` by proximal gradient steps.

    They have momentum if `accelerated`. Blocks of samples are small enough to stay in a cache.
    """
    scaled_problem, codes_power = scaled(problem)
    X = scaled_problem.X
    D = scaled_problem.D
    n_samples = len(X)
    n_atoms = D.shape[1]
    warm = scaled_problem.warm
    codes = X[:, :1] * 0 * D[:1] if warm is None else _dense(warm, X)
    step_size = 1 / lipschitz(D)
    converged = np.zeros(n_samples, bool)

    def solve(rows: slice) -> int:
        n_iter, is_done = _solve(scaled_problem, codes, rows, step_size, accelerated)
        converged[rows] = is_done
        return n_iter * len(is_done)

    if isinstance(X, np.ndarray):
        size = min(max(BLOCK_ENTRIES // n_atoms, LEAST_BLOCK_SAMPLES), MOST_BLOCK_SAMPLES)
        counts = over_blocks(solve, n_samples, problem.n_threads, size)
    else:
        size = DEVICE_BLOCK_ENTRIES // n_atoms + 1
        counts = [solve(rows) for rows in split_rows(0, n_samples, size)]
    if codes_power != 1:
        codes *= 1 / codes_power
    return Solution(codes, converged, sum(counts) / max(n_samples, 1))


def lipschitz(D: ArrayOrTensor) -> float:
    """Compute the largest eigenvalue of D'D; 1 for a dictionary of zeros."""
    D = double(D)
    gram = D @ D.T if D.shape[0] < D.shape[1] else D.T @ D
    return float(namespace(D).linalg.eigvalsh(gram)[-1]) or 1.0


def _dense(warm: ArrayOrTensor, X: ArrayOrTensor) -> ArrayOrTensor:
    """Copy codes, dense or CSR, to an array or tensor of the kind and type of `X`."""
    if isinstance(X, np.ndarray):
        return np.array(warm.toarray() if hasattr(warm, "toarray") else warm, X.dtype)
    import torch

    return torch.as_tensor(warm, dtype=X.dtype, device=X.device).clone()


def _solve(
    problem: Problem, codes: ArrayOrTensor, rows: slice, step_size: float, accelerated: bool
) -> tuple[int, Array]:
    """Bring codes[rows], in place, to the wanted gap.

    Returns the number of iterations, and whether each sample converged, (n_rows,).
    """
    xp = namespace(problem.X)
    D = problem.D
    X = problem.X[rows]
    c = codes[rows]
    linear = problem.linear_of(rows)
    state = State(c, c + 0, xp.empty_like(c), xp.ones_like(X[:, 0]))
    step = Step(step_size, problem.penalty, linear, problem.alpha, problem.positive, accelerated)
    R = xp.empty_like(X)
    on_cpu = xp is np
    advance: Callable[[State, Step], None] = _advance_array if on_cpu else _advance_tensor
    has_gap = problem.has_gap
    # the largest norm of an atom is at most the root of the largest eigenvalue
    size = (X * X).sum(1) ** 0.5 * step_size**-0.5
    flat = problem.tol * xp.maximum(size, xp.amax(abs(linear), 1) + 0 * size)
    is_done: ArrayOrTensor = np.zeros(len(X), bool)
    for n_iter in range(1, problem.max_iter + 1):
        xp.matmul(state.z, D.T, out=R)
        xp.subtract(X, R, out=R)
        xp.matmul(R, D, out=state.u)
        advance(state, step)
        if n_iter % CHECK_ITERATIONS != 0 and n_iter < problem.max_iter:
            continue
        if not has_gap:
            residual = problem.certificate(c, rows).kkt
            is_done = residual <= flat
            if bool(is_done.all()):
                break
            continue
        if on_cpu:
            np.matmul(c, D.T, out=R)
            np.subtract(X, R, out=R)
            np.matmul(R, D, out=state.u)
            value, gap = np.empty((2, len(X)), X.dtype)
            certify_array(X, R, state, step, value, gap)
        else:
            value, gap, _ = problem.certificate(c, rows)
        is_done = gap <= ALLOWED * problem.tol * value
        if bool(is_done.all()) and float(gap.sum()) <= problem.tol * float(value.sum()):
            break
    return n_iter, is_done if on_cpu else is_done.cpu().numpy()


def _advance_tensor(state: State, step: Step) -> None:
    """Take one step of every sample, in place, for tensors on any device."""
    c, z, u, ages = state
    threshold = step.size * step.penalty
    u.sub_(step.linear).mul_(step.size).add_(z)
    inside = u.clamp(max=threshold) if step.positive else u.clamp(-threshold, threshold)
    u.sub_(inside).div_(1 + step.size * step.alpha)
    moved = u - c
    c.copy_(u)
    if step.accelerated:
        ages.masked_fill_(((z - u) * moved).sum(1) > 0, 1)
        older = (1 + (1 + 4 * ages**2).sqrt()) / 2
        u.add_(moved.mul_(((ages - 1) / older)[:, None]))
        ages.copy_(older)
    z.copy_(u)


@compiled
def _advance_array(state: State, step: Step) -> None:
    """Take one step of every sample, in place, for arrays.

    What `_advance_tensor` does in a dozen passes over memory takes two over each row here, which
    stays in the first-level cache meanwhile.
    """
    c, z, u, ages = state
    penalty = step.penalty
    kind = u.dtype.type
    zero = kind(0)
    size = kind(step.size)
    ridge = kind(1 / (1 + step.size * step.alpha))
    for i in range(len(u)):
        linear = step.linear[i % len(step.linear)]
        along = zero
        for j in range(u.shape[1]):
            x = z[i, j] + size * (u[i, j] - linear[j])
            new = ridge * soft_threshold(x, size * penalty[j], step.positive)
            along += (z[i, j] - new) * (new - c[i, j])
            u[i, j] = new
        age = kind(1) if along > 0 else ages[i]
        older = (1 + np.sqrt(1 + 4 * age * age)) / 2
        momentum = kind((age - 1) / older) if step.accelerated else zero
        ages[i] = older
        for j in range(u.shape[1]):
            z[i, j] = u[i, j] + momentum * (u[i, j] - c[i, j])
            c[i, j] = u[i, j]


@compiled
def certify_array(X: Array, R: Array, state: State, step: Step, value: Array, gap: Array) -> None:
    """Compute objective and duality gap as `Problem.certificate` does without a linear term.

    From R = X - codes D' and the correlations R D in `state.u`, in one pass over memory. Without a
    linear term the feasible scale of the residual is 1 / max(1, largest correlation / penalty).

    Parameters
    ----------
    value, gap
        Where the results go, each (n_rows,).
    """
    c = state.codes
    corr = state.u
    penalty = step.penalty
    alpha = step.alpha
    kind = c.dtype.type
    zero = kind(0)
    half = kind(0.5)
    for i in range(len(c)):
        rr = zero
        xr = zero
        for f in range(X.shape[1]):
            rr += R[i, f] * R[i, f]
            xr += X[i, f] * R[i, f]
        cost = zero
        excess = zero
        worst = kind(1)
        for j in range(c.shape[1]):
            code = c[i, j]
            g = corr[i, j] if step.positive else abs(corr[i, j])
            cost += penalty[j] * abs(code) + half * alpha * code * code
            excess += max(g - penalty[j], zero) ** 2
            worst = max(worst, g / max(penalty[j], kind(LEAST_PENALTY)))
        scale = 1 / worst
        dual = scale * xr - half * scale * scale * rr
        if alpha > 0:
            dual = max(dual, xr - half * rr - half * excess / kind(alpha))
        value[i] = half * rr + cost
        gap[i] = max(value[i] - dual, zero)
