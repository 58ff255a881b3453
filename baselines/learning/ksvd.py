"""K-SVD (Aharon et al., 2006): codes by Batch-OMP, then one atom and its coefficients after the other; and MOD."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np
from scipy.sparse import csc_array, csr_array

from baselines.learning.leading import leading, room
from baselines.learning.learner import Floats, Learned, Samples, first_atoms, floats, replace_atoms
from baselines.pursuit.compiled import compiled, gram_of, over_blocks
from baselines.pursuit.encode import encode

Update = Literal["approximate", "exact", "mod"]


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


@compiled
def _exact(R, rows, data, indices, indptr, tol, work):  # type: ignore[no-untyped-def]
    """The best rank-one approximation g d' of E, the residual without atom j on the samples that use it, for each j."""
    E, new = work[0], work[1][0]
    for j in range(len(rows)):
        first, n, old = indptr[j], indptr[j + 1] - indptr[j], rows[j]
        size = R.dtype.type(0)
        for f in range(len(old)):
            new[f] = 0
        for k in range(n):
            size += abs(data[first + k])
        for k in range(n):
            g, r, e = data[first + k], R[indices[first + k]], E[k]
            # beside E'g a little of each sample: E'g alone may be another singular vector
            start = R.dtype.type(g + 0.1 * size / n * (k * 0.618034 % 1 - 0.5))
            for f in range(len(old)):
                e[f] = r[f] + g * old[f]
                new[f] += start * e[f]
        if not leading(n, tol, work):
            continue
        for k in range(n):
            r, e, g = R[indices[first + k]], E[k], R.dtype.type(0)
            for f in range(len(old)):
                g += e[f] * new[f]
            for f in range(len(old)):
                r[f] = e[f] - g * new[f]
            data[first + k] = g
        for f in range(len(old)):
            old[f] = new[f]


def exact(R: Floats, rows: Floats, codes: csc_array) -> None:
    """`_exact` with its memory, to singular vectors as exact as the type allows."""
    work = room(int(np.diff(codes.indptr).max(initial=0)), rows.shape[1], R.dtype)
    _exact(
        R,
        rows,
        codes.data,
        codes.indices,
        codes.indptr,
        float(np.finfo(R.dtype).eps) ** (2 / 3),
        work,
    )


@compiled
def _subtract_atoms(R, rows, data, indices, indptr):  # type: ignore[no-untyped-def]
    """R -= codes @ rows, sample by sample."""
    for i in range(len(R)):
        r = R[i]
        for k in range(indptr[i], indptr[i + 1]):
            c, row = data[k], rows[indices[k]]
            for f in range(len(r)):
                r[f] -= c * row[f]


def residual(X: Floats, codes: csr_array, rows: Floats, n_threads: int | None) -> Floats:
    """X - codes @ rows, on all threads, in the type of `rows`."""
    R = np.empty(X.shape, rows.dtype)

    def work(part: slice) -> None:
        R[part] = X[part]
        _subtract_atoms(
            R[part], rows, codes.data, codes.indices, codes.indptr[part.start : part.stop + 1]
        )

    over_blocks(work, len(X), n_threads)
    return R


def half_square(R: Floats, n_threads: int | None) -> float:
    """The mean of 0.5*norm(r)**2 over samples, added up in double precision."""
    sums = over_blocks(lambda part: np.square(R[part], dtype=np.float64).sum(), len(R), n_threads)
    return 0.5 * float(sum(sums)) / max(len(R), 1)


def _mod(X: Floats, rows: Floats, codes: csc_array) -> None:
    """Least squares for all atoms at once (method of optimal directions, Engan et al., 1999), norms moved to codes."""
    moments = (codes.T @ codes).toarray()
    moments.flat[:: len(moments) + 1] += (
        1e-6 * np.trace(moments) / len(moments) or 1.0
    )  # where no code is used
    best = np.linalg.solve(moments, codes.T @ X)
    norms = np.linalg.norm(best, axis=1)
    norms[norms <= 1e-12] = 0  # such atoms stay, unused
    rows[:] = np.where(norms[:, None] > 0, best / np.maximum(norms, 1e-12)[:, None], rows)
    codes.data *= np.repeat(norms, np.diff(codes.indptr))


@dataclass(frozen=True, kw_only=True)
class KSVD:
    """Minimise sum of 0.5*norm(x - D c)**2 over D and codes c with at most `n_nonzero` entries.

    update: "approximate", one alternation an atom; "exact", the singular value decomposition; "mod", all atoms at once.
    """

    n_atoms: int
    n_nonzero: int
    update: Update = "approximate"
    seed: int = 0
    n_threads: int | None = None

    def __post_init__(self) -> None:
        if self.update not in get_args(Update):
            raise ValueError(
                f"KSVD(update={self.update!r}): must be one of {', '.join(get_args(Update))}"
            )
        if self.n_nonzero < 1:
            raise ValueError(f"KSVD(n_nonzero={self.n_nonzero}): must be at least 1")

    def objective(self, X: Floats, D: Floats) -> float:
        X = floats(X)
        codes = encode(X, D, n_nonzero=self.n_nonzero, sparse=True, n_threads=self.n_threads).codes
        return half_square(
            residual(X, codes, np.ascontiguousarray(D.T), self.n_threads), self.n_threads
        )

    def steps(self, X: Samples, start: Learned | None = None) -> Iterator[Learned]:
        """Without end: the dictionary after each iteration; `X` is one array, for each iteration sees all samples."""
        if not isinstance(X, np.ndarray):
            raise ValueError(
                "KSVD: needs all samples at once, as an array; Online learns from a stream"
            )
        X = floats(X)
        at = start or Learned(first_atoms(X, self.n_atoms, np.random.default_rng(self.seed)))
        while True:
            codes = encode(
                X, at.D, n_nonzero=self.n_nonzero, sparse=True, n_threads=self.n_threads
            ).codes
            rows = np.ascontiguousarray(at.D.T)
            R, codes = residual(X, codes, rows, self.n_threads), csc_array(codes)
            if self.update == "approximate":
                _approximate(R, rows, codes.data, codes.indices, codes.indptr)
            elif self.update == "exact":
                exact(R, rows, codes)
            else:
                _mod(X, rows, codes)
                R = X - codes @ rows
            error = half_square(R, self.n_threads)
            D = np.ascontiguousarray(rows.T)
            replace_atoms(D, gram_of(D, self.n_threads), np.diff(codes.indptr), R, X)
            at = Learned(D, at.n_iter + 1, (*at.history, error))
            yield at
