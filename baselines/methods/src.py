"""SRC: the class whose images explain an image best (Wright et al., 2009)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from baselines.features.coders import Floats
from baselines.methods.discriminative import (
    CodingClassifier,
    Discriminative,
    View,
    double,
    n_nonzero_for,
)
from baselines.pursuit.compiled import Array
from baselines.pursuit.encode import encode
from ddl_bench.api import About, Classifier, Deadline
from ddl_bench.options import Positive


@dataclass(frozen=True)
class ClassResiduals(CodingClassifier):
    """Classify by what the atoms of each class leave of a signal, in its codes in all of them.

    Parameters
    ----------
    ends
        Where the columns of each class end in D, (len(view.classes),).
    gram
        D'D, (n_atoms, n_atoms), which makes codes of a few images fast.
    """

    ends: Array
    gram: Floats

    def arrays(self) -> list[Floats]:
        """Return the arrays that prediction uses, those of the features apart."""
        return [self.D]

    def n_constants(self) -> int:
        """Count the ends."""
        return len(self.ends)

    def known_gram(self) -> Floats:
        """Return the Gram matrix."""
        return self.gram

    def n_following(self) -> int:
        """Count the Gram matrix."""
        return self.gram.size

    def known_scores(self, signals: Floats) -> Floats:
        """Return -norm(x - D_k codes_k)**2 of unit-norm features x (n, n_features) for each k."""
        codes = self.codes(signals).tocsc()
        scores = np.empty((len(signals), len(self.ends)), self.D.dtype)
        first = 0
        for k, last in enumerate(self.ends.tolist()):
            residual = signals - codes[:, first:last] @ self.D[:, first:last].T
            scores[:, k] = -np.square(residual).sum(1)
            first = last
        return scores


@dataclass(frozen=True, kw_only=True)
class SRC(Discriminative):
    """Sparse-representation classification: the class whose images leave the smallest residual.

    Memory and the time of a prediction grow with the number of images.

    Parameters
    ----------
    n_nonzero
        Non-zeros of each code, at most one for each image and each feature. None: 60, at most one
        for ten features.
    """

    name: ClassVar[str] = "src"
    about: ClassVar[About] = About(
        family="dictionaries, discriminative",
        formula="argmin_k norm(x - D_k codes_k), codes of x in all training images",
        references=("wright2009",),
        published="on small sets of faces and objects; none for the data sets here",
        differs="pooled sparse codes of patches by default, or features=pixels, where the "
        "publication has down-sampled faces, random projections and eigenfaces; codes of "
        "n_nonzero atoms, not those of the least norm1; at most n_samples images",
    )
    n_samples: Positive | None = 10_000
    n_nonzero: Positive | None = None

    def prepare(self, n_threads: int) -> None:
        """Code a little noise, so that what is compiled is there."""
        noise = np.random.default_rng(0).standard_normal((64, 8))
        encode(noise, noise[:16].T, n_nonzero=2, sparse=True, n_threads=n_threads)

    def fit(
        self, X: Floats, y: Array, view: View, seed: int, deadline: Deadline
    ) -> Iterator[Classifier]:
        """Yield the one classifier of features X (n_samples, n_features) with labels y."""
        order = np.argsort(y, kind="stable")
        D = double(X[order].T)
        ends = np.searchsorted(y[order], view.classes, side="right")
        n_nonzero = n_nonzero_for(self.n_nonzero, *D.shape)
        yield ClassResiduals(view, D, n_nonzero, ends, D.T @ D)
