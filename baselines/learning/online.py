"""Online dictionary learning (Mairal et al., 2009): mini-batches, sufficient statistics, block coordinate updates."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from baselines.learning.learner import Floats, Learned, Samples, first_atoms, floats, replace_atoms
from baselines.pursuit.compiled import compiled, gram_of, one_blas_thread
from baselines.pursuit.encode import encode

BLOCK = 32  # atoms updated one after the other before a matrix product tells the rest


@partial(compiled, allocates=True)
def _accumulate(A, B, X, data, indices, indptr):  # type: ignore[no-untyped-def]
    """A += codes'codes and B += codes'X, for codes (data, indices, indptr) in CSR form."""
    for i in range(len(X)):
        for p in range(indptr[i], indptr[i + 1]):
            c, a, b = data[p], A[indices[p]], B[indices[p]]
            for q in range(indptr[i], indptr[i + 1]):
                a[indices[q]] += c * data[q]
            for f in range(X.shape[1]):
                b[f] += c * X[i, f]


@partial(compiled, allocates=True)
def _descend(rows, G, A):  # type: ignore[no-untyped-def]
    """Minimise over one atom after the other, rows of `rows`; G = B - A @ rows follows within these atoms."""
    n_atoms, n_features = rows.shape
    change = np.empty(n_features, rows.dtype)
    for j in range(n_atoms):
        if A[j, j] <= 0:
            continue
        d, g = rows[j], G[j]
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
            a, g = A[k, j], G[k]
            for f in range(n_features):
                g[f] -= a * change[f]


def update(rows: Floats, A: Floats, B: Floats) -> None:
    """One pass of block coordinate descent on 0.5*tr(A D'D) - tr(B'D), in place; unit-norm atoms are rows of `rows`."""
    G = B - A @ rows
    for first in range(0, len(rows), BLOCK):
        last = first + BLOCK
        before = rows[first:last].copy()
        _descend(rows[first:last], G[first:last], np.ascontiguousarray(A[first:last, first:last]))
        G[last:] -= A[last:, first:last] @ (rows[first:last] - before)


@dataclass(frozen=True, kw_only=True)
class Online:
    """Minimise the mean of 0.5*norm(x - D c)**2 + lmbd*norm1(c) + 0.5*alpha*norm(c)**2 over unit-norm atoms and codes.

    positive: only codes >= 0. batch_size: samples of an iteration, where X is one array. forgetting: at iteration t all
    earlier batches are multiplied by (1 - 1/t)**forgetting; 0 never forgets, 1 is SPAMS' choice, 4 learned fastest.
    """

    n_atoms: int
    lmbd: float
    alpha: float = 0.0
    positive: bool = False
    batch_size: int = 512
    forgetting: float = 4.0
    seed: int = 0
    n_threads: int | None = None

    def objective(self, X: Floats, D: Floats) -> float:
        found = encode(X, D, lmbd=self.lmbd, alpha=self.alpha, positive=self.positive, sparse=True, tol=1e-5,
                       n_threads=self.n_threads).codes  # fmt: skip
        return self._value(X - found @ D.T, found.data)

    def steps(self, X: Samples, start: Learned | None = None) -> Iterator[Learned]:
        """The dictionary after each mini-batch; `history`: objective of each batch, before learning from it."""
        at, gram, n = start, None, self.n_atoms
        for batch in self._batches(X, at.n_iter if at else 0):
            if not len(batch):
                continue
            batch = floats(batch)
            if at is None:
                at = Learned(first_atoms(batch, n, np.random.default_rng(self.seed)))
            if at.memory.keys() != {"A", "B"}:  # a dictionary that is not from here
                none = {
                    "A": np.zeros((n, n), at.D.dtype),
                    "B": np.zeros((n, len(at.D)), at.D.dtype),
                }
                at = replace(at, memory=none)
            gram = gram_of(at.D, self.n_threads) if gram is None else gram
            codes = encode(batch, at.D, lmbd=self.lmbd, alpha=self.alpha, positive=self.positive, sparse=True,
                           tol=1e-4, n_threads=self.n_threads, gram=gram).codes  # fmt: skip
            R, keep = batch - codes @ at.D.T, (1 - 1 / (at.n_iter + 1)) ** self.forgetting
            A, B = (at.D.dtype.type(keep) * at.memory[name] for name in "AB")
            _accumulate(A, B, np.ascontiguousarray(batch), codes.data, codes.indices, codes.indptr)
            rows = np.ascontiguousarray(at.D.T)
            with one_blas_thread():
                update(rows, A, B)
            D = np.ascontiguousarray(rows.T)
            gram = gram_of(D, self.n_threads)
            new = replace_atoms(D, gram, A.diagonal(), R, batch)
            if len(new):
                A[new], A[:, new], B[new] = 0, 0, 0
                gram = gram_of(D, self.n_threads)
            at = Learned(
                D, at.n_iter + 1, (*at.history, self._value(R, codes.data)), (), {"A": A, "B": B}
            )
            yield at

    def _value(self, R: Floats, codes: Floats) -> float:
        norms = (float(np.square(part, dtype=np.float64).sum()) for part in (R, codes))
        return (
            0.5 * next(norms)
            + self.lmbd * float(np.abs(codes).sum())
            + 0.5 * self.alpha * next(norms)
        ) / len(R)

    def _batches(self, X: Samples, done: int) -> Iterator[Floats]:
        if not isinstance(X, np.ndarray):
            yield from X
            return
        per_pass = max(len(X) // self.batch_size, 1)
        at = done
        while len(X):
            order = np.random.default_rng([self.seed, at // per_pass]).permutation(len(X))
            for k in range(at % per_pass, per_pass):
                yield X[order[k * self.batch_size : (k + 1) * self.batch_size]]
                at += 1
