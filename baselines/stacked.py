"""Training of a stack of sparse-coding layers: one layer after the other, then the readout."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Self

import numpy as np
import torch
from torch import Tensor

from baselines.patches import Whitening, extract, positions
from baselines.readout import Loss, Readout, fit_readout, shuffled
from baselines.stack import BLOCK, Layer, Solver, Stack, features
from ddl_bench.api import Budget, Classifier, Deadline, Stepwise, Task, Training

LEARNED, ENCODED = 0.2, 0.75  # shares of a seconds budget after which dictionaries are learned and images encoded
LARGEST = 2**28  # numbers of float32 features; more of them are kept as float16


@dataclass(frozen=True, kw_only=True)
class Stacked(ABC):
    """Hyper-parameters of a stack, whatever learns and encodes in it; a setting of 0 follows from the images.

    n_layers: each deeper layer learns on the pooled codes of the one below; all of them feed the readout.
    patch, stride: side and distance of patches, in pixels; deep_patch: side in pooled cells for the deeper layers.
    n_atoms: atoms of each layer, at most as many as there are patches to learn from.
    n_cells: codes are pooled on n_cells x n_cells for the readout, and on half their positions for the next layer.
    n_iter: steps of the learner. lmbd: penalty of the codes, by default a tenth of sqrt(features of a patch);
        n_nonzero: number of non-zeros of each code instead.
    contrast, zca: floor of contrast normalisation / mean variance of a patch, and what is added to each variance.
    n_samples: patches that a dictionary is learned from. n_components: principal directions kept of deeper patches.
    mirror: also train the readout on mirror images where the task allows it.
    """

    n_layers: int = 1
    patch: int = 0
    stride: int = 0
    n_atoms: int = 0
    n_cells: int = 0
    deep_patch: int = 2
    n_iter: int = 150
    lmbd: float = 0.0
    n_nonzero: int = 0
    contrast: float = 0.01
    zca: float = 0.1
    n_samples: int = 100_000
    n_components: int = 256
    mirror: bool = True
    loss: Loss = "hinge"

    @abstractmethod
    def solver(self) -> Solver:
        """What learns the dictionaries and encodes in them."""

    def start(self, task: Task, budget: Budget) -> Training:
        plan, solver = self.resolved(task.image_shape), self.solver()
        noise = np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)
        solver.encode(noise, next(solver.learn(noise, 16, 0)))
        return Stepwise(lambda deadline: train(plan, solver, task, budget, deadline))

    def restore(self, state: Mapping[str, Tensor], task: Task) -> Classifier:
        plan, layers = self.resolved(task.image_shape), []
        for depth, geometry in enumerate(plan.geometry(task.image_shape)):
            mean, matrix, floor, D = (state[f"{depth}.{key}"] for key in ("mean", "matrix", "floor", "D"))
            layers.append(Layer(*geometry, Whitening(mean, matrix, floor), D, self.solver()))
        return Stack(tuple(layers), plan.n_cells, Readout(state["weight"], state["bias"]), task.image_shape)

    def resolved(self, shape: tuple[int, int, int]) -> Self:
        """The same with every setting of 0 filled in for images of `shape`; raises ValueError for what cannot be."""
        side, images = min(shape[1:]), f"{shape[1]}x{shape[2]} images"
        patch = self.patch or min(6, max(2, side // 2))
        stride = self.stride or (1 if side < 24 else 2)
        if patch > side:
            raise ValueError(f"{type(self).__name__}(patch={patch}): larger than the {images}; use at most {side}")
        most = positions(side, patch, stride)
        n_cells = self.n_cells or min(most, 2 if side < 16 else 3)
        if n_cells > most:
            raise ValueError(f"{type(self).__name__}(n_cells={n_cells}): the {images} have only {most} patches a side")
        n_atoms = self.n_atoms or (128 if side < 16 else 800)
        return replace(self, patch=patch, stride=stride, n_cells=n_cells, n_atoms=n_atoms)

    def geometry(self, shape: tuple[int, int, int]) -> list[tuple[int, int, int]]:
        """Patch, stride and cells a side of each layer, once resolved; raises ValueError for too many layers."""
        side, layers = min(shape[1:]), []
        for depth in range(self.n_layers):
            patch, stride = (self.deep_patch, 1) if depth else (self.patch, self.stride)
            if patch > side:
                raise ValueError(f"{type(self).__name__}(n_layers={self.n_layers}): at most {depth} fit these images")
            most = positions(side, patch, stride)
            side = min(most, max(self.n_cells, 0 if depth == self.n_layers - 1 else (most + 1) // 2))
            layers.append((patch, stride, side))
        return layers


def train(plan: Stacked, solver: Solver, task: Task, budget: Budget, deadline: Deadline) -> Iterator[Classifier]:
    """Learn the layers from the bottom up, encode all images, fit the readout; sized by what is left of the budget."""
    rng = np.random.default_rng(budget.seed)
    X, y, held_out = shuffled(task, budget.seed)
    layers: list[Layer] = []
    for depth, geometry in enumerate(plan.geometry(task.image_shape)):
        patches = sample(layers, X[~held_out], geometry[0], geometry[1], plan.n_samples, rng)
        n_components = plan.n_components if depth else None
        whitening = Whitening.learn(patches, contrast=plan.contrast, regulariser=plan.zca, n_components=n_components)
        signals = whitening(patches).numpy()
        dictionaries = solver.learn(signals, min(plan.n_atoms, len(signals)), budget.seed + depth)
        late = LEARNED * (depth + 1) / plan.n_layers
        D = next(dictionaries)
        for _ in takewhile(lambda _: deadline.fraction() < late, range(1, plan.n_iter)):
            D = next(dictionaries)
        layers.append(Layer(*geometry, whitening, torch.from_numpy(D), solver))
    views = 2 if plan.mirror and task.mirror else 1
    Z, n = None, 0
    for at in range(0, len(X), BLOCK):
        block = X[at : at + BLOCK]
        encoded = features(layers, plan.n_cells, torch.cat([block, block.flip(3)][:views]))
        if Z is None:
            kind = torch.float32 if encoded.shape[1] * views * len(X) < LARGEST else torch.float16
            Z = torch.empty(views * len(X), encoded.shape[1], dtype=kind)
        Z[n : n + len(encoded)] = encoded
        n += len(encoded)
        if deadline.fraction() > ENCODED:
            break
    assert Z is not None
    rows = torch.split(torch.arange(len(X)), BLOCK)
    rows = torch.cat([part.repeat(views) for part in rows])[:n]
    refit = len(task.val) == 0
    readout = fit_readout(
        Z[:n], y[rows], held_out[rows], task.n_classes, loss=plan.loss, refit=refit, deadline=deadline
    )
    yield Stack(tuple(layers), plan.n_cells, readout, task.image_shape)


def sample(layers: list[Layer], X: Tensor, patch: int, stride: int, n_samples: int, rng: np.random.Generator) -> Tensor:
    """About `n_samples` patches, drawn from X as `layers` map it, 50 an image where there are enough images."""
    images = X[: max(n_samples // 50, 1)]
    drawn = []
    for block in torch.split(images, BLOCK):
        for layer in layers:
            block = layer(block)
        patches = extract(block, patch, stride)
        wanted = min(len(patches), -(-n_samples * len(block) // len(images)))
        drawn.append(patches[torch.from_numpy(rng.choice(len(patches), wanted, replace=False))])
    return torch.cat(drawn)
