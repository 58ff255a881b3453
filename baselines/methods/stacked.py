"""What methods share that stack layers of codes: how layers are learned, one after the other."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from baselines.features.coders import Coder
from baselines.features.defaults import default_cells, default_patch, is_small
from baselines.features.patches import Whitening, extract, positions
from baselines.features.readout import Linear, fit_readout, shuffled
from baselines.features.stack import BLOCK_IMAGES, Geometry, Stack, StackLayer, pooled_features
from ddl_bench.api import Budget, Classifier, Deadline, Stepwise, Task, Training
from ddl_bench.options import (
    NotNegativeFloat,
    Positive,
    PositiveFloat,
    check_options,
    refuse_without_effect,
)

# Of a budget in seconds; under one in epochs these are guesses, for those who wait.
LEARNED_SHARE = 0.2  # after which dictionaries are as they are
ENCODED_SHARE = 0.75  # after which no more images are encoded
SINGLE_NUMBERS = 2**28  # of float32 features; more of them are kept as float16
PATCH_NUMBERS = 5 * 10**7  # in the patches that a layer is learned from
PATCHES_PER_IMAGE = 50


@dataclass(frozen=True, kw_only=True)
class StackedMethod:
    """Code whitened patches layer by layer, pool the codes, and fit a linear readout.

    Parameters
    ----------
    n_layers
        Number of layers. Each deeper one learns on the pooled codes of the one below, and all of
        them feed the readout.
    patch
        Side of the patches of the first layer, in pixels. None: chosen from the size of the images.
    stride
        Distance between neighbouring patches of the first layer, in pixels. None: 1.
    n_atoms
        Atoms of each layer, at most as many as there are patches to learn from. None: chosen from
        the size of the images.
    n_cells
        Codes are pooled on a grid of n_cells x n_cells for the readout, where there are so many
        positions, and on half the positions for the next layer. None: chosen from the size of the
        images.
    deep_patch
        Side of the patches of deeper layers, in pooled cells.
    n_samples
        Patches that each layer learns from.
    whiten
        Whether to whiten patches. Without it they are only centred and scaled, so that atoms look
        like patches of pixels.
    contrast
        Number added to the variance of each patch in contrast normalisation, relative to the mean
        variance of a patch.
    zca
        Number added to each eigenvalue of the covariance in whitening.
    n_components
        Number of principal directions to which the patches of deeper layers are reduced.
    mirror
        Whether to train the readout on mirror images too, where the task allows it.
    """

    n_layers: Positive = 1
    patch: Positive | None = None
    stride: Positive | None = None
    n_atoms: Positive | None = None
    n_cells: Positive | None = None
    deep_patch: Positive = 2
    n_samples: Positive = 100_000
    whiten: bool = True
    contrast: NotNegativeFloat = 0.01
    zca: PositiveFloat = 0.1
    n_components: Positive = 256
    mirror: bool = True

    def __post_init__(self) -> None:
        check_options(self)
        if self.n_layers == 1:
            deep = ("deep_patch", "n_components")
            refuse_without_effect(self, deep, "with n_layers=1; leave it out or add layers")
        if not self.whiten:
            whitening = ("contrast", "zca", "n_components")
            refuse_without_effect(self, whitening, "with whiten=False; leave it out or whiten")

    def layer_coder(self, depth: int) -> Coder:
        """Return what learns and codes layer `depth`, counted from 0."""
        raise NotImplementedError

    def start(self, task: Task, budget: Budget) -> Training:
        """Begin a training; the coder is compiled first, which is not timed."""
        self.geometry(task.image_shape)
        self.layer_coder(0).compile(budget.threads)
        return Stepwise(lambda deadline: self._steps(task, budget, deadline))

    def restore(self, state: Mapping[str, Tensor], task: Task) -> Classifier:
        """Rebuild a classifier from its arrays; it encodes on all cores of this process."""
        layers = []
        for depth, geometry in enumerate(self.geometry(task.image_shape)):
            whitening = Whitening(
                mean=state[f"{depth}.mean"],
                matrix=state[f"{depth}.matrix"],
                floor=state[f"{depth}.floor"],
            )
            layers.append(
                StackLayer(geometry, whitening, state[f"{depth}.D"], self.layer_coder(depth))
            )
        readout = Linear(state["weight"], state["bias"])
        return Stack(tuple(layers), readout, task.image_shape)

    def geometry(self, shape: tuple[int, int, int]) -> list[Geometry]:
        """Return the geometry of each layer for images of (channels, height, width).

        Raises
        ------
        ValueError
            Where a layer has larger patches than what it sees.
        """
        side = min(shape[1:])
        patch = default_patch(shape) if self.patch is None else self.patch
        stride = 1 if self.stride is None else self.stride
        wanted = default_cells(shape) if self.n_cells is None else self.n_cells
        layers: list[Geometry] = []
        for depth in range(self.n_layers):
            if patch > side:
                problem = f"patch={patch}): larger than"
                if depth:
                    problem = f"n_layers={self.n_layers}): at most {depth} fit"
                images = f"the {shape[1]}x{shape[2]} images"
                raise ValueError(f"{type(self).__name__}({problem} {images}")
            available = positions(side, patch, stride)
            n_cells = wanted
            if depth < self.n_layers - 1:
                n_cells = max(wanted, (available + 1) // 2)
            side = min(available, n_cells)
            layers.append(Geometry(patch, stride, side))
            patch = self.deep_patch
            stride = 1
        return layers

    def learn_layer(
        self,
        below: list[StackLayer],
        geometry: Geometry,
        X: Tensor,
        budget: Budget,
        deadline: Deadline,
    ) -> StackLayer:
        """Learn the next layer on patches of images X (n, channels, height, width).

        About `n_samples` patches are drawn of what the layers `below` make of the images, 50 of
        an image where there are so many.
        """
        depth = len(below)
        late = LEARNED_SHARE * (depth + 1) / self.n_layers
        patches = self._draw_patches(below, geometry, X, budget.seed, deadline, late)
        if self.whiten:
            whitening = Whitening.learn(
                patches,
                contrast=self.contrast,
                regulariser=self.zca,
                n_components=self.n_components if below else None,
            )
        else:
            whitening = Whitening.standardise(patches)
        signals = whitening(patches).numpy()
        n_atoms = self.n_atoms
        if n_atoms is None:
            n_atoms = min(64 if is_small(X.shape) else 400, len(signals) // 50 + 1)
        n_atoms = min(n_atoms, len(signals))
        coder = self.layer_coder(depth)
        n_steps = coder.n_steps(len(signals))
        dictionaries = coder.learn(signals, n_atoms, budget.seed, budget.threads)
        D = next(dictionaries)
        for step in range(1, n_steps):
            if deadline.fraction() > late:
                break
            D = next(dictionaries)
            n_learned = depth + (step + 1) / n_steps
            deadline.report(LEARNED_SHARE * n_learned / self.n_layers)
        return StackLayer(geometry, whitening, torch.from_numpy(D), coder, budget.threads)

    def _draw_patches(
        self,
        below: list[StackLayer],
        geometry: Geometry,
        X: Tensor,
        seed: int,
        deadline: Deadline,
        late: float,
    ) -> Tensor:
        """Patches (n, n_features) of the first images, until `late` of the time is used."""
        per_image = PATCHES_PER_IMAGE
        if not below:
            per_image = min(per_image, math.prod(geometry.grid(X.shape[2:])))
        images = X[: max(self.n_samples // per_image, 1)]
        rng = np.random.default_rng([seed, len(below)])
        drawn = []
        for block in torch.split(images, BLOCK_IMAGES):
            maps = block
            for layer in below:
                maps = layer(maps)
            patches = extract(maps, geometry.patch, geometry.stride)
            wanted = min(self.n_samples, PATCH_NUMBERS // patches.shape[1])
            n_drawn = int(len(block) / len(images) * wanted) + 1
            drawn.append(patches[torch.from_numpy(rng.permutation(len(patches))[:n_drawn])])
            if deadline.fraction() > late:
                break
        return torch.cat(drawn)

    def _steps(self, task: Task, budget: Budget, deadline: Deadline) -> Iterator[Classifier]:
        X, y, held_out = shuffled(task, budget.seed)
        layers: list[StackLayer] = []
        for geometry in self.geometry(task.image_shape):
            layers.append(self.learn_layer(layers, geometry, X[~held_out], budget, deadline))
        if self.mirror and task.mirror:
            X = torch.cat([X, X.flip(3)])
            y = y.repeat(2)
            held_out = held_out.repeat(2)
        Z = self._encode(layers, X, deadline)
        y = y[: len(Z)]
        held_out = held_out[: len(Z)]
        refit = len(task.val) == 0
        readout = fit_readout(
            Z, y, held_out, task.n_classes, deadline, refit=refit, done=ENCODED_SHARE
        )
        yield Stack(tuple(layers), readout, task.image_shape)

    def _encode(self, layers: list[StackLayer], X: Tensor, deadline: Deadline) -> Tensor:
        """Features of images X, or of the first of them where time runs short."""
        n_atoms = sum(layer.D.shape[1] for layer in layers)
        n_features = 2 * n_atoms * layers[-1].geometry.n_cells ** 2
        fits = len(X) * n_features < SINGLE_NUMBERS
        Z = torch.empty(len(X), n_features, dtype=torch.float32 if fits else torch.float16)
        for first in range(0, len(X), BLOCK_IMAGES):
            last = first + BLOCK_IMAGES
            Z[first:last] = pooled_features(layers, X[first:last])
            deadline.report(LEARNED_SHARE + (ENCODED_SHARE - LEARNED_SHARE) * last / len(X))
            if deadline.fraction() > ENCODED_SHARE:
                return Z[:last]
        return Z
