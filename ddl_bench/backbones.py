"""Networks that many methods share: the activation is an argument."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

Activation = Callable[[int, int], nn.Module]
"""Makes the activation that follows a layer, from the layer's number of channels and its kernel size."""

Depth = Literal[3, 6, 9, 12]

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
            self.std[channel] = (share @ (levels - mean) ** 2).sqrt().clamp(min=1.0)  # a constant channel has no std

    def forward(self, X: Tensor) -> Tensor:
        return (X.float() - self.mean) / self.std


class PlainNet(nn.Module):
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
        super().__init__()
        if depth not in LAST_STAGE:
            raise ValueError(f"PlainNet(depth={depth}): must be one of {', '.join(map(str, LAST_STAGE))}")
        n = depth // 3
        plan = [(width, 3, 2 if i == n - 1 else 1) for width in widths for i in range(n)]
        plan += [(widths[1], kernel, 1) for kernel in LAST_STAGE[depth]]
        layers: list[nn.Module] = []
        previous = channels
        for width, kernel, stride in plan:
            layers.append(nn.Conv2d(previous, width, kernel, stride, padding=kernel // 2, bias=not batch_norm))
            layers += [nn.BatchNorm2d(width)] if batch_norm else []
            layers.append(activation(width, kernel))
            previous = width
        self.normalise = Normalise(channels)
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(previous, n_classes)
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
