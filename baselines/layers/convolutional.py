"""Convolutional sparse coding: the dictionary, its proximal steps, and the layer made of them.

D is an operator here, D(codes) the maps that codes stand for. The objective over codes >= 0 is

    0.5*norm(X - D(codes))**2 + lmbd*norm1(codes) + 0.5*alpha*norm(codes)**2
"""

import math
from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn import grad

from ddl_bench.api import CodeStats
from ddl_bench.training.network import Network

# Frequencies a degree at which the bound of the largest eigenvalue is sampled: it is then at most
# 1 / cos(pi / 6)**2 times too large.
FREQUENCIES_PER_DEGREE = 6
SAFETY = 0.9  # step * lipschitz of a coding layer, as in the published one


class Dictionary(NamedTuple):  # torch.compile follows it in all versions, unlike a dataclass
    """Map codes to the sum over atoms of each atom's filter, weighted by its code at each place.

    A filter stands at every `stride`-th pixel. What it reaches over the border, at most `padding`
    pixels of it, is cut off.

    Parameters
    ----------
    D
        Filters, shape (n_atoms, channels, kernel, kernel).
    stride, padding
        In pixels.
    """

    D: Tensor
    stride: int = 1
    padding: int = 0

    def __call__(self, codes: Tensor, sides: torch.Size) -> Tensor:
        """Return D(codes), maps (n, channels, *sides), for codes (n, n_atoms, rows, columns)."""
        kernel = self.D.shape[-1]
        output_padding = []
        for axis in (0, 1):  # torch.fx cannot take a shape apart
            covered = (codes.shape[2 + axis] - 1) * self.stride - 2 * self.padding + kernel
            output_padding.append(sides[axis] - covered)
        return F.conv_transpose2d(codes, self.D, None, self.stride, self.padding, output_padding)

    def adjoint(self, X: Tensor) -> Tensor:
        """Return D'X, the inner product of each atom at each place with maps X."""
        return F.conv2d(X, self.D, None, self.stride, self.padding)

    def in_filters(self, codes: Tensor, X: Tensor) -> Tensor:
        """Return the gradient in the filters of the inner product of D(codes) and maps X."""
        gradient: Tensor = grad.conv2d_weight(X, self.D.shape, codes, self.stride, self.padding)
        return gradient

    def gradient(self, codes: Tensor, X: Tensor, *, alpha: float = 0.0) -> Tensor:
        """Return D'(D(codes) - X) + alpha * codes."""
        # By name, because torch.compile of torch 2.5 does not follow `self(...)` of a named tuple.
        gradient = self.adjoint(self.__call__(codes, X.shape[2:]) - X)
        return gradient.add(codes, alpha=alpha) if alpha else gradient

    @torch.no_grad()
    def lipschitz(self) -> Tensor:
        """Return an upper bound of the largest eigenvalue of D'D, at most 4 / 3 of it.

        The factor holds on an endless plane, where D'D is a product with a matrix at each
        frequency; a finite image only restricts it. For any codes, that product is a
        trigonometric polynomial of the frequency, of degree d = ceil(kernel / stride) - 1 in each
        direction, so that its maximum is at most 1 / cos(pi * d / N)**2 times that over N x N
        frequencies (M. Riesz, 1914).
        """
        gap = -self.D.shape[-1] % self.stride
        # Neither Fourier transforms nor eigenvalues take half a float32.
        filters = self.D.to(torch.promote_types(self.D.dtype, torch.float32))
        blocks = F.pad(filters, (0, gap, 0, gap))
        blocks = blocks.unflatten(3, (-1, self.stride)).unflatten(2, (-1, self.stride))
        # Each of the stride x stride grids of pixels as a channel.
        phases = blocks.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)
        degree = phases.shape[-1] - 1
        n = max(FREQUENCIES_PER_DEGREE * degree, 1)
        response = torch.fft.rfft2(phases, (n, n)) if degree else phases
        response = response.permute(2, 3, 0, 1)
        if response.shape[2] > response.shape[3]:
            response = response.mT
        largest: Tensor = torch.linalg.eigvalsh(response @ response.mH).amax()
        return largest / math.cos(math.pi * degree / n) ** 2

    def ista_step(
        self, codes: Tensor, X: Tensor, *, step: Tensor, lmbd: float, alpha: float = 0.0
    ) -> Tensor:
        """Return max(codes - step * (gradient + lmbd), 0)."""
        return F.relu(codes - step * (self.gradient(codes, X, alpha=alpha) + lmbd))

    def fista(self, X: Tensor, *, step: Tensor, lmbd: float, n_steps: int) -> Tensor:
        """Return codes of maps X after `n_steps` >= 1 of FISTA from 0; step <= 1 / lipschitz."""
        codes = F.relu(step * (self.adjoint(X) - lmbd))
        previous = codes
        for _, momentum in zip(range(n_steps - 1), momenta(), strict=False):
            extrapolated = codes + momentum * (codes - previous) if momentum else codes
            previous = codes
            codes = self.ista_step(extrapolated, X, step=step, lmbd=lmbd)
        return codes


def momenta() -> Iterator[float]:
    """Yield FISTA's (t_k - 1) / t_{k+1}, t_1 = 1 and t_{k+1} = (1 + sqrt(1 + 4 t_k**2)) / 2."""
    t = 1.0
    while True:
        following = (1 + math.sqrt(1 + 4 * t**2)) / 2
        yield (t - 1) / following
        t = following


def unit_norm(D: Tensor) -> Tensor:
    """Return filters (n_atoms, ...) scaled to norm 1."""
    return F.normalize(D.flatten(1), dim=1).view_as(D)


class CodingLayer(nn.Module):
    """Code maps by `n_steps` of FISTA from 0 on the objective over codes >= 0, alpha = 0.

    Maps (n, inputs, height, width) become codes (n, n_atoms, rows, columns), padded like a
    convolution. Atoms have norm 1, which `project_` restores; the step is 0.9 / lipschitz, where
    lipschitz is a bound from above that `project_` finds anew.

    Parameters
    ----------
    inputs, n_atoms
        Channels of the maps and of the codes.
    kernel, stride
        In pixels; the kernel is odd.
    lmbd
        Penalty, in units of the maps.
    n_steps
        Steps of FISTA, at least 1.
    """

    step: Tensor

    def __init__(
        self,
        inputs: int,
        n_atoms: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        lmbd: float = 0.1,
        n_steps: int = 2,
    ) -> None:
        super().__init__()
        if n_steps < 1 or lmbd < 0:
            call = f"{type(self).__name__}(n_steps={n_steps}, lmbd={lmbd})"
            raise ValueError(f"{call}: n_steps must be at least 1 and lmbd at least 0")
        self.stride = stride
        self.padding = kernel // 2
        self.lmbd = lmbd
        self.n_steps = n_steps
        self.weight = nn.Parameter(torch.randn(n_atoms, inputs, kernel, kernel))
        self.register_buffer("step", torch.ones(()))
        self.project_()

    @property
    def dictionary(self) -> Dictionary:
        """The operator that the weights make."""
        return Dictionary(self.weight, self.stride, self.padding)

    @torch.no_grad()
    def project_(self) -> None:
        """Scale atoms to norm 1, and find the step that goes with them."""
        self.weight.copy_(unit_norm(self.weight))
        self.step.copy_(SAFETY / self.dictionary.lipschitz())

    def forward(self, X: Tensor) -> Tensor:
        """Return the codes of maps X."""
        return self.dictionary.fista(X, step=self.step, lmbd=self.lmbd, n_steps=self.n_steps)


class FirstCodes(NamedTuple):
    """The dictionary of a network's first layer, its signals and their codes."""

    dictionary: Dictionary
    signals: Tensor
    codes: Tensor


@runtime_checkable
class CodesFirst(Protocol):
    """A module whose first layer codes signals."""

    def first_codes(self, X: Tensor) -> FirstCodes:
        """Return the first layer's codes of images X; its signals are the normalised images."""


class CodingNetwork(Network):
    """Classify by a `CodesFirst` module, and count its first codes."""

    @torch.inference_mode()
    def code_stats(self, X: Tensor, /) -> CodeStats:
        """Count the codes of the first layer for images X.

        Raises
        ------
        TypeError
            Where the module has no `first_codes`.
        """
        if not isinstance(self.module, CodesFirst):
            raise TypeError(f"{type(self.module).__name__}: has no first_codes()")
        stats = CodeStats()
        for batch in self.batches(X):
            dictionary, signals, codes = self.module.first_codes(batch)
            residual = signals - dictionary(codes, signals.shape[2:])
            stats += CodeStats.of(signals=signals, codes=codes, residual=residual)
        return stats
