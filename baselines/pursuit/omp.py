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
from baselines.pursuit.scale import nearest_powers, norms_of, require_finite
from baselines.pursuit.threads import gram_of, over_blocks

UNIT_NORM_EPS = 64  # units in the last place by which the norm of a unit-norm atom may be wrong
SINGLE_PRECISION_ERROR = 1e-5  # share of a squared norm: a smaller residual takes double precision


class Limits(NamedTuple):
    """Where a code ends. Samples and atoms have unit norm.

    Parameters
    ----------
    accuracy
        Square of what rounding makes of correlations.
    least_pivot
        Squared norm that an atom must have outside the span of the chosen ones: with less it is a
        sum of them.
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
    allowed: Array,
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
    choice, squared norms outside the span by P[k]**2, and the squared norm of the residual by
    y[k]**2. At the end the coefficients solve L' code = y.

    Parameters
    ----------
    squares
        Squared norm of each sample, (n_rows,); on return that of its residual.
    allowed
        Squared norm of a residual at which a code is finished, (n_rows,).
    """
    P, L, y, weights, order, scores, outside = work
    values = scores.values
    m = gram.shape[0]
    zero = B.dtype.type(0)
    for i in range(len(B)):
        g = B[i]
        square = squares[i]
        floor = limits.accuracy * square
        k = 0
        if recursive:
            for j in range(m):
                outside[j] = gram[j, j]
        while k < out.data.shape[1] and square > allowed[i]:
            if recursive:
                for j in range(m):
                    rest = outside[j]
                    gain = g[j] * g[j] / max(rest, limits.least_pivot)
                    values[j] = gain if rest > limits.least_pivot else zero
            else:
                for j in range(m):
                    values[j] = abs(g[j])
            j = peak_atom(scores, highest_chunk(scores))
            pivot = gram[j, j]
            for p in range(k):
                L[k, p] = P[p, j]
                weights[p] = P[p, j]
                pivot -= P[p, j] * P[p, j]
            in_the_span = pivot <= limits.least_pivot
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
            square -= step * step
            for q in range(m):
                row[q] *= scale
                g[q] -= step * row[q]
            if recursive:
                for q in range(m):
                    outside[q] -= row[q] * row[q]
                outside[j] = 0
            out.indices[i, k] = j
            k += 1
        squares[i] = square
        out.counts[i] = k
        _back_substitute(L, y, k, out.data[i])


class Greedy(NamedTuple):
    """Codes as a CSR array (n_samples, n_atoms), and whether each reached the error asked for."""

    codes: csr_array
    converged: Array


def omp(
    X: Array,
    D: Array,
    n_nonzero: int | None = None,
    *,
    max_error: float | None = None,
    recursive: bool = False,
    n_threads: int | None = None,
    gram: Array | None = None,
) -> Greedy:
    """Reduce norm(x - D c) by one atom of c after the other, all coefficients refitted each time.

    Atoms are compared by their correlations after they have been scaled to unit norm.

    Parameters
    ----------
    X
        Samples, shape (n_samples, n_features), float32 or float64.
    D
        Dictionary of the same type, shape (n_features, n_atoms).
    n_nonzero
        Non-zeros of a code at most, None for as many as it takes; fewer where the residual is 0 or
        all atoms are in the span.
    max_error
        Norm of the residual x - D c at which a code is finished, in the units of X.
    recursive
        Take the atom that lowers the error most after the refit (ORMP), not the one with the
        largest correlation (OMP).
    n_threads
        None for all cores.
    gram
        D'D where it is known.

    References
    ----------
    Rubinstein, Zibulevsky and Elad, Efficient implementation of the K-SVD algorithm using batch
    orthogonal matching pursuit, 2008.
    Gharavi-Alkhansari and Huang, A fast orthogonal matching pursuit algorithm, 1998 (ORMP).
    """
    n_atoms = D.shape[1]
    width = min(D.shape) if n_nonzero is None else min(n_nonzero, *D.shape)
    norms = norms_of(X)
    require_finite(norms)
    lengths = norms_of(D.T)
    allowed = np.zeros(len(X))
    if max_error is not None:
        allowed = np.minimum(max_error / np.where(norms > 0, norms, 1), 1) ** 2
    if X.dtype == np.float32 and ((allowed > 0) & (allowed < SINGLE_PRECISION_ERROR)).any():
        found = omp(
            X.astype(np.float64),
            D.astype(np.float64),
            n_nonzero,
            max_error=max_error,
            recursive=recursive,
            n_threads=n_threads,
        )
        return found._replace(codes=found.codes.astype(np.float32))
    kind = X.dtype.type
    eps = np.finfo(kind).eps
    if (abs(lengths - 1) > UNIT_NORM_EPS * eps).any():
        shrink = np.where(lengths > 0, 1 / np.where(lengths > 0, lengths, 1), 1).astype(kind)
        D = D * shrink
        gram = None if gram is None else gram * shrink * shrink[:, None]
    else:
        shrink = np.ones(n_atoms, kind)
    if gram is None:
        gram = gram_of(D, n_threads)
    accuracy = (512 * eps) ** 2 if kind is np.float64 else 1e-12
    limits = Limits(kind(accuracy), kind(512 * eps))
    powers = nearest_powers(norms)
    converged = np.ones(len(X), bool)

    def encode(rows: slice) -> SparseRows:
        samples = X[rows]
        if (powers[rows] != 1).any():
            samples = samples * (1 / powers[rows])[:, None].astype(kind)
        B = samples @ D
        squares = np.square(norms[rows] / powers[rows]).astype(kind)
        limit = (allowed[rows] * squares).astype(kind)
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
        _solve(B, squares, limit, gram, limits, recursive, work, out)
        if max_error is not None:
            converged[rows] = squares <= limit + limits.accuracy
        used = np.arange(width) < out.counts[:, None]
        indices = out.indices[used]
        units = np.repeat(powers[rows], out.counts) * shrink[indices]
        return SparseRows((out.data[used] * units).astype(kind), indices, out.counts)

    codes = join_rows(over_blocks(encode, len(X), n_threads), (len(X), n_atoms), kind)
    return Greedy(codes, converged)
