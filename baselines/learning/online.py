"""Online dictionary learning: mini-batches, sufficient statistics, block coordinate updates."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.sparse import csr_array

from baselines.learning.learner import Learned, Samples, as_floats, first_atoms, replace_atoms
from baselines.pursuit.compiled import Array, compiled
from baselines.pursuit.encode import encode
from baselines.pursuit.threads import gram_of, one_blas_thread

BLOCK_ATOMS = 32  # updated one after the other before a matrix product corrects the rest
BATCH_TOL = 1e-4  # duality gap of the codes that are learned from
OBJECTIVE_TOL = 1e-5  # and of those that the objective is computed with


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

    def objective(self, X: Array, D: Array) -> float:
        """Compute what is minimised, the mean over the samples of X, with the best codes in D."""
        codes = self._codes(X, D, OBJECTIVE_TOL)
        return self._value(X - codes @ D.T, codes.data)

    def steps(self, X: Samples, start: Learned | None = None) -> Iterator[Learned]:
        """Yield the dictionary after each mini-batch.

        `history` is the objective of each batch, before learning from it.
        """
        state = start
        gram = None
        for block in self._batches(X, state.n_iter if state else 0):
            if not len(block):
                continue
            batch = as_floats(block)
            if state is None:
                rng = np.random.default_rng(self.seed)
                state = Learned(first_atoms(batch, self.n_atoms, rng))
            if state.memory.keys() != {"A", "B"}:  # a dictionary of another learner
                state = replace(state, memory=self._no_memory(state.D))
            if gram is None:
                gram = gram_of(state.D, self.n_threads)
            codes = self._codes(batch, state.D, BATCH_TOL, gram)
            R = batch - codes @ state.D.T
            remembered = state.D.dtype.type((1 - 1 / (state.n_iter + 1)) ** self.forgetting)
            A = remembered * state.memory["A"]
            B = remembered * state.memory["B"]
            _accumulate(A, B, np.ascontiguousarray(batch), codes.data, codes.indices, codes.indptr)
            rows = np.ascontiguousarray(state.D.T)
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
            history = (*state.history, self._value(R, codes.data))
            state = Learned(D, state.n_iter + 1, history, memory={"A": A, "B": B})
            yield state

    def _codes(self, X: Array, D: Array, tol: float, gram: Array | None = None) -> csr_array:
        codes: csr_array = encode(
            X,
            D,
            lmbd=self.lmbd,
            alpha=self.alpha,
            positive=self.positive,
            sparse=True,
            tol=tol,
            n_threads=self.n_threads,
            gram=gram,
        ).codes
        return codes

    def _value(self, R: Array, codes: Array) -> float:
        """Compute the mean objective of samples from their residuals and the non-zeros of codes."""
        error = float(np.square(R, dtype=np.float64).sum())
        ridge = float(np.square(codes, dtype=np.float64).sum())
        l1 = float(np.abs(codes).sum())
        return (0.5 * error + self.lmbd * l1 + 0.5 * self.alpha * ridge) / len(R)

    def _no_memory(self, D: Array) -> dict[str, Array]:
        n_features, n_atoms = D.shape
        return {
            "A": np.zeros((n_atoms, n_atoms), D.dtype),
            "B": np.zeros((n_atoms, n_features), D.dtype),
        }

    def _batches(self, X: Samples, done: int) -> Iterator[Array]:
        """Yield the mini-batches that follow the first `done`: of an array, without end."""
        if not isinstance(X, np.ndarray):
            yield from X
            return
        per_pass = max(len(X) // self.batch_size, 1)
        n_done = done
        while len(X):
            rng = np.random.default_rng([self.seed, n_done // per_pass])
            order = rng.permutation(len(X))
            for k in range(n_done % per_pass, per_pass):
                yield X[order[k * self.batch_size : (k + 1) * self.batch_size]]
                n_done += 1
