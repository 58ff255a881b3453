"""Sparse codes as a deep equilibrium (Bai, Kolter and Koltun, 2019): the fixed point itself, in constant memory."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor, nn

from baselines.layers.convolutional import CodingNetwork
from baselines.layers.equilibrium import Fixed, Implicit
from baselines.methods.csc_net import CodingLayer, CodingResNet
from ddl_bench.api import About, Task
from ddl_bench.options import NotNegativeFloat, Positive, PositiveFloat
from ddl_bench.training.method import NetworkMethod


class EquilibriumLayer(CodingLayer):
    """The limit of a `CodingLayer`, with a ridge of alpha that makes it unique. Options as `Fixed`."""

    def __init__(self, *geometry: int, lmbd: float, alpha: float, n_iter: int, tol: float) -> None:
        super().__init__(*geometry, lmbd=lmbd)
        self.alpha, self.n_iter, self.tol = alpha, n_iter, tol

    def forward(self, X: Tensor) -> Tensor:
        step = self.step / (1 + self.alpha * self.step)
        fixed = Fixed(step=step, lmbd=self.lmbd, alpha=self.alpha, n_iter=self.n_iter, tol=self.tol)
        codes: Tensor = Implicit.apply(X, self.weight, self.stride, self.padding, fixed)
        return codes


@dataclass(frozen=True, kw_only=True)
class DEQSC(NetworkMethod):
    """Residual network whose first codes are a deep equilibrium: the fixed point itself, in constant memory.

    `csc-net` with codes that are solved for, by Anderson acceleration, and differentiated implicitly.

    width: channels of the first stage. n_blocks: blocks of each of the three stages. lmbd, alpha: penalty and ridge.
    n_iter: at most so many steps, forwards and backwards each. tol: of the step's length relative to the codes.
    """

    name: ClassVar[str] = "deq-sc"
    about: ClassVar[About] = About(
        family="convolutional sparse coding",
        formula="codes = max(codes - step * (D'(D codes - X) + lmbd + alpha * codes), 0)",
        references=("bai2019",),
        differs="one layer is an equilibrium, not the whole network",
    )
    wrap = CodingNetwork
    width: Positive = 16
    n_blocks: Positive = 1
    lmbd: NotNegativeFloat = 0.1
    alpha: PositiveFloat = 1.0
    n_iter: Positive = 30
    tol: NotNegativeFloat = (
        1e-2  # 1e-3 takes half as long again and, on validation images, gains nothing
    )

    def network(self, task: Task) -> nn.Module:
        coding = partial(
            EquilibriumLayer, lmbd=self.lmbd, alpha=self.alpha, n_iter=self.n_iter, tol=self.tol
        )
        shape = task.image_shape[0], task.n_classes
        return CodingResNet(*shape, width=self.width, n_blocks=self.n_blocks, coding=coding)
