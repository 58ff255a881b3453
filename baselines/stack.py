"""A stack of sparse-coding layers with a linear readout: the classifier of `sdl` and of `spams`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from baselines.patches import Whitening, extract, pool, positions
from baselines.readout import Readout
from ddl_bench.api import CodeStats, Size

Floats = NDArray[np.float32]
BLOCK = 16  # images encoded at a time: 12,000 patches of a 32x32 image


class Solver(Protocol):
    """Learns a dictionary for samples and encodes samples in it."""

    def learn(self, X: Floats, n_atoms: int, seed: int) -> Iterator[Floats]:
        """Dictionaries (n_features, n_atoms), each better than the one before it."""

    def encode(self, X: Floats, D: Floats) -> Any:
        """Codes of X (n_samples, n_features) as a CSR array (n_samples, n_atoms)."""


def penalty(X: Floats) -> float:
    """A penalty for whitened samples X (n_samples, n_features), whose norm grows like the root of n_features."""
    return 0.1 * float(np.sqrt(X.shape[1]))


@dataclass(frozen=True)
class Layer:
    """Maps (n, channels, height, width) -> whitened patches -> codes -> maps (n, 2 * n_atoms, n_cells, n_cells)."""

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
        blocks = [self.readout(features(self.layers, self.n_cells, block)) for block in torch.split(X.cpu(), BLOCK)]
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
        for block in torch.split(X.cpu(), BLOCK):
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
        pooled.append(F.adaptive_avg_pool2d(maps, min(n_cells, maps.shape[2])).flatten(1))
    return torch.cat(pooled, 1)
