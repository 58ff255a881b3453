"""K-SVD of samples beside their labels: D-KSVD, and LC-KSVD where atoms belong to classes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve
from scipy.sparse import csc_array, csr_array

from baselines.learning.ksvd import KSVD, count_uses, residual, update_approximate
from baselines.learning.samples import (
    as_floats,
    as_matrix,
    as_samples,
    check_weights,
    unit_columns,
)
from baselines.pursuit.compiled import Array
from baselines.pursuit.encode import encode

RIDGE = 1e-3  # of the first maps of codes to labels; samples have about unit norm


class Labelled(NamedTuple):
    """A dictionary, and the map from its codes to labels.

    Parameters
    ----------
    D
        Unit-norm atoms, (n_features, n_atoms).
    W
        Shape (n_classes, n_atoms): the scores of classes are codes @ W.T.
    """

    D: Array
    W: Array


@dataclass(frozen=True, kw_only=True)
class LabelledKSVD:
    """Minimise the objective below over D, W, A and codes with `n_nonzero` entries at most.

    norm(X - codes @ D.T)**2 + alpha*norm(labels - codes @ W.T)**2
    + beta*norm(shares - codes @ A.T)**2

    `labels` (n_samples, n_classes) is 1 in the column of the class of a sample, and `shares`
    (n_samples, n_atoms) in the columns of the atoms that belong to it; both are 0 elsewhere. This
    is one K-SVD of the samples beside their weighted labels and shares.

    Parameters
    ----------
    n_atoms
        Number of atoms. With beta > 0 at least as many as classes: each has an equal share of them,
        but at most one for two of its samples.
    n_nonzero
        Non-zeros of a code at most; no more than atoms or features.
    alpha
        Weight of the labels, more than 0.
    beta
        Weight of the shares. 0: no atom belongs to a class, which is D-KSVD; above, LC-KSVD.
    seed
        Of the samples that are the first atoms.
    n_threads
        CPU threads; None for all cores that this process may use.

    Notes
    -----
    Unused atoms are replaced by the samples that are represented worst, beside their labels. Jiang,
    Lin and Davis call the weight of the labels beta, and that of the shares alpha.

    References
    ----------
    Zhang and Li, Discriminative K-SVD for dictionary learning in face recognition, 2010. Jiang, Lin
    and Davis, Label consistent K-SVD: learning a discriminative dictionary for recognition, 2013.
    """

    n_atoms: int
    n_nonzero: int
    alpha: float
    beta: float = 0.0
    seed: int = 0
    n_threads: int | None = None

    def __post_init__(self) -> None:
        self._ksvd(self.n_atoms)
        check_weights("LabelledKSVD", alpha=self.alpha, beta=self.beta)
        if self.alpha == 0:
            raise ValueError("LabelledKSVD: alpha=0 must be more than 0, or labels have no effect")

    def first_steps(self, X: Array, y: Array) -> Iterator[Array]:
        """Yield a dictionary of samples X (n_samples, n_features) after each K-SVD iteration.

        To begin `steps` from, without end. With beta > 0 each class of the labels y (n_samples,)
        has a dictionary of its own samples, and they stand side by side.

        Raises
        ------
        ValueError
            If samples or labels are not as described, or atoms are fewer than classes.
        """
        X, y, n_classes = self._checked(X, y)
        if self.beta == 0:
            parts = [self._ksvd(self.n_atoms).steps(X)]
        else:
            shares = enumerate(self._shares(y, n_classes).tolist())
            parts = [self._ksvd(share).steps(X[y == k]) for k, share in shares]
        for learned in zip(*parts, strict=True):
            yield np.hstack([part.D for part in learned])

    def steps(self, X: Array, y: Array, D: Array) -> Iterator[Labelled]:
        """Yield what a dictionary D becomes: first with its best W, then after each iteration.

        Without end. Samples X (n_samples, n_features), about of unit norm, have labels y
        (n_samples,) of any values; W has a row for each, in ascending order.

        Raises
        ------
        ValueError
            If samples, labels and `D` (n_features, n_atoms) do not fit.
        """
        X, y, n_classes = self._checked(X, y)
        D = unit_columns(as_floats(as_matrix(D, "D", "(n_features, n_atoms)")).astype(X.dtype))
        owners = np.repeat(np.arange(n_classes), self._shares(y, n_classes)) if self.beta else None
        expected = (X.shape[1], self.n_atoms if owners is None else len(owners))
        if D.shape != expected:
            raise ValueError(f"LabelledKSVD: D has shape {D.shape}; expected {expected}")
        labels = np.eye(n_classes, dtype=X.dtype)[y]
        targets = labels * float(np.sqrt(self.alpha))
        if owners is not None:
            targets = np.hstack([targets, labels[:, owners] * float(np.sqrt(self.beta))])
        both = np.vstack([D, _ridge(self._codes(X, D), targets)])
        yield self._split(both, X.shape[1], n_classes)
        stacked = np.hstack([X, targets])
        both = unit_columns(both)
        while True:
            codes = self._codes(stacked, both)
            rows = np.array(both.T, order="C")
            R = residual(stacked, codes, rows, self.n_threads)
            by_atom = csc_array(codes)
            update_approximate(R, rows, by_atom)
            both = np.ascontiguousarray(rows.T)
            unused = np.flatnonzero(count_uses(by_atom) == 0)
            worst = np.argsort(-np.einsum("ij,ij->i", R, R), kind="stable")[: len(unused)]
            both[:, unused[: len(worst)]] = unit_columns(stacked[worst].T)
            yield self._split(both, X.shape[1], n_classes)

    def _checked(self, X: Array, y: Array) -> tuple[Array, Array, int]:
        """Return the samples as floats, the number of each label's class, and how many there are.

        Raises ValueError where samples and labels do not fit each other or this learner.
        """
        X = as_floats(as_samples(X))
        y = np.asarray(y)
        if y.shape != (len(X),):
            raise ValueError(
                f"LabelledKSVD: y has shape {y.shape}; expected ({len(X)},), a label a sample"
            )
        if self.n_nonzero > X.shape[1]:
            raise ValueError(
                f"LabelledKSVD: n_nonzero={self.n_nonzero} must be at most the"
                f" {X.shape[1]} features of X"
            )
        classes, y = np.unique(y, return_inverse=True)
        return X, y, len(classes)

    def _ksvd(self, n_atoms: int) -> KSVD:
        """Return what learns so many of the atoms, whose codes have no more non-zeros than them."""
        n_nonzero = self.n_nonzero if n_atoms == self.n_atoms else min(self.n_nonzero, n_atoms)
        return KSVD(n_atoms=n_atoms, n_nonzero=n_nonzero, seed=self.seed, n_threads=self.n_threads)

    def _shares(self, y: Array, n_classes: int) -> Array:
        """Return how many atoms belong to each class of the numbered labels y."""
        shares = np.diff(np.arange(n_classes + 1) * self.n_atoms // n_classes)
        if shares.min() < 1:
            raise ValueError(
                f"LabelledKSVD: n_atoms={self.n_atoms} must be at least the {n_classes} classes"
                " where beta > 0, so that each has an atom"
            )
        return np.minimum(shares, np.maximum(np.bincount(y) // 2, 1))

    def _codes(self, X: Array, D: Array) -> csr_array:
        n_nonzero = min(self.n_nonzero, D.shape[1])
        codes: csr_array = encode(
            X, D, n_nonzero=n_nonzero, sparse=True, n_threads=self.n_threads
        ).codes
        return codes

    def _split(self, both: Array, n_features: int, n_classes: int) -> Labelled:
        """Bring atoms to unit norm without their labels, which are scaled alike."""
        D = both[:n_features]
        norms = np.linalg.norm(D, axis=0)
        norms = np.maximum(norms, np.finfo(D.dtype).tiny)
        W = both[n_features : n_features + n_classes] / float(np.sqrt(self.alpha))
        return Labelled(np.ascontiguousarray(D / norms), W / norms)


def _ridge(codes: csr_array, targets: Array) -> Array:
    """Minimise norm(targets - codes @ B.T)**2 + RIDGE*norm(B)**2 over B (n_targets, n_atoms)."""
    codes = codes.astype(np.float64)  # rounding in single precision may exceed the ridge
    moments = (codes.T @ codes).toarray()
    moments.flat[:: len(moments) + 1] += RIDGE
    return np.asarray(solve(moments, codes.T @ targets, assume_a="pos").T, targets.dtype)
