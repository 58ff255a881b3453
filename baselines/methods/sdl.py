"""Stacked sparse dictionary learning (Coates and Ng, 2011): one layer after the other, then a linear readout."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from baselines.features.patches import Whitening, extract, positions
from baselines.features.readout import Linear, fit_readout, shuffled
from baselines.features.stack import BLOCK, Floats, Geometry, Layer, Stack, features
from baselines.learning.ksvd import KSVD
from baselines.learning.learner import Learner
from baselines.learning.online import Online
from baselines.pursuit.encode import encode
from ddl_bench.api import (
    About,
    Budget,
    Classifier,
    Deadline,
    Stepwise,
    Task,
    Training,
)
from ddl_bench.options import NotNegative, NotNegativeFloat, Positive, PositiveFloat

UPDATES: dict[str, Any] = {
    "ksvd": "approximate",
    "ksvd-exact": "exact",
    "mod": "mod",
}  # of the learners, by `KSVD`
LEARNED, ENCODED = (
    0.2,
    0.75,
)  # shares of a seconds budget after which dictionaries are learned and images encoded
LARGEST = 2**28  # numbers of float32 features; more of them are kept as float16
MOST = 5 * 10**7  # numbers in the patches that a layer is learned from


@dataclass(frozen=True, kw_only=True)
class SDL:
    """Sparse dictionary learning in layers: codes of whitened patches, pooled, then a linear readout.

    A setting of 0 follows from the images.

    n_layers: each deeper layer learns on the pooled codes of the one below; all of them feed the readout.
    patch, stride: side and distance of patches, in pixels; deep_patch: side in pooled cells for the deeper layers.
    n_atoms: atoms of each layer, at most as many as there are patches to learn from.
    n_cells: codes are pooled on n_cells x n_cells for the readout, where there are so many, and on half their positions
        for the next layer.
    learner: "online" (a step is a mini-batch of 512 patches); "ksvd", "ksvd-exact" or "mod" (a step is a pass over all
        patches; 20 do). n_iter: its steps; n_samples: patches it learns from.
    whiten: without, patches are only centred and scaled, so that atoms are made of pixels.
    lmbd: penalty of the codes of whitened patches of about unit norm; n_nonzero: non-zeros of each code instead.
    contrast, zca: floor of contrast normalisation / mean variance of a patch, and what is added to each variance.
    n_components: principal directions kept of deeper patches.
    mirror: also train the readout on mirror images where the task allows it.
    """

    name: ClassVar[str] = "sdl"
    about: ClassVar[About] = About(
        family="dictionaries, layer by layer",
        formula="codes = argmin 0.5*norm(x - D codes)**2 + lmbd*norm1(codes); readout of sqrt(sums of max(codes, 0), "
        "max(-codes, 0))",
        references=("coates2011", "coates2011analysis", "mairal2010", "aharon2006"),
        published="79.6 % on CIFAR-10, 50,000 images, one layer of k-means features (coates2011analysis)",
        differs="learned dictionaries and exact sparse codes, roots of pooled codes, a logistic readout that sees "
        "mirror images",
    )
    n_layers: Positive = 1
    patch: NotNegative = 0
    stride: NotNegative = 0
    n_atoms: NotNegative = 0
    n_cells: NotNegative = 0
    deep_patch: Positive = 2
    learner: Literal["online", "ksvd", "ksvd-exact", "mod"] = "online"
    n_iter: NotNegative = 0
    n_samples: Positive = 100_000
    lmbd: NotNegativeFloat = 0.1
    n_nonzero: NotNegative = 0
    whiten: bool = True
    contrast: NotNegativeFloat = 0.01
    zca: PositiveFloat = 0.1
    n_components: NotNegative = 256
    mirror: bool = True

    def learn(self, X: Floats, n_atoms: int, seed: int) -> Iterator[Floats]:
        """Dictionaries (n_features, n_atoms) for samples X (n_samples, n_features), one each step, without end."""
        how: dict[str, Any] = {
            "n_atoms": n_atoms,
            "seed": seed,
            "n_threads": torch.get_num_threads(),
        }
        learner: Learner = Online(lmbd=self.lmbd, **how)
        if self.learner != "online":
            learner = KSVD(n_nonzero=self.n_nonzero or 5, update=UPDATES[self.learner], **how)
        return (step.D for step in learner.steps(X))

    def encode(self, X: Floats, D: Floats) -> Any:
        """Codes (n_samples, n_atoms) of samples X as a CSR array."""
        lmbd, n_nonzero = (None, self.n_nonzero) if self.n_nonzero else (self.lmbd, None)
        how: dict[str, Any] = {"tol": 1e-3, "n_threads": torch.get_num_threads(), "sparse": True}
        return encode(X, D, lmbd=lmbd, n_nonzero=n_nonzero, **how).codes

    def start(self, task: Task, budget: Budget) -> Training:
        self.geometry(task.image_shape)
        noise = np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)
        self.encode(noise, next(self.learn(noise, 16, 0)))
        return Stepwise(lambda deadline: self._steps(task, budget, deadline))

    def restore(self, state: Mapping[str, Tensor], task: Task) -> Classifier:
        layers = []
        for depth, geometry in enumerate(self.geometry(task.image_shape)):
            mean, matrix, floor, D = (
                state[f"{depth}.{name}"] for name in ("mean", "matrix", "floor", "D")
            )
            layers.append(Layer(*geometry, Whitening(mean, matrix, floor), D, self.encode))
        return Stack(tuple(layers), Linear(state["weight"], state["bias"]), task.image_shape)

    def geometry(self, shape: tuple[int, int, int]) -> list[Geometry]:
        """Of each layer, for images of `shape` (channels, height, width); raises ValueError where it does not fit."""
        side, layers = min(shape[1:]), []
        patch, stride = self.patch or min(6, max(2, side // 2)), self.stride or 1
        wanted = self.n_cells or (2 if side < 16 else 3)
        for depth in range(self.n_layers):
            if patch > side:
                what = (
                    f"n_layers={self.n_layers}): at most {depth} fit"
                    if depth
                    else f"patch={patch}): larger than"
                )
                raise ValueError(f"{type(self).__name__}({what} the {shape[1]}x{shape[2]} images")
            most = positions(side, patch, stride)
            side = min(most, wanted if depth == self.n_layers - 1 else max(wanted, (most + 1) // 2))
            layers.append((patch, stride, side))
            patch, stride = self.deep_patch, 1
        return layers

    def _steps(self, task: Task, budget: Budget, deadline: Deadline) -> Iterator[Classifier]:
        X, y, held_out = shuffled(task, budget.seed)
        layers: list[Layer] = []
        for geometry in self.geometry(task.image_shape):
            layers.append(self.learn_layer(layers, geometry, X[~held_out], budget.seed, deadline))
        if self.mirror and task.mirror:
            X, y, held_out = torch.cat([X, X.flip(3)]), y.repeat(2), held_out.repeat(2)
        Z = self._encode(layers, X, deadline)
        y, held_out = y[: len(Z)], held_out[: len(Z)]
        readout = fit_readout(Z, y, held_out, task.n_classes, deadline, refit=not len(task.val))
        yield Stack(tuple(layers), readout, task.image_shape)

    def learn_layer(
        self, below: list[Layer], geometry: Geometry, X: Tensor, seed: int, deadline: Deadline
    ) -> Layer:
        """Learn on about `n_samples` patches of images X as `below` maps them, 50 an image where there are enough."""
        each = (
            min(50, math.prod(positions(side, *geometry[:2]) for side in X.shape[2:]))
            if not below
            else 50
        )
        images, drawn, rng = (
            X[: max(self.n_samples // each, 1)],
            [],
            np.random.default_rng([seed, len(below)]),
        )
        late = LEARNED * (len(below) + 1) / self.n_layers
        for maps in torch.split(images, BLOCK):
            share = len(maps) / len(images)
            for layer in below:
                maps = layer(maps)
            patches = extract(maps, *geometry[:2])
            wanted = int(share * min(self.n_samples, MOST // patches.shape[1])) + 1
            drawn.append(patches[torch.from_numpy(rng.permutation(len(patches))[:wanted])])
            if deadline.fraction() > late:
                break
        patches, kept = torch.cat(drawn), self.n_components if below else 0
        whitening = Whitening.none(patches)
        if self.whiten:
            whitening = Whitening.learn(
                patches, contrast=self.contrast, regulariser=self.zca, n_components=kept
            )
        signals = whitening(patches).numpy()
        n_atoms = self.n_atoms or min(64 if min(X.shape[2:]) < 16 else 400, len(signals) // 50 + 1)
        n_iter = self.n_iter or (
            20 if self.learner != "online" else min(150, 3 * len(signals) // 512 + 1)
        )
        for step, D in enumerate(self.learn(signals, min(n_atoms, len(signals)), seed), 1):
            if step == n_iter or deadline.fraction() > late:
                return Layer(*geometry, whitening, torch.from_numpy(D), self.encode)
        raise AssertionError("a learner never ends")

    def _encode(self, layers: list[Layer], X: Tensor, deadline: Deadline) -> Tensor:
        """Features of images X, or of the first of them where time runs short."""
        width = 2 * sum(layer.D.shape[1] for layer in layers) * layers[-1].n_cells ** 2
        Z = torch.empty(
            len(X), width, dtype=torch.float32 if len(X) * width < LARGEST else torch.float16
        )
        for at in range(0, len(X), BLOCK):
            Z[at : at + BLOCK] = features(layers, X[at : at + BLOCK])
            if deadline.fraction() > ENCODED:
                return Z[: at + BLOCK]
        return Z
