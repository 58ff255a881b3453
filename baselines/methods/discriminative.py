"""SRC, D-KSVD, LC-KSVD and DPL of the library dictlearn; published figures are for small sets of faces and objects."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from baselines.features.stack import BLOCK, Layer, features
from baselines.methods.sdl import SDL
from baselines.pursuit.compiled import Array as Floats
from baselines.pursuit.encode import encode
from ddl_bench.api import (
    About,
    Budget,
    Classifier,
    CodeStats,
    Deadline,
    Size,
    Stepwise,
    Task,
    Training,
)
from ddl_bench.options import NotNegative, Positive, PositiveFloat


@dataclass(frozen=True)
class Fitted:
    """A classifier of the library on unit-norm features of images, and which of its `arrays` prediction uses."""

    model: Any
    arrays: tuple[str, ...]
    layers: tuple[Layer, ...]
    n_classes: int

    def __call__(self, X: Tensor, /) -> Tensor:
        """The library's decision function; a class without training images scores less than all others."""
        known = self.model.decision_function(rows(self.layers, X))
        scores = np.full(
            (len(X), self.n_classes), known.min(initial=0) - abs(known).max(initial=0) - 1
        )
        scores[:, self.model.classes_] = np.stack([-known, known], 1) if known.ndim == 1 else known
        return torch.from_numpy(scores)

    def size(self) -> Size:
        """Labels of atoms and the floor of a contrast normalisation are constants."""
        n = sum(
            it.whitening.mean.numel() + it.whitening.matrix.numel() + it.D.numel()
            for it in self.layers
        )
        n += sum(np.size(part) for name in self.arrays for part in getattr(self.model, name))
        constants = len(self.layers) + np.size(getattr(self.model, "atom_classes_", ()))
        return Size(n_params=n, n_stored=n, n_buffers=constants)


class Coded(Fitted):
    def code_stats(self, X: Tensor, /) -> CodeStats:
        signals, D = rows(self.layers, X), self.model.dictionary_.T
        how = {"n_nonzero": self.model._n_nonzero_, "n_threads": torch.get_num_threads()}
        codes = encode(signals, D, sparse=True, **how).codes
        error, norm = (float(np.square(part).sum()) for part in (signals - codes @ D.T, signals))
        return CodeStats(
            n_nonzero=codes.nnz,
            n_entries=np.prod(codes.shape),
            squared_error=error,
            squared_norm=norm,
        )


class Paired(Fitted):
    def code_stats(self, X: Tensor, /) -> CodeStats:
        """An image's code is that of the class that leaves the least of it, among zeros for the other classes."""
        signals, dictionaries = rows(self.layers, X), self.model.dictionaries_
        codes = (signals @ self.model.encoders_.T).reshape(len(X), len(dictionaries), -1)
        errors = np.stack(
            [np.square(signals - codes[:, k] @ D.T).sum(1) for k, D in enumerate(dictionaries)], 1
        )
        n_nonzero = int(np.count_nonzero(codes[np.arange(len(X)), errors.argmin(1)]))
        norm = float(np.square(signals).sum())
        error = float(errors.min(1).sum())
        return CodeStats(
            n_nonzero=n_nonzero, n_entries=codes.size, squared_error=error, squared_norm=norm
        )


def rows(layers: tuple[Layer, ...], X: Tensor) -> Floats:
    """Pixels of images X, or what the layers pool of them, scaled to unit norm: (n, n_features)."""
    parts = [
        features(layers, part) if layers else part.flatten(1)
        for part in torch.split(X.cpu(), BLOCK)
    ]
    found = torch.cat(parts).double().numpy()
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12))


@dataclass(frozen=True, kw_only=True)
class Discriminative:
    """A classifier of dictlearn on unit-norm features.

    features: "pixels", or "patches": pooled sparse codes, by a layer of `sdl`. n_samples: images to learn from; 0: all.

    A budget in seconds does not cut it short. ModuleNotFoundError where dictlearn is not installed.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    arrays: ClassVar[tuple[str, ...]] = ("dictionary_", "classifier_")
    fitted: ClassVar[type[Fitted]] = Coded
    features: Literal["pixels", "patches"] = "pixels"
    n_samples: NotNegative = 5000
    options: ClassVar[
        Callable[[Any, Floats], dict[str, Any]]
    ]  # of the library's class, for labels (n_samples,)

    def start(self, task: Task, budget: Budget) -> Training:
        make = getattr(import_module("dictlearn.classification"), self.kind)
        return Stepwise(lambda deadline: self._steps(make, task, budget.seed, deadline))

    def _steps(
        self, make: Callable[..., Any], task: Task, seed: int, deadline: Deadline
    ) -> Iterator[Classifier]:
        sdl, layers = SDL(), tuple[Layer, ...]()
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(task.train)))
        X, y, n = task.train.X[order], task.train.y[order].numpy(), self.n_samples or len(order)
        if self.features == "patches":
            layers = (sdl.learn_layer([], sdl.geometry(task.image_shape)[0], X, seed, deadline),)
        samples = rows(layers, X[:n])
        lit = samples.any(1)  # a black image has no direction, and would be an atom of zeros
        model = make(random_state=seed, **self.options(y[:n][lit]))
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of the linear systems it solves: the accuracy will tell
            model.fit(samples[lit], y[:n][lit])
        yield self.fitted(model, self.arrays, layers, task.n_classes)


@dataclass(frozen=True, kw_only=True)
class SRC(Discriminative):
    """Sparse-representation classification: the class whose images, as atoms, leave the least of an image.

    n_nonzero: atoms of each code.
    """

    name: ClassVar[str] = "src"
    about: ClassVar[About] = About(
        family="dictionaries, discriminative",
        formula="argmin_k norm(x - D_k codes_k), codes of x in all training images",
        references=("wright2009",),
        published="on small sets of faces and objects; none for the data sets here",
        differs="codes of n_nonzero atoms, not those of the least norm1; at most n_samples images",
        needs=("dictlearn",),
    )
    kind: ClassVar[str] = "SRCClassifier"
    arrays: ClassVar[tuple[str, ...]] = ("dictionary_",)
    n_samples: NotNegative = 2000
    n_nonzero: Positive = 5

    def options(self, y: Floats) -> dict[str, Any]:
        return {"n_nonzero_coefs": self.n_nonzero}


@dataclass(frozen=True, kw_only=True)
class DKSVD(Discriminative):
    """Discriminative K-SVD: atoms and a linear readout of their codes, learned in one K-SVD.

    n_atoms: at most one for two images. n_nonzero: atoms of each code. alpha: weight of the labels. n_iter: passes.
    """

    name: ClassVar[str] = "d-ksvd"
    about: ClassVar[About] = About(
        family="dictionaries, discriminative",
        formula="min norm(X - codes D')**2 + alpha * norm(labels - codes W')**2, n_nonzero atoms a code",
        references=("zhang2010",),
        published="on small sets of faces and objects; none for the data sets here",
        differs="as the library implements it, on at most n_samples images",
        needs=("dictlearn",),
    )
    kind: ClassVar[str] = "DDLClassifier"
    n_atoms: Positive = 300
    n_nonzero: Positive = 6
    alpha: PositiveFloat = 1.0
    n_iter: Positive = 10

    def options(self, y: Floats) -> dict[str, Any]:
        how = {"n_nonzero_coefs": self.n_nonzero, "alpha": self.alpha, "max_iter": self.n_iter}
        return how | {
            "n_components": max(min(self.n_atoms, len(y) // 2), 1),
            "init_method": "trained",
        }


@dataclass(frozen=True, kw_only=True)
class LCKSVD(DKSVD):
    """Label-consistent K-SVD: D-KSVD in which each class has its share of the atoms.

    beta: weight of that.
    """

    name: ClassVar[str] = "lc-ksvd"
    about: ClassVar[About] = About(
        family="dictionaries, discriminative",
        formula="that of `d-ksvd` + beta * norm(shares - codes A')**2",
        references=("jiang2013",),
        published="on small sets of faces and objects; none for the data sets here",
        differs="as the library implements it, on at most n_samples images",
        needs=("dictlearn",),
    )
    kind: ClassVar[str] = "LCDLClassifier"
    alpha: PositiveFloat = 0.01
    beta: PositiveFloat = 0.01

    def options(self, y: Floats) -> dict[str, Any]:
        counts = np.unique(y, return_counts=True)[1]
        each = max(min(self.n_atoms // len(counts), int(counts.min()) // 2), 1)
        return super().options(y) | {"n_components": each, "beta": self.beta}


@dataclass(frozen=True, kw_only=True)
class DPL(Discriminative):
    """Dictionary pair learning: for each class a dictionary, and a projection that finds its codes.

    n_atoms: of all classes together. n_iter: alternations.
    """

    name: ClassVar[str] = "dpl"
    about: ClassVar[About] = About(
        family="dictionaries, discriminative",
        formula="argmin_k norm(x - D_k P_k x)",
        references=("gu2014",),
        published="on small sets of faces and objects; none for the data sets here",
        differs="as the library implements it, on at most n_samples images",
        needs=("dictlearn",),
    )
    kind: ClassVar[str] = "DPLClassifier"
    arrays: ClassVar[tuple[str, ...]] = ("dictionaries_", "encoders_")
    fitted: ClassVar[type[Fitted]] = Paired
    n_atoms: Positive = 150
    n_iter: Positive = 20

    def options(self, y: Floats) -> dict[str, Any]:
        return {"n_components": max(self.n_atoms // len(np.unique(y)), 1), "max_iter": self.n_iter}
