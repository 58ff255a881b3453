"""Patches of images, their whitening, and the pooling of their codes."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor


def positions(length: int, size: int, stride: int) -> int:
    """Count patches of `size` pixels, `stride` pixels apart, along `length` pixels."""
    return (length - size) // stride + 1


def extract(maps: Tensor, size: int, stride: int) -> Tensor:
    """Cut all square patches out of maps, row by row.

    Parameters
    ----------
    maps
        Images or maps, shape (n, channels, height, width).
    size, stride
        Side and distance of the patches, in pixels.

    Returns
    -------
    Tensor
        Shape (n * rows * columns, channels * size * size), float32.
    """
    patches = maps.float().unfold(2, size, stride).unfold(3, size, stride)
    return patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2)


@dataclass(frozen=True)
class Whitening:
    """Map patches x to (contrast(x) - mean) @ matrix.

    contrast(x) = (x - mean of x) / sqrt(variance of x + floor).

    Parameters
    ----------
    mean
        Shape (n_features,).
    matrix
        Shape (n_features, n_components).
    floor
        A number, in squared units of the patches. Where it is infinite, contrast(x) = x.
    """

    mean: Tensor
    matrix: Tensor
    floor: Tensor

    @classmethod
    def learn(
        cls,
        patches: Tensor,
        *,
        contrast: float,
        regulariser: float,
        n_components: int | None = None,
    ) -> "Whitening":
        """Learn ZCA to about unit norm: V (S + regulariser * I)^(-1/2) V' / sqrt(n_features).

        V S V' is the covariance of the patches after contrast normalisation.

        Parameters
        ----------
        patches
            Shape (n_samples, n_features).
        contrast
            The floor of contrast normalisation, relative to the mean variance of a patch.
        regulariser
            What is added to each variance S.
        n_components
            How many principal directions to keep, without the rotation back V'. None keeps all,
            and rotates back.
        """
        floor = contrast * patches.var(1, correction=0).mean() + 1e-8
        normalised = _normalise_contrast(patches, floor)
        covariance = torch.cov(normalised.double().T, correction=0)
        values, vectors = torch.linalg.eigh(covariance)
        if n_components is not None:
            values = values[-n_components:]
            vectors = vectors[:, -n_components:]
        values = values.clamp(min=0)
        matrix = vectors / (len(values) * (values + regulariser)).sqrt()
        if n_components is None:
            matrix = matrix @ vectors.T
        return cls(normalised.mean(0), matrix.float(), floor)

    @classmethod
    def standardise(cls, patches: Tensor) -> "Whitening":
        """Learn only the mean, and one scale that brings the patches to about unit norm."""
        mean = patches.mean(0)
        scale = 1 / (patches - mean).square().sum(1).mean().sqrt().clamp(min=1e-12)
        return cls(mean, scale * torch.eye(patches.shape[1]), torch.tensor(torch.inf))

    def __call__(self, patches: Tensor) -> Tensor:
        """Whiten patches (n_samples, n_features)."""
        return (_normalise_contrast(patches, self.floor) - self.mean) @ self.matrix


def _normalise_contrast(patches: Tensor, floor: Tensor) -> Tensor:
    if torch.isinf(floor):
        return patches
    centred = patches - patches.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + floor).sqrt()


def pool(codes: csr_array, grid: tuple[int, int], n_cells: int) -> Tensor:
    """Sum the positive and the negative parts of codes over the cells of a regular grid.

    Parameters
    ----------
    codes
        Shape (n * rows * columns, n_atoms), image by image, row by row.
    grid
        Rows and columns of the patches of an image.
    n_cells
        Cells along each side, at most rows and columns.

    Returns
    -------
    Tensor
        Shape (n, 2 * n_atoms, n_cells, n_cells), float32.
    """
    rows, columns = grid
    n_codes, n_atoms = codes.shape
    n_images = n_codes // (rows * columns)
    n_sums = 2 * n_atoms * n_cells**2  # of an image
    cell_row = np.arange(rows) * n_cells // rows
    cell_column = np.arange(columns) * n_cells // columns
    cell = (cell_row[:, None] * n_cells + cell_column).ravel()
    # Where the sums of each patch begin, then where each entry of its code belongs.
    begin = np.arange(n_images)[:, None] * n_sums + cell
    where = np.repeat(begin.ravel(), np.diff(codes.indptr))
    where += (codes.indices + n_atoms * (codes.data < 0)) * n_cells**2
    sums = np.bincount(where, np.abs(codes.data), minlength=n_images * n_sums)
    return torch.from_numpy(sums.astype(np.float32)).view(n_images, 2 * n_atoms, n_cells, n_cells)
