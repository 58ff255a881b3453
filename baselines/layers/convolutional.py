"""Convolutional sparse coding: the dictionary, its adjoint, a bound of its largest eigenvalue, and proximal steps.

The objective of codes >= 0 is 0.5 * ||X - D codes||^2 + lmbd * |codes|_1 + 0.5 * alpha * ||codes||^2.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ddl_bench.api import CodeStats
from ddl_bench.training.network import Network

GRID = 6  # frequencies a degree at which the bound is sampled: it is then at most 1 / cos(pi / 6)^2 times too large


@dataclass(frozen=True)
class Dictionary:
    """D codes = sum over atoms of each atom's filter, moved to every `stride`-th pixel and weighted by its code there.

    D: filters (n_atoms, channels, kernel, kernel). Codes are (n, n_atoms, rows, columns), signals (n, channels, height,
    width), and what atoms reach over the border, at most `padding` pixels of it, is cut off.
    """

    D: Tensor
    stride: int = 1
    padding: int = 0

    def __call__(self, codes: Tensor, sides: torch.Size) -> Tensor:
        """D codes, of (height, width) = `sides`."""
        kernel, pairs = self.D.shape[-1], zip(sides, codes.shape[2:], strict=True)
        more = [
            side - (length - 1) * self.stride + 2 * self.padding - kernel for side, length in pairs
        ]
        return F.conv_transpose2d(codes, self.D, None, self.stride, self.padding, more)

    def adjoint(self, X: Tensor) -> Tensor:
        """D'X, the inner product of each atom at each position with the signals."""
        return F.conv2d(X, self.D, None, self.stride, self.padding)

    def gradient(self, codes: Tensor, X: Tensor, *, alpha: float = 0.0) -> Tensor:
        """D'(D codes - X) + alpha * codes."""
        gradient = self.adjoint(self(codes, X.shape[2:]) - X)
        return gradient.add(codes, alpha=alpha) if alpha else gradient

    @torch.no_grad()
    def lipschitz(self) -> Tensor:
        """An upper bound of the largest eigenvalue of D'D, at most 4 / 3 of it on an endless plane.

        On an endless plane D'D is a product with a matrix at each frequency, and a finite image only restricts it. For
        any codes, that product is a trigonometric polynomial of the frequency, of degree d = ceil(kernel / stride) - 1
        in each direction, so that its maximum is at most 1 / cos(pi * d / N)^2 times that over N x N frequencies
        (M. Riesz, 1914).
        """
        s, gap = self.stride, -self.D.shape[-1] % self.stride
        phases = F.pad(self.D, (0, gap, 0, gap)).unflatten(3, (-1, s)).unflatten(2, (-1, s))
        phases = phases.permute(0, 1, 3, 5, 2, 4).flatten(
            1, 3
        )  # each of the s x s grids of pixels as a channel
        degree = phases.shape[-1] - 1
        n = max(GRID * degree, 1)
        response = (torch.fft.rfft2(phases, (n, n)) if degree else phases).permute(2, 3, 0, 1)
        if response.shape[2] > response.shape[3]:
            response = response.mT
        largest: Tensor = torch.linalg.eigvalsh(response @ response.mH).amax()
        return largest / math.cos(math.pi * degree / n) ** 2

    def ista_step(
        self, codes: Tensor, X: Tensor, *, step: Tensor, lmbd: float, alpha: float = 0.0
    ) -> Tensor:
        """max(codes - step * (gradient + lmbd), 0)."""
        return F.relu(codes - step * (self.gradient(codes, X, alpha=alpha) + lmbd))

    def fista(self, X: Tensor, *, step: Tensor, lmbd: float, n_steps: int) -> Tensor:
        """Codes of signals X after `n_steps` of FISTA from 0, n_steps >= 1; step <= 1 / lipschitz."""
        codes = F.relu(step * (self.adjoint(X) - lmbd))
        previous = codes
        for _, momentum in zip(range(n_steps - 1), momenta(), strict=False):
            extrapolated = codes + momentum * (codes - previous) if momentum else codes
            previous, codes = codes, self.ista_step(extrapolated, X, step=step, lmbd=lmbd)
        return codes


def momenta() -> Iterator[float]:
    """FISTA's (t_k - 1) / t_{k+1}, k = 1, 2, ..., with t_1 = 1 and t_{k+1} = (1 + sqrt(1 + 4 t_k^2)) / 2."""
    t = 1.0
    while True:
        following = (1 + math.sqrt(1 + 4 * t**2)) / 2
        yield (t - 1) / following
        t = following


def unit_norm(D: Tensor) -> Tensor:
    """Filters (n_atoms, ...) of norm 1."""
    return F.normalize(D.flatten(1), dim=1).view_as(D)


@runtime_checkable
class Coding(Protocol):
    """A module whose first layer codes signals."""

    def first_codes(self, X: Tensor) -> tuple[Dictionary, Tensor, Tensor]:
        """The first layer's dictionary, its signals, which are the normalised images X, and their codes."""


class CodingNetwork(Network):
    """A `Network` of a `Coding` module, which tells of its first codes."""

    def _first_codes(self, X: Tensor) -> tuple[Dictionary, Tensor, Tensor]:
        if not isinstance(self.module, Coding):
            raise TypeError(f"{type(self.module).__name__}: has no first_codes()")
        return self.module.first_codes(X)

    @torch.inference_mode()
    def code_stats(self, X: Tensor, /) -> CodeStats:
        sums = np.zeros(4)
        for batch in self.batches(X):
            dictionary, signals, codes = self._first_codes(batch)
            error = signals - dictionary(codes, signals.shape[2:])
            sums += (
                int(codes.count_nonzero()),
                codes.numel(),
                *((it**2).sum().item() for it in (error, signals)),
            )
        return CodeStats(
            n_nonzero=sums[0], n_entries=sums[1], squared_error=sums[2], squared_norm=sums[3]
        )
