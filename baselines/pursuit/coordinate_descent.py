"""Coordinate descent over the atoms that violate their optimality condition, the active ones following exactly."""

from typing import Any

import numpy as np
from scipy.sparse import csr_array

from baselines.pursuit.active_set import enter, gauge, repair, scan
from baselines.pursuit.compiled import CHUNK, Array, bits, compiled, gram_of, over_blocks
from baselines.pursuit.objective import Problem, squared_norms

BLOCK = 128  # samples whose correlations with 512 atoms stay in a second-level cache
RATIO = 0.6  # an atom enters beside the worst one if it violates at least this much of that; 0.5 to 0.7 are about as fast


@compiled
def _close(worst: Any, value: Any, l1: Any, least: Any, tol: Any) -> bool:
    """Whether scaling the residual by 1 - d makes it dual feasible with a gap of at most tol * value."""
    d = worst / (least + worst)
    return bool(d * (d * value + l1) <= tol * abs(value))


@compiled
def _descend(b: Array, problem: Any, work: Any, k: int, limits: Any) -> int:
    """Cyclic descent over all atoms from the active coefficients on; the number of non-zeros, -1 if there is no room."""
    gram, penalty, alpha, positive = problem
    active, c, g = work[1], work[2], work[5]
    square, least, tol, floor, max_rounds = limits
    z = np.zeros_like(b)
    for p in range(k):
        z[active[p]] += c[p]
    for sweep in range(max_rounds * len(b)):
        if sweep % 100 == 0:
            g[:] = b
            for j in np.flatnonzero(z):
                g -= z[j] * gram[j]
        worst, value, l1 = b.dtype.type(0), square / 2, b.dtype.type(0)
        for j in range(len(b)):
            curvature = gram[j, j] + alpha
            if curvature <= 0:
                continue
            x = g[j] + gram[j, j] * z[j]
            size = max((x if positive else abs(x)) - penalty[j], b.dtype.type(0))
            delta = (size if x > 0 else -size) / curvature - z[j]
            if delta != 0:
                worst = max(worst, abs(delta) * curvature)
                z[j] += delta
                g -= delta * gram[j]
        for j in np.flatnonzero(z):
            value -= z[j] * (b[j] + g[j] - alpha * z[j]) / 2
            l1 += penalty[j] * abs(z[j])
        if worst <= floor or _close(worst, value + l1, l1, least, tol):
            break
    support = np.flatnonzero(z)
    if len(support) > len(c) - 4:
        return -1
    active[: len(support)], c[: len(support)] = support, z[support]
    return len(support)


@compiled
def _solve_one(b: Array, problem: Any, work: Any, seeds: Array, limits: Any) -> tuple[int, int]:
    """Number of active atoms, -1 if there is no room for them, and of entries tried."""
    gram, penalty, alpha, positive = problem
    inverse, active, c, h, u, g, v, v_bits, peaks, peak_bits, queue = work
    square, least, tol, floor, max_rounds = limits
    k, tried, repairs, good, n = 0, 0, 0, True, len(seeds)
    for q in range(n):
        queue[q] = seeds[q]
    for _ in range(max_rounds):
        for q in range(n):
            if k == len(inverse):
                return -1, tried
            if good:
                k, good = enter(queue[q], b, gram, penalty, alpha, positive, inverse, active, c, h, u, k, floor)
                tried += 1
        if not good:
            break
        at = scan(b, gram, penalty, alpha, positive, active, c, k, g, v, v_bits, peak_bits)
        worst = peaks[at]
        if worst * worst <= tol * (least + worst) * (least + worst) or worst <= floor:  # else far from the end
            value, l1, inside = gauge(b, g, penalty, active, c, u, k, square)
            if max(worst, inside) <= floor or _close(max(worst, inside), value, l1, least, tol):
                return k, tried
            if 2 * inside > worst:
                good = repairs < 3 and repair(inverse, c, h, u, k)
                repairs += 1
        n, cut = 0, max(RATIO * worst, floor)
        for _ in range(len(peaks)):
            if peaks[at] >= cut:
                j = at * CHUNK
                while v_bits[j] != peak_bits[at]:
                    j += 1
                queue[n] = j
                n += 1
            at = at + 1 if at + 1 < len(peaks) else 0
    return _descend(b, problem, work, k, limits), tried


@compiled
def _solve(
    X: Array, D: Array, linear: Array, problem: Any, limits: Any, room: int, scans: Any, seeds: Any, out: Any
) -> tuple[int, int]:
    """The non-zeros of the codes of X into `out`, row after row; their number, -1 if `room` is too small, and entries tried."""
    n_atoms, kind = D.shape[1], X.dtype
    data, indices, counts, squares = out
    c, h, u = np.zeros(room + 4, kind), np.zeros(room + 4, kind), np.zeros(room + 4, kind)
    queue = np.zeros(n_atoms, np.int64)
    work = (np.zeros((room, room), kind), np.zeros(room + 4, np.int64), c, h, u, np.zeros(n_atoms, kind), *scans, queue)
    B = np.zeros((BLOCK, n_atoms), kind)
    least, tol, accuracy, max_rounds = limits
    total, at = 0, 0
    for i in range(len(X)):
        if i % BLOCK == 0:
            np.dot(X[i : i + BLOCK], D, B[: len(X) - i])
        b = B[i % BLOCK]
        if len(linear):
            for j in range(n_atoms):
                b[j] -= linear[i % len(linear), j]
        floor = accuracy * np.sqrt(squares[i])
        start = seeds[1][seeds[0][i] : seeds[0][i + 1]]
        k, tried = _solve_one(b, problem, work, start, (squares[i], least, tol, floor, max_rounds))
        if k < 0:
            return -1, 0
        for p in range(k):
            data[at + p], indices[at + p] = c[p], work[1][p]
        at += k
        counts[i] = k
        total += tried
    return at, total


def coordinate_descent(problem: Problem) -> tuple[csr_array, float]:
    """Codes as a CSR array (n_samples, n_atoms), and the mean number of entries tried for a sample."""
    X, D = problem.X, problem.D
    n_features, n_atoms = D.shape
    gram = problem.gram if problem.gram is not None else gram_of(D, problem.n_threads)
    inner = (gram, problem.penalty, X.dtype.type(problem.alpha), problem.positive)
    accuracy = 4 * np.finfo(X.dtype).eps * np.sqrt(gram.diagonal().max(initial=0))
    limits = (problem.penalty.min(initial=np.inf), X.dtype.type(problem.tol), X.dtype.type(accuracy), problem.max_iter)

    def work(rows: slice) -> tuple[Array, Array, Array, int]:
        v, peaks = np.empty(n_atoms, X.dtype), np.empty(-(-n_atoms // CHUNK), X.dtype)
        scans = (v, bits(v), peaks, bits(peaks))
        n, room, used = rows.stop - rows.start, min(n_atoms, n_features + 4, 128), -1
        linear, seeds, squares, counts = problem.shift(rows), problem.seeds(rows), squared_norms(X[rows]), np.empty(n, np.int64)
        while True:
            data, indices = np.empty(n * room, X.dtype), np.empty(n * room, np.int32)
            out = data, indices, counts, squares
            used, tried = _solve(X[rows], D, linear, inner, limits, room, scans, seeds, out)
            if used >= 0:
                return data[:used].copy(), indices[:used].copy(), counts, tried
            room = min(2 * room, n_atoms)

    parts = over_blocks(work, len(X), problem.n_threads)
    return joined([p[:3] for p in parts], (len(X), n_atoms), X.dtype), sum(p[3] for p in parts) / max(len(X), 1)


def joined(parts: list[tuple[Array, Array, Array]], shape: tuple[int, int], dtype: Any) -> csr_array:
    """One CSR array of (data, indices, non-zeros of each sample) of consecutive blocks of samples."""
    if not parts:
        return csr_array(shape, dtype=dtype)
    data, indices, counts = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return csr_array((data, indices, np.append(0, np.cumsum(counts))), shape=shape)
