"""Networks that many methods share: the activation is an argument."""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Makes the activation that follows a convolution, from its number of channels and its kernel size.
Activation = Callable[[int, int], nn.Module]

Depth = Literal[3, 6, 9, 12]
ResNetDepth = Literal[8, 20, 56, 110]

# Kernels of the last stage before the classifier. The paper spells out depth 9 alone (ALL-CNN-C);
# 12 fits its count.
LAST_STAGE: dict[Depth, tuple[int, ...]] = {3: (), 6: (3,), 9: (3, 1), 12: (3, 3, 1)}


def relu(channels: int, kernel: int) -> nn.Module:
    """Make a ReLU."""
    return nn.ReLU()


class Normalise(nn.Module):
    """(X - mean) / std of each channel, over the training images.

    Images (n, channels, height, width), uint8 or float, become floats of the same shape.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((channels, 1, 1), 127.5))
        self.register_buffer("std", torch.full((channels, 1, 1), 64.0))

    @torch.no_grad()
    def initialise(self, X: Tensor, generator: torch.Generator) -> None:
        """Learn mean and std from uint8 images.

        A histogram of each channel makes them exact, without a float copy of the data set.
        """
        levels = torch.arange(256, dtype=torch.float64, device=X.device)
        for channel, pixels in enumerate(X.transpose(0, 1).flatten(1)):
            share = torch.bincount(pixels, minlength=256).double() / pixels.numel()
            mean = share @ levels
            std = (share @ (levels - mean) ** 2).sqrt()
            self.mean[channel] = mean
            self.std[channel] = std.clamp(min=1.0)  # a constant channel has no deviation

    def forward(self, X: Tensor) -> Tensor:
        """Return the normalised images."""
        return (X.float() - self.mean) / self.std


class ClassMaps(nn.Module):
    """Features, a 1x1 convolution of their channels to the classes, and the mean over space.

    Images (n, channels, height, width), uint8 or float, of at least 1x1, are normalised first.

    Parameters
    ----------
    channels
        Of the images.
    features
        Layers between the normalised images and the last convolution.
    width
        Channels that the last of them gives.
    n_classes
        Number of scores.
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
        """Return scores (n, n_classes) of images (n, channels, height, width)."""
        U = self.features(self.normalise(X))
        # The mean and the 1x1 convolution commute. In this layout the gradient of the mean stays
        # channels-last.
        scores: Tensor = self.head(U.permute(0, 2, 3, 1).flatten(1, 2).mean(1))
        return scores


class ConvolutionPlan(NamedTuple):
    """A convolution that is to be made, padded so that each side becomes side / `stride`.

    Parameters
    ----------
    inputs, outputs
        Channels before and after.
    kernel
        Side, in pixels.
    stride
        In pixels.
    """

    inputs: int
    outputs: int
    kernel: int
    stride: int


def convolution(plan: ConvolutionPlan, *, batch_norm: bool = True) -> list[nn.Module]:
    """Make a convolution, followed by batch norm or, without, with a bias."""
    layer = nn.Conv2d(
        plan.inputs,
        plan.outputs,
        plan.kernel,
        plan.stride,
        padding=plan.kernel // 2,
        bias=not batch_norm,
    )
    return [layer, nn.BatchNorm2d(plan.outputs)] if batch_norm else [layer]


def plain_layers(
    depth: Depth, channels: int, widths: tuple[int, int] = (96, 192)
) -> list[ConvolutionPlan]:
    """Return the convolutions of a `PlainNet` but the last, from images of `channels`.

    Raises ValueError for a depth that is not one of 3, 6, 9, 12.
    """
    if depth not in LAST_STAGE:
        depths = ", ".join(map(str, LAST_STAGE))
        raise ValueError(f"PlainNet(depth={depth}): must be one of {depths}")
    n_in_stage = depth // 3
    plans: list[ConvolutionPlan] = []
    inputs = channels
    for width in widths:
        for i in range(n_in_stage):
            stride = 2 if i == n_in_stage - 1 else 1
            plans.append(ConvolutionPlan(inputs, width, 3, stride))
            inputs = width
    for kernel in LAST_STAGE[depth]:
        plans.append(ConvolutionPlan(inputs, inputs, kernel, 1))
    return plans


class PlainNet(ClassMaps):
    """Three stages of `depth` / 3 convolutions, then the mean over space of the class maps.

    Stages 1 and 2 are 3x3 and end in stride 2; stage 3 is `LAST_STAGE` and a 1x1 convolution to the
    classes, without activation. Depth 9 is ALL-CNN-C (Springenberg et al., 2015), padded
    everywhere. Images of any size of at least 1x1.

    Parameters
    ----------
    depth
        Number of convolutions: 3, 6, 9 or 12.
    channels, n_classes
        Of the images and of the scores.
    activation
        Called with (channels, kernel size) of each convolution but the last.
    batch_norm
        Between convolution and activation; the convolution then has no bias.
    widths
        Channels of stage 1, and of stages 2 and 3.
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
        plans = plain_layers(depth, channels, widths)
        features: list[nn.Module] = []
        for plan in plans:
            features += convolution(plan, batch_norm=batch_norm)
            features.append(activation(plan.outputs, plan.kernel))
        super().__init__(channels, features, plans[-1].outputs, n_classes)


class Block(nn.Module):
    """ReLU(shortcut(X) + norm(conv(activation(norm(conv(X)))))), both 3x3, the first with stride.

    The shortcut has no parameters ("option A"): every `stride`-th pixel, and channels of zeros
    after those of X.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, activation: Activation) -> None:
        super().__init__()
        self.added = outputs - inputs
        self.stride = stride
        self.residual = nn.Sequential(
            *convolution(ConvolutionPlan(inputs, outputs, 3, stride)),
            activation(outputs, 3),
            *convolution(ConvolutionPlan(outputs, outputs, 3, 1)),
        )

    def forward(self, X: Tensor) -> Tensor:
        """Return maps (n, outputs, height / stride, width / stride) of maps X, rounded up."""
        shortcut = X[:, :, :: self.stride, :: self.stride]
        if self.added:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, self.added))
        return F.relu(shortcut + self.residual(X))


class ResNet(ClassMaps):
    """The residual net for CIFAR of He et al. (2016), section 4.2, with batch norm.

    A 3x3 stem and three stages of (`depth` - 2) / 6 blocks of two convolutions, 16, 32 and 64
    channels wide; the second and third begin with stride 2. Then the mean over space and a linear
    layer. Images of any size of at least 1x1.

    Parameters
    ----------
    depth
        Number of layers with weights: 8, 20, 56 or 110.
    channels, n_classes
        Of the images and of the scores.
    activation
        Called with (channels, 3) for the one inside each block. Those after the stem and after each
        addition are always ReLU: what the DeTraMe-Net paper leaves as it is.
    """

    def __init__(
        self, depth: ResNetDepth, channels: int, n_classes: int, *, activation: Activation = relu
    ) -> None:
        if depth not in get_args(ResNetDepth):
            depths = ", ".join(map(str, get_args(ResNetDepth)))
            raise ValueError(f"ResNet(depth={depth}): must be one of {depths}")
        features = [*convolution(ConvolutionPlan(channels, 16, 3, 1)), nn.ReLU()]
        inputs = 16
        for width in (16, 32, 64):
            for _ in range((depth - 2) // 6):
                stride = 1 if inputs == width else 2
                features.append(Block(inputs, width, stride, activation))
                inputs = width
        super().__init__(channels, features, inputs, n_classes)
