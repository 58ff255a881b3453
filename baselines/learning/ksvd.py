"""K-SVD: codes by Batch-OMP, then one atom and its coefficients after the other; and MOD."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, get_args

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csc_array, csr_array

from baselines.learning.leading import Workspace, empty_workspace, leading, near_one
from baselines.learning.learner import Learned, first_atoms, replace_atoms, resume
from baselines.learning.samples import (
    Samples,
    as_floats,
    as_matrix,
    as_samples,
    check_counts,
    check_stream,
    in_unit,
    is_array,
    unit_of,
)
from baselines.pursuit.compiled import Array, compiled
from baselines.pursuit.encode import encode
from baselines.pursuit.threads import gram_of, over_blocks

Update = Literal["approximate", "exact", "mod"]
LEAST_PIVOT = 1e-3  # of the normal equations of MOD that are solved as they are
LEAST_GAIN = 1e-10  # share of the squared error that a step of conjugate gradients must promise
MOST_STEPS = 100


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
        scale = near_one(new)
        for f in range(n_features):
            new[f] *= scale
        for f in range(n_features):
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
    best = least_squares(codes, X)
    norms = np.linalg.norm(best, axis=1)
    norms[norms <= np.finfo(norms.dtype).eps * norms.max(initial=0)] = 0  # rounding errors
    is_used = norms > 0
    rows[is_used] = best[is_used] / norms[is_used, None]
    codes.data *= np.repeat(norms, np.diff(codes.indptr)).astype(codes.dtype)


def least_squares(codes: csc_array, X: Array) -> Array:
    """Minimise norm(X - codes @ B)**2 over B (n_atoms, n_features), in double precision.

    By the Cholesky factor of C'C, where C are the codes with columns of norm 1. A small pivot means
    that columns are nearly dependent, as where one sample is much larger than the rest. There the
    factor only preconditions conjugate gradients, which use C itself: its condition number is the
    square root of that of C'C. Rows of B that no code uses are 0.

    References
    ----------
    Björck, Numerical methods for least squares problems, 1996 (section 7.4).
    """
    C = csc_array(codes, dtype=np.float64, copy=True)
    sizes = np.sqrt(np.asarray(C.power(2).sum(axis=0)))
    sizes[sizes == 0] = 1
    C.data /= np.repeat(sizes, np.diff(C.indptr))
    moments = (C.T @ C).toarray()
    diagonal = moments.diagonal()
    ridge = 8 * len(moments) * np.finfo(np.float64).eps  # more than rounding can take away
    moments.flat[:: len(moments) + 1] = np.where(diagonal > 0, 1 + ridge, 1)
    factor = cho_factor(moments, lower=True, overwrite_a=True, check_finite=False)
    B = cho_solve(factor, (codes.T @ X) / sizes[:, None], check_finite=False)
    if factor[0].diagonal().min() ** 2 < LEAST_PIVOT:
        _descend_conjugate(C, X, factor, B)
    return np.asarray(B / sizes[:, None])


def _descend_conjugate(C: csc_array, X: Array, factor: tuple[Array, bool], B: Array) -> None:
    """Lower norm(X - C @ B)**2 in place, until a step would gain next to nothing."""
    R = X - C @ B
    floor = np.finfo(np.float64).eps ** 2 * float(np.square(X, dtype=np.float64).sum())
    gradient = C.T @ R
    move = cho_solve(factor, gradient, check_finite=False)
    gains = (gradient * move).sum(axis=0)
    for _ in range(MOST_STEPS):
        if gains.sum() <= LEAST_GAIN * float(np.square(R).sum()) + floor:
            return
        image = C @ move
        squares = np.square(image).sum(axis=0)
        step = np.divide(gains, squares, out=np.zeros_like(gains), where=squares > 0)
        B += step * move
        R -= step * image
        gradient = C.T @ R
        conditioned = cho_solve(factor, gradient, check_finite=False)
        new_gains = (gradient * conditioned).sum(axis=0)
        ratio = np.divide(new_gains, gains, out=np.zeros_like(gains), where=gains > 0)
        move = conditioned + ratio * move
        gains = new_gains


def count_uses(codes: csc_array) -> Array:
    """Count the non-zeros of each atom, (n_atoms,); an update may make a coefficient 0."""
    before = np.append(0, np.cumsum(codes.data != 0))
    return np.diff(before[codes.indptr])


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
        Non-zeros of a code at most; no more than atoms or features.
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
        check_counts("KSVD", n_atoms=self.n_atoms, n_nonzero=self.n_nonzero)
        check_counts("KSVD", least=0, seed=self.seed)
        if self.n_threads is not None:
            check_counts("KSVD", n_threads=self.n_threads)
        if self.update not in get_args(Update):
            raise ValueError(
                f"KSVD: update={self.update!r} must be one of {', '.join(get_args(Update))}"
            )
        if self.n_nonzero > self.n_atoms:
            raise ValueError(
                f"KSVD: n_nonzero={self.n_nonzero} must be at most n_atoms={self.n_atoms}"
            )

    def objective(self, X: Array, D: Array) -> float:
        """Compute the mean of 0.5*norm(x - D c)**2 with the codes of Batch-OMP."""
        X = as_floats(as_samples(X))
        unit = unit_of(X)
        X = in_unit(X, unit)
        D = as_floats(as_matrix(D, "D", "(n_features, n_atoms)"))
        rows = np.ascontiguousarray(D.T)
        R = residual(X, self._codes(X, D), rows, self.n_threads)
        return mean_error(R, self.n_threads) * unit * unit

    def steps(self, X: Samples, start: Learned | None = None) -> Iterator[Learned]:
        """Yield the dictionary after each iteration, without end.

        `X` is one array or tensor (n_samples, n_features), because each iteration sees all samples;
        `history` is the mean of 0.5*norm(x - D c)**2 after each update.

        Raises
        ------
        ValueError
            If `X` is a stream, or has no samples, fewer features than `n_nonzero` or entries that
            are not finite, or `start` does not fit.
        """
        if not is_array(X):
            check_stream(X)
            raise ValueError(
                "learn: KSVD needs all samples at once, as an array or a tensor;"
                f" X is a {type(X).__name__}; Online learns from a stream"
            )
        X = as_floats(as_samples(X))
        if self.n_nonzero > X.shape[1]:
            raise ValueError(
                f"learn: n_nonzero={self.n_nonzero} of KSVD must be at most the"
                f" {X.shape[1]} features of X"
            )
        unit = unit_of(X)
        X = in_unit(X, unit)
        if start is None:
            state = Learned(first_atoms(X, self.n_atoms, np.random.default_rng(self.seed)))
        else:
            state = resume(start, X, self.n_atoms, self.seed)
        while True:
            codes = self._codes(X, state.D)
            rows = np.array(state.D.T, order="C")
            R = residual(X, codes, rows, self.n_threads)
            by_atom = csc_array(codes)
            if self.update == "approximate":
                update_approximate(R, rows, by_atom)
            elif self.update == "exact":
                update_exact(R, rows, by_atom)
            else:
                update_mod(X, rows, by_atom)
                R = X - by_atom @ rows
            error = mean_error(R, self.n_threads) * unit * unit
            D = np.ascontiguousarray(rows.T)
            replace_atoms(D, gram_of(D, self.n_threads), count_uses(by_atom), R, X)
            state = Learned(D, state.n_iter + 1, (*state.history, error))
            yield state

    def _codes(self, X: Array, D: Array) -> csr_array:
        n_nonzero = self.n_nonzero
        codes: csr_array = encode(
            X, D, n_nonzero=n_nonzero, sparse=True, n_threads=self.n_threads
        ).codes
        return codes
