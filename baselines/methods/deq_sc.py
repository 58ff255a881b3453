"""Sparse codes as a deep equilibrium (Bai, Kolter and Koltun, 2019): the fixed point itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import nn

from baselines.layers.convolutional import CodingNetwork
from baselines.layers.equilibrium import EquilibriumLayer
from baselines.layers.residual import CodingResNet
from baselines.methods.csc_net import SDNET_RECIPE
from baselines.methods.preset import Preset, PresetMethod
from ddl_bench.api import About, Task
from ddl_bench.options import NotNegativeFloat, Positive, PositiveFloat


@dataclass(frozen=True, kw_only=True)
class DEQSC(PresetMethod):
    """Residual network whose first codes are a deep equilibrium, found in constant memory.

    It is `csc-net` with codes that are solved for, by Anderson acceleration, and differentiated
    implicitly. It has no publication of its own: the preset "published" has the size and the
    recipe of SDNet, whose first codes it takes to their limit.

    Parameters
    ----------
    width
        Channels of the first stage, doubled in each of the others.
    n_blocks, n_stages
        Blocks of a stage, and number of stages.
    lmbd, alpha
        Penalty and ridge of the codes, in units of the maps.
    n_iter
        Most steps of the solver, forwards and backwards each.
    tol
        Length of a step, relative to the codes, at which the solver stops. On validation images
        1e-3 gains nothing, and takes half as long again.
    """

    name: ClassVar[str] = "deq-sc"
    about: ClassVar[About] = About(
        family="convolutional sparse coding",
        formula="codes = argmin over codes >= 0 of 0.5*norm(X - D(codes))**2 + lmbd*norm1(codes) + "
        "0.5*alpha*norm(codes)**2",
        references=("bai2019", "bai2020"),
        published="none of this network; 93.6 ± 0.2 % on CIFAR-10 by the multiscale equilibrium "
        "network of bai2020, 10 M parameters",
        differs="one layer is an equilibrium, not the whole network; the ridge alpha = 1 beside "
        "atoms of unit norm makes the fixed point easy to find, and shrinks the codes; codes and "
        "gradients are solved for up to steps of 1 %, or for 30 steps, so that they are near the "
        "fixed point, not at it",
    )
    wrap = CodingNetwork
    presets: ClassVar[Mapping[str, Preset]] = {
        "published": Preset({"width": 64, "n_blocks": 2, "n_stages": 4}, SDNET_RECIPE)
    }
    width: Positive = 16
    n_blocks: Positive = 1
    n_stages: Positive = 3
    lmbd: NotNegativeFloat = 0.1
    alpha: PositiveFloat = 1.0
    n_iter: Positive = 30
    tol: NotNegativeFloat = 1e-2

    def network(self, task: Task) -> nn.Module:
        """Return a new network for the images of a task."""
        sized = self.sized()
        return CodingResNet(
            task.image_shape[0],
            task.n_classes,
            width=sized.width,
            n_blocks=sized.n_blocks,
            n_stages=sized.n_stages,
            coding=partial(
                EquilibriumLayer, lmbd=self.lmbd, alpha=self.alpha, n_iter=self.n_iter, tol=self.tol
            ),
        )
