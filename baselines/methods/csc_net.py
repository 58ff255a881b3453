"""A residual net with layers of convolutional sparse coding (Dai et al., NeurIPS 2022: "SDNet")."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import nn

from baselines.layers.convolutional import CodingLayer, CodingNetwork
from baselines.layers.residual import CodedLayers, CodingResNet
from baselines.methods.preset import Preset, PresetMethod
from ddl_bench.api import About, Task
from ddl_bench.options import NotNegativeFloat, Positive
from ddl_bench.training.schedules import PublishedRecipe

# That of the authors' configuration for CIFAR-10.
SDNET_RECIPE = PublishedRecipe(
    lr=0.1,
    decay_all=True,
    batch_size=128,
    batches="full",
    shift=1 / 8,
    border="zero",
    flip="random",
)


@dataclass(frozen=True, kw_only=True)
class CSCNet(PresetMethod):
    """Residual network whose first layer is convolutional sparse coding (SDNet), like ResNet-8.

    The preset "published" has the size of ResNet-18, 11.0 M parameters: the published 11.2 M less
    the weights of the shortcuts. Its recipe is the authors': a rate of 0.1 along half a cosine,
    in 220 epochs.

    Parameters
    ----------
    width
        Channels of the first stage, doubled in each of the others.
    n_blocks, n_stages
        Blocks of a stage, and number of stages.
    layers
        "first" codes the images only; "all" has coding layers in place of the blocks'
        convolutions too.
    relu
        Whether a ReLU follows the batch norm of each coding layer; the published network has none.
    lmbd, n_steps
        Penalty, in units of the maps, and FISTA steps of a coding layer; the published ones.
    """

    name: ClassVar[str] = "csc-net"
    about: ClassVar[About] = About(
        family="convolutional sparse coding",
        formula="n_steps of FISTA from 0 on 0.5*norm(X - D(codes))**2 + lmbd*norm1(codes), "
        "codes >= 0, unit-norm atoms",
        references=("dai2022",),
        published="95.20 % on CIFAR-10 and 78.45 % on CIFAR-100: the size of ResNet-18, 11.2 M "
        "parameters, 220 epochs; the checkpoint that the authors offer has 95.34 %",
        differs="smaller by default; a ReLU behind the batch norm of coding layers, left out by "
        "relu=false and in the preset; no weights in shortcuts; the step comes from a bound, and "
        "is shorter than by the authors' power iteration; the gradient is FISTA's, "
        "at the extrapolated point, which matters from the third step on; the authors' code "
        "keeps the epoch that is best on test images, which nothing here does",
    )
    wrap = CodingNetwork
    presets: ClassVar[Mapping[str, Preset]] = {
        "published": Preset(
            {"width": 64, "n_blocks": 2, "n_stages": 4, "relu": False}, SDNET_RECIPE
        )
    }
    width: Positive = 16
    n_blocks: Positive = 1
    n_stages: Positive = 3
    layers: CodedLayers = "first"
    relu: bool = True
    lmbd: NotNegativeFloat = 0.1
    n_steps: Positive = 2

    def network(self, task: Task) -> nn.Module:
        """Return a new network for the images of a task."""
        sized = self.sized()
        return CodingResNet(
            task.image_shape[0],
            task.n_classes,
            width=sized.width,
            n_blocks=sized.n_blocks,
            n_stages=sized.n_stages,
            coding=partial(CodingLayer, lmbd=self.lmbd, n_steps=self.n_steps),
            layers=self.layers,
            relu=sized.relu,
        )
