"""A residual net with layers of convolutional sparse coding (Dai et al., NeurIPS 2022: "SDNet")."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from baselines.layers.convolutional import CodingNetwork, Dictionary, unit_norm
from ddl_bench.api import About, Task
from ddl_bench.options import NotNegativeFloat, Positive
from ddl_bench.training.backbones import Block, ClassMaps, relu
from ddl_bench.training.method import NetworkMethod

Layers = Literal["first", "all"]
SAFETY = 0.9  # of the longest step: the published layer's


class CodingLayer(nn.Module):
    """Codes >= 0 of maps X: `n_steps` of FISTA from 0 on 0.5 * ||X - D codes||^2 + lmbd * |codes|_1.

    Maps (n, inputs, height, width) -> codes (n, n_atoms, rows, columns), padded like a convolution. Atoms have norm 1,
    which `project_` restores; the step is 0.9 / lipschitz, a bound from above that it finds anew.

    Parameters
    ----------
    inputs, n_atoms: channels of maps and codes. kernel: odd, in pixels. stride: in pixels.
    lmbd: penalty, in units of the maps. n_steps: at least 1.
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
            raise ValueError(
                f"{type(self).__name__}(n_steps={n_steps}, lmbd={lmbd}): must be at least 1 and 0"
            )
        self.stride, self.padding, self.lmbd, self.n_steps = stride, kernel // 2, lmbd, n_steps
        self.weight = nn.Parameter(torch.randn(n_atoms, inputs, kernel, kernel))
        self.register_buffer("step", torch.ones(()))
        self.project_()

    @property
    def dictionary(self) -> Dictionary:
        return Dictionary(self.weight, self.stride, self.padding)

    @torch.no_grad()
    def project_(self) -> None:
        self.weight.copy_(unit_norm(self.weight))
        self.step.copy_(SAFETY / self.dictionary.lipschitz())

    def forward(self, X: Tensor) -> Tensor:
        return self.dictionary.fista(X, step=self.step, lmbd=self.lmbd, n_steps=self.n_steps)


class CodingResNet(ClassMaps):
    """A coding layer, batch norm and ReLU, then stages of residual blocks, the mean over space, a linear layer.

    Stages of `n_blocks` blocks of two 3x3 convolutions with batch norm, `width`, 2, 4, ... times `width` channels wide;
    all but the first begin with stride 2. Images of any size of at least 1x1.

    Parameters
    ----------
    channels, n_classes: of the images and of the scores. width, n_blocks: as above. n_stages: at least 1.
    coding: makes a coding layer, called with (inputs, n_atoms, kernel, stride).
    layers: "first" codes the images only; "all" has coding layers in place of the blocks' convolutions too.
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
        layers: Layers = "first",
    ) -> None:
        if layers not in get_args(Layers):
            raise ValueError(
                f"CodingResNet(layers={layers!r}): must be one of {', '.join(get_args(Layers))}"
            )
        if min(width, n_blocks, n_stages) < 1:
            raise ValueError(
                f"CodingResNet({width=}, {n_blocks=}, {n_stages=}): each must be at least 1"
            )
        features, inputs = [coding(channels, width, 3, 1), nn.BatchNorm2d(width), nn.ReLU()], width
        for outputs in (width * 2**stage for stage in range(n_stages)):
            for depth in range(n_blocks):
                stride = 2 if depth == 0 and outputs > width else 1
                block = Block(inputs, outputs, stride, relu)
                if layers == "all":
                    block.residual[0] = coding(inputs, outputs, 3, stride)
                    block.residual[3] = coding(outputs, outputs, 3, 1)
                features.append(block)
                inputs = outputs
        super().__init__(channels, features, inputs, n_classes)

    def first_codes(self, X: Tensor) -> tuple[Dictionary, Tensor, Tensor]:
        signals = self.normalise(X)
        first = self.features[0]
        assert isinstance(first, CodingLayer)
        return first.dictionary, signals, first(signals)


@dataclass(frozen=True, kw_only=True)
class CSCNet(NetworkMethod):
    """Residual network whose first layer is convolutional sparse coding (SDNet), at the size of ResNet-8.

    With width=64, n_blocks=2 and n_stages=4 it has that of ResNet-18: 11.0 M parameters, the published 11.2 M less the
    weights of the shortcuts.

    width: channels of the first stage, doubled in each of the others. n_stages: stages. n_blocks: blocks of a stage.
    layers: "first" codes the images only; "all" has coding layers in place of the blocks' convolutions too.
    lmbd, n_steps: penalty and FISTA steps of a coding layer, the published ones.
    """

    name: ClassVar[str] = "csc-net"
    about: ClassVar[About] = About(
        family="convolutional sparse coding",
        formula="n_steps of FISTA from 0 on 0.5*norm(X - D codes)**2 + lmbd*norm1(codes), codes >= 0, unit-norm atoms",
        references=("dai2022",),
        published="95.34 % on CIFAR-10 and 78.45 % on CIFAR-100: the size of ResNet-18, 11.2 M parameters, 220 epochs",
        differs="smaller by default, no weights in shortcuts; the gradient is FISTA's, at the extrapolated point",
    )
    wrap = CodingNetwork
    width: Positive = 16
    n_blocks: Positive = 1
    n_stages: Positive = 3
    layers: Layers = "first"
    lmbd: NotNegativeFloat = 0.1
    n_steps: Positive = 2

    def network(self, task: Task) -> nn.Module:
        coding = partial(CodingLayer, lmbd=self.lmbd, n_steps=self.n_steps)
        options: dict[str, Any] = {
            "width": self.width,
            "n_blocks": self.n_blocks,
            "n_stages": self.n_stages,
        }
        options["layers"] = self.layers
        return CodingResNet(task.image_shape[0], task.n_classes, coding=coding, **options)
