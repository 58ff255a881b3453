"""The network of airbench (Jordan, 2024), which learns CIFAR-10 in few passes.

The activation is an argument.
"""

from dataclasses import replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from ddl_bench.training.backbones import Activation, Normalise
from ddl_bench.training.recipe import FAST, Recipe, adapted

# airbench's hyper-parameters, its sums over a batch of 1,024 turned into means: 11.5 / 7.67 and
# 0.0153 / 11.5.
FASTNET = replace(
    FAST,
    lr=1.5 / 8**0.5,
    momentum=0.85,
    weight_decay=1.33e-3,
    steps_per_epoch=44,
    largest_batch=1024,
    label_smoothing=0.2,
    bias_rate=64.0,
    mirror_views=True,
)
RECIPES: dict[str, Recipe] = adapted(mirror_views=True) | {"fast": FASTNET}

Widths = Literal["airbench94", "airbench95"]
WIDTHS: dict[Widths, tuple[int, ...]] = {  # channels of the blocks
    "airbench94": (64, 256, 256),
    "airbench95": (128, 384, 384),
}
PATCH = 2  # side of the whitened patches, pixels
WHITENING_IMAGES = 5000  # that the directions are learned from
RIDGE = 5e-4  # added to the variances of the patches
SCALE = 9  # that scores are divided by


def gelu(channels: int, kernel: int) -> nn.Module:
    """Make a GELU."""
    return nn.GELU()


class Whitened(nn.Module):
    """Projections of 2x2 patches on their principal directions, of unit variance, both signs.

    Only the bias learns from the loss; the directions are those of the first 5,000 training images.
    Images (n, channels, height, width) become maps (n, 8 * channels, height - 1, width - 1).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.normalise = Normalise(channels)
        self.width = 2 * channels * PATCH**2
        start = torch.randn(self.width, channels, PATCH, PATCH)
        self.weight = nn.Parameter(start, requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(self.width))

    @torch.no_grad()
    def initialise(self, X: Tensor, generator: torch.Generator) -> None:
        """Learn the directions from uint8 images."""
        self.normalise.initialise(X, generator)
        images = self.normalise(X[:WHITENING_IMAGES].to(self.weight.device))
        patches = F.unfold(images, PATCH).transpose(1, 2).flatten(0, 1)
        values, vectors = torch.linalg.eigh(torch.cov(patches.T).double())
        rows = (vectors / (values + RIDGE).sqrt()).T.flip(0).view(-1, *self.weight.shape[1:])
        self.weight.copy_(torch.cat([rows, -rows]))

    def forward(self, X: Tensor) -> Tensor:
        """Return the maps of images."""
        return F.conv2d(self.normalise(X), self.weight, self.bias)


def halved(U: Tensor) -> Tensor:
    """Return the largest of each 2x2 pixels; maps of one pixel a side stay."""
    return F.max_pool2d(U, 2) if min(U.shape[2:]) > 1 else U


fx.wrap("halved")  # one node for torch.fx, which follows no condition on a shape


class Halve(nn.Module):
    """The largest of each 2x2 pixels; maps of one pixel a side stay."""

    def forward(self, U: Tensor) -> Tensor:
        """Return maps of half the height and width."""
        return halved(U)


def shift_norm(width: int) -> nn.Module:
    """Make a batch norm whose scale stays 1.

    It is no class of its own, as torch.fx traces into all layers but those of torch.
    """
    norm: Any = nn.BatchNorm2d(width, momentum=0.4)
    norm.weight.requires_grad_(False)
    norm.n_constants = width
    return cast("nn.Module", norm)


def identity_convolution(inputs: int, outputs: int) -> nn.Module:
    """Make a 3x3 convolution without bias that starts as the identity as far as channels go."""
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight[: min(inputs, outputs)])
    return layer


class FastNet(nn.Module):
    """Whitened 2x2 patches, blocks of two 3x3 convolutions, the largest of each map, a readout.

    A block is convolution, `Halve`, batch norm, activation, convolution, batch norm, activation.
    Images of at least 2x2.

    Parameters
    ----------
    channels, n_classes
        Of the images and of the scores.
    activation
        Called with (channels, kernel size) of each convolution.
    widths
        Channels of the blocks, by the name of the author's network: a key of WIDTHS.
    """

    def __init__(
        self,
        channels: int,
        n_classes: int,
        *,
        activation: Activation,
        widths: Widths = "airbench94",
    ) -> None:
        super().__init__()
        self.whitened = Whitened(channels)
        inputs = self.whitened.width
        layers = [activation(inputs, PATCH)]
        for width in WIDTHS[widths]:
            layers += [identity_convolution(inputs, width), Halve(), shift_norm(width)]
            layers.append(activation(width, 3))
            layers += [identity_convolution(width, width), shift_norm(width), activation(width, 3)]
            inputs = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, n_classes, bias=False)

    def forward(self, X: Tensor) -> Tensor:
        """Return scores (n, n_classes) of images (n, channels, height, width)."""
        scores: Tensor = self.head(self.features(self.whitened(X)).amax((2, 3)))
        return scores / SCALE
