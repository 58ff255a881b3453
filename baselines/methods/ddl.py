"""Deep dictionary learning (Mahdizadehaghdam et al., 2019): layers of codes, end to end."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import nn

from baselines.features.defaults import default_cells, is_small
from baselines.layers.deep import DDLNet, DDLNetwork
from baselines.methods.preset import Preset, PresetMethod
from ddl_bench.api import About, Task
from ddl_bench.options import NotNegativeFloat, Positive, refuse_without_effect
from ddl_bench.training import backbones
from ddl_bench.training.backbones import ConvolutionPlan
from ddl_bench.training.method import NetworkMethod
from ddl_bench.training.recipe import Recipe, adapted

Depth = Annotated[int, Field(ge=1, le=23)]
Layout = Literal["small", "all-cnn-c", "0.35m"]
WIDTHS: dict[Layout, tuple[int, int]] = {"all-cnn-c": (96, 192), "0.35m": (50, 96)}
DEFAULT_DEPTH = 2
RATE = 0.03  # of 0.3, 0.1, 0.03 and 0.01 the best on validation images of CIFAR-10
DDL_RECIPE = Recipe(lr=RATE, batch_size=128, schedule="steps", shift=1 / 8, flip="random")


@dataclass(frozen=True, kw_only=True)
class ImplicitMethod(NetworkMethod):
    """Train layers of non-negative elastic-net codes end to end.

    Parameters
    ----------
    width
        Atoms of the first layer, doubled where maps are halved. None: chosen from the size of the
        images.
    n_cells
        The last codes are averaged over n_cells x n_cells. None: chosen from the size of the
        images.
    lmbd, alpha
        Penalty and ridge of the codes of all layers, at the start where they are learned; the ridge
        is at least 1e-3.
    learn_penalty
        Whether each layer learns its lmbd and alpha. A learned lmbd may fall to 0; the published
        ones are constant.
    batch_norm
        Whether to batch-normalise what each layer codes.
    """

    wrap = DDLNetwork
    width: Positive | None = None
    n_cells: Positive | None = None
    lmbd: NotNegativeFloat = 0.1
    alpha: NotNegativeFloat = 0.5
    learn_penalty: bool = True
    batch_norm: bool = True

    def network(self, task: Task) -> nn.Module:
        """Return a new network for the images of a task."""
        return DDLNet(
            list(self.plan(task.image_shape)),
            self.cells(task.image_shape),
            task,
            lmbd=self.lmbd,
            alpha=self.alpha,
            batch_norm=self.batch_norm,
            learned=self.learn_penalty,
        )

    def cells(self, shape: tuple[int, int, int]) -> int:
        """Return the cells along each side for images of (channels, height, width)."""
        return default_cells(shape) if self.n_cells is None else self.n_cells

    def plan(self, shape: tuple[int, int, int]) -> Iterator[ConvolutionPlan]:
        """Yield the layers for images of (channels, height, width)."""
        raise NotImplementedError

    def small_plan(self, shape: tuple[int, int, int], depth: int) -> Iterator[ConvolutionPlan]:
        """Yield `depth` layers of 3x3 patches in two or three stages.

        Each stage but the first halves the maps. Of larger images the first layer has 5x5 patches,
        and halves them too.
        """
        small = is_small(shape)
        width = self.width
        if width is None:
            width = 32 if small else 48
        inputs = shape[0]
        for stage, members in enumerate(np.array_split(range(depth), 2 if small else 3)):
            outputs = width if stage == 0 else 2 * width
            for i in members:
                large = i == 0 and not small
                halving = large or (stage > 0 and i == members[0])
                yield ConvolutionPlan(inputs, outputs, 5 if large else 3, 2 if halving else 1)
                inputs = outputs


@dataclass(frozen=True, kw_only=True)
class DDL(PresetMethod, ImplicitMethod):
    """Deep dictionary learning: layers of non-negative elastic-net codes, end to end for labels.

    The preset "published" has the layout "all-cnn-c", constant penalties as in equation (2) of
    mahdizadehaghdam2019, and the schedule of tang2021, in 200 epochs. Its rate and its
    penalties are ours.

    Parameters
    ----------
    layout
        "small"; "all-cnn-c", the geometry and widths of ALL-CNN-C; "0.35m", the same narrower, a
        reconstruction. The latter two fix depth, width and n_cells.
    depth
        Number of layers, 1 to 23. None is 2.
    """

    name: ClassVar[str] = "ddl"
    about: ClassVar[About] = About(
        family="deep dictionaries, end to end",
        formula="codes = argmin over codes >= 0 of 0.5*norm(X - codes @ D.T)**2 + "
        "lmbd*norm1(codes) + 0.5*alpha*norm(codes)**2 + sum(linear*codes), layer after layer; "
        "min of the cross-entropy",
        references=("mahdizadehaghdam2019", "tang2021"),
        published="93.04 % on CIFAR-10 and 68.76 % on CIFAR-100: 9 layers, 1.4 M parameters, the "
        "full schedule (as tang2021 has it)",
        differs="lmbd and alpha are learned, where the publication has a constant lmbd > 0, as "
        "learn_penalty=false and the preset have; a learned lmbd may fall to 0; "
        "batch norm before each layer and "
        "the classifier, unit-norm atoms and their start from patches are ours, and so are the "
        "values of lmbd and alpha and the rate of 0.03, also with recipe=wide-resnet",
    )
    recipes: ClassVar[Mapping[str, Recipe]] = adapted(lr=RATE)
    presets: ClassVar[Mapping[str, Preset]] = {
        "published": Preset({"layout": "all-cnn-c", "learn_penalty": False}, DDL_RECIPE)
    }
    layout: Layout = "small"
    depth: Depth | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layout != "small":
            fixed = ("depth", "width", "n_cells")
            refuse_without_effect(self, fixed, f"with layout={self.layout!r}; leave it out")

    def network(self, task: Task) -> nn.Module:
        """Return a new network for the images of a task."""
        return ImplicitMethod.network(self.sized(), task)

    def cells(self, shape: tuple[int, int, int]) -> int:
        """Return the cells along each side for images of (channels, height, width)."""
        return super().cells(shape) if self.layout == "small" else 1

    def plan(self, shape: tuple[int, int, int]) -> Iterator[ConvolutionPlan]:
        """Yield the layers for images of (channels, height, width)."""
        if self.layout == "small":
            depth = DEFAULT_DEPTH if self.depth is None else self.depth
            yield from self.small_plan(shape, depth)
        else:
            yield from backbones.plain_layers(9, shape[0], WIDTHS[self.layout])
