"""Patches of images, their whitening, and the pooling of what encodes them."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor


def positions(length: int, size: int, stride: int) -> int:
    """Number of patches of `size` pixels, `stride` pixels apart, along `length` pixels."""
    return (length - size) // stride + 1


def extract(maps: Tensor, size: int, stride: int) -> Tensor:
    """All square patches of `maps` (n, channels, height, width), row by row.

    Returns (n * rows * columns, channels * size * size), float32.
    """
    patches = maps.float().unfold(2, size, stride).unfold(3, size, stride)
    return patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2)


@dataclass(frozen=True)
class Whitening:
    """Patches x -> (contrast(x) - mean) @ matrix, contrast(x) = (x - mean of x) / sqrt(variance of x + floor).

    mean: (n_features,); matrix: (n_features, n_components); floor: a number, in squared units of the patches; where it
    is infinite, contrast(x) = x.
    """

    mean: Tensor
    matrix: Tensor
    floor: Tensor

    @classmethod
    def learn(
        cls, patches: Tensor, *, contrast: float, regulariser: float, n_components: int = 0
    ) -> "Whitening":
        """ZCA to about unit norm: matrix = V (S + regulariser * I)^(-1/2) V' / sqrt(n_features).

        V S V' is the covariance of the normalised patches. contrast: floor / mean variance of a patch. n_components:
        keep so many principal directions and leave out the rotation back V'.
        """
        floor = contrast * patches.var(1, correction=0).mean() + 1e-8
        normalised = _contrast(patches, floor)
        values, vectors = torch.linalg.eigh(torch.cov(normalised.double().T, correction=0))
        kept = n_components or len(values)
        values, vectors = values[-kept:].clamp(min=0), vectors[:, -kept:]
        matrix = vectors / (len(values) * (values + regulariser)).sqrt()
        return cls(
            normalised.mean(0), (matrix if n_components else matrix @ vectors.T).float(), floor
        )

    @classmethod
    def none(cls, patches: Tensor) -> "Whitening":
        """Only the mean is taken off, and one scale brings the patches to about unit norm."""
        mean = patches.mean(0)
        scale = 1 / (patches - mean).square().sum(1).mean().sqrt().clamp(min=1e-12)
        return cls(mean, scale * torch.eye(patches.shape[1]), torch.tensor(torch.inf))

    def __call__(self, patches: Tensor) -> Tensor:
        return (_contrast(patches, self.floor) - self.mean) @ self.matrix


def _contrast(patches: Tensor, floor: Tensor) -> Tensor:
    if torch.isinf(floor):
        return patches
    centred = patches - patches.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + floor).sqrt()


def pool(codes: csr_array, grid: tuple[int, int], n_cells: int) -> Tensor:
    """Sum of the positive and of the negative parts of codes over the cells of a regular grid.

    codes: (n * rows * columns, n_atoms), image by image, row by row. grid: (rows, columns) of the patches.
    n_cells: cells along each side, at most rows and columns. Returns (n, 2 * n_atoms, n_cells, n_cells), float32.
    """
    rows, columns = grid
    n, n_atoms = codes.shape[0] // (rows * columns), codes.shape[1]
    cell_row, cell_column = (
        np.arange(rows) * n_cells // rows,
        np.arange(columns) * n_cells // columns,
    )
    cell = (cell_row[:, None] * n_cells + cell_column).ravel()
    channel = (
        np.arange(n)[:, None] * 2 * n_atoms * n_cells**2 + cell
    )  # where the codes of each patch begin
    where = np.repeat(channel.ravel(), np.diff(codes.indptr))
    where += (codes.indices + n_atoms * (codes.data < 0)) * n_cells**2
    sums = np.bincount(where, np.abs(codes.data), minlength=n * 2 * n_atoms * n_cells**2)
    return torch.from_numpy(sums.astype(np.float32)).view(n, 2 * n_atoms, n_cells, n_cells)
