"""Networks that many methods share: the activation is an argument."""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Activation = Callable[[int, int], nn.Module]
"""Makes the activation that follows a layer, from the layer's number of channels and its kernel size."""

Depth = Literal[3, 6, 9, 12]
ResNetDepth = Literal[8, 20, 56, 110]

# Kernels of the last stage before the classifier. The paper spells out depth 9 alone (ALL-CNN-C); 12 fits its count.
LAST_STAGE: dict[Depth, tuple[int, ...]] = {3: (), 6: (3,), 9: (3, 1), 12: (3, 3, 1)}


def relu(channels: int, kernel: int) -> nn.Module:
    return nn.ReLU()


class Normalise(nn.Module):
    """(X - mean) / std per channel, of the training images; uint8 or float images (n, channels, height, width)."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((channels, 1, 1), 127.5))
        self.register_buffer("std", torch.full((channels, 1, 1), 64.0))

    @torch.no_grad()
    def initialise(self, X: Tensor, generator: torch.Generator) -> None:
        """Learn mean and std from uint8 images, by histogram: exact, and no float copy of the data set."""
        levels = torch.arange(256, dtype=torch.float64, device=X.device)
        for channel, pixels in enumerate(X.transpose(0, 1).flatten(1)):
            share = torch.bincount(pixels, minlength=256).double() / pixels.numel()
            mean = share @ levels
            self.mean[channel] = mean
            self.std[channel] = (
                (share @ (levels - mean) ** 2).sqrt().clamp(min=1.0)
            )  # a constant channel has no std

    def forward(self, X: Tensor) -> Tensor:
        return (X.float() - self.mean) / self.std


class ClassMaps(nn.Module):
    """`features`, a 1x1 convolution of their `width` channels to the classes, and the mean over space.

    Images (n, channels, height, width) of any size of at least 1x1, uint8 or float, are normalised first.
    """

    def __init__(
        self, channels: int, features: list[nn.Module], width: int, n_classes: int
    ) -> None:
        super().__init__()
        self.normalise = Normalise(channels)
        self.features = nn.Sequential(*features)
        self.head = nn.Linear(width, n_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, X: Tensor) -> Tensor:
        """Scores (n, n_classes) of images (n, channels, height, width)."""
        U = self.features(self.normalise(X))
        # The mean and the 1x1 convolution commute. In this layout the gradient of the mean stays channels-last.
        scores: Tensor = self.head(U.permute(0, 2, 3, 1).flatten(1, 2).mean(1))
        return scores


class ConvolutionPlan(NamedTuple):
    """A convolution of `inputs` to `outputs` channels, `kernel` x `kernel` pixels, padded to size / `stride`."""

    inputs: int
    outputs: int
    kernel: int
    stride: int


def convolution(layer: ConvolutionPlan, *, batch_norm: bool = True) -> list[nn.Module]:
    """The convolution, then batch norm or, without, a bias."""
    inputs, outputs, kernel, stride = layer
    made = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=not batch_norm)
    return [made, nn.BatchNorm2d(outputs)] if batch_norm else [made]


def plain_layers(
    depth: Depth, channels: int, widths: tuple[int, int] = (96, 192)
) -> list[ConvolutionPlan]:
    """The layers of a `PlainNet` but the last, from images of `channels`."""
    if depth not in LAST_STAGE:
        raise ValueError(
            f"PlainNet(depth={depth}): must be one of {', '.join(map(str, LAST_STAGE))}"
        )
    n = depth // 3
    plan = [(width, 3, 2 if i == n - 1 else 1) for width in widths for i in range(n)]
    plan += [(widths[1], kernel, 1) for kernel in LAST_STAGE[depth]]
    inputs = [channels, *(width for width, _, _ in plan)]
    return [
        ConvolutionPlan(before, *planned) for before, planned in zip(inputs, plan, strict=False)
    ]


class PlainNet(ClassMaps):
    """Three stages of `depth` / 3 convolutions, then the mean over space of the class maps.

    Stages 1 and 2 are 3x3 and end in stride 2; stage 3 is `LAST_STAGE` and a 1x1 convolution to the classes, without
    activation. Depth 9 is ALL-CNN-C (Springenberg et al., 2015), padded everywhere. Images of any size of at least 1x1.

    Parameters
    ----------
    depth: number of convolutions, one of 3, 6, 9, 12.
    channels, n_classes: of the images and of the scores.
    activation: called with (channels, kernel size) of each layer but the last.
    batch_norm: between convolution and activation; the convolution then has no bias.
    widths: channels of stage 1, and of stages 2 and 3.
    """

    def __init__(
        self,
        depth: Depth,
        channels: int,
        n_classes: int,
        *,
        activation: Activation = relu,
        batch_norm: bool = True,
        widths: tuple[int, int] = (96, 192),
    ) -> None:
        layers, features = plain_layers(depth, channels, widths), []
        for layer in layers:
            features += [
                *convolution(layer, batch_norm=batch_norm),
                activation(layer.outputs, layer.kernel),
            ]
        super().__init__(channels, features, layers[-1].outputs, n_classes)


class Block(nn.Module):
    """ReLU(shortcut(X) + norm(conv(activation(norm(conv(X)))))), both convolutions 3x3, the first with the stride.

    The shortcut has no parameters ("option A"): every `stride`-th pixel, and channels of zeros after those of X.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, activation: Activation) -> None:
        super().__init__()
        self.added, self.stride = outputs - inputs, stride
        first, second = (
            ConvolutionPlan(inputs, outputs, 3, stride),
            ConvolutionPlan(outputs, outputs, 3, 1),
        )
        self.residual = nn.Sequential(
            *convolution(first), activation(outputs, 3), *convolution(second)
        )

    def forward(self, X: Tensor) -> Tensor:
        shortcut = X[:, :, :: self.stride, :: self.stride]
        if self.added:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, self.added))
        return F.relu(shortcut + self.residual(X))


class ResNet(ClassMaps):
    """The residual net for CIFAR of He et al. (2016), section 4.2: a 3x3 stem and three stages of blocks, batch norm.

    Stages of (`depth` - 2) / 6 blocks of two convolutions, 16, 32 and 64 channels wide; the second and third begin with
    stride 2. Then the mean over space and a linear layer. Images of any size of at least 1x1.

    Parameters
    ----------
    depth: number of layers with weights, one of 8, 20, 56, 110.
    channels, n_classes: of the images and of the scores.
    activation: called with (channels, 3) for the one inside each block. Those after the stem and after each addition
        are always ReLU: what the DeTraMe-Net paper leaves as it is.
    """

    def __init__(
        self, depth: ResNetDepth, channels: int, n_classes: int, *, activation: Activation = relu
    ) -> None:
        if depth not in get_args(ResNetDepth):
            raise ValueError(
                f"ResNet(depth={depth}): must be one of {', '.join(map(str, get_args(ResNetDepth)))}"
            )
        features = [*convolution(ConvolutionPlan(channels, 16, 3, 1)), nn.ReLU()]
        inputs = 16
        for width in (16, 32, 64):
            for _ in range((depth - 2) // 6):
                features.append(Block(inputs, width, 1 if inputs == width else 2, activation))
                inputs = width
        super().__init__(channels, features, inputs, n_classes)
