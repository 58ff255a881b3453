"""Stacked sparse dictionary learning (Coates and Ng, 2011), one layer after the other, and a linear readout."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from baselines.ksvd import ksvd_steps
from baselines.online import online_steps
from baselines.patches import Whitening, extract, pool, positions
from baselines.pursuit import encode
from baselines.readout import Loss, Readout, fit_readout
from ddl_bench.api import Budget, Classifier, CodeStats, Deadline, Size, Split, Stepwise, Task, Training

Floats = NDArray[np.float32]


class Solver(Protocol):
    """Learns a dictionary for samples and encodes samples in it."""

    def learn(self, X: Floats, n_atoms: int, seed: int) -> Iterator[Floats]:
        """Dictionaries (n_features, n_atoms), each better than the one before it."""

    def encode(self, X: Floats, D: Floats) -> Any:
        """Codes of X (n_samples, n_features) as a CSR array (n_samples, n_atoms)."""


@dataclass(frozen=True)
class Pursuit:
    """This package's learners and coders."""

    learner: str
    lmbd: float
    n_nonzero: int | None

    def learn(self, X: Floats, n_atoms: int, seed: int) -> Iterator[Floats]:
        threads = torch.get_num_threads()
        if self.learner == "ksvd":
            steps = ksvd_steps(X, n_atoms, n_nonzero=self.n_nonzero or 5, seed=seed, n_threads=threads)
        else:
            steps = online_steps(X, n_atoms, lmbd=self.lmbd, seed=seed, n_threads=threads)
        return (step.D for step in steps)

    def encode(self, X: Floats, D: Floats) -> Any:
        lmbd = None if self.n_nonzero else self.lmbd
        threads = torch.get_num_threads()
        return encode(
            X, D, lmbd=lmbd, n_nonzero=self.n_nonzero, tol=1e-3, n_threads=threads, sparse=True, certified=False
        ).codes


@dataclass(frozen=True)
class Layer:
    """Maps (n, channels, height, width) -> whitened patches -> codes -> pooled maps (n, 2 * n_atoms, n_cells, n_cells)."""

    patch: int
    stride: int
    n_cells: int
    whitening: Whitening
    D: Tensor
    solver: Solver

    def signals(self, maps: Tensor) -> Floats:
        """Whitened patches, (n * rows * columns, n_features)."""
        return self.whitening(extract(maps, self.patch, self.stride)).numpy()

    def __call__(self, maps: Tensor) -> Tensor:
        """Square roots of the pooled codes: a few large codes would drown the others."""
        rows, columns = (positions(length, self.patch, self.stride) for length in maps.shape[2:])
        return pool(self.solver.encode(self.signals(maps), self.D.numpy()), (rows, columns), self.n_cells).sqrt()


@dataclass(frozen=True)
class Stack:
    """Layers on top of one another and a linear readout of what all of them pool on a grid of `n_cells` a side."""

    layers: tuple[Layer, ...]
    n_cells: int
    readout: Readout
    shape: tuple[int, int, int]

    def __call__(self, X: Tensor, /) -> Tensor:
        blocks = [self.readout(features(self.layers, self.n_cells, block)) for block in X.cpu().split(BLOCK)]
        return torch.cat(blocks) if blocks else torch.empty(0, len(self.readout.bias))

    def state(self) -> dict[str, Tensor]:
        arrays = {"weight": self.readout.weight, "bias": self.readout.bias}
        for index, layer in enumerate(self.layers):
            whitening = {"mean": layer.whitening.mean, "matrix": layer.whitening.matrix, "floor": layer.whitening.floor}
            arrays |= {f"{index}.{key}": value for key, value in (whitening | {"D": layer.D}).items()}
        return arrays

    def size(self) -> Size:
        """Whitening, dictionaries and readout; the floor of each contrast normalisation is a constant."""
        n_stored = sum(value.numel() for key, value in self.state().items() if not key.endswith("floor"))
        return Size(n_params=n_stored, n_stored=n_stored, n_buffers=len(self.layers))

    def code_stats(self, X: Tensor, /) -> CodeStats:
        """Of the first layer, whose signals are whitened patches."""
        sums = np.zeros(4)
        for block in X.cpu().split(BLOCK):
            signals, D = self.layers[0].signals(block), self.layers[0].D.numpy()
            codes = self.layers[0].solver.encode(signals, D)
            error = np.square(signals - codes @ D.T).sum()
            sums += codes.count_nonzero(), np.prod(codes.shape), error, np.square(signals).sum()
        return CodeStats(n_nonzero=sums[0], n_entries=sums[1], squared_error=sums[2], squared_norm=sums[3])

    def artefacts(self) -> dict[str, np.ndarray]:
        """The filters of the first layer: what an atom sees of a patch through the whitening."""
        first = self.layers[0]
        filters = (first.whitening.matrix @ first.D).T
        return {"atoms": filters.reshape(-1, self.shape[0], first.patch, first.patch).numpy()}


def features(layers: Sequence[Layer], n_cells: int, X: Tensor) -> Tensor:
    """What each layer pools of images X, on n_cells x n_cells, side by side: (n, n_features)."""
    maps, pooled = X, []
    for layer in layers:
        maps = layer(maps)
        pooled.append(F.adaptive_avg_pool2d(maps, n_cells).flatten(1))
    return torch.cat(pooled, 1)


@dataclass(frozen=True, kw_only=True)
class SDL:
    """Stacked sparse dictionary learning; a setting of None follows from the size of the images.

    n_layers: 1 to 3; each deeper layer learns on the pooled codes of the one below, all of them feed the readout.
    patch, stride: side of a patch and distance of patches, in pixels (first layer) or cells (deeper ones: `deep_patch`).
    n_atoms: atoms of each layer, at most as many as there are patches.
    n_cells: codes are pooled on n_cells x n_cells for the readout, and on `deep_cells` a side for the next layer.
    learner, n_iter: "online" (mini-batches) or "ksvd" (passes over all samples).
    lmbd: penalty of the codes; n_nonzero: non-zeros of each code instead (OMP; K-SVD learns with 5 where it is None).
    contrast, zca: floor of contrast normalisation / mean variance of a patch, and what is added to each variance.
    n_samples: patches that a dictionary is learned from.
    mirror: also train the readout on mirror images where the task allows it.
    """

    name: ClassVar[str] = "sdl"
    n_layers: int = 1
    patch: int | None = None
    stride: int | None = None
    n_atoms: int | None = None
    n_cells: int | None = None
    deep_patch: int = 2
    deep_cells: int | None = None
    deep_components: int = 256
    learner: Literal["online", "ksvd"] = "online"
    n_iter: int = 200
    lmbd: float = 1.0
    n_nonzero: int | None = None
    contrast: float = 0.01
    zca: float = 0.1
    n_samples: int = 100_000
    mirror: bool = True
    loss: Loss = "hinge"

    def solver(self) -> Solver:
        return Pursuit(self.learner, self.lmbd, self.n_nonzero)

    def start(self, task: Task, budget: Budget) -> Training:
        solver, plan = self.solver(), self.resolved(task.image_shape)
        noise = np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)
        solver.encode(noise, next(solver.learn(noise, 16, 0)))
        return Stepwise(lambda deadline: train(plan, solver, task, budget, deadline))
