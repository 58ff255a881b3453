"""SRC and DPL of the library dictlearn."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from baselines.features.coders import Floats
from baselines.methods.discriminative import (
    FACES,
    PATCHES,
    Discriminative,
    FeatureClassifier,
    View,
    unit_rows,
)
from baselines.pursuit.compiled import Array
from baselines.pursuit.encode import encode
from ddl_bench.api import About, Classifier, CodeStats, Deadline
from ddl_bench.options import Positive


@dataclass(frozen=True)
class LibraryClassifier(FeatureClassifier):
    """Classify by a model of dictlearn.

    Parameters
    ----------
    model
        The fitted model.
    names
        Of those of its arrays that prediction uses.
    """

    model: Any
    names: tuple[str, ...]

    def arrays(self) -> list[Floats]:
        """Return the arrays that prediction uses, those of the features apart."""
        return [part for name in self.names for part in getattr(self.model, name)]

    def n_constants(self) -> int:
        """Count the labels of atoms."""
        return int(np.size(getattr(self.model, "atom_classes_", ())))

    def known_scores(self, signals: Floats) -> Floats:
        """Return the library's decision function."""
        scores = self.model.decision_function(signals.astype(np.float64))
        return np.stack([-scores, scores], 1) if scores.ndim == 1 else np.asarray(scores)


@dataclass(frozen=True, kw_only=True)
class Library(Discriminative):
    """Fit a classifier of dictlearn, which a budget in seconds does not cut short.

    ModuleNotFoundError is raised where dictlearn is not installed.
    """

    kind: ClassVar[str]  # class of the library
    names: ClassVar[tuple[str, ...]]  # of the arrays that prediction uses
    fitted: ClassVar[type[LibraryClassifier]]

    def options(self, y: Array) -> dict[str, Any]:
        """Return the arguments of the library's class for labels y (n_samples,)."""
        raise NotImplementedError

    def prepare(self, n_threads: int) -> None:
        """Import the library."""
        self._kind()

    def fit(
        self, X: Floats, y: Array, view: View, seed: int, deadline: Deadline
    ) -> Iterator[Classifier]:
        """Yield the one classifier of features X (n_samples, n_features) with labels y."""
        model = self._kind()(random_state=seed, **self.options(y))
        with warnings.catch_warnings():
            # Of the linear systems that it solves: the accuracy will tell.
            warnings.simplefilter("ignore")
            model.fit(X.astype(np.float64), y)
        yield self.fitted(view, model, self.names)

    def _kind(self) -> Callable[..., Any]:
        kind: Callable[..., Any] = getattr(import_module("dictlearn.classification"), self.kind)
        return kind


class Coded(LibraryClassifier):
    """Classify by codes in all labelled images."""

    def code_stats(self, X: Tensor, /) -> CodeStats:
        """Count the codes of images X."""
        signals = unit_rows(self.view.layers, X)
        D = self.model.dictionary_.T
        codes = encode(
            signals,
            D,
            n_nonzero=self.model._n_nonzero_,
            sparse=True,
            n_threads=self.view.n_threads,
        ).codes
        return CodeStats.of(signals=signals, codes=codes, residual=signals - codes @ D.T)


class Paired(LibraryClassifier):
    """Classify by a dictionary and a projection for each class."""

    has_pursuit: ClassVar[bool] = False

    def code_stats(self, X: Tensor, /) -> CodeStats:
        """Count the codes of images X, each that of the class that leaves the least of it.

        The other classes have zeros.
        """
        signals = unit_rows(self.view.layers, X)
        dictionaries = self.model.dictionaries_
        codes = (signals @ self.model.encoders_.T).reshape(len(X), len(dictionaries), -1)
        errors = np.empty((len(X), len(dictionaries)))
        for k, D in enumerate(dictionaries):
            errors[:, k] = np.square(signals - codes[:, k] @ D.T).sum(1)
        chosen = codes[np.arange(len(X)), errors.argmin(1)]
        return CodeStats(
            n_nonzero=int(np.count_nonzero(chosen)),
            n_entries=codes.size,
            squared_error=float(errors.min(1).sum()),
            squared_norm=float(np.square(signals).sum()),
        )


@dataclass(frozen=True, kw_only=True)
class SRC(Library):
    """Sparse-representation classification: the class whose images leave the smallest residual.

    Parameters
    ----------
    n_nonzero
        Non-zeros of each code, at most one for each image.
    """

    name: ClassVar[str] = "src"
    about: ClassVar[About] = About(
        family="dictionaries, discriminative",
        formula="argmin_k norm(x - D_k codes_k), codes of x in all training images",
        references=("wright2009",),
        published=FACES,
        differs=f"{PATCHES} down-sampled faces, random projections and eigenfaces; codes of "
        "n_nonzero atoms, not those of the least norm1; at most n_samples images",
        needs=("dictlearn",),
    )
    kind: ClassVar[str] = "SRCClassifier"
    names: ClassVar[tuple[str, ...]] = ("dictionary_",)
    fitted: ClassVar[type[LibraryClassifier]] = Coded
    n_samples: Positive | None = 2000
    n_nonzero: Positive = 5

    def options(self, y: Array) -> dict[str, Any]:
        """Return the arguments of the library's class for labels y (n_samples,)."""
        return {"n_nonzero_coefs": min(self.n_nonzero, len(y))}


@dataclass(frozen=True, kw_only=True)
class DPL(Library):
    """Dictionary pair learning: for each class a dictionary, and a projection that finds its codes.

    Parameters
    ----------
    n_atoms
        Number of atoms of all classes together.
    n_iter
        Alternations between dictionaries and projections.
    """

    name: ClassVar[str] = "dpl"
    about: ClassVar[About] = About(
        family="dictionaries, discriminative",
        formula="argmin_k norm(x - D_k P_k x)",
        references=("gu2014",),
        published=FACES,
        differs=f"{PATCHES} random projections of faces and spatial pyramids of objects; as the "
        "library implements it, on at most n_samples images",
        needs=("dictlearn",),
    )
    kind: ClassVar[str] = "DPLClassifier"
    names: ClassVar[tuple[str, ...]] = ("dictionaries_", "encoders_")
    fitted: ClassVar[type[LibraryClassifier]] = Paired
    n_atoms: Positive = 150
    n_iter: Positive = 20

    def options(self, y: Array) -> dict[str, Any]:
        """Return the arguments of the library's class for labels y (n_samples,)."""
        per_class = max(self.n_atoms // len(np.unique(y)), 1)
        return {"n_components": per_class, "max_iter": self.n_iter}
