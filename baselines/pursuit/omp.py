"""Batch-OMP: greedy codes with a fixed number of non-zeros, on the Gram matrix."""

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from baselines.pursuit.compiled import (
    Array,
    Scores,
    compiled,
    empty_scores,
    highest_chunk,
    peak_atom,
    subtract,
)
from baselines.pursuit.csr import SparseRows, join_rows
from baselines.pursuit.objective import squared_norms
from baselines.pursuit.threads import gram_of, over_blocks


class Limits(NamedTuple):
    """Where a code ends.

    Parameters
    ----------
    accuracy
        Square of the share of a sample's norm that rounding makes of correlations.
    least_pivot
        Share of an atom's squared norm that must lie outside the span of the chosen atoms: with
        less it is a duplicate.
    """

    accuracy: Any
    least_pivot: Any


class Workspace(NamedTuple):
    """Memory of one thread, for up to n chosen atoms.

    Parameters
    ----------
    P
        gram[:, chosen] L^-T as rows, shape (n, n_atoms): inner products of all atoms with the
        chosen ones made orthonormal.
    L
        Cholesky factor of gram[chosen, chosen], shape (n, n).
    y
        Coefficients on the orthonormal atoms, shape (n,).
    weights, order
        A row of L and the numbers 0, 1, ... for `subtract`, shape (n + 4,).
    scores
        What each atom would gain.
    outside
        Squared norm of each atom outside the span of the chosen ones, shape (n_atoms,).
    """

    P: Array
    L: Array
    y: Array
    weights: Array
    order: Array
    scores: Scores
    outside: Array


@compiled
def _back_substitute(L: Array, y: Array, k: int, code: Array) -> None:
    """Solve L' code = y for the first k entries of `code`."""
    for p in range(k - 1, -1, -1):
        s = y[p]
        for q in range(p + 1, k):
            s -= L[q, p] * code[q]
        code[p] = s / L[p, p]


@compiled
def _solve(
    B: Array,
    squares: Array,
    gram: Array,
    limits: Limits,
    recursive: bool,
    work: Workspace,
    out: SparseRows,
) -> None:
    """Choose up to data.shape[1] atoms for each row of B = X D.

    Neither samples nor residuals are needed: the chosen atoms are made orthonormal implicitly, by
    the Cholesky factor L of their Gram matrix. Row k of P holds the inner products of all atoms
    with the k-th of these, so that correlations with the residual fall by y[k] * P[k] at each
    choice, and squared norms outside the span by P[k]**2. At the end the coefficients solve
    L' code = y.
    """
    P, L, y, weights, order, scores, outside = work
    values = scores.values
    m = gram.shape[0]
    for i in range(len(B)):
        g = B[i]
        floor = limits.accuracy * squares[i]
        k = 0
        if recursive:
            for j in range(m):
                outside[j] = gram[j, j]
        while k < out.data.shape[1]:
            if recursive:
                for j in range(m):
                    gain = g[j] * g[j] / max(outside[j], limits.accuracy)
                    values[j] = gain if outside[j] > 0 else 0
            else:
                for j in range(m):
                    values[j] = abs(g[j])
            j = peak_atom(scores, highest_chunk(scores))
            pivot = gram[j, j]
            for p in range(k):
                L[k, p] = P[p, j]
                weights[p] = P[p, j]
                pivot -= P[p, j] * P[p, j]
            in_the_span = pivot <= limits.least_pivot * gram[j, j]
            if g[j] * g[j] <= floor or in_the_span:
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
            scale = 1 / L[k, k]
            step = y[k]
            for q in range(m):
                row[q] *= scale
                g[q] -= step * row[q]
            if recursive:
                for q in range(m):
                    outside[q] -= row[q] * row[q]
                outside[j] = 0
            out.indices[i, k] = j
            k += 1
        out.counts[i] = k
        _back_substitute(L, y, k, out.data[i])


def omp(
    X: Array,
    D: Array,
    n_nonzero: int,
    *,
    recursive: bool = False,
    n_threads: int | None = None,
    gram: Array | None = None,
) -> csr_array:
    """Reduce norm(x - D c) by one atom of c after the other, all coefficients refitted each time.

    Parameters
    ----------
    X
        Samples, shape (n_samples, n_features), float32 or float64.
    D
        Dictionary of the same type, shape (n_features, n_atoms).
    n_nonzero
        Non-zeros of a code at most; fewer where the residual is 0 or all atoms are in the span.
    recursive
        Take the atom that lowers the error most after the refit (ORMP), not the one with the
        largest correlation (OMP).
    n_threads
        None for all cores.
    gram
        D'D where it is known.

    Returns
    -------
    Codes as a CSR array (n_samples, n_atoms).

    References
    ----------
    Rubinstein, Zibulevsky and Elad, Efficient implementation of the K-SVD algorithm using batch
    orthogonal matching pursuit, 2008.
    Gharavi-Alkhansari and Huang, A fast orthogonal matching pursuit algorithm, 1998 (ORMP).
    """
    kind = X.dtype.type
    n_atoms = D.shape[1]
    width = min(n_nonzero, *D.shape)
    if gram is None:
        gram = gram_of(D, n_threads)
    eps = np.finfo(kind).eps
    accuracy = (8 * eps) ** 2 if kind is np.float64 else 1e-12
    limits = Limits(kind(accuracy), kind(64 * eps))

    def encode(rows: slice) -> SparseRows:
        B = X[rows] @ D
        out = SparseRows(
            np.zeros((len(B), width), kind),
            np.zeros((len(B), width), np.int32),
            np.zeros(len(B), np.int64),
        )
        work = Workspace(
            P=np.zeros((width, n_atoms), kind),
            L=np.zeros((width, width), kind),
            y=np.zeros(width, kind),
            weights=np.zeros(width + 4, kind),
            order=np.zeros(width + 4, np.int64),
            scores=empty_scores(n_atoms, kind),
            outside=np.empty(n_atoms, kind),
        )
        _solve(B, squared_norms(X[rows]), gram, limits, recursive, work, out)
        used = np.arange(width) < out.counts[:, None]
        return SparseRows(out.data[used], out.indices[used], out.counts)

    return join_rows(over_blocks(encode, len(X), n_threads), (len(X), n_atoms), X.dtype)
