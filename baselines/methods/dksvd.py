"""D-KSVD and LC-KSVD: a dictionary learned for its samples and their labels, in one K-SVD."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import numpy as np

from baselines.features.coders import Floats
from baselines.learning.labelled import LabelledKSVD
from baselines.methods.discriminative import (
    SEEN_SHARE,
    CodingClassifier,
    Discriminative,
    View,
    double,
    n_nonzero_for,
)
from baselines.pursuit.compiled import Array
from baselines.pursuit.encode import encode
from ddl_bench.api import About, Classifier, Deadline
from ddl_bench.options import NotNegative, Positive, PositiveFloat

FACES = "on small sets of faces and objects; none for the data sets here"
PATCHES = "pooled sparse codes of patches by default, or features=pixels, where the publication has"
FIRST_SHARE = 0.75  # of a budget in seconds, after which the labels join


@dataclass(frozen=True)
class LinearCodes(CodingClassifier):
    """Classify by a linear map of codes in one dictionary.

    Parameters
    ----------
    W
        Shape (n_classes, n_atoms); the scores are codes @ W.T.
    """

    W: Floats

    def arrays(self) -> list[Floats]:
        """Return the arrays that prediction uses, those of the features apart."""
        return [self.D, self.W]

    def known_scores(self, signals: Floats) -> Floats:
        """Return scores of unit-norm features (n, n_features)."""
        return np.asarray(self.codes(signals) @ self.W.T)


@dataclass(frozen=True, kw_only=True)
class DKSVD(Discriminative):
    """Discriminative K-SVD: atoms and a linear readout of their codes, learned in one K-SVD.

    Parameters
    ----------
    n_atoms
        Number of atoms, at most one for two images.
    n_nonzero
        Non-zeros of each code, at most one for each atom and each feature. None: 60, at most one
        for ten features.
    alpha
        Weight of the labels beside the images, whose features have norm 1.
    n_first
        Passes over all images without their labels, for the atoms to begin with.
    n_iter
        Passes over all images with their labels. 0: labels only choose the readout.
    """

    name: ClassVar[str] = "d-ksvd"
    about: ClassVar[About] = About(
        family="dictionaries, discriminative",
        formula="min norm(X - codes @ D.T)**2 + alpha * norm(labels - codes @ W.T)**2, n_nonzero "
        "atoms a code",
        references=("zhang2010",),
        published=FACES,
        differs=f"{PATCHES} random projections of faces; approximate K-SVD",
    )
    n_atoms: Positive = 300
    n_nonzero: Positive | None = None
    alpha: PositiveFloat = 0.0001
    n_first: Positive = 20
    n_iter: NotNegative = 10

    def learner(self, y: Array, n_features: int, seed: int, n_threads: int) -> LabelledKSVD:
        """Return what learns from labels y (n_samples,)."""
        n_atoms = max(min(self.n_atoms, len(y) // 2), 1)
        return LabelledKSVD(
            n_atoms=n_atoms,
            n_nonzero=n_nonzero_for(self.n_nonzero, n_features, n_atoms),
            alpha=self.alpha,
            seed=seed,
            n_threads=n_threads,
        )

    def prepare(self, n_threads: int) -> None:
        """Learn from a little noise, so that what is compiled is there."""
        noise = np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)
        y = np.arange(64) % 2
        learner = LabelledKSVD(n_atoms=4, n_nonzero=2, alpha=1, n_threads=n_threads)
        D = next(learner.first_steps(noise, y))
        *_, learned = islice(learner.steps(noise, y, D), 2)
        encode(double(noise), double(learned.D), n_nonzero=2, n_threads=n_threads)

    def fit(
        self, X: Floats, y: Array, view: View, seed: int, deadline: Deadline
    ) -> Iterator[Classifier]:
        """Yield classifiers of unit-norm features X (n_samples, n_features) with labels y."""
        learner = self.learner(y, X.shape[1], seed, view.n_threads)
        first = self._first(learner, X, y, deadline)
        for step, (D, W) in enumerate(islice(learner.steps(X, y, first), self.n_iter + 1)):
            self._report(self.n_first + step, deadline)
            n_nonzero = min(learner.n_nonzero, D.shape[1])
            yield LinearCodes(view, double(D), n_nonzero, double(W))

    def _first(self, learner: LabelledKSVD, X: Floats, y: Array, deadline: Deadline) -> Floats:
        """Return the dictionary to begin with."""
        dictionaries = learner.first_steps(X, y)
        D = next(dictionaries)
        for step in range(1, self.n_first):
            if deadline.fraction() > FIRST_SHARE:
                break
            D = next(dictionaries)
            self._report(step, deadline)
        return D

    def _report(self, step: int, deadline: Deadline) -> None:
        share = step / (self.n_first + self.n_iter)
        deadline.report(SEEN_SHARE + (1 - SEEN_SHARE) * share)


@dataclass(frozen=True, kw_only=True)
class LCKSVD(DKSVD):
    """Label-consistent K-SVD: D-KSVD in which each class has its share of the atoms.

    Learning begins from a dictionary of each class, of at most one atom for two of its images. Its
    authors call the weight of the labels beta, and that of the shares alpha.

    Parameters
    ----------
    beta
        Weight of the shares beside the images, whose features have norm 1.
    """

    name: ClassVar[str] = "lc-ksvd"
    about: ClassVar[About] = About(
        family="dictionaries, discriminative",
        formula="min norm(X - codes @ D.T)**2 + alpha * norm(labels - codes @ W.T)**2 + "
        "beta * norm(shares - codes @ A.T)**2, n_nonzero atoms a code",
        references=("jiang2013",),
        published=FACES,
        differs=f"{PATCHES} random projections of faces and spatial pyramids of objects; "
        "approximate K-SVD; the authors' code for faces has 15 atoms a class, 30 non-zeros, 50 "
        "passes, alpha = 4 and beta = 16, in our symbols, of features whose scale is not ours",
    )
    beta: PositiveFloat = 0.00001

    def learner(self, y: Array, n_features: int, seed: int, n_threads: int) -> LabelledKSVD:
        """Return what learns from labels y (n_samples,), each of which has atoms of its own."""
        n_atoms = max(self.n_atoms, len(np.unique(y)))
        return LabelledKSVD(
            n_atoms=n_atoms,
            n_nonzero=n_nonzero_for(self.n_nonzero, n_features, n_atoms),
            alpha=self.alpha,
            beta=self.beta,
            seed=seed,
            n_threads=n_threads,
        )
