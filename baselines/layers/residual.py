"""A residual network with coding layers in place of convolutions."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from baselines.layers.convolutional import CodingLayer, FirstCodes
from baselines.layers.statistics import statistics_of_one_batch
from ddl_bench.training import backbones
from ddl_bench.training.backbones import Block, ClassMaps

INITIAL_IMAGES = 200  # whose statistics batch norms begin with

CodedLayers = Literal["first", "all"]


def unchanged(channels: int, kernel: int) -> nn.Module:
    """Make an activation that does nothing."""
    return nn.Identity()


class CodingResNet(ClassMaps):
    """Code images, then apply residual blocks, the mean over space and a linear layer.

    Batch norm and, with `relu`, a ReLU follow each coding layer. Stages have `n_blocks` blocks of
    two 3x3 convolutions with batch norm, `width`, 2, 4, ... times `width` channels wide; all but
    the first begin with stride 2. Images may have any size of at least 1x1.

    Parameters
    ----------
    channels, n_classes
        Of the images and of the scores.
    width, n_blocks, n_stages
        As above, each at least 1.
    coding
        Makes a coding layer; called with (inputs, n_atoms, kernel, stride).
    layers
        "first" codes the images only; "all" has coding layers in place of the blocks'
        convolutions too.
    relu
        Whether a ReLU follows the batch norm of a coding layer. The one after each addition stays.
    """

    def __init__(
        self,
        channels: int,
        n_classes: int,
        *,
        width: int,
        n_blocks: int,
        n_stages: int = 3,
        coding: Callable[[int, int, int, int], CodingLayer],
        layers: CodedLayers = "first",
        relu: bool = True,
    ) -> None:
        if layers not in get_args(CodedLayers):
            known = ", ".join(get_args(CodedLayers))
            raise ValueError(f"CodingResNet(layers={layers!r}): must be one of {known}")
        if min(width, n_blocks, n_stages) < 1:
            call = f"CodingResNet({width=}, {n_blocks=}, {n_stages=})"
            raise ValueError(f"{call}: each must be at least 1")
        features = [coding(channels, width, 3, 1), nn.BatchNorm2d(width)]
        if relu:
            features.append(nn.ReLU())
        inside = backbones.relu if relu or layers == "first" else unchanged
        inputs = width
        for stage in range(n_stages):
            outputs = width * 2**stage
            for depth in range(n_blocks):
                stride = 2 if depth == 0 and stage > 0 else 1
                block = Block(inputs, outputs, stride, inside)
                if layers == "all":
                    block.residual[0] = coding(inputs, outputs, 3, stride)
                    block.residual[3] = coding(outputs, outputs, 3, 1)
                features.append(block)
                inputs = outputs
        super().__init__(channels, features, inputs, n_classes)

    @torch.no_grad()
    def initialise(self, X: Tensor, generator: torch.Generator) -> None:
        """Let the running statistics of batch norms begin at those of some images X, uint8."""
        self.normalise.initialise(X, generator)
        every = max(1, len(X) // INITIAL_IMAGES)
        images = X[::every][:INITIAL_IMAGES]
        with statistics_of_one_batch(self):
            self(images.to(self.head.weight.device))

    def first_codes(self, X: Tensor) -> FirstCodes:
        """Return dictionary, signals and codes of the layer that sees the normalised images X."""
        signals = self.normalise(X)
        first = self.features[0]
        if not isinstance(first, CodingLayer):
            raise TypeError("the first layer does not code")
        return FirstCodes(first.dictionary, signals, first(signals))
