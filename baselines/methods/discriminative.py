"""What the discriminative dictionaries share: unit-norm features of images, and their classifiers.

Published figures of these methods are for small sets of faces and objects.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
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
from baselines.methods.stacked import LEARNED_SHARE
from baselines.pursuit.compiled import Array
from baselines.pursuit.encode import encode
from ddl_bench.api import (
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
from ddl_bench.options import Positive, check_options

PHOTOGRAPH_ATOMS = 160  # 2,880 features in 3 x 3 cells; 32x32 photographs have 3,072 numbers
SMALL_ATOMS = 24  # 192 features in 2 x 2 cells
DEFAULT_N_NONZERO = 60
FEATURES_PER_NONZERO = 10  # fewer for small images, whose codes would fit all they see
SEEN_SHARE = 0.5  # of a budget in seconds, after which no more images are looked at


class View(NamedTuple):
    """What a classifier sees of images, and which classes it may name.

    Parameters
    ----------
    layers
        What the features are pooled from; pixels are the features where there is none.
    shape
        Channels, height and width of the images.
    classes
        Labels that have training images, in ascending order.
    n_classes
        Number of the scores.
    n_threads
        CPU threads that compute codes.
    """

    layers: tuple[StackLayer, ...]
    shape: tuple[int, int, int]
    classes: Array
    n_classes: int
    n_threads: int


@dataclass(frozen=True)
class FeatureClassifier:
    """Classify unit-norm features of images.

    Parameters
    ----------
    view
        What is seen of the images.
    """

    view: View
    has_pursuit: ClassVar[bool] = True

    def arrays(self) -> list[Floats]:
        """Return the arrays that prediction uses, those of the features apart."""
        raise NotImplementedError

    def n_constants(self) -> int:
        """Return how many constants prediction uses, those of the features apart."""
        return 0

    def n_following(self) -> int:
        """Return how many numbers it keeps that follow from those arrays."""
        return 0

    def known_scores(self, signals: Floats) -> Floats:
        """Return scores (n, len(view.classes)) of unit-norm features (n, n_features)."""
        raise NotImplementedError

    def __call__(self, X: Tensor, /) -> Tensor:
        """Return scores of images X (n, channels, height, width).

        A class without training images scores less than all others.
        """
        scores = np.full((len(X), self.view.n_classes), ABSENT)
        scores[:, self.view.classes] = self.known_scores(unit_rows(self.view.layers, X))
        return torch.from_numpy(scores)

    def size(self) -> Size:
        """Count what prediction uses; ends of classes and floors of contrast are constants."""
        layers = self.view.layers
        n = sum(array.size for array in self.arrays())
        for layer in layers:
            n += layer.whitening.mean.numel() + layer.whitening.matrix.numel() + layer.D.numel()
        n_stored = n + self.n_following()
        return Size(n_params=n, n_stored=n_stored, n_buffers=len(layers) + self.n_constants())

    def flops(self) -> Flops:
        """Count a product with each array, and with those of the features, without pursuits."""
        total = product_flops(self.view.layers, self.view.shape[1:])
        total += 2 * sum(array.size for array in self.arrays())
        left_out = "pursuits" if self.has_pursuit or self.view.layers else ""
        return Flops(total, left_out=left_out)


@dataclass(frozen=True)
class CodingClassifier(FeatureClassifier):
    """Classify by the codes of features in one dictionary.

    Parameters
    ----------
    D
        Dictionary, shape (n_features, n_atoms).
    n_nonzero
        Non-zeros of each code.
    """

    D: Floats
    n_nonzero: int

    def known_gram(self) -> Floats | None:
        """Return D'D (n_atoms, n_atoms) where it is kept."""
        return None

    def codes(self, signals: Floats) -> csr_array:
        """Return the codes of unit-norm features (n, n_features), (n, n_atoms).

        In double precision: in single, nearly equal atoms would be chosen by rounding, which
        depends on the batch.
        """
        codes: csr_array = encode(
            double(signals),
            self.D,
            n_nonzero=self.n_nonzero,
            gram=self.known_gram(),
            sparse=True,
            n_threads=self.view.n_threads,
        ).codes
        return codes

    def code_stats(self, X: Tensor, /) -> CodeStats:
        """Count the codes of images X."""
        signals = unit_rows(self.view.layers, X)
        codes = self.codes(signals)
        return CodeStats.of(signals=signals, codes=codes, residual=signals - codes @ self.D.T)


def unit_rows(layers: tuple[StackLayer, ...], X: Tensor) -> Floats:
    """Return features of images X, scaled to unit norm: (n, n_features)."""
    blocks = torch.split(X.cpu(), BLOCK_IMAGES)
    return unit(torch.cat([features_of(layers, block) for block in blocks]))


def features_of(layers: tuple[StackLayer, ...], X: Tensor) -> Tensor:
    """Return pixels of images X, or what layers pool of them: (n, n_features)."""
    return pooled_features(layers, X) if layers else X.flatten(1).float()


def unit(features: Tensor) -> Floats:
    """Divide each row by its norm, in place; rows of zeros stay zero."""
    norms = torch.linalg.vector_norm(features, dim=1, keepdim=True, dtype=torch.float64)
    features /= norms.clamp_min(1e-12)
    return features.numpy()


def double(A: Floats) -> Floats:
    """Return a contiguous array in double precision."""
    return np.ascontiguousarray(A, np.float64)


def n_nonzero_for(wanted: int | None, n_features: int, n_atoms: int) -> int:
    """Return the non-zeros of a code: `wanted`, or 60 and at most one for ten features, if None."""
    if wanted is None:
        wanted = min(DEFAULT_N_NONZERO, max(n_features // FEATURES_PER_NONZERO, 1))
    return min(wanted, n_atoms, n_features)


def sdl_for(task: Task) -> SDL:
    """Return what makes features of patches: of photographs fewer features than pixels.

    The time of all four methods grows with the number of features, of `dpl` with its cube.
    """
    return SDL(n_atoms=SMALL_ATOMS if is_small(task.image_shape) else PHOTOGRAPH_ATOMS)


@dataclass(frozen=True, kw_only=True)
class Discriminative:
    """Fit a classifier to unit-norm features.

    Parameters
    ----------
    features
        "patches": sparse codes of whitened patches, pooled by a layer of `sdl`; or "pixels". The
        publications have features too, other ones.
    n_samples
        Images to learn from. None takes all.
    """

    name: ClassVar[str]
    features: Literal["pixels", "patches"] = "patches"
    n_samples: Positive | None = None

    def __post_init__(self) -> None:
        check_options(self)

    def prepare(self, n_threads: int) -> None:
        """Import and compile what `fit` will use, off the clock."""
        raise NotImplementedError

    def fit(
        self, X: Floats, y: Array, view: View, seed: int, deadline: Deadline
    ) -> Iterator[Classifier]:
        """Yield classifiers of unit-norm features X (n_samples, n_features) with labels y."""
        raise NotImplementedError

    def start(self, task: Task, budget: Budget) -> Training:
        """Begin a training; libraries are imported and coders compiled first, off the clock."""
        self.prepare(budget.threads)
        if self.features == "patches":
            sdl_for(task).layer_coder(0).compile(budget.threads)
        return Stepwise(lambda deadline: self._steps(task, budget, deadline))

    def _steps(self, task: Task, budget: Budget, deadline: Deadline) -> Iterator[Classifier]:
        order = torch.from_numpy(np.random.default_rng(budget.seed).permutation(len(task.train)))
        X = task.train.X[order]
        y = task.train.y[order].numpy()[: self.n_samples]
        layers: tuple[StackLayer, ...] = ()
        if self.features == "patches":
            sdl = sdl_for(task)
            geometry = sdl.geometry(task.image_shape)[0]
            layers = (sdl.learn_layer([], geometry, X, budget, deadline),)
        samples = self._features(layers, X[: self.n_samples], deadline)
        y = y[: len(samples)]
        lit = samples.any(1)  # a black image has no direction, and would be an atom of zeros
        if not lit.all():
            samples = samples[lit]
            y = y[lit]
        classes = np.unique(y)
        if len(classes) < 2:
            raise UserError(
                f"{self.name}: needs 2 classes that have images whose features are not all 0; "
                f"here {len(classes)} of {task.n_classes} have some"
            )
        view = View(layers, task.image_shape, classes, task.n_classes, budget.threads)
        yield from self.fit(samples, y, view, budget.seed, deadline)

    def _features(self, layers: tuple[StackLayer, ...], X: Tensor, deadline: Deadline) -> Floats:
        """Return unit-norm features of images X, or of the first of them where time runs short."""
        parts = []
        n_seen = 0
        for block in torch.split(X.cpu(), BLOCK_IMAGES):
            parts.append(features_of(layers, block))
            n_seen += len(block)
            deadline.report(LEARNED_SHARE + (SEEN_SHARE - LEARNED_SHARE) * n_seen / len(X))
            if deadline.fraction() > SEEN_SHARE:
                break
        return unit(torch.cat(parts))
