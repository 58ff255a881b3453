"""The fast networks with what a search tries: smaller images at first, a bias that stops."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.methods.fastnet import FastNet
from ddl_bench.api import About, Task
from ddl_bench.training.fastnet import Whitened


class SlowWhitened(Whitened):
    """Whitening whose bias learns at the rate of weights."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.shift = self.bias
        del self.bias

    def forward(self, X: Tensor) -> Tensor:
        return F.conv2d(self.normalise(X), self.weight, self.shift)


class Tried(nn.Module):
    """Call a fast network with images that grow, and stop its whitening bias."""

    def __init__(self, net: nn.Module, sides: tuple[int, int], share: float, freeze: float) -> None:
        super().__init__()
        channels = net.whitened.weight.shape[1]
        if freeze:
            net.whitened = SlowWhitened(channels)
        self.net = net
        self.sides = sides
        self.share = share
        self.freeze = freeze
        self.side = 0

    def before_step(self, progress: float) -> None:
        first, second = self.sides
        if progress >= self.share:
            self.side = 0
        else:
            self.side = first if progress < self.share / 2 else second
        if self.freeze:
            self.net.whitened.shift.requires_grad_(progress < self.freeze)

    def forward(self, X: Tensor) -> Tensor:
        if self.training and 0 < self.side < X.shape[-1]:
            size = (self.side, self.side)
            small = F.interpolate(X.float(), size=size, mode="bilinear", antialias=True)
            X = small.round().clamp(0, 255).to(torch.uint8)
            X = X.contiguous(memory_format=torch.channels_last)
        return self.net(X)


@dataclass(frozen=True, kw_only=True)
class TriedFastNet(FastNet):
    """Fast network with what a search tries.

    Parameters
    ----------
    first, second
        Sides of the first images and of those after them; 32 changes nothing.
    share
        Share of the training after which the images have their full side.
    freeze
        Share of the training after which the whitening bias stops, which then learns at the rate
        of weights; 0 leaves it as it is.
    """

    name: ClassVar[str] = "fastnet-tried"
    about: ClassVar[About] = FastNet.about
    first: int = 32
    second: int = 32
    share: float = 0.6
    freeze: float = 0.0

    def network(self, task: Task) -> nn.Module:
        return Tried(super().network(task), (self.first, self.second), self.share, self.freeze)
