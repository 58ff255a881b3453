"""A small convolutional network whose features LISTA codes, trained end to end.

Such networks served super-resolution (Wang et al., 2015) and scene recognition (Liu et al., 2018), on other data sets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.layers.unrolled import CodedNetwork, Form, LISTALayer
from ddl_bench.api import About, Task
from ddl_bench.options import NotNegative, Positive
from ddl_bench.training.backbones import Normalise
from ddl_bench.training.method import NetworkMethod
from ddl_bench.training.recipe import Recipe, adapted


class CNNLISTANet(LISTALayer):
    """3x3 convolutions, whose features at each place, scaled to about unit norm, are coded; pooled, signs apart."""

    def __init__(
        self,
        channels: int,
        n_classes: int,
        widths: list[int],
        n_atoms: int,
        n_steps: int,
        form: Form,
    ) -> None:
        super().__init__(widths[-1], n_atoms, n_steps, form)
        D = F.normalize(torch.randn(widths[-1], n_atoms), dim=0)
        scale = torch.linalg.matrix_norm(D, 2)
        self.start_from(D / scale, 0.1 / float(scale))
        parts: list[nn.Module] = [Normalise(channels)]
        for before, after in zip([channels, *widths], widths, strict=False):
            parts += [
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
            parts += [nn.MaxPool2d(2)] if after < widths[-1] else []
        self.cnn = nn.Sequential(
            *parts, nn.Conv2d(after, after, 1, bias=False), nn.BatchNorm2d(after, affine=False)
        )
        self.readout = nn.Sequential(nn.BatchNorm1d(2 * n_atoms), nn.Linear(2 * n_atoms, n_classes))

    def coded(self, X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        signals = self.cnn(X).permute(0, 2, 3, 1).flatten(0, 2) / self.W.shape[1] ** 0.5
        return signals, self.signal_codes(signals), self.dictionary()

    def forward(self, X: Tensor) -> Tensor:
        codes = self.unroll(
            F.conv2d(self.cnn(X) / self.W.shape[1] ** 0.5, self.W[:, :, None, None])
        )
        scores: Tensor = self.readout(torch.cat([F.relu(codes), F.relu(-codes)], 1).mean((2, 3)))
        return scores


@dataclass(frozen=True, kw_only=True)
class CNNLISTA(NetworkMethod):
    """Convolutional network whose features LISTA codes, trained end to end.

    width: channels of the first convolution, doubled at each halving; 0 follows from the images. n_atoms: 0 does, too.
    n_steps: unrolled steps, at least 1. form: of the steps, see `LISTALayer`.
    """

    name: ClassVar[str] = "cnn-lista"
    about: ClassVar[About] = About(
        family="unrolled networks",
        formula="x = features of a place; codes_1 = shrink(W x), codes_{t+1} = shrink(W x + S codes_t), t < n_steps",
        references=("wang2015", "liu2018", "gregor2010"),
        published="for super-resolution and scene recognition; none for the data sets here",
        differs="the convolutions and the readout are our own",
    )
    wrap = CodedNetwork
    recipes: ClassVar[Mapping[str, Recipe]] = adapted(lr=0.05)
    width: NotNegative = 0
    n_atoms: NotNegative = 0
    n_steps: Positive = 3
    form: Form = "shared"

    def network(self, task: Task) -> nn.Module:
        channels, small = task.image_shape[0], min(task.image_shape[1:]) < 16
        width, n_atoms = self.width or (16 if small else 32), self.n_atoms or (64 if small else 256)
        widths = [width * 2**depth for depth in range(2 if small else 3)]
        return CNNLISTANet(channels, task.n_classes, widths, n_atoms, self.n_steps, self.form)
