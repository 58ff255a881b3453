"""K-SVD of samples beside their labels: D-KSVD, and LC-KSVD where atoms belong to classes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve
from scipy.sparse import csr_array

from baselines.learning.ksvd import KSVD
from baselines.learning.learner import Learned
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
        Number of atoms; with beta > 0 at least as many as classes.
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
        X = as_floats(as_samples(X))
        classes, y = _numbered(y, len(X))
        if self.beta == 0:
            parts = [self._ksvd(self.n_atoms).steps(X)]
        else:
            counts = np.bincount(self._classes_of_atoms(len(classes)))
            parts = [self._ksvd(n).steps(X[y == k]) for k, n in enumerate(counts.tolist())]
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
        X = as_floats(as_samples(X))
        D = unit_columns(as_floats(as_matrix(D, "D", "(n_features, n_atoms)")).astype(X.dtype))
        classes, y = _numbered(y, len(X))
        labels = np.eye(len(classes), dtype=X.dtype)[y]
        targets = [float(np.sqrt(self.alpha)) * labels]
        if self.beta > 0:
            own = labels[:, self._classes_of_atoms(len(classes))]
            targets.append(float(np.sqrt(self.beta)) * own)
        codes = encode(X, D, n_nonzero=self.n_nonzero, sparse=True, n_threads=self.n_threads).codes
        start = np.vstack([D, *(_ridge(codes, target) for target in targets)])
        yield self._split(start, X.shape[1], len(classes))
        stacked = np.hstack([X, *targets])
        for learned in self._ksvd(self.n_atoms).steps(stacked, Learned(start)):
            yield self._split(learned.D, X.shape[1], len(classes))

    def _ksvd(self, n_atoms: int) -> KSVD:
        return KSVD(
            n_atoms=n_atoms,
            n_nonzero=min(self.n_nonzero, n_atoms),
            seed=self.seed,
            n_threads=self.n_threads,
        )

    def _classes_of_atoms(self, n_classes: int) -> Array:
        """Return the class of each atom, (n_atoms,): equal shares, up to one atom."""
        if self.n_atoms < n_classes:
            raise ValueError(
                f"LabelledKSVD: n_atoms={self.n_atoms} must be at least the {n_classes} classes"
                " where beta > 0, so that each has an atom"
            )
        return np.arange(self.n_atoms) * n_classes // self.n_atoms

    def _split(self, stacked: Array, n_features: int, n_classes: int) -> Labelled:
        """Bring atoms to unit norm without their labels, which are scaled alike."""
        D = stacked[:n_features]
        norms = np.linalg.norm(D, axis=0)
        norms = np.maximum(norms, np.finfo(D.dtype).tiny)
        W = stacked[n_features : n_features + n_classes] / float(np.sqrt(self.alpha))
        return Labelled(np.ascontiguousarray(D / norms), W / norms)


def _numbered(y: Array, n_samples: int) -> tuple[Array, Array]:
    """Return the classes of the labels y in ascending order, and the number of each label's."""
    if y.shape != (n_samples,):
        raise ValueError(
            f"LabelledKSVD: y has shape {y.shape}; expected ({n_samples},), a label for each sample"
        )
    return np.unique(y, return_inverse=True)


def _ridge(codes: csr_array, targets: Array) -> Array:
    """Minimise norm(targets - codes @ B.T)**2 + RIDGE*norm(B)**2 over B (n_targets, n_atoms)."""
    moments = (codes.T @ codes).toarray().astype(np.float64)
    moments.flat[:: len(moments) + 1] += RIDGE
    return np.asarray(solve(moments, codes.T @ targets, assume_a="pos").T, targets.dtype)
