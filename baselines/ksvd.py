"""K-SVD (Aharon et al., 2006): codes by Batch-OMP, then one atom and its coefficients after the other; and MOD."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from scipy.linalg import eigh
from scipy.linalg.blas import get_blas_funcs
from scipy.sparse import csc_array

from baselines.learned import Floats, Learned, Samples, first_atoms, replace_atoms
from baselines.pursuit import encode
from baselines.pursuit.compiled import compiled, gram_of, one_blas_thread


@partial(compiled, allocates=True)
def _approximate(R, rows, data, indices, indptr):  # type: ignore[no-untyped-def]
    """One alternation for each atom, a row of `rows` (Rubinstein et al., 2008): d = normalised E'g, then g = E d."""
    n_atoms, n_features = rows.shape
    new = np.empty(n_features, R.dtype)
    for j in range(n_atoms):
        first, last = indptr[j], indptr[j + 1]
        old = rows[j]
        gg = norm = overlap = R.dtype.type(0)
        for f in range(n_features):
            new[f] = 0
        for k in range(first, last):
            g = data[k]
            gg += g * g
            r = R[indices[k]]
            for f in range(n_features):
                new[f] += g * r[f]
        for f in range(n_features):
            new[f] += gg * old[f]
            norm += new[f] * new[f]
        if norm <= 0:
            continue
        scale = 1 / np.sqrt(norm)
        for f in range(n_features):
            new[f] *= scale
            overlap += new[f] * old[f]
        for k in range(first, last):
            r = R[indices[k]]
            g = data[k]
            s = g * overlap
            for f in range(n_features):
                s += r[f] * new[f]
            for f in range(n_features):
                r[f] += g * old[f] - s * new[f]
            data[k] = s
        for f in range(n_features):
            old[f] = new[f]


def _exact(R: Floats, rows: Floats, codes: csc_array) -> None:
    """The best rank-one approximation g d' of E, the residual without atom j on the samples that use it, for each j."""
    # syrk computes half of a product of a matrix with itself; ger adds an outer product in place
    syrk, ger = get_blas_funcs(("syrk", "ger"), (R,))
    room = np.empty((int(np.diff(codes.indptr).max(initial=0)), R.shape[1]), R.dtype)  # fresh pages would cost a third
    for j, d in enumerate(rows):
        span = slice(codes.indptr[j], codes.indptr[j + 1])
        users = codes.indices[span]
        if len(users) == 0:
            continue
        E = np.take(R, users, axis=0, out=room[: len(users)], mode="clip")
        ger(1.0, d, codes.data[span], a=E.T, overwrite_a=True)
        wide = len(E) < len(d)
        gram = syrk(1.0, E if wide else E.T)
        last = [len(gram) - 1] * 2
        top = eigh(gram, lower=False, subset_by_index=last, check_finite=False, overwrite_a=True)[1][:, 0]
        new = E.T @ top if wide else top
        rows[j] = new / max(float(np.linalg.norm(new)), 1e-30) * (np.sign(new @ d) or 1)
        codes.data[span] = E @ rows[j]
        ger(-1.0, rows[j], codes.data[span], a=E.T, overwrite_a=True)
        R[users] = E


def _mod(X: Floats, rows: Floats, codes: csc_array) -> None:
    """Least squares for all atoms at once (method of optimal directions, Engan et al., 1999), then unit norms."""
    moments = (codes.T @ codes).toarray()
    moments.flat[:: len(moments) + 1] += 1e-6 * np.trace(moments) / len(moments)
    best = np.linalg.solve(moments, codes.T @ X)
    norms = np.linalg.norm(best, axis=1, keepdims=True)
    rows[:] = np.where(norms > 1e-12, best / np.maximum(norms, 1e-12), rows)


@dataclass(frozen=True, kw_only=True)
class KSVD:
    """Minimise sum of 0.5*norm(x - D c)**2 over D and codes c with at most `n_nonzero` entries.

    update: "approximate", one alternation an atom; "exact", the singular value decomposition; "mod", all atoms at once.
    """

    n_atoms: int
    n_nonzero: int
    update: Literal["approximate", "exact", "mod"] = "approximate"
    seed: int = 0
    n_threads: int | None = None

    def objective(self, X: Floats, D: Floats) -> float:
        codes = encode(X, D, n_nonzero=self.n_nonzero, sparse=True, n_threads=self.n_threads).codes
        return 0.5 * float(np.square(X - codes @ D.T, dtype=np.float64).sum()) / max(len(X), 1)

    def steps(self, X: Samples, start: Learned | None = None) -> Iterator[Learned]:
        """Without end: the dictionary after each iteration; `X` is one array, for each iteration sees all samples."""
        if not isinstance(X, np.ndarray):
            raise ValueError("KSVD: needs all samples at once, as an array; Online learns from a stream")
        X = np.ascontiguousarray(X)
        at = start or Learned(first_atoms(X, self.n_atoms, np.random.default_rng(self.seed)))
        while True:
            codes = csc_array(encode(X, at.D, n_nonzero=self.n_nonzero, sparse=True, n_threads=self.n_threads).codes)
            R, rows = X - codes @ at.D.T, np.ascontiguousarray(at.D.T)
            if self.update == "approximate":
                _approximate(R, rows, codes.data, codes.indices, codes.indptr)
            elif self.update == "exact":
                with one_blas_thread():
                    _exact(R, rows, codes)
            else:
                _mod(X, rows, codes)
                R = X - codes @ rows
            error = 0.5 * float(np.square(R, dtype=np.float64).sum()) / max(len(X), 1)
            D = np.ascontiguousarray(rows.T)
            replace_atoms(D, gram_of(D, self.n_threads), np.diff(codes.indptr), R, X)
            at = Learned(D, at.n_iter + 1, (*at.history, error))
            yield at
