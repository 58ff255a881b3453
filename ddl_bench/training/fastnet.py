"""The network of airbench (Jordan, 2024), which learns CIFAR-10 in few passes, with the activation as an argument."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddl_bench.training.backbones import Activation, Normalise
from ddl_bench.training.recipe import FAST, PAPER, Recipe

# airbench's hyper-parameters, its sums over a batch of 1,024 turned into means: 11.5 / 7.67 and 0.0153 / 11.5
FASTNET = replace(
    FAST,
    lr=1.5 / 8**0.5,
    momentum=0.85,
    weight_decay=1.33e-3,
    steps_per_epoch=44,
    largest_batch=1024,
    label_smoothing=0.2,
    bias_rate=64,
    mirror_views=True,
)
WHITENED = 2  # side of the patches
RECIPES: dict[str, Recipe] = {"fast": FASTNET, "paper": replace(PAPER, mirror_views=True)}


def gelu(channels: int, kernel: int) -> nn.Module:
    return nn.GELU()


class Whitened(nn.Module):
    """Projections of 2x2 patches on their principal directions, of unit variance, both signs; only the bias learns.

    The directions are those of the first 5,000 training images. (n, channels, height, width) -> (n, 8 * channels,
    height - 1, width - 1).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.normalise = Normalise(channels)
        self.width = 2 * channels * WHITENED**2
        start = torch.randn(self.width, channels, WHITENED, WHITENED)
        self.weight = nn.Parameter(start, requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(self.width))

    @torch.no_grad()
    def initialise(self, X: Tensor, generator: torch.Generator) -> None:
        self.normalise.initialise(X, generator)
        images = self.normalise(X[:5000].to(self.weight.device))
        patches = F.unfold(images, WHITENED).transpose(1, 2).flatten(0, 1)
        values, vectors = torch.linalg.eigh(torch.cov(patches.T).double())
        rows = (vectors / (values + 5e-4).sqrt()).T.flip(0).view(-1, *self.weight.shape[1:])
        self.weight.copy_(torch.cat([rows, -rows]))

    def forward(self, X: Tensor) -> Tensor:
        return F.conv2d(self.normalise(X), self.weight, self.bias)


class Halve(nn.Module):
    """The largest of each 2x2 pixels; maps of one pixel a side stay."""

    def forward(self, U: Tensor) -> Tensor:
        return F.max_pool2d(U, 2) if min(U.shape[2:]) > 1 else U


def norm(width: int) -> nn.Module:
    """Batch norm whose scale stays 1."""
    made = nn.BatchNorm2d(width, momentum=0.4)
    made.weight.requires_grad_(False)
    return made


class FastNet(nn.Module):
    """Whitened 2x2 patches, three blocks of two 3x3 convolutions, the largest of each map, a linear readout.

    A block is convolution, `Halve`, batch norm, activation, convolution, batch norm, activation; convolutions have no
    bias and start as the identity as far as channels go. Images of at least 2x2.

    Parameters
    ----------
    channels, n_classes: of the images and of the scores.
    activation: called with (channels, kernel size) of each layer.
    widths: channels of the blocks.
    """

    def __init__(
        self,
        channels: int,
        n_classes: int,
        *,
        activation: Activation,
        widths: tuple[int, ...] = (64, 256, 256),
    ) -> None:
        super().__init__()
        self.whitened = Whitened(channels)
        previous = self.whitened.width
        layers = [activation(previous, WHITENED)]
        for width in widths:
            for inputs, pool in ((previous, [Halve()]), (width, [])):
                convolution = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
                nn.init.dirac_(convolution.weight[: min(inputs, width)])
                layers += [convolution, *pool, norm(width), activation(width, 3)]
            previous = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(previous, n_classes, bias=False)

    def forward(self, X: Tensor) -> Tensor:
        """Scores (n, n_classes) of images (n, channels, height, width)."""
        scores: Tensor = self.head(self.features(self.whitened(X)).amax((2, 3)))
        return scores / 9
