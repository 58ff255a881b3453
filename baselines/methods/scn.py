"""Deep sparse coding network (Sun, Nasrabadi and Tran, 2020): slim and wide dictionaries in turn, a penalty an atom."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import nn

from baselines.methods.ddl import DDLNet, DDLNetwork
from ddl_bench.api import About, Task
from ddl_bench.errors import UserError
from ddl_bench.options import NotNegative, NotNegativeFloat, Positive
from ddl_bench.training.backbones import ConvolutionPlan
from ddl_bench.training.method import NetworkMethod
from ddl_bench.training.recipe import Recipe, adapted

WIDE = 4  # atoms of a wide dictionary / atoms of the slim one before it


@dataclass(frozen=True, kw_only=True)
class SCN(NetworkMethod):
    """Deep sparse coding network: slim and wide dictionaries in turn, with a learned penalty for each atom.

    `depth` modules of two layers of non-negative codes of 3x3 patches, batch norm before each. A setting of 0 follows
    from the images.

    depth: modules, in three stages; each stage but the first halves the maps and doubles the atoms.
    width: atoms of the first slim dictionary; a wide one has four times as many.
    first_stride: of the first layer. n_cells: the last codes are averaged over n_cells x n_cells.
    lmbd: penalty of each atom at the start. alpha: elastic-net term, not learned.
    """

    name: ClassVar[str] = "scn"
    about: ClassVar[About] = About(
        family="deep dictionaries, end to end",
        formula="codes = argmin over codes >= 0 of 0.5*norm(x - D codes)**2 + sum(lmbd*codes) + "
        "0.5*alpha*norm(codes)**2, layer after layer; min of the cross-entropy",
        references=("sun2020",),
        published="94.19 % on CIFAR-10 and 80.07 % on CIFAR-100: depth 7, width 16, first_stride 1, 0.69 M parameters, "
        "200 epochs",
        differs="unit-norm atoms that start from patches, and alpha > 0, are ours",
    )
    wrap = DDLNetwork
    recipes: ClassVar[Mapping[str, Recipe]] = adapted(lr=0.05)
    depth: Positive = 2
    width: NotNegative = 0
    first_stride: NotNegative = 0
    n_cells: Positive = 1
    lmbd: NotNegativeFloat = 0.0
    alpha: NotNegativeFloat = 0.01

    def network(self, task: Task) -> nn.Module:
        plan = list(self.plan(task.image_shape))
        return DDLNet(plan, self.n_cells, task, lmbd=self.lmbd, alpha=self.alpha, per_atom=True)

    def plan(self, shape: tuple[int, int, int]) -> Iterator[ConvolutionPlan]:
        """The layers for images of `shape` (channels, height, width)."""
        if self.depth < 1:
            raise UserError(f"SCN(depth={self.depth}): expected at least 1 module")
        inputs, stride = shape[0], self.first_stride or (1 if min(shape[1:]) < 16 else 2)
        for stage, members in enumerate(np.array_split(range(self.depth), 3)):
            slim = (self.width or 8) * 2**stage
            for i in members:
                yield ConvolutionPlan(
                    inputs, slim, 3, stride if i == 0 else 2 if i == members[0] else 1
                )
                yield ConvolutionPlan(slim, WIDE * slim, 3, 1)
                inputs = WIDE * slim
