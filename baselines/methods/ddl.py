"""Deep dictionary learning (Mahdizadehaghdam et al., 2019): layers of sparse codes, trained end to end."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.layers.implicit import Coding
from ddl_bench.api import About, CodeStats, Task
from ddl_bench.errors import UserError
from ddl_bench.options import NotNegative, NotNegativeFloat
from ddl_bench.training import backbones
from ddl_bench.training.backbones import ConvolutionPlan, Normalise
from ddl_bench.training.method import NetworkMethod
from ddl_bench.training.network import Network
from ddl_bench.training.recipe import Recipe, adapted

Depth = Annotated[int, Field(ge=0, le=23)]
PATCHED = 8  # images whose patches are made at a time: 30 MB in a layer of 96 channels at 32x32
LEARNED = 200  # images that the first dictionaries are drawn from


def draw(patches: Tensor, n_atoms: int, generator: torch.Generator) -> Tensor:
    """Atoms (n_atoms, n_features) of unit norm: patches, none of them flat, with a little noise against twins."""
    drawn = patches[torch.randperm(len(patches), generator=generator).to(patches.device)[:5000]]
    size = drawn.norm(dim=1)
    lively = drawn[size >= size.mean() / 2]
    atoms = lively[torch.arange(n_atoms, device=lively.device) % len(lively)]
    noise = torch.randn(atoms.shape, generator=generator).to(atoms) / atoms.shape[1] ** 0.5
    return F.normalize(F.normalize(atoms) + 0.1 * noise)


class DDLNet(nn.Module):
    """`layers` of codes, the last averaged over n_cells x n_cells cells, and a linear classifier of them."""

    def __init__(self, layers: Sequence[ConvolutionPlan], n_cells: int, task: Task, *, batch_norm: bool = True,
                 lmbd: float, alpha: float, per_atom: bool = False) -> None:  # fmt: skip
        super().__init__()
        self.shape, self.n_cells = task.image_shape, n_cells
        n_features = layers[-1].outputs * n_cells**2
        self.normalise = Normalise(task.image_shape[0])
        how = {"lmbd": lmbd, "alpha": alpha}
        self.layers = nn.Sequential(
            *(Coding(it, **how, per_atom=per_atom, batch_norm=batch_norm) for it in layers)
        )
        self.norm = nn.BatchNorm1d(n_features, affine=False)
        self.head = nn.Linear(n_features, task.n_classes)
        nn.init.zeros_(
            self.head.weight
        )  # dictionaries shall not follow a random classifier at first

    @property
    def codings(self) -> list[Coding]:
        return cast(list[Coding], list(self.layers))

    @torch.no_grad()
    def initialise(self, X: Tensor, generator: torch.Generator) -> None:
        """One layer after the other starts from patches of what the layers below make of some images."""
        self.normalise.initialise(X, generator)
        chosen = X[torch.randperm(len(X), generator=generator)[:LEARNED]]
        maps = self.normalise(chosen.to(self.head.weight.device)).to(self.head.weight)
        for layer in self.codings:
            patches = layer.patches(layer.signals(maps)).transpose(1, 2).flatten(0, 1)
            layer.D.copy_(draw(patches, layer.layer.outputs, generator).T)
            maps = layer(maps)

    def forward(self, X: Tensor) -> Tensor:
        codes = self.layers(self.normalise(X).to(self.head.weight))
        scores: Tensor = self.head(self.norm(F.adaptive_avg_pool2d(codes, self.n_cells).flatten(1)))
        return scores


class DDLNetwork(Network):
    module: DDLNet

    @torch.inference_mode()
    def code_stats(self, X: Tensor, /) -> CodeStats:
        """Of all layers: each signal is a patch as its layer sees it."""
        net, sums = self.module, np.zeros(4)
        for batch in torch.split(X, PATCHED):
            maps = net.normalise(batch.to(net.head.weight.device))
            for layer in net.codings:
                signals = layer.signals(maps)
                maps, patches = layer.codes(signals), layer.patches(signals)
                error, norm = (
                    (it**2).sum().item() for it in (patches - layer.D @ maps.flatten(2), patches)
                )
                sums += int(maps.count_nonzero()), maps.numel(), error, norm
        return CodeStats(
            n_nonzero=sums[0], n_entries=sums[1], squared_error=sums[2], squared_norm=sums[3]
        )

    def flops(self) -> int:
        """Correlations with the dictionaries and the classifier, without the pursuit's own steps, which vary."""
        total, (_, height, width) = 2 * self.module.head.weight.numel(), self.module.shape
        for layer in self.module.codings:
            height, width = ((side - 1) // layer.layer.stride + 1 for side in (height, width))
            total += 2 * height * width * layer.D.numel()
        return total

    def atoms(self) -> np.ndarray:
        """Return the atoms of the first layer."""
        first = self.module.codings[0]
        rows = first.D.detach().T.cpu()
        kernel = first.layer.kernel
        return np.asarray(rows.reshape(len(rows), -1, kernel, kernel))


@dataclass(frozen=True, kw_only=True)
class DDL(NetworkMethod):
    """Deep dictionary learning: layers of non-negative elastic-net codes, trained end to end for the labels.

    A setting of 0 follows from the images.

    layout: "small"; "all-cnn-c", the geometry and widths of ALL-CNN-C; "0.35m", the same narrower, a reconstruction.
    depth, width: of "small": layers, and atoms of the first; doubled where maps are halved.
    n_cells: of "small": the last codes are averaged over n_cells x n_cells. lmbd, alpha: of all layers at the start.
    batch_norm: before each layer.
    """

    name: ClassVar[str] = "ddl"
    about: ClassVar[About] = About(
        family="deep dictionaries, end to end",
        formula="codes = argmin over codes >= 0 of 0.5*norm(x - D codes)**2 + lmbd*norm1(codes) + "
        "0.5*alpha*norm(codes)**2 + d'codes, layer after layer; min of the cross-entropy",
        references=("mahdizadehaghdam2019",),
        published="93.04 % on CIFAR-10 and 68.76 % on CIFAR-100: 9 layers, 1.4 M parameters, the full schedule",
        differs="batch norm before each layer and the classifier, unit-norm atoms and their start from patches are "
        "ours",
    )
    wrap = DDLNetwork
    # Of 0.3, 0.1, 0.03 and 0.01 on validation images of CIFAR-10.
    recipes: ClassVar[Mapping[str, Recipe]] = adapted(lr=0.03)
    layout: Literal["small", "all-cnn-c", "0.35m"] = "small"
    depth: Depth = 0
    width: NotNegative = 0
    n_cells: NotNegative = 0
    lmbd: NotNegativeFloat = 0.1
    alpha: NotNegativeFloat = 0.5
    batch_norm: bool = True

    def network(self, task: Task) -> nn.Module:
        n_cells = (
            1
            if self.layout != "small"
            else self.n_cells or (2 if min(task.image_shape[1:]) < 16 else 3)
        )
        plan = list(self.plan(task.image_shape))
        return DDLNet(
            plan, n_cells, task, lmbd=self.lmbd, alpha=self.alpha, batch_norm=self.batch_norm
        )

    def plan(self, shape: tuple[int, int, int]) -> Iterator[ConvolutionPlan]:
        """The layers for images of `shape` (channels, height, width)."""
        if self.layout != "small":
            yield from backbones.plain_layers(
                9, shape[0], (96, 192) if self.layout == "all-cnn-c" else (50, 96)
            )
            return
        small, inputs = min(shape[1:]) < 16, shape[0]
        depth, n_stages = self.depth or 2, 2 if small else 3
        if depth < 1 or depth > 23:
            raise UserError(f"{type(self).__name__}(depth={self.depth}): expected 1 to 23 layers")
        for stage, members in enumerate(np.array_split(range(depth), n_stages)):
            for i in members:
                outputs = (self.width or (32 if small else 48)) * min(stage + 1, 2)
                first, halved = i == 0, i == members[0] and stage > 0
                yield ConvolutionPlan(
                    inputs,
                    outputs,
                    5 if first and not small else 3,
                    2 if halved or (first and not small) else 1,
                )
                inputs = outputs
