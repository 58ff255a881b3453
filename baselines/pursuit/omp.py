"""Batch-OMP: greedy codes with a fixed number of non-zeros, on the Gram matrix."""

from typing import Any

import numpy as np
from scipy.sparse import csr_array

from baselines.pursuit.compiled import (
    CHUNK,
    Array,
    bits,
    compiled,
    find_peaks,
    gram_of,
    over_blocks,
    subtract,
)
from baselines.pursuit.coordinate_descent import joined
from baselines.pursuit.objective import squared_norms


@compiled
def _largest(v_bits: Array, peaks: Array) -> int:
    """Index of the first largest entry of v >= 0, whose bits order as it does."""
    best = find_peaks(v_bits, peaks)
    at = 0
    while peaks[at] != best:
        at += 1
    j = at * CHUNK
    while v_bits[j] != best:
        j += 1
    return j


@compiled
def _back_substitute(L: Array, y: Array, k: int, code: Array) -> None:
    """The first k entries of `code` solve L' code = y."""
    for p in range(k - 1, -1, -1):
        s = y[p]
        for q in range(p + 1, k):
            s -= L[q, p] * code[q]
        code[p] = s / L[p, p]


@compiled
def _solve(
    B: Array, squares: Array, gram: Array, limits: Any, recursive: bool, work: Any, out: Any
) -> None:
    """Up to data.shape[1] atoms for each row of B = X D; P holds gram[:, chosen] L^-T, L the Cholesky factor."""
    (accuracy, least), (data, indices, counts) = limits, out
    P, L, y, weights, order, v, v_bits, peaks, left = work
    m = gram.shape[0]
    for i in range(len(B)):
        g = B[i]
        floor = accuracy * squares[i]
        k = 0
        if recursive:
            for j in range(m):
                left[j] = gram[j, j]
        while k < data.shape[1]:
            if recursive:
                for j in range(m):
                    v[j] = g[j] * g[j] / max(left[j], accuracy) if left[j] > 0 else 0
            else:
                for j in range(m):
                    v[j] = abs(g[j])
            j = _largest(v_bits, peaks)
            pivot = gram[j, j]
            for p in range(k):
                weights[p] = L[k, p] = P[p, j]
                pivot -= P[p, j] * P[p, j]
            if g[j] * g[j] <= floor or pivot <= least * gram[j, j]:  # as good as in the span
                break
            row = P[k]
            source = gram[j]
            for q in range(m):
                row[q] = source[q]
            for p in range(k):
                order[p] = p
            subtract(row, P, order, weights, k)
            L[k, k] = np.sqrt(pivot)
            y[k] = g[j] / L[k, k]
            s, f = 1 / L[k, k], y[k]
            for q in range(m):
                row[q] *= s
                g[q] -= f * row[q]
            if recursive:
                for q in range(m):
                    left[q] -= row[q] * row[q]
                left[j] = 0
            indices[i, k] = j
            k += 1
        counts[i] = k
        _back_substitute(L, y, k, data[i])


def omp(
    X: Array,
    D: Array,
    n_nonzero: int,
    *,
    recursive: bool = False,
    n_threads: int | None = None,
    gram: Array | None = None,
) -> csr_array:
    """Orthogonal matching pursuit; `recursive` takes the atom that lowers the error most after the refit (ORMP)."""
    width, m = min(n_nonzero, *D.shape), D.shape[1]
    gram = gram_of(D, n_threads) if gram is None else gram
    accuracy = X.dtype.type((8 * np.finfo(X.dtype).eps) ** 2 if X.dtype == np.float64 else 1e-12)
    least = X.dtype.type(
        64 * np.finfo(X.dtype).eps
    )  # of an atom's squared norm that must be new, or it is a duplicate

    def work(rows: slice) -> Any:
        B = X[rows] @ D
        data, indices = np.zeros((len(B), width), X.dtype), np.zeros((len(B), width), np.int32)
        counts = np.zeros(len(B), np.int64)
        v, peaks = np.empty(m, X.dtype), np.empty(-(-m // CHUNK), X.dtype)
        scratch = (
            np.zeros((width, m), X.dtype),
            np.zeros((width, width), X.dtype),
            np.zeros(width, X.dtype),
            np.zeros(width + 4, X.dtype),
            np.zeros(width + 4, np.int64),
            v,
            bits(v),
            bits(peaks),
            np.empty(m, X.dtype),
        )
        _solve(
            B,
            squared_norms(X[rows]),
            gram,
            (accuracy, least),
            recursive,
            scratch,
            (data, indices, counts),
        )
        used = np.arange(width) < counts[:, None]
        return data[used], indices[used], counts

    return joined(over_blocks(work, len(X), n_threads), (len(X), m), X.dtype)
