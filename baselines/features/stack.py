"""Layers of sparse codes on top of one another, and a readout of what all of them pool."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.features.coders import Coder, Floats
from baselines.features.patches import Whitening, extract, pool, positions
from baselines.features.readout import Linear
from ddl_bench.api import CodeStats, Flops, Size

BLOCK_IMAGES = 16  # encoded at a time: 12,000 patches of 32x32 images


class Geometry(NamedTuple):
    """Side and distance of the patches of a layer, in pixels, and its cells along each side."""

    patch: int
    stride: int
    n_cells: int

    def grid(self, sides: Sequence[int]) -> tuple[int, int]:
        """Return the rows and columns of the patches of maps of (height, width)."""
        height, width = sides
        rows = positions(height, self.patch, self.stride)
        return rows, positions(width, self.patch, self.stride)


@dataclass(frozen=True)
class StackLayer:
    """Map (n, channels, height, width) by whitened patches and codes to what cells pool of them.

    Parameters
    ----------
    geometry
        Of patches and cells.
    whitening
        Of the patches.
    D
        Dictionary, shape (n_features, n_atoms).
    coder
        What finds the codes.
    n_threads
        CPU threads of the coder; None takes all cores of this process.
    """

    geometry: Geometry
    whitening: Whitening
    D: Tensor
    coder: Coder
    n_threads: int | None = None

    def codes(self, maps: Tensor) -> tuple[Floats, Any]:
        """Return whitened patches (n * rows * columns, n_features) and their codes."""
        patches = extract(maps, self.geometry.patch, self.geometry.stride)
        signals = self.whitening(patches).numpy()
        return signals, self.coder.encode(signals, self.D.numpy(), self.n_threads)

    def __call__(self, maps: Tensor) -> Tensor:
        """Return maps (n, 2 * n_atoms, n_cells, n_cells): square roots of pooled codes.

        Without the roots a few large codes would drown the others.
        """
        _, codes = self.codes(maps)
        return pool(codes, self.geometry.grid(maps.shape[2:]), self.geometry.n_cells).sqrt()


def product_flops(layers: Sequence[StackLayer], sides: Sequence[int]) -> int:
    """Count products with whitening and dictionaries for an image of (height, width).

    The pursuits' own steps, which vary by image, are left out.
    """
    total = 0
    for layer in layers:
        rows, columns = layer.geometry.grid(sides)
        total += 2 * rows * columns * (layer.whitening.matrix.numel() + layer.D.numel())
        sides = (layer.geometry.n_cells, layer.geometry.n_cells)
    return total


def pooled_features(layers: Sequence[StackLayer], X: Tensor) -> Tensor:
    """Return what each layer pools of images X, side by side: (n, n_features).

    All layers are pooled on as many cells as the last one has.
    """
    n_cells = layers[-1].geometry.n_cells
    maps = X
    pooled = []
    for layer in layers:
        maps = layer(maps)
        pooled.append(F.adaptive_avg_pool2d(maps, n_cells).flatten(1))
    return torch.cat(pooled, 1)


@dataclass(frozen=True)
class Stack:
    """Classify images by a readout of what layers on top of one another pool.

    Parameters
    ----------
    layers
        From the one that sees the images on.
    readout
        Of the pooled codes of all layers.
    shape
        Channels, height and width of the images.
    """

    layers: tuple[StackLayer, ...]
    readout: Linear
    shape: tuple[int, int, int]

    def __call__(self, X: Tensor, /) -> Tensor:
        """Return scores (n, n_classes) of images (n, channels, height, width)."""
        blocks = torch.split(X.cpu(), BLOCK_IMAGES)
        return torch.cat([self.readout(pooled_features(self.layers, block)) for block in blocks])

    def state(self) -> dict[str, Tensor]:
        """Return the arrays that a file keeps."""
        arrays = self.readout.state()
        for depth, layer in enumerate(self.layers):
            arrays[f"{depth}.mean"] = layer.whitening.mean
            arrays[f"{depth}.matrix"] = layer.whitening.matrix
            arrays[f"{depth}.floor"] = layer.whitening.floor
            arrays[f"{depth}.D"] = layer.D
        return arrays

    def size(self) -> Size:
        """Count whitening, dictionaries and readout; floors of contrast are constants."""
        n_stored = sum(array.numel() for array in self.state().values()) - len(self.layers)
        return Size(n_params=n_stored, n_stored=n_stored, n_buffers=len(self.layers))

    def flops(self) -> Flops:
        """Count products with whitening, dictionaries and readout, without pursuits."""
        total = product_flops(self.layers, self.shape[1:]) + 2 * self.readout.weight.numel()
        return Flops(total, left_out="pursuits")

    def code_stats(self, X: Tensor, /) -> CodeStats:
        """Count the codes of the first layer, whose signals are whitened patches."""
        first = self.layers[0]
        synthesis = first.coder.synthesis(first.D.numpy())
        stats = CodeStats()
        for block in torch.split(X.cpu(), BLOCK_IMAGES):
            signals, codes = first.codes(block)
            residual = signals - codes @ synthesis
            stats += CodeStats.of(signals=signals, codes=codes, residual=residual)
        return stats

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
        patch = self.layers[0].geometry.patch
        return rows.reshape(len(rows), self.shape[0], patch, patch)
