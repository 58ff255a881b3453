"""Coordinate descent over the atoms that violate their optimality condition, the active ones following exactly."""

from functools import partial
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from baselines.pursuit.active_set import enter, gauge, repair, scan
from baselines.pursuit.compiled import CHUNK, Array, bits, compiled, gram_of, over_blocks
from baselines.pursuit.objective import Problem, squared_norms

BLOCK = 256  # samples whose correlations with 512 atoms stay in a second-level cache
RATIO = 0.6  # an atom enters beside the worst one if it violates at least this much of that; 0.5 to 0.7 are about as fast


@compiled
def _close(worst: Any, value: Any, l1: Any, least: Any, tol: Any) -> bool:
    """Whether scaling the residual by 1 - d makes it dual feasible with a gap of at most tol * value."""
    d = worst / (least + worst)
    return bool(d * (d * value + l1) <= tol * abs(value))


@compiled
def _descend(b: Array, problem: Any, work: Any, k: int, limits: Any) -> int:
    """Cyclic descent over all atoms from the active coefficients on; the number of non-zeros, -1 for no room."""
    gram, penalty, alpha, positive = problem
    inverse, active, c, _, u, g, z = work[:7]
    square, least, tol, floor, max_rounds = limits
    zero = b.dtype.type(0)
    for j in range(len(b)):
        z[j] = 0
    for p in range(k):
        z[active[p]] += c[p]
    for sweep in range(100 * max_rounds):
        k, worst = 0, zero
        for j in range(len(b)):
            if sweep % 100 == 0:  # rounding errors in g end here
                g[j] = b[j]
                for q in range(len(b)):
                    g[j] -= gram[j, q] * z[q]
                g[j] -= alpha * z[j]
            curvature = gram[j, j] + alpha
            x = g[j] + curvature * z[j]
            size = (x if positive else abs(x)) - penalty[j]
            new = (
                (size / curvature if x > 0 else -size / curvature)
                if size > 0 and curvature > 0
                else zero
            )
            delta = new - z[j]
            if delta != 0:
                worst = max(worst, abs(delta) * curvature)
                row = gram[j]
                for q in range(len(b)):
                    g[q] -= delta * row[q]
                g[j] -= alpha * delta
                z[j] = new
            if new != 0 and k < len(inverse):
                active[k], c[k] = j, new
            k += new != 0
        if k <= len(inverse):
            value, l1, _ = gauge(b, g, penalty, active, c, u, k, square)
            if worst <= floor or _close(worst, value, l1, least, tol):
                return k
    return k if k <= len(inverse) else -1


@compiled
def _solve_one(b: Array, problem: Any, work: Any, seeds: Array, limits: Any) -> tuple[int, int]:
    """Number of active atoms, -1 if there is no room for them, and of entries tried."""
    gram, penalty, alpha, positive = problem
    inverse, active, c, h, u, g, v, v_bits, peaks, peak_bits, queue = work
    square, least, tol, floor, max_rounds = limits
    k, tried, repairs, good, n = np.int64(0), 0, 0, True, len(seeds)
    for q in range(n):
        queue[q] = seeds[q]
    for _ in range(max_rounds):
        for q in range(n):
            if k == len(inverse) < len(b):
                return -1, tried
            if good:
                k, good = enter(
                    queue[q], b, gram, penalty, alpha, positive, inverse, active, c, h, u, k, floor
                )
                tried += 1
        if not good:
            break
        at = scan(b, gram, penalty, alpha, positive, active, c, k, g, v, v_bits, peak_bits)
        worst = peaks[at]
        if (
            worst * worst <= tol * (least + worst) * (least + worst) or worst <= floor
        ):  # else far from the end
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
    B: Array, squares: Array, problem: Any, limits: Any, work: Any, seeds: Any, out: Any
) -> tuple[int, int]:
    """The non-zeros of the codes of the rows of B = X D - linear, row after row, into `out`.

    Their number, -1 if there is no room for the active atoms of a sample, and the entries tried.
    """
    data, indices, counts = out
    active, c = work[1:3]
    least, tol, flatness, accuracy, max_rounds = limits
    total, at = 0, 0
    for i in range(len(B)):
        floor = accuracy * np.sqrt(squares[i])
        if flatness > 0:
            for j in range(B.shape[1]):
                floor = max(floor, flatness * abs(B[i, j]))
        start = seeds[1][seeds[0][i] : seeds[0][i + 1]]
        k, tried = _solve_one(
            B[i], problem, work, start, (squares[i], least, tol, floor, max_rounds)
        )
        if k < 0:
            return -1, 0
        for p in range(k):
            data[at + p], indices[at + p] = c[p], active[p]
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
    empty = partial(np.empty, dtype=X.dtype)
    accuracy = 4 * np.finfo(X.dtype).eps * np.sqrt(gram.diagonal().max(initial=0))
    # `_close` scales residuals, which proves nothing where there is a linear term: there the gradient tells the end
    gap, flatness = (problem.tol, 0) if problem.linear is None else (0, problem.tol)
    limits = (
        problem.penalty.min(initial=np.inf),
        *map(X.dtype.type, (gap, flatness, accuracy)),
        problem.max_iter,
    )

    def room_for(n: int, scans: Any) -> tuple[Any, Any]:
        work = (
            empty((n, n)),
            np.empty(n + 4, np.int64),
            empty(n + 4),
            empty(n + 4),
            empty(n + 4),
            *scans,
        )
        return work, (empty(n * BLOCK), np.empty(n * BLOCK, np.int32))

    def encode(rows: slice) -> list[tuple[Array, Array, Array, int]]:
        v, peaks = empty(n_atoms), empty(-(-n_atoms // CHUNK))
        scans = (empty(n_atoms), v, bits(v), peaks, bits(peaks), np.empty(n_atoms, np.int64))
        work, out = room_for(min(n_atoms, n_features + 4, 128), scans)
        buffer = empty((BLOCK, n_atoms))  # made once: fresh pages would take as long as the product
        done = []
        for start in range(rows.start, rows.stop, BLOCK):
            block = slice(start, min(start + BLOCK, rows.stop))
            counts = np.empty(block.stop - start, np.int64)
            B, squares, seeds = (
                _correlations(problem, block, buffer),
                squared_norms(X[block]),
                _seeds(problem, block),
            )
            while (found := _solve(B, squares, inner, limits, work, seeds, (*out, counts)))[0] < 0:
                work, out = room_for(min(2 * len(work[0]), n_atoms), scans)
            done.append((out[0][: found[0]].copy(), out[1][: found[0]].copy(), counts, found[1]))
        return done

    parts = [part for some in over_blocks(encode, len(X), problem.n_threads) for part in some]
    return joined([p[:3] for p in parts], (len(X), n_atoms), X.dtype), sum(
        p[3] for p in parts
    ) / max(len(X), 1)


def _correlations(problem: Problem, rows: slice, buffer: Array) -> Array:
    """X D - linear for some samples, (n_rows, n_atoms), in the first rows of `buffer`."""
    out = np.matmul(problem.X[rows], problem.D, out=buffer[: rows.stop - rows.start])
    if problem.linear is not None:
        out -= problem.linear_of(rows)
    return out


def _seeds(problem: Problem, rows: slice) -> tuple[Array, Array]:
    """`indptr` and `indices` of the non-zeros to start from."""
    if problem.warm is None:
        return np.zeros(rows.stop - rows.start + 1, np.int64), np.zeros(0, np.int64)
    warm = csr_array(problem.warm[rows])
    return warm.indptr.astype(np.int64), warm.indices.astype(np.int64)


def joined(
    parts: list[tuple[Array, Array, Array]], shape: tuple[int, int], dtype: Any
) -> csr_array:
    """One CSR array of (data, indices, non-zeros of each sample) of consecutive blocks of samples."""
    if not parts:
        return csr_array(shape, dtype=dtype)
    data, indices, counts = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return csr_array((data, indices, np.append(0, np.cumsum(counts))), shape=shape)
