"""Deep sparse coding network (Sun, Nasrabadi and Tran, 2020): slim and wide dictionaries."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import nn

from baselines.features.defaults import is_small
from baselines.layers.deep import DDLNet, DDLNetwork
from baselines.methods.preset import Preset, PresetMethod
from ddl_bench.api import About, Task
from ddl_bench.options import NotNegativeFloat, Positive
from ddl_bench.training.backbones import ConvolutionPlan
from ddl_bench.training.recipe import Recipe, adapted
from ddl_bench.training.schedules import PublishedRecipe

WIDENING = 4  # atoms of a wide dictionary / atoms of the slim one before it
N_STAGES = 3
# That of the authors' code for CIFAR-10: 200 epochs, the last 40 at the lowest rate.
SCN_RECIPE = PublishedRecipe(
    lr=0.1,
    nesterov=False,
    batch_size=128,
    schedule="steps",
    milestones=(0.4, 0.8),
    decay=0.1,
    shift=1 / 8,
    flip="random",
)


@dataclass(frozen=True, kw_only=True)
class SCN(PresetMethod):
    """Deep sparse coding network: alternating slim and wide dictionaries, learned penalties.

    `depth` modules have two layers each of non-negative codes of 3x3 patches, with batch norm
    before each. The preset "published" has depth 7, width 16 and first_stride 1, 0.70 M
    parameters, and the authors' recipe, in 200 epochs.

    Parameters
    ----------
    depth
        Number of modules, in three stages; each stage but the first halves the maps and doubles
        the atoms.
    width
        Atoms of the first slim dictionary; a wide one has four times as many.
    first_stride
        Distance of the patches of the first layer, in pixels. None: chosen from the size of the
        images.
    n_cells
        The last codes are averaged over n_cells x n_cells.
    lmbd
        Penalty of each atom at the start.
    alpha
        Ridge of the codes, at least 1e-3; not learned.
    """

    name: ClassVar[str] = "scn"
    about: ClassVar[About] = About(
        family="deep dictionaries, end to end",
        formula="codes = argmin over codes >= 0 of 0.5*norm(X - codes @ D.T)**2 + sum(lmbd*codes) "
        "+ 0.5*alpha*norm(codes)**2, layer after layer; min of the cross-entropy",
        references=("sun2020",),
        published="94.19 % on CIFAR-10 and 80.07 % on CIFAR-100: depth 7, width 16, first_stride "
        "1, 0.69 M parameters, 200 epochs",
        differs="smaller by default, with patches 2 pixels apart in the first layer; unit-norm "
        "atoms that start from patches, and alpha > 0, are ours; each image is shifted and flipped "
        "for itself, a whole batch alike in the authors' code; the preset's crops have a reflected "
        "border",
    )
    wrap = DDLNetwork
    recipes: ClassVar[Mapping[str, Recipe]] = adapted(lr=0.05)
    presets: ClassVar[Mapping[str, Preset]] = {
        "published": Preset({"depth": 7, "width": 16, "first_stride": 1}, SCN_RECIPE)
    }
    depth: Positive = 2
    width: Positive = 8
    first_stride: Positive | None = None
    n_cells: Positive = 1
    lmbd: NotNegativeFloat = 0.0
    alpha: NotNegativeFloat = 0.01

    def network(self, task: Task) -> nn.Module:
        """Return a new network for the images of a task."""
        plan = list(self.sized().plan(task.image_shape))
        return DDLNet(plan, self.n_cells, task, lmbd=self.lmbd, alpha=self.alpha, per_atom=True)

    def plan(self, shape: tuple[int, int, int]) -> Iterator[ConvolutionPlan]:
        """Yield the layers for images of (channels, height, width)."""
        first_stride = self.first_stride
        if first_stride is None:
            first_stride = 1 if is_small(shape) else 2
        inputs = shape[0]
        for stage, members in enumerate(np.array_split(range(self.depth), N_STAGES)):
            slim = self.width * 2**stage
            for i in members:
                stride = 2 if i == members[0] else 1
                yield ConvolutionPlan(inputs, slim, 3, first_stride if i == 0 else stride)
                yield ConvolutionPlan(slim, WIDENING * slim, 3, 1)
                inputs = WIDENING * slim
