"""FISTA (Beck and Teboulle, 2009) with adaptive restart (O'Donoghue and Candes, 2015), for each sample on its own.

c+ = shrink(z + D'(x - D z) / lipschitz, penalty / lipschitz) / (1 + alpha / lipschitz),  z = c+ + momentum * (c+ - c);
the momentum starts anew where (z - c+).(c+ - c) > 0. Blocks of samples are small enough to stay in a cache.
"""

from typing import Any

import numpy as np

from baselines.pursuit.compiled import compiled, over_blocks
from baselines.pursuit.objective import Array, Problem, double, namespace, squared_norms

CHECK = 10  # iterations between two looks at the duality gap, which costs as much as one
BLOCK = (
    2**16
)  # numbers in a block of codes: three blocks of float32 fill most of a second-level cache of 1 MB


def fista(problem: Problem, accelerated: bool = True) -> tuple[Array, float]:
    """Codes (n_samples, n_atoms), array or tensor as the problem's, and the mean number of iterations of a sample."""
    X, D, xp = problem.X, problem.D, namespace(problem.X)
    codes = X[:, :1] * 0 * D[:1] if problem.warm is None else _dense(problem.warm, X)
    step = 1 / lipschitz(D)
    on_cpu = xp is np
    size = min(max(BLOCK // D.shape[1], 16), 4096) if on_cpu else 2**26 // D.shape[1] + 1

    def solve(rows: slice) -> int:
        return _solve(
            problem, codes, rows, step, _advance_array if on_cpu else _advance_tensor, accelerated
        )

    if on_cpu:
        squared_norms(X)
        counts = over_blocks(solve, len(X), problem.n_threads, size)
    else:
        counts = [solve(slice(at, min(at + size, len(X)))) for at in range(0, len(X), size)]
    return codes, sum(counts) / max(len(X), 1)


def lipschitz(D: Array) -> float:
    """The largest eigenvalue of D'D; 1 for a dictionary of zeros."""
    D = double(D)
    gram = D @ D.T if D.shape[0] < D.shape[1] else D.T @ D
    return float(namespace(D).linalg.eigvalsh(gram)[-1]) or 1.0


def _dense(warm: Any, X: Array) -> Array:
    if isinstance(X, np.ndarray):
        return np.array(warm.toarray() if hasattr(warm, "toarray") else warm, X.dtype)
    return X.new_tensor(warm)


def _solve(
    problem: Problem, codes: Array, rows: slice, step: float, advance: Any, accelerated: bool
) -> int:
    """Bring codes[rows], in place, to the wanted gap; iterations times samples."""
    X, D, c, xp = problem.X[rows], problem.D, codes[rows], namespace(problem.X)
    z, u, R, ages = c + 0, xp.empty_like(c), xp.empty_like(X), xp.ones_like(X[:, 0])
    # where the linear term exceeds the penalty, no dual point may be feasible: then the gradient tells the end
    flat = (
        problem.tol * xp.amax(abs(X @ D - problem.linear_of(rows)), 1)
        if problem.linear is not None
        else 0 * ages
    )
    settings = (
        ages,
        step,
        problem.penalty,
        problem.linear_of(rows),
        problem.alpha,
        problem.positive,
        accelerated,
    )
    for n_iter in range(1, problem.max_iter + 1):
        xp.matmul(z, D.T, out=R)
        xp.subtract(X, R, out=R)
        xp.matmul(R, D, out=u)
        advance(c, z, u, *settings)
        if n_iter % CHECK == 0:
            if xp is np and problem.linear is None:
                np.matmul(R := np.subtract(X, np.matmul(c, D.T, out=R), out=R), D, out=u)
                value, gap = np.empty((2, len(X)), X.dtype)
                _certify(X, R, u, c, problem.penalty, problem.alpha, problem.positive, value, gap)
                flat_enough = False
            else:
                value, gap, residual = problem.certificate(c, rows)
                flat_enough = bool((residual <= flat).all())
            if flat_enough or float(gap.sum()) <= problem.tol * abs(float(value.sum())):
                break
    return n_iter * len(X)


def _advance_tensor(
    c: Array, z: Array, u: Array, ages: Array, step: float, penalty: Array, linear: Array, alpha: float, positive: bool,
    accelerated: bool,
) -> None:  # fmt: skip
    """One step of every sample, in place, from u = D'(x - D z); `ages` is FISTA's sequence t."""
    u.sub_(linear).mul_(step).add_(z)
    u.sub_(
        u.clamp(max=step * penalty) if positive else u.clamp(-step * penalty, step * penalty)
    ).div_(1 + step * alpha)
    moved = u - c
    c.copy_(u)
    if accelerated:
        ages[((z - u) * moved).sum(1) > 0] = 1
        older = (1 + (1 + 4 * ages**2).sqrt()) / 2
        u.add_(moved.mul_(((ages - 1) / older)[:, None]))
        ages.copy_(older)
    z.copy_(u)


@compiled
def _certify(
    X: Array, R: Array, corr: Array, c: Array, penalty: Array, alpha: float, positive: bool, value: Array, gap: Array
) -> None:  # fmt: skip
    """`Problem.certificate` without a linear term from R = X - c D' and corr = R D, in one pass over the memory."""
    kind = c.dtype.type
    zero, half = kind(0), kind(0.5)
    for i in range(len(c)):
        rr, xr, cost, excess, worst = zero, zero, zero, zero, kind(1)
        for f in range(X.shape[1]):
            rr += R[i, f] * R[i, f]
            xr += X[i, f] * R[i, f]
        for j in range(c.shape[1]):
            code = c[i, j]
            g = corr[i, j] if positive else abs(corr[i, j])
            cost += penalty[j] * abs(code) + half * alpha * code * code
            excess += max(g - penalty[j], zero) ** 2
            worst = max(worst, g / max(penalty[j], kind(1e-30)))
        scale = 1 / worst
        dual = scale * xr - half * scale * scale * rr
        if alpha > 0:
            dual = max(dual, xr - half * rr - half * excess / kind(alpha))
        value[i] = half * rr + cost
        gap[i] = max(value[i] - dual, zero)


@compiled
def _advance_array(
    c: Array, z: Array, u: Array, ages: Array, step: float, penalty: Array, linear: Array, alpha: float, positive: bool,
    accelerated: bool,
) -> None:  # fmt: skip
    """The same in one pass over the memory."""
    kind = u.dtype.type
    zero, scale, shrink = kind(0), kind(step), kind(1 / (1 + step * alpha))
    for i in range(len(u)):
        d = linear[i % len(linear)]
        along = zero
        for j in range(u.shape[1]):
            x = z[i, j] + scale * (u[i, j] - d[j])
            size = max((x if positive else abs(x)) - scale * penalty[j], zero)
            new = shrink * (size if x > 0 else -size)
            along += (z[i, j] - new) * (new - c[i, j])
            u[i, j] = new
        age = kind(1) if along > 0 else ages[i]
        older = (1 + np.sqrt(1 + 4 * age * age)) / 2
        momentum = kind((age - 1) / older) if accelerated else zero
        ages[i] = older
        for j in range(u.shape[1]):
            z[i, j] = u[i, j] + momentum * (u[i, j] - c[i, j])
            c[i, j] = u[i, j]
