"""SRC, D-KSVD, LC-KSVD and DPL of the library dictlearn.

Published figures of these methods are for small sets of faces and objects.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from baselines.features.coders import Floats
from baselines.features.defaults import is_small
from baselines.features.readout import ABSENT
from baselines.features.stack import (
    BLOCK_IMAGES,
    StackLayer,
    pooled_features,
    product_flops,
)
from baselines.methods.sdl import SDL
from baselines.pursuit.encode import encode
from ddl_bench.api import (
    About,
    Budget,
    Classifier,
    CodeStats,
    Deadline,
    Flops,
    Size,
    Stepwise,
    Task,
    Training,
)
from ddl_bench.errors import UserError
from ddl_bench.options import Positive, PositiveFloat, check_options

PHOTOGRAPH_ATOMS = 160  # 2,880 features in 3 x 3 cells; 32x32 photographs have 3,072 numbers
SMALL_ATOMS = 24  # 192 features in 2 x 2 cells
FACES = "on small sets of faces and objects; none for the data sets here"
PATCHES = "pooled sparse codes of patches by default, or features=pixels, where the publication has"


@dataclass(frozen=True)
class Fitted:
    """Classify unit-norm features of images by a model of the library.

    Parameters
    ----------
    model
        The fitted model.
    arrays
        Names of those of its arrays that prediction uses.
    layers
        What the features are pooled from; pixels are the features where there is none.
    shape
        Channels, height and width of the images.
    n_classes
        Number of the scores.
    n_threads
        CPU threads that count codes.
    """

    model: Any
    arrays: tuple[str, ...]
    layers: tuple[StackLayer, ...]
    shape: tuple[int, int, int]
    n_classes: int
    n_threads: int
    has_pursuit: ClassVar[bool] = True

    def __call__(self, X: Tensor, /) -> Tensor:
        """Return the library's decision function for images X (n, channels, height, width).

        A class without training images scores less than all others.
        """
        known = self.model.decision_function(unit_rows(self.layers, X))
        if known.ndim == 1:
            known = np.stack([-known, known], 1)
        scores = np.full((len(X), self.n_classes), ABSENT)
        scores[:, self.model.classes_] = known
        return torch.from_numpy(scores)

    def size(self) -> Size:
        """Count what prediction uses; labels of atoms and floors of contrast are constants."""
        n = 0
        for layer in self.layers:
            n += layer.whitening.mean.numel() + layer.whitening.matrix.numel() + layer.D.numel()
        n += self._n_numbers()
        n_buffers = len(self.layers) + np.size(getattr(self.model, "atom_classes_", ()))
        return Size(n_params=n, n_stored=n, n_buffers=n_buffers)

    def flops(self) -> Flops:
        """Count a product with each array, and with those of the features, without pursuits."""
        total = product_flops(self.layers, self.shape[1:]) + 2 * self._n_numbers()
        return Flops(total, left_out="pursuits" if self.has_pursuit or self.layers else "")

    def _n_numbers(self) -> int:
        return sum(np.size(part) for name in self.arrays for part in getattr(self.model, name))


class Coded(Fitted):
    """Classify by codes in one dictionary."""

    def code_stats(self, X: Tensor, /) -> CodeStats:
        """Count the codes of images X."""
        signals = unit_rows(self.layers, X)
        D = self.model.dictionary_.T
        n_nonzero = self.model._n_nonzero_
        codes = encode(signals, D, n_nonzero=n_nonzero, sparse=True, n_threads=self.n_threads).codes
        return CodeStats.of(signals=signals, codes=codes, residual=signals - codes @ D.T)


class Paired(Fitted):
    """Classify by a dictionary and a projection for each class."""

    has_pursuit: ClassVar[bool] = False

    def code_stats(self, X: Tensor, /) -> CodeStats:
        """Count the codes of images X, each that of the class that leaves the least of it.

        The other classes have zeros.
        """
        signals = unit_rows(self.layers, X)
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


def unit_rows(layers: tuple[StackLayer, ...], X: Tensor) -> Floats:
    """Return pixels of images X, or what layers pool of them, scaled to unit norm.

    Returns
    -------
    array
        Shape (n, n_features), float64.
    """
    parts = []
    for block in torch.split(X.cpu(), BLOCK_IMAGES):
        parts.append(pooled_features(layers, block) if layers else block.flatten(1))
    features = torch.cat(parts).double().numpy()
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(norms, 1e-12))


def sdl_for(task: Task) -> SDL:
    """Return what makes features of patches: of photographs fewer features than pixels.

    The time of all four methods grows with the number of features, of `dpl` with its cube.
    """
    return SDL(n_atoms=SMALL_ATOMS if is_small(task.image_shape) else PHOTOGRAPH_ATOMS)


@dataclass(frozen=True, kw_only=True)
class Discriminative:
    """Fit a classifier of dictlearn to unit-norm features.

    A budget in seconds does not cut it short. ModuleNotFoundError is raised where dictlearn is not
    installed.

    Parameters
    ----------
    features
        "patches": sparse codes of whitened patches, pooled by a layer of `sdl`; or "pixels". The
        publications have features too, other ones.
    n_samples
        Images to learn from. None takes all.
    """

    name: ClassVar[str]
    kind: ClassVar[str]  # class of the library
    arrays: ClassVar[tuple[str, ...]] = ("dictionary_", "classifier_")
    fitted: ClassVar[type[Fitted]] = Coded
    features: Literal["pixels", "patches"] = "patches"
    n_samples: Positive | None = 5000

    def __post_init__(self) -> None:
        check_options(self)

    def options(self, y: Floats) -> dict[str, Any]:
        """Return the arguments of the library's class for labels y (n_samples,)."""
        raise NotImplementedError

    def start(self, task: Task, budget: Budget) -> Training:
        """Begin a training; the library is imported and coders compiled first, off the clock."""
        make = getattr(import_module("dictlearn.classification"), self.kind)
        if self.features == "patches":
            sdl_for(task).compile(budget.threads)
        return Stepwise(lambda deadline: self._steps(make, task, budget, deadline))

    def _steps(
        self, make: Callable[..., Any], task: Task, budget: Budget, deadline: Deadline
    ) -> Iterator[Classifier]:
        order = torch.from_numpy(np.random.default_rng(budget.seed).permutation(len(task.train)))
        X = task.train.X[order]
        y = task.train.y[order].numpy()[: self.n_samples]
        layers: tuple[StackLayer, ...] = ()
        if self.features == "patches":
            sdl = sdl_for(task)
            geometry = sdl.geometry(task.image_shape)[0]
            layers = (sdl.learn_layer([], geometry, X, budget, deadline),)
        samples = unit_rows(layers, X[: self.n_samples])
        lit = samples.any(1)  # a black image has no direction, and would be an atom of zeros
        n_classes = len(np.unique(y[lit]))
        if n_classes < 2:
            raise UserError(
                f"{self.name}: dictlearn needs 2 classes that have images whose features are not "
                f"all 0; here {n_classes} of {task.n_classes} have some"
            )
        model = make(random_state=budget.seed, **self.options(y[lit]))
        with warnings.catch_warnings():
            # Of the linear systems that it solves: the accuracy will tell.
            warnings.simplefilter("ignore")
            model.fit(samples[lit], y[lit])
        yield self.fitted(
            model, self.arrays, layers, task.image_shape, task.n_classes, budget.threads
        )


@dataclass(frozen=True, kw_only=True)
class SRC(Discriminative):
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
    arrays: ClassVar[tuple[str, ...]] = ("dictionary_",)
    n_samples: Positive | None = 2000
    n_nonzero: Positive = 5

    def options(self, y: Floats) -> dict[str, Any]:
        """Return the arguments of the library's class for labels y (n_samples,)."""
        return {"n_nonzero_coefs": min(self.n_nonzero, len(y))}


@dataclass(frozen=True, kw_only=True)
class DKSVD(Discriminative):
    """Discriminative K-SVD: atoms and a linear readout of their codes, learned in one K-SVD.

    Parameters
    ----------
    n_atoms
        Number of atoms, at most one for two images.
    n_nonzero
        Non-zeros of each code, at most one for each atom.
    alpha
        Weight of the labels beside the images.
    n_iter
        Passes over all images.
    """

    name: ClassVar[str] = "d-ksvd"
    about: ClassVar[About] = About(
        family="dictionaries, discriminative",
        formula="min norm(X - codes @ D.T)**2 + alpha * norm(labels - codes @ W.T)**2, n_nonzero "
        "atoms a code",
        references=("zhang2010",),
        published=FACES,
        differs=f"{PATCHES} random projections of faces; as the library implements it, on at most "
        "n_samples images; the weight alpha = 1, 300 atoms, 6 non-zeros and 10 passes are ours",
        needs=("dictlearn",),
    )
    kind: ClassVar[str] = "DDLClassifier"
    n_atoms: Positive = 300
    n_nonzero: Positive = 6
    alpha: PositiveFloat = 1.0
    n_iter: Positive = 10

    def options(self, y: Floats) -> dict[str, Any]:
        """Return the arguments of the library's class for labels y (n_samples,)."""
        return self.options_of(max(min(self.n_atoms, len(y) // 2), 1))

    def options_of(self, n_components: int) -> dict[str, Any]:
        """Return the arguments of the library's class for so many atoms, as it counts them."""
        return {
            "n_nonzero_coefs": min(self.n_nonzero, n_components),
            "alpha": self.alpha,
            "max_iter": self.n_iter,
            "n_components": n_components,
            "init_method": "trained",
        }


@dataclass(frozen=True, kw_only=True)
class LCKSVD(DKSVD):
    """Label-consistent K-SVD: D-KSVD in which each class has its share of the atoms.

    A code has at most as many non-zeros as a class has atoms, from which learning begins.

    Parameters
    ----------
    beta
        Weight of the shares beside the images.
    """

    name: ClassVar[str] = "lc-ksvd"
    about: ClassVar[About] = About(
        family="dictionaries, discriminative",
        formula="min norm(X - codes @ D.T)**2 + alpha * norm(labels - codes @ W.T)**2 + "
        "beta * norm(shares - codes @ A.T)**2, n_nonzero atoms a code",
        references=("jiang2013",),
        published=FACES,
        differs=f"{PATCHES} random projections of faces and spatial pyramids of objects; as the "
        "library implements it, on at most n_samples images; far from the authors' code for faces, "
        "which has 15 atoms a class, 30 non-zeros, 50 passes, alpha = 4 and beta = 16 of features "
        "whose scale is not ours: 30 atoms a class, 6 non-zeros, 10 passes, alpha = beta = 0.01",
        needs=("dictlearn",),
    )
    kind: ClassVar[str] = "LCDLClassifier"
    alpha: PositiveFloat = 0.01
    beta: PositiveFloat = 0.01

    def options(self, y: Floats) -> dict[str, Any]:
        """Return the arguments of the library's class for labels y (n_samples,)."""
        counts = np.unique(y, return_counts=True)[1]
        per_class = max(min(self.n_atoms // len(counts), int(counts.min()) // 2), 1)
        return self.options_of(per_class) | {"beta": self.beta}


@dataclass(frozen=True, kw_only=True)
class DPL(Discriminative):
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
    arrays: ClassVar[tuple[str, ...]] = ("dictionaries_", "encoders_")
    fitted: ClassVar[type[Fitted]] = Paired
    n_atoms: Positive = 150
    n_iter: Positive = 20

    def options(self, y: Floats) -> dict[str, Any]:
        """Return the arguments of the library's class for labels y (n_samples,)."""
        per_class = max(self.n_atoms // len(np.unique(y)), 1)
        return {"n_components": per_class, "max_iter": self.n_iter}
