"""Online dictionary learning: mini-batches, sufficient statistics, block coordinate updates."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from baselines.learning.leading import near_one
from baselines.learning.learner import Learned, first_atoms, replace_atoms, resume
from baselines.learning.samples import (
    Samples,
    as_floats,
    as_matrix,
    as_samples,
    as_stream,
    check_counts,
    check_flags,
    check_weights,
    in_unit,
    is_array,
    largest,
    unit_of,
)
from baselines.pursuit.compiled import Array, compiled
from baselines.pursuit.encode import encode
from baselines.pursuit.threads import gram_of, one_blas_thread

BLOCK_ATOMS = 32  # updated one after the other before a matrix product corrects the rest
BATCH_TOL = 1e-4  # duality gap of the codes that are learned from
OBJECTIVE_TOL = 1e-5  # and of those that the objective is computed with
MOST_PENALTY = 2.0**40  # in the unit of the samples: with this and more all codes are 0


@partial(compiled, allocates=True)
def _accumulate(A: Array, B: Array, X: Array, data: Array, indices: Array, indptr: Array) -> None:
    """Compute A += codes'codes and B += codes'X, for codes in CSR form.

    Each sample adds an outer product of its few non-zeros to A, and its multiples to few rows of B.
    """
    for i in range(len(X)):
        for p in range(indptr[i], indptr[i + 1]):
            c = data[p]
            a = A[indices[p]]
            b = B[indices[p]]
            for q in range(indptr[i], indptr[i + 1]):
                a[indices[q]] += c * data[q]
            for f in range(X.shape[1]):
                b[f] += c * X[i, f]


@partial(compiled, allocates=True)
def _descend(rows: Array, G: Array, A: Array) -> None:
    """Minimise over one atom after the other, rows of `rows`, in place.

    The best unit vector for atom d with gradient -g is d + g / A[j, j], normalised. The change of
    an atom moves the gradients of those after it: G = B - A @ rows follows within these atoms.
    """
    n_atoms, n_features = rows.shape
    change = np.empty(n_features, rows.dtype)
    for j in range(n_atoms):
        if A[j, j] <= 0:
            continue
        d = rows[j]
        g = G[j]
        norm = rows.dtype.type(0)
        for f in range(n_features):
            change[f] = d[f] + g[f] / A[j, j]
        scale = near_one(change)
        for f in range(n_features):
            change[f] *= scale
        for f in range(n_features):
            norm += change[f] * change[f]
        if norm <= 0:
            continue
        scale = 1 / np.sqrt(norm)
        for f in range(n_features):
            new = scale * change[f]
            change[f] = new - d[f]
            d[f] = new
        for k in range(j + 1, n_atoms):
            a = A[k, j]
            g = G[k]
            for f in range(n_features):
                g[f] -= a * change[f]


def update_atoms(rows: Array, A: Array, B: Array) -> None:
    """Lower 0.5*tr(A D'D) - tr(B D) by one pass of block coordinate descent, in place.

    Parameters
    ----------
    rows
        Unit-norm atoms, D.T, (n_atoms, n_features).
    A, B
        codes'codes (n_atoms, n_atoms) and codes'X (n_atoms, n_features).
    """
    G = B - A @ rows
    for first in range(0, len(rows), BLOCK_ATOMS):
        last = first + BLOCK_ATOMS
        before = rows[first:last].copy()
        _descend(rows[first:last], G[first:last], np.ascontiguousarray(A[first:last, first:last]))
        G[last:] -= A[last:, first:last] @ (rows[first:last] - before)


class Memory(NamedTuple):
    """What earlier batches leave behind: samples and codes divided by `unit`, a power of two.

    Parameters
    ----------
    A, B
        codes'codes (n_atoms, n_atoms) and codes'X (n_atoms, n_features), the older the less.
    unit
        The largest of a batch so far, so that no square of samples leaves the range of its type.
    """

    A: Array
    B: Array
    unit: float

    def arrays(self) -> dict[str, Array]:
        """Return the entries of `Learned.memory`."""
        return {"A": self.A, "B": self.B, "unit": np.array(self.unit)}

    def in_unit_of(self, batch: Array) -> "Memory":
        """Return the same memory in a unit that is large enough for `batch`, too."""
        unit = unit_of(batch)
        if not self.A.any():
            return Memory(self.A, self.B, unit)
        if unit <= self.unit:
            return self
        ratio = self.A.dtype.type((self.unit / unit) ** 2)
        return Memory(ratio * self.A, ratio * self.B, unit)


def recall(arrays: Mapping[str, Array], D: Array) -> Memory:
    """Return the memory of a run so far, an empty one where another learner made its dictionary.

    Raises
    ------
    ValueError
        If its shape is not that of D (n_features, n_atoms), or it is not finite.
    """
    n_features, n_atoms = D.shape
    if "A" not in arrays or "B" not in arrays:
        empty = np.zeros((n_atoms, n_atoms), D.dtype)
        return Memory(empty, np.zeros((n_atoms, n_features), D.dtype), 1.0)
    A = _recalled(arrays, "A", (n_atoms, n_atoms))
    B = _recalled(arrays, "B", (n_atoms, n_features))
    unit = float(arrays.get("unit", 1.0))
    return Memory(A.astype(D.dtype), B.astype(D.dtype), unit)


def _recalled(arrays: Mapping[str, Array], key: str, shape: tuple[int, int]) -> Array:
    """Return one of the sums, checked."""
    name = f"start.memory[{key!r}]"
    array = as_floats(as_matrix(arrays[key], name, str(shape)))
    if array.shape != shape:
        raise ValueError(f"learn: {name} has shape {array.shape}; expected {shape}")
    largest(array, name)  # refuses what is not finite
    return array


@dataclass(frozen=True, kw_only=True)
class Online:
    """Minimise the mean over samples of the objective below, over unit-norm atoms and codes.

    0.5*norm(x - D c)**2 + lmbd*norm1(c) + 0.5*alpha*norm(c)**2

    Parameters
    ----------
    n_atoms
        Number of atoms.
    lmbd, alpha
        Penalty, and weight of the ridge.
    positive
        Allow only codes >= 0.
    batch_size
        Samples of an iteration, where X is one array.
    forgetting
        At iteration t all earlier batches are multiplied by (1 - 1/t)**forgetting: 0 never forgets,
        1 is the choice of SPAMS, 4 learned fastest.
    seed
        Of the first atoms and of the batches.
    n_threads
        Threads of the pursuit; None for all cores that this process may use.

    References
    ----------
    Mairal, Bach, Ponce and Sapiro, Online dictionary learning for sparse coding, 2009.
    """

    n_atoms: int
    lmbd: float
    alpha: float = 0.0
    positive: bool = False
    batch_size: int = 512
    forgetting: float = 4.0
    seed: int = 0
    n_threads: int | None = None

    def __post_init__(self) -> None:
        check_counts("Online", n_atoms=self.n_atoms, batch_size=self.batch_size)
        check_counts("Online", least=0, seed=self.seed)
        check_weights("Online", lmbd=self.lmbd, alpha=self.alpha, forgetting=self.forgetting)
        check_flags("Online", positive=self.positive)
        if self.n_threads is not None:
            check_counts("Online", n_threads=self.n_threads)

    def objective(self, X: Array, D: Array) -> float:
        """Compute what is minimised, the mean over the samples of X, with the best codes in D."""
        X = as_floats(as_samples(X))
        unit = unit_of(X)
        X = in_unit(X, unit)
        D = as_floats(as_matrix(D, "D", "(n_features, n_atoms)"))
        codes = self._codes(X, D, OBJECTIVE_TOL, unit)
        return self._value(X - codes @ D.T, codes.data, unit)

    def steps(self, X: Samples, start: Learned | None = None) -> Iterator[Learned]:
        """Yield the dictionary after each mini-batch.

        `X` is one array or tensor (n_samples, n_features), or an iterable of such blocks, which are
        the batches then. `history` is the objective of each batch, before learning from it.

        Raises
        ------
        ValueError
            If `X` has no samples or entries that are not finite, or `start` does not fit.
        """
        state = None
        n_done = 0
        if start is not None:
            n_done = start.n_iter
        for block in self._batches(X, n_done):
            batch = as_floats(block)
            if state is None:
                state = self._first(batch, start)
                memory = recall(state.memory, state.D)
                gram = gram_of(state.D, self.n_threads)
            batch = np.asarray(batch, state.D.dtype)
            memory = memory.in_unit_of(batch)
            unit = memory.unit
            batch = in_unit(batch, unit)
            codes = self._codes(batch, state.D, BATCH_TOL, unit, gram)
            R = batch - codes @ state.D.T
            remembered = state.D.dtype.type((1 - 1 / (state.n_iter + 1)) ** self.forgetting)
            A = remembered * memory.A
            B = remembered * memory.B
            _accumulate(A, B, np.ascontiguousarray(batch), codes.data, codes.indices, codes.indptr)
            rows = np.array(state.D.T, order="C")
            with one_blas_thread():
                update_atoms(rows, A, B)
            D = np.ascontiguousarray(rows.T)
            gram = gram_of(D, self.n_threads)
            new = replace_atoms(D, gram, A.diagonal(), R, batch)
            if len(new):
                A[new] = 0
                A[:, new] = 0
                B[new] = 0
                gram = gram_of(D, self.n_threads)
            history = (*state.history, self._value(R, codes.data, unit))
            memory = Memory(A, B, unit)
            state = Learned(D, state.n_iter + 1, history, memory=memory.arrays())
            yield state

    def _first(self, batch: Array, start: Learned | None) -> Learned:
        """Return the dictionary to learn the first batch with."""
        if start is not None:
            return resume(start, batch, self.n_atoms, self.seed)
        return Learned(first_atoms(batch, self.n_atoms, np.random.default_rng(self.seed)))

    def _codes(
        self, X: Array, D: Array, tol: float, unit: float, gram: Array | None = None
    ) -> csr_array:
        """Return the codes of samples that were divided by `unit`, divided by it as well."""
        codes: csr_array = encode(
            X,
            D,
            lmbd=self._penalty(unit),
            alpha=self.alpha,
            positive=self.positive,
            sparse=True,
            tol=tol,
            n_threads=self.n_threads,
            gram=gram,
        ).codes
        return codes

    def _penalty(self, unit: float) -> float:
        return min(self.lmbd / unit, MOST_PENALTY)

    def _value(self, R: Array, codes: Array, unit: float) -> float:
        """Compute the mean objective of samples from their residuals and the non-zeros of codes.

        Both divided by `unit`; the objective is not.
        """
        error = float(np.square(R, dtype=np.float64).sum())
        ridge = float(np.square(codes, dtype=np.float64).sum())
        l1 = float(np.abs(codes).sum())
        value = (0.5 * error + self._penalty(unit) * l1 + 0.5 * self.alpha * ridge) / len(R)
        return value * unit * unit

    def _batches(self, X: Samples, done: int) -> Iterator[Array]:
        """Yield the mini-batches that follow the first `done`: of an array, without end."""
        if not is_array(X):
            yield from as_stream(X)
            return
        X = as_samples(X)
        largest(X)  # refuses what is not finite, at once and not when its turn comes
        per_pass = max(len(X) // self.batch_size, 1)
        n_done = done
        while True:
            rng = np.random.default_rng([self.seed, n_done // per_pass])
            order = rng.permutation(len(X))
            for k in range(n_done % per_pass, per_pass):
                yield X[order[k * self.batch_size : (k + 1) * self.batch_size]]
                n_done += 1
