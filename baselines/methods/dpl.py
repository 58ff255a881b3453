"""DPL of the library dictlearn."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from baselines.features.coders import Floats
from baselines.methods.discriminative import (
    Discriminative,
    FeatureClassifier,
    View,
    unit_rows,
)
from baselines.pursuit.compiled import Array
from ddl_bench.api import About, Classifier, CodeStats, Deadline
from ddl_bench.options import Positive


@dataclass(frozen=True)
class DictionaryPairs(FeatureClassifier):
    """Classify by a dictionary and a projection for each class.

    Parameters
    ----------
    model
        The fitted model of dictlearn.
    """

    model: Any
    has_pursuit: ClassVar[bool] = False

    def arrays(self) -> list[Floats]:
        """Return the arrays that prediction uses, those of the features apart."""
        return [*self.model.dictionaries_, self.model.encoders_]

    def known_scores(self, signals: Floats) -> Floats:
        """Return the library's decision function."""
        scores = self.model.decision_function(signals.astype(np.float64))
        return np.stack([-scores, scores], 1) if scores.ndim == 1 else np.asarray(scores)

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
class DPL(Discriminative):
    """Dictionary pair learning: for each class a dictionary, and a projection that finds its codes.

    A budget in seconds does not cut it short. ModuleNotFoundError is raised where dictlearn is not
    installed.

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
        published="on small sets of faces and objects; none for the data sets here",
        differs="pooled sparse codes of patches by default, or features=pixels, where the "
        "publication has random projections of faces and spatial pyramids of objects; as the "
        "library implements it, on at most n_samples images",
        needs=("dictlearn",),
    )
    n_samples: Positive | None = 10_000
    n_atoms: Positive = 150
    n_iter: Positive = 20

    def prepare(self, n_threads: int) -> None:
        """Import the library."""
        self._kind()

    def fit(
        self, X: Floats, y: Array, view: View, seed: int, deadline: Deadline
    ) -> Iterator[Classifier]:
        """Yield the one classifier of features X (n_samples, n_features) with labels y."""
        per_class = max(self.n_atoms // len(view.classes), 1)
        model = self._kind()(n_components=per_class, max_iter=self.n_iter, random_state=seed)
        with warnings.catch_warnings():
            # Of the linear systems that it solves: the accuracy will tell.
            warnings.simplefilter("ignore")
            model.fit(X.astype(np.float64), y)
        yield DictionaryPairs(view, model)

    def _kind(self) -> Callable[..., Any]:
        kind: Callable[..., Any] = import_module("dictlearn.classification").DPLClassifier
        return kind
