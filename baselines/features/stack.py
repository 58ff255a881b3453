"""Layers of sparse codes on top of one another, and a readout of what all of them pool."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from baselines.features.patches import Whitening, extract, pool, positions
from baselines.features.readout import Linear
from ddl_bench.api import CodeStats, Size

Floats = NDArray[np.float32]


Geometry = tuple[int, int, int]  # patch, stride and cells a side of a layer


BLOCK = 16  # images encoded at a time: 12,000 patches of 32x32 images


@dataclass(frozen=True)
class Layer:
    """Maps (n, channels, height, width) -> whitened patches -> codes -> maps (n, 2 * n_atoms, n_cells, n_cells)."""

    patch: int
    stride: int
    n_cells: int
    whitening: Whitening
    D: Tensor
    encode: Callable[[Floats, Floats], Any]

    def codes(self, maps: Tensor) -> tuple[Floats, Any]:
        """Whitened patches (n * rows * columns, n_features) and their codes."""
        signals = self.whitening(extract(maps, self.patch, self.stride)).numpy()
        return signals, self.encode(signals, self.D.numpy())

    def __call__(self, maps: Tensor) -> Tensor:
        """Square roots of pooled codes: a few large codes would drown the others."""
        rows, columns = (positions(length, self.patch, self.stride) for length in maps.shape[2:])
        return pool(self.codes(maps)[1], (rows, columns), self.n_cells).sqrt()


def features(layers: Sequence[Layer], X: Tensor) -> Tensor:
    """What each layer pools of images X, on as many cells as the last one, side by side: (n, n_features)."""
    maps, pooled = X, []
    for layer in layers:
        maps = layer(maps)
        pooled.append(F.adaptive_avg_pool2d(maps, layers[-1].n_cells).flatten(1))
    return torch.cat(pooled, 1)


@dataclass(frozen=True)
class Stack:
    """Layers on top of one another and a readout of what all of them pool, for images of `shape`."""

    layers: tuple[Layer, ...]
    readout: Linear
    shape: tuple[int, int, int]

    def __call__(self, X: Tensor, /) -> Tensor:
        return torch.cat(
            [self.readout(features(self.layers, block)) for block in torch.split(X.cpu(), BLOCK)]
        )

    def state(self) -> dict[str, Tensor]:
        arrays = self.readout.state()
        for depth, layer in enumerate(self.layers):
            named = {
                "mean": layer.whitening.mean,
                "matrix": layer.whitening.matrix,
                "floor": layer.whitening.floor,
            }
            arrays |= {f"{depth}.{name}": value for name, value in (named | {"D": layer.D}).items()}
        return arrays

    def size(self) -> Size:
        """Whitening, dictionaries and readout; the floor of each contrast normalisation is a constant."""
        n_stored = sum(value.numel() for value in self.state().values()) - len(self.layers)
        return Size(n_params=n_stored, n_stored=n_stored, n_buffers=len(self.layers))

    def flops(self) -> int:
        """Products with whitening, dictionaries and readout, without the pursuit's own steps, which vary by image."""
        total, sides = 2 * self.readout.weight.numel(), self.shape[1:]
        for layer in self.layers:
            rows, columns = (positions(side, layer.patch, layer.stride) for side in sides)
            total += 2 * rows * columns * (layer.whitening.matrix.numel() + layer.D.numel())
            sides = (layer.n_cells, layer.n_cells)
        return total

    def code_stats(self, X: Tensor, /) -> CodeStats:
        """Of the first layer, whose signals are whitened patches."""
        sums = np.zeros(4)
        for block in torch.split(X.cpu(), BLOCK):
            signals, codes = self.layers[0].codes(block)
            residual = signals - codes @ self.layers[0].D.numpy().T
            sums += (
                codes.nnz,
                np.prod(codes.shape),
                np.square(residual).sum(),
                np.square(signals).sum(),
            )
        return CodeStats(
            n_nonzero=sums[0], n_entries=sums[1], squared_error=sums[2], squared_norm=sums[3]
        )

    def atoms(self) -> np.ndarray:
        """Return what each atom of the first layer sees of a patch through the whitening."""
        first = self.layers[0]
        return np.asarray(self._patches((first.whitening.matrix @ first.D).T))

    def dictionary(self) -> np.ndarray | None:
        """Return the atoms of the first layer where it does not whiten; None where it does."""
        first = self.layers[0]
        if not torch.isinf(first.whitening.floor):
            return None
        return np.asarray(self._patches(first.D.T))

    def _patches(self, rows: Tensor) -> Tensor:
        patch = self.layers[0].patch
        return rows.reshape(len(rows), self.shape[0], patch, patch)
