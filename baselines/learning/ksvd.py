"""K-SVD: codes by Batch-OMP, then one atom and its coefficients after the other; and MOD."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, get_args

import numpy as np
from scipy.sparse import csc_array, csr_array

from baselines.learning.leading import Workspace, empty_workspace, leading
from baselines.learning.learner import Learned, Samples, as_floats, first_atoms, replace_atoms
from baselines.pursuit.compiled import Array, compiled
from baselines.pursuit.encode import encode
from baselines.pursuit.threads import gram_of, over_blocks

Update = Literal["approximate", "exact", "mod"]


class Compressed(NamedTuple):
    """Codes as the kernels read them: CSR or CSC, by sample or by atom."""

    data: Array
    indices: Array
    indptr: Array


def compressed(codes: csr_array | csc_array) -> Compressed:
    """Return the three arrays of the codes, not copied."""
    return Compressed(codes.data, codes.indices, codes.indptr)


@partial(compiled, allocates=True)
def _update_approximate(R: Array, rows: Array, codes: Compressed) -> None:
    """Set d = normalised E'g, then g = E d, for each atom d and its coefficients g.

    E is the residual without the atom on the samples that use it: E = R + g d'. It is never made:
    E'g = R'g + norm(g)**2 d and E d' = R d' + g d d'. The residual R follows on the way.
    """
    data, indices, indptr = codes
    n_atoms, n_features = rows.shape
    new = np.empty(n_features, R.dtype)
    for j in range(n_atoms):
        first = indptr[j]
        last = indptr[j + 1]
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
def _update_exact(R: Array, rows: Array, codes: Compressed, tol: float, work: Workspace) -> None:
    """Set g d' to the best rank-one approximation of E for each atom d and its coefficients g.

    E, the residual without the atom on the samples that use it, is gathered into `work`, its
    leading right singular vector is d, and g = E d. The search starts from E'g and a little of each
    sample, in shares of the golden ratio: E'g alone may be another singular vector.
    """
    data, indices, indptr = codes
    E = work.E
    new = work.basis[0]
    for j in range(len(rows)):
        first = indptr[j]
        n = indptr[j + 1] - indptr[j]
        old = rows[j]
        size = R.dtype.type(0)
        for f in range(len(old)):
            new[f] = 0
        for k in range(n):
            size += abs(data[first + k])
        for k in range(n):
            g = data[first + k]
            r = R[indices[first + k]]
            e = E[k]
            start = R.dtype.type(g + 0.1 * size / n * (k * 0.618034 % 1 - 0.5))
            for f in range(len(old)):
                e[f] = r[f] + g * old[f]
                new[f] += start * e[f]
        if not leading(n, tol, work):
            continue
        for k in range(n):
            r = R[indices[first + k]]
            e = E[k]
            g = R.dtype.type(0)
            for f in range(len(old)):
                g += e[f] * new[f]
            for f in range(len(old)):
                r[f] = e[f] - g * new[f]
            data[first + k] = g
        for f in range(len(old)):
            old[f] = new[f]


@compiled
def _subtract_atoms(R: Array, rows: Array, codes: Compressed) -> None:
    """Compute R -= codes @ rows, sample by sample."""
    data, indices, indptr = codes
    for i in range(len(R)):
        r = R[i]
        for k in range(indptr[i], indptr[i + 1]):
            c = data[k]
            row = rows[indices[k]]
            for f in range(len(r)):
                r[f] -= c * row[f]


def update_approximate(R: Array, rows: Array, codes: csc_array) -> None:
    """Improve each atom and its coefficients by one alternation of least squares, in place.

    Parameters
    ----------
    R
        X - codes @ rows, (n_samples, n_features).
    rows
        Unit-norm atoms, (n_atoms, n_features).
    codes
        Shape (n_samples, n_atoms).

    References
    ----------
    Rubinstein, Zibulevsky and Elad, Efficient implementation of the K-SVD algorithm using batch
    orthogonal matching pursuit, 2008.
    """
    _update_approximate(R, rows, compressed(codes))


def update_exact(R: Array, rows: Array, codes: csc_array) -> None:
    """Make each atom and its coefficients the best rank-one term, in place.

    To singular vectors as exact as the type allows; the arguments are those of
    `update_approximate`.

    References
    ----------
    Aharon, Elad and Bruckstein, K-SVD, 2006.
    """
    most_uses = int(np.diff(codes.indptr).max(initial=0))
    work = empty_workspace(most_uses, rows.shape[1], R.dtype)
    tol = float(np.finfo(R.dtype).eps) ** (2 / 3)
    _update_exact(R, rows, compressed(codes), tol, work)


def update_mod(X: Array, rows: Array, codes: csc_array) -> None:
    """Minimise norm(X - codes @ rows)**2 over all atoms at once, and move their norms to the codes.

    In place; atoms that no code uses stay. The samples X are (n_samples, n_features), the other
    arguments those of `update_approximate`.

    References
    ----------
    Engan, Aase and Hakon Husoy, Method of optimal directions for frame design, 1999.
    """
    moments = (codes.T @ codes).toarray()
    ridge = 1e-6 * np.trace(moments) / len(moments)
    moments.flat[:: len(moments) + 1] += ridge or 1.0  # 1 where no code is used
    best = np.linalg.solve(moments, codes.T @ X)
    norms = np.linalg.norm(best, axis=1)
    norms[norms <= 1e-12] = 0
    rows[:] = np.where(norms[:, None] > 0, best / np.maximum(norms, 1e-12)[:, None], rows)
    codes.data *= np.repeat(norms, np.diff(codes.indptr))


def residual(X: Array, codes: csr_array, rows: Array, n_threads: int | None) -> Array:
    """Compute X - codes @ rows, on `n_threads` threads, in the type of `rows`."""
    R = np.empty(X.shape, rows.dtype)

    def work(part: slice) -> None:
        R[part] = X[part]
        indptr = codes.indptr[part.start : part.stop + 1]
        _subtract_atoms(R[part], rows, Compressed(codes.data, codes.indices, indptr))

    over_blocks(work, len(X), n_threads)
    return R


def mean_error(R: Array, n_threads: int | None) -> float:
    """Compute the mean of 0.5*norm(r)**2 over samples, added up in double precision."""
    sums = over_blocks(lambda part: np.square(R[part], dtype=np.float64).sum(), len(R), n_threads)
    return 0.5 * float(sum(sums)) / max(len(R), 1)


@dataclass(frozen=True, kw_only=True)
class KSVD:
    """Minimise 0.5*norm(X - codes @ D.T)**2 over D and codes with `n_nonzero` entries at most.

    Parameters
    ----------
    n_atoms
        Number of atoms.
    n_nonzero
        Non-zeros of a code at most.
    update
        "approximate", one alternation an atom; "exact", the singular value decomposition; "mod",
        all atoms at once.
    seed
        Of the samples that are the first atoms.
    n_threads
        Threads of the pursuit and of the products; None for all cores that this process may use.

    References
    ----------
    Aharon, Elad and Bruckstein, K-SVD: An algorithm for designing overcomplete dictionaries for
    sparse representation, 2006.
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

    def objective(self, X: Array, D: Array) -> float:
        """Compute the mean of 0.5*norm(x - D c)**2 with the codes of Batch-OMP."""
        X = as_floats(X)
        rows = np.ascontiguousarray(D.T)
        R = residual(X, self._codes(X, D), rows, self.n_threads)
        return mean_error(R, self.n_threads)

    def steps(self, X: Samples, start: Learned | None = None) -> Iterator[Learned]:
        """Yield the dictionary after each iteration, without end.

        `X` is one array (n_samples, n_features), because each iteration sees all samples;
        `history` is the mean of 0.5*norm(x - D c)**2 after each update.

        Raises
        ------
        ValueError
            If `X` is a stream.
        """
        if not isinstance(X, np.ndarray):
            raise ValueError(
                "KSVD: needs all samples at once, as an array; Online learns from a stream"
            )
        X = as_floats(X)
        state = start
        if state is None:
            state = Learned(first_atoms(X, self.n_atoms, np.random.default_rng(self.seed)))
        while True:
            codes = self._codes(X, state.D)
            rows = np.ascontiguousarray(state.D.T)
            R = residual(X, codes, rows, self.n_threads)
            by_atom = csc_array(codes)
            if self.update == "approximate":
                update_approximate(R, rows, by_atom)
            elif self.update == "exact":
                update_exact(R, rows, by_atom)
            else:
                update_mod(X, rows, by_atom)
                R = X - by_atom @ rows
            error = mean_error(R, self.n_threads)
            D = np.ascontiguousarray(rows.T)
            replace_atoms(D, gram_of(D, self.n_threads), np.diff(by_atom.indptr), R, X)
            state = Learned(D, state.n_iter + 1, (*state.history, error))
            yield state

    def _codes(self, X: Array, D: Array) -> csr_array:
        n_nonzero = self.n_nonzero
        codes: csr_array = encode(
            X, D, n_nonzero=n_nonzero, sparse=True, n_threads=self.n_threads
        ).codes
        return codes
