"""OMP and ORMP for many samples at once, in library calls on tensors of any device.

All samples of a block take their next atom together. Each has the inverse F of the Cholesky factor
of its chosen atoms' Gram matrix, one more row at each step: row k holds the weights that make the
k-th atom orthonormal to those before it. Correlations with the residual then fall by
y[k] * F[k] @ gram[chosen], with y[k] the coefficient on that orthonormal atom, and the codes are
F'y. The product of weights and rows of the Gram matrix is a sum over embeddings: it reads the rows
where they lie, so that no copy of them for each sample is made. A copy of n_nonzero rows of n_atoms
entries for each sample would take most of the memory and of the time.

A sample that is finished adds zeros from then on. Every CHECK_STEPS steps the host asks how many
are not, and gathers those once they are few; nothing else waits for the device.

References
----------
Rubinstein, Zibulevsky and Elad, Efficient implementation of the K-SVD algorithm using batch
orthogonal matching pursuit, 2008.
Lubonja, Praesius and Tran, Efficient batched CPU/GPU implementation of orthogonal matching pursuit
for Python, 2024.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.pursuit.compiled import Array
from baselines.pursuit.omp import SINGLE_PRECISION_ERROR, UNIT_NORM_EPS
from baselines.pursuit.scale import require_finite
from baselines.pursuit.threads import split_rows

CHECK_STEPS = 4  # between two questions of the host how many samples go on
GATHER_SHARE = 0.7  # of the samples: once fewer go on, they are gathered
BLOCK_BYTES = 2**31  # of all that a block of samples needs
CPU_BLOCK_BYTES = 2**25  # what nearly stays in a cache


class Limits(NamedTuple):
    """Where a code ends, relative to norms of sample and atom.

    Parameters
    ----------
    accuracy
        Square of the cosine below which a correlation is rounding.
    least_pivot
        Share of an atom's squared norm that must lie outside the span of the chosen atoms.
    """

    accuracy: float
    least_pivot: float


class State(NamedTuple):
    """Where the pursuit of n samples stands, for up to K atoms each.

    Parameters
    ----------
    rows
        Their places among all samples, (n,).
    correlations
        Of all atoms with the residuals, (n, n_atoms).
    floor
        Squared correlation with an atom of norm 1 that is rounding, (n,).
    rest, allowed
        Squared norms of the residuals, and what finishes a code, (n,).
    running
        Whether a sample goes on, (n,).
    atoms, y
        Chosen atoms and coefficients on the orthonormal ones, (n, K).
    weights
        Inverse of the Cholesky factor, (n, K, K); rows of zeros where a sample is finished.
    outside
        Squared norms of the atoms outside the span of the chosen ones, (n, n_atoms), for ORMP.
    """

    rows: Tensor
    correlations: Tensor
    floor: Tensor
    rest: Tensor
    allowed: Tensor
    running: Tensor
    atoms: Tensor
    y: Tensor
    weights: Tensor
    outside: Tensor

    def take(self, which: Tensor) -> "State":
        """Gather some of the samples."""
        return State(*(values[which] for values in self))


class Batch(NamedTuple):
    """Codes (n_samples, n_atoms), whether each reached the error asked for, and mean non-zeros."""

    codes: Tensor
    converged: Array
    n_iter: float


def batched_omp(
    X: Tensor,
    D: Tensor,
    n_nonzero: int | None = None,
    *,
    max_error: float | None = None,
    recursive: bool = False,
    gram: Tensor | None = None,
    block_bytes: int | None = None,
) -> Batch:
    """Reduce norm(x - D c) by one atom of c after the other, all coefficients refitted each time.

    A code is finished at `n_nonzero` atoms, at norm(x - D c) <= max_error, where the residual is 0,
    and where the next atom lies in the span of the chosen ones. Of equal atoms the first is taken.

    Parameters
    ----------
    X
        Samples, shape (n_samples, n_features), float32 or float64, on any device.
    D
        Dictionary of the same type and device, shape (n_features, n_atoms).
    n_nonzero
        Non-zeros of a code at most, None for as many as it takes.
    max_error
        Norm of the residual at which a code is finished, in the units of X. Rounding decides below
        the share sqrt(eps) of the norm of a sample.
    recursive
        Take the atom that lowers the error most after the refit (ORMP), not the one with the
        largest correlation (OMP).
    gram
        D'D where it is known.
    block_bytes
        Memory for a block of samples; None for BLOCK_BYTES, or on a CPU for what stays in a cache.

    Returns
    -------
    Dense codes on the device of X, and the mean number of chosen atoms.

    Raises
    ------
    ValueError
        If samples are not finite.

    Examples
    --------
    >>> import torch
    >>> from baselines.pursuit.batched_greedy import batched_omp
    >>> X = torch.tensor([[3.0, -0.2, -1.0]])
    >>> batched_omp(X, torch.eye(3), n_nonzero=2).codes.tolist()
    [[3.0, 0.0, -1.0]]
    >>> batched_omp(X, torch.eye(3), n_nonzero=3, max_error=1.1).codes.tolist()
    [[3.0, 0.0, 0.0]]
    """
    n_samples = len(X)
    n_atoms = D.shape[1]
    width = min(D.shape) if n_nonzero is None else min(n_nonzero, *D.shape)
    codes = X.new_zeros(n_samples, n_atoms)
    if n_samples == 0:
        return Batch(codes, np.ones(0, bool), 0.0)
    eps = torch.finfo(X.dtype).eps
    powers = powers_of_rows(X)
    X = X / powers
    squares = (X * X).sum(1)
    allowed = torch.zeros_like(squares)
    if max_error is not None:
        allowed = (max_error / powers.squeeze(1)).square().minimum(squares)
        share = (allowed > 0) & (allowed < SINGLE_PRECISION_ERROR * squares)
        if X.dtype == torch.float32 and bool(share.any()):
            batch = batched_omp(
                (X * powers).double(),
                D.double(),
                n_nonzero,
                max_error=max_error,
                recursive=recursive,
                block_bytes=block_bytes,
            )
            return batch._replace(codes=batch.codes.float())
    heights = powers_of_rows(D.T)
    lengths = torch.linalg.vector_norm(D.T / heights, dim=1) * heights.squeeze(1)
    scale = torch.where(lengths > 0, 1 / lengths, 1)
    if bool(((lengths - 1).abs() > UNIT_NORM_EPS * eps).any()):
        D = D * scale
        gram = None if gram is None else gram * scale * scale[:, None]
    else:
        scale = torch.ones_like(scale)
    if gram is None:
        gram = D.T @ D
    accuracy = (8 * eps) ** 2 if X.dtype == torch.float64 else 1e-12
    limits = Limits(accuracy, 64 * eps)
    if block_bytes is None:
        block_bytes = CPU_BLOCK_BYTES if X.device.type == "cpu" else BLOCK_BYTES
    n_wide = 5 if recursive else 3  # arrays (n_rows, n_atoms) at a time
    bytes_per_sample = X.element_size() * (n_wide * n_atoms + width * (width + 8))
    size = max(block_bytes // bytes_per_sample, 1)
    n_chosen = torch.zeros((), dtype=torch.int64, device=X.device)
    rests = squares.clone()
    for rows in split_rows(0, n_samples, size):
        state = _start(X[rows], D, gram, width, limits, allowed[rows], recursive)
        n_chosen += _pursue(state, gram.contiguous(), limits, codes[rows], rests[rows])
    converged = np.ones(n_samples, bool)
    if max_error is not None:
        converged = (rests <= allowed + accuracy * squares).cpu().numpy()
    return Batch(codes * powers * scale, converged, int(n_chosen) / n_samples)


def powers_of_rows(A: Tensor) -> Tensor:
    """Compute a power of two within a factor of 2 of the largest entry of each row, (n_rows, 1).

    Below 1 it is above the entry, from 1 on at most the entry, so that none is too large or too
    small to be a number. 1 for rows of zeros.

    Raises
    ------
    ValueError
        If entries are not finite.
    """
    sizes = A.abs().amax(1, keepdim=True)
    require_finite(float(sizes.max()))
    _, exponents = torch.frexp(sizes)
    return torch.ldexp(torch.ones_like(sizes), exponents - (exponents > 0).to(exponents.dtype))


def _start(
    X: Tensor,
    D: Tensor,
    gram: Tensor,
    width: int,
    limits: Limits,
    allowed: Tensor,
    recursive: bool,
) -> State:
    """Return the state of a block of samples before its first step."""
    n = len(X)
    squares = (X * X).sum(1)
    outside = gram.diagonal().repeat(n, 1) if recursive else X.new_empty(n, 0)
    return State(
        rows=torch.arange(n, device=X.device),
        correlations=X @ D,
        floor=limits.accuracy * squares,
        rest=squares,
        allowed=allowed,
        running=torch.ones(n, dtype=torch.bool, device=X.device),
        atoms=torch.zeros(n, width, dtype=torch.int64, device=X.device),
        y=X.new_zeros(n, width),
        weights=X.new_zeros(n, width, width),
        outside=outside,
    )


def _pursue(state: State, gram: Tensor, limits: Limits, codes: Tensor, rests: Tensor) -> Tensor:
    """Write codes and squared residuals of a block; return how many atoms were chosen in all."""
    width = state.y.shape[1]
    diagonal = gram.diagonal().contiguous()
    scores = torch.empty_like(state.correlations)
    n_chosen = state.rows.new_zeros(())
    for k in range(width):
        if k > 0 and k % CHECK_STEPS == 0:
            n_running = int(state.running.sum())
            if n_running == 0:
                break
            if n_running <= GATHER_SHARE * len(state.rows):
                order = state.running.to(torch.uint8).argsort(descending=True, stable=True)
                _write(state.take(order[n_running:]), k, codes, rests)
                state = state.take(order[:n_running])
                scores = scores[:n_running]
        n_chosen += _step(state, k, gram, diagonal, limits, scores)
    _write(state, width, codes, rests)
    return n_chosen


def _step(
    state: State, k: int, gram: Tensor, diagonal: Tensor, limits: Limits, scores: Tensor
) -> Tensor:
    """Choose the k-th atom of every sample that runs, in place; return how many were chosen."""
    g = state.correlations
    outside = state.outside
    recursive = outside.shape[1] > 0
    if recursive:
        torch.mul(g, g, out=scores).div_(outside)
        scores.masked_fill_(outside <= limits.least_pivot * diagonal, 0)
    else:
        torch.abs(g, out=scores)
    best = scores.argmax(1, keepdim=True)  # the first one of several
    state.atoms[:, k : k + 1] = best
    square = diagonal[best]
    pivot = square
    if k > 0:
        weights = state.weights[:, :k, :k]
        products = gram[best, state.atoms[:, :k]]
        row = torch.bmm(weights, products[:, :, None])  # of the Cholesky factor
        pivot = square - (row * row).sum(1)
    correlation = g.gather(1, best)
    is_useful = correlation * correlation > state.floor[:, None] * square
    is_independent = pivot > limits.least_pivot * square
    goes_on = state.running & (state.rest > state.allowed)
    state.running.copy_(goes_on & (is_useful & is_independent).squeeze(1))
    scale = torch.where(state.running[:, None], pivot.rsqrt(), 0)
    y = correlation * scale
    if k > 0:
        new = torch.bmm(row.mT, weights).squeeze(1).mul_(-scale)
        state.weights[:, k, :k] = torch.where(scale > 0, new, 0)
    state.weights[:, k, k : k + 1] = scale
    state.y[:, k : k + 1] = y
    state.rest.sub_(y.squeeze(1) ** 2)
    chosen = state.atoms[:, : k + 1].contiguous()
    weights = state.weights[:, k, : k + 1].contiguous()
    change = F.embedding_bag(chosen, gram, mode="sum", per_sample_weights=weights)
    g.addcmul_(change, y, value=-1)
    if recursive:
        outside.addcmul_(change, change, value=-1)
    return state.running.sum()


def _write(state: State, k: int, codes: Tensor, rests: Tensor) -> None:
    """Write the codes F'y of samples with up to k atoms to their rows of `codes`."""
    rests[state.rows] = state.rest
    weights = state.weights[:, :k, :k]
    coefficients = torch.bmm(weights.mT, state.y[:, :k, None]).squeeze(2)
    part = codes.new_zeros(len(coefficients), codes.shape[1])
    # where a sample is finished its last atoms may be those chosen before, and add zeros
    codes[state.rows] = part.scatter_add_(1, state.atoms[:, :k], coefficients)
