"""A residual net with layers of convolutional sparse coding (Dai et al., NeurIPS 2022: "SDNet")."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import nn

from baselines.layers.convolutional import CodingLayer, CodingNetwork
from baselines.layers.residual import CodedLayers, CodingResNet
from ddl_bench.api import About, Task
from ddl_bench.options import NotNegativeFloat, Positive
from ddl_bench.training.method import NetworkMethod


@dataclass(frozen=True, kw_only=True)
class CSCNet(NetworkMethod):
    """Residual network whose first layer is convolutional sparse coding (SDNet), like ResNet-8.

    With width=64, n_blocks=2 and n_stages=4 it has the size of ResNet-18: 11.0 M parameters, the
    published 11.2 M less the weights of the shortcuts.

    Parameters
    ----------
    width
        Channels of the first stage, doubled in each of the others.
    n_blocks, n_stages
        Blocks of a stage, and number of stages.
    layers
        "first" codes the images only; "all" has coding layers in place of the blocks'
        convolutions too.
    lmbd, n_steps
        Penalty, in units of the maps, and FISTA steps of a coding layer; the published ones.
    """

    name: ClassVar[str] = "csc-net"
    about: ClassVar[About] = About(
        family="convolutional sparse coding",
        formula="n_steps of FISTA from 0 on 0.5*norm(X - D(codes))**2 + lmbd*norm1(codes), "
        "codes >= 0, unit-norm atoms",
        references=("dai2022",),
        published="95.34 % on CIFAR-10 and 78.45 % on CIFAR-100: the size of ResNet-18, 11.2 M "
        "parameters, 220 epochs",
        differs="smaller by default, no weights in shortcuts; the gradient is FISTA's, at the "
        "extrapolated point",
    )
    wrap = CodingNetwork
    width: Positive = 16
    n_blocks: Positive = 1
    n_stages: Positive = 3
    layers: CodedLayers = "first"
    lmbd: NotNegativeFloat = 0.1
    n_steps: Positive = 2

    def network(self, task: Task) -> nn.Module:
        """Return a new network for the images of a task."""
        return CodingResNet(
            task.image_shape[0],
            task.n_classes,
            width=self.width,
            n_blocks=self.n_blocks,
            n_stages=self.n_stages,
            coding=partial(CodingLayer, lmbd=self.lmbd, n_steps=self.n_steps),
            layers=self.layers,
        )
