"""Coordinate descent over the atoms that violate their optimality condition, the active ones following exactly."""

from typing import Any

import numpy as np
from scipy.sparse import csr_array

from baselines.pursuit.active_set import enter, repair, scan
from baselines.pursuit.compiled import CHUNK, Array, bits, compiled, over_blocks
from baselines.pursuit.objective import Problem, squared_norms

BLOCK = 256  # samples whose correlations with 512 atoms stay in a second-level cache of 1 MB
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
    inverse, active, c, h, u, g, v, v_bits, peak_bits, peaks = work
    square, least, tol, floor, max_rounds = limits
    room = len(c) - 4
    k, tried, repairs, good = 0, 0, 0, True
    for j in seeds:
        if k < room and good:
            k, good = enter(j, b, gram, penalty, alpha, positive, inverse, active, c, h, u, k, floor)
    for _ in range(max_rounds):
        value, l1, at, inside = scan(
            b, gram, penalty, alpha, positive, active, c, u, k, g, v, v_bits, peak_bits, square
        )
        worst = max(peaks[at], inside)
        if worst <= floor or _close(worst, value, l1, least, tol):
            return k, tried
        if 2 * inside > worst:
            good = good and repairs < 3 and repair(inverse, c, h, u, k)
            repairs += 1
        cut = RATIO * worst
        for _ in range(len(peaks)):
            if peaks[at] >= cut and good:
                if k == room:
                    return -1, tried
                j = at * CHUNK
                while v_bits[j] != peak_bits[at]:
                    j += 1
                k, good = enter(j, b, gram, penalty, alpha, positive, inverse, active, c, h, u, k, floor)
                tried += 1
            at = at + 1 if at + 1 < len(peaks) else 0
        if not good:
            break
    return _descend(b, problem, work, k, limits), tried


@compiled
def _solve(
    B: Array, squares: Array, problem: Any, limits: Any, room: int, scratch: Any, seeds: Any,
    data: Array, indices: Array, counts: Array,
) -> int:  # fmt: skip
    """The non-zeros of the codes of the rows of B = X D - linear, row after row; entries tried, -1 if `room` is too small."""
    inverse = np.zeros((room, room), B.dtype)
    c, h, u = np.zeros(room + 4, B.dtype), np.zeros(room + 4, B.dtype), np.zeros(room + 4, B.dtype)
    active = np.zeros(room + 4, np.int64)
    work = (inverse, active, c, h, u, *scratch)
    least, tol, accuracy, max_rounds = limits
    total, at = 0, 0
    for i in range(len(B)):
        floor = accuracy * np.sqrt(squares[i])
        start = seeds[1][seeds[0][i] : seeds[0][i + 1]]
        k, tried = _solve_one(B[i], problem, work, start, (squares[i], least, tol, floor, max_rounds))
        if k < 0:
            return -1
        for p in range(k):
            data[at + p], indices[at + p] = c[p], active[p]
        at += k
        counts[i] = k
        total += tried
    return total


def coordinate_descent(problem: Problem) -> tuple[csr_array, float]:
    """Codes as a CSR array (n_samples, n_atoms), and the mean number of entries tried for a sample."""
    X, D = problem.X, problem.D
    n_features, n_atoms = D.shape
    kind = X.dtype.type
    gram = problem.gram if problem.gram is not None else D.T @ D
    inner = (gram, problem.penalty, kind(problem.alpha), problem.positive)
    accuracy = 4 * np.finfo(X.dtype).eps * np.sqrt(gram.diagonal().max(initial=0))
    limits = (problem.penalty.min(initial=np.inf), kind(problem.tol), kind(accuracy), problem.max_iter)

    def work(rows: slice) -> list[tuple[Array, Array, Array, int]]:
        v, peaks = np.empty(n_atoms, X.dtype), np.empty(-(-n_atoms // CHUNK), X.dtype)
        scratch = (np.empty(n_atoms, X.dtype), v, bits(v), bits(peaks), peaks)
        B = np.empty((min(BLOCK, rows.stop - rows.start), n_atoms), X.dtype)  # fresh pages would cost more than the product
        room, done = min(n_atoms, n_features + 4, 128), []
        for start in range(rows.start, rows.stop, BLOCK):
            block = slice(start, min(start + BLOCK, rows.stop))
            b = problem.correlations(block, B[: block.stop - start])
            squares, seeds, counts, tried = squared_norms(X[block]), problem.seeds(block), np.empty(len(b), np.int64), -1
            while True:
                data, indices = np.empty(len(b) * room, X.dtype), np.empty(len(b) * room, np.int32)
                tried = _solve(b, squares, inner, limits, room, scratch, seeds, data, indices, counts)
                if tried >= 0:
                    break
                room = min(2 * room, n_atoms)
            n = counts.sum()
            done.append((data[:n].copy(), indices[:n].copy(), counts, tried))
        return done

    parts = [part for some in over_blocks(work, len(X), problem.n_threads) for part in some]
    return joined([p[:3] for p in parts], (len(X), n_atoms), X.dtype), sum(p[3] for p in parts) / max(len(X), 1)


def joined(parts: list[tuple[Array, Array, Array]], shape: tuple[int, int], dtype: Any) -> csr_array:
    """One CSR array of (data, indices, non-zeros of each sample) of consecutive blocks of samples."""
    if not parts:
        return csr_array(shape, dtype=dtype)
    data, indices, counts = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return csr_array((data, indices, np.append(0, np.cumsum(counts))), shape=shape)
