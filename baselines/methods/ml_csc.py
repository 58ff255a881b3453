"""Multi-layer convolutional sparse coding (Sulam, Aberdam, Beck and Elad, TPAMI 2019) and the network of its size.

Images x = D_1 codes_1, codes_1 = D_2 codes_2, ...: one sparse code, seen through ever more dictionaries. Without any
unfolding codes_i = relu(step_i * D_i' codes_{i-1} + bias_i), codes_0 = x, is a convolutional network. An unfolding
takes the deepest codes back, estimate_{i-1} = D_i estimate_i from estimate_L = codes_L, and then, from the first layer
on, moves each estimate towards the codes just found below it:

    codes_i = relu(estimate_i - step_i * D_i'(estimate_{i-1} - codes_{i-1}) + bias_i)             ML-ISTA
    estimate_L = codes_L + (t_k - 1) / t_{k+1} * (codes_L - those before), the rest as ML-ISTA    ML-FISTA
    codes_i = relu(estimate_i - step_i * D_i'D_i estimate_i + B_i' codes_{i-1} + bias_i)          ML-LISTA

ML-LISTA has analysis filters B_i of its own, which also take the codes back, divided by their lipschitz. Learned are
W_i = step_i * D_i, the filters of the convolutional network, and D_i = W_i / lipschitz(W_i), which makes step_i
1 / lipschitz(D_i): steps are stable however the filters grow, as of the last bound, one of every EVERY training steps,
and codes keep the scale that they have in the network. The authors learn step_i and D_i freely. -bias_i is a penalty
times the step, of either sign as in their code.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.layers.convolutional import CodingNetwork, Dictionary, momenta
from ddl_bench.api import About, Task
from ddl_bench.errors import UserError
from ddl_bench.options import NotNegative
from ddl_bench.training.backbones import Normalise
from ddl_bench.training.method import NetworkMethod
from ddl_bench.training.recipe import Recipe, adapted

Shape = tuple[int, int, int]
# Layers with codes, each (n_atoms, kernel, stride, padding), and the widths of convolutions after them.
Layout = tuple[tuple[tuple[int, int, int, int], ...], tuple[int, ...]]
# By the smallest side of the images that they are for. The last two are the authors', for MNIST and CIFAR-10.
LAYOUTS: dict[int, Layout] = {
    8: (((32, 4, 2, 1), (64, 4, 2, 1), (128, 2, 2, 0)), ()),
    28: (((64, 6, 2, 0), (128, 6, 2, 0), (512, 4, 4, 0)), ()),
    32: (((32, 4, 2, 1), (64, 4, 2, 1), (128, 4, 2, 1)), (256, 512, 512)),
}
EVERY = 10  # training steps between bounds: one takes as long as 20 images, and filters change little meanwhile


class MultiLayerNet(nn.Module):
    """Codes by `n_steps` unfoldings, then 3x3 convolutions with ReLU, all but the first halving, and a linear layer.

    shape: (channels, height, width) of the images. n_classes: of the scores. layout: as in `LAYOUTS`.
    n_steps: unfoldings, 0 or more. momentum: as in ML-FISTA. free: B_i apart from W_i, as in ML-LISTA.
    """

    lipschitz: Tensor
    n_projected: Tensor

    def __init__(
        self,
        shape: Shape,
        n_classes: int,
        layout: Layout,
        *,
        n_steps: int,
        momentum: bool = False,
        free: bool = False,
    ) -> None:
        super().__init__()
        (layers, plain), self.n_steps, self.momentum = layout, n_steps, momentum
        self.layers, self.normalise = layers, Normalise(shape[0])
        widths = [shape[0], *(layer[0] for layer in layers), *plain]
        self.W, self.B, self.bias = (nn.ParameterList() for _ in range(3))
        for inputs, (n_atoms, kernel, _, _) in zip(widths, layers, strict=False):
            self.W.append(
                torch.randn(n_atoms, inputs, kernel, kernel) * (2 / (inputs * kernel**2)) ** 0.5
            )
            self.B.extend([self.W[-1].detach().clone()] if free else [])
            self.bias.append(torch.zeros(n_atoms))
        self.register_buffer("lipschitz", torch.ones(1 + free, len(layers)))
        self.register_buffer("n_projected", torch.zeros((), dtype=torch.int64))
        self.find_lipschitz()
        self.plain = nn.ModuleList()
        for inputs, width in pairwise(widths[len(layers) :]):
            self.plain.append(convolution := nn.Conv2d(inputs, width, 3, padding=1))
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        self.head = nn.Linear(self.features(torch.zeros(1, *shape)).shape[1], n_classes)

    def project_(self) -> None:
        """Every `EVERY`-th call, find lipschitz anew."""
        self.n_projected += 1
        if self.n_projected % EVERY == 0:
            self.find_lipschitz()

    @torch.no_grad()
    def find_lipschitz(self) -> None:
        """That of W and of B as they are now."""
        if self.n_steps:
            for known, filters in zip(self.lipschitz, (self.W, self.B), strict=False):
                known.copy_(torch.stack([it.lipschitz() for it in self.dictionaries(filters)]))

    def dictionaries(self, filters: nn.ParameterList) -> list[Dictionary]:
        return [Dictionary(D, *layer[2:]) for D, layer in zip(filters, self.layers, strict=True)]

    def codes(self, X: Tensor) -> list[Tensor]:
        """The signals, which are the normalised images X, and the codes (n, n_atoms, rows, columns) of each layer."""
        codes, W, bias = (
            [self.normalise(X)],
            self.dictionaries(self.W),
            [it[:, None, None] for it in self.bias],
        )
        B = self.dictionaries(self.B) if self.B else W
        for i in range(len(B)):
            codes.append(F.relu(B[i].adjoint(codes[i]) + bias[i]))
        previous = codes[-1]
        for _, momentum in zip(range(self.n_steps), momenta(), strict=False):
            estimates = [
                codes[-1] + momentum * (codes[-1] - previous) if self.momentum else codes[-1]
            ]
            previous = codes[-1]
            for i in reversed(range(len(B))):
                estimates.insert(0, B[i](estimates[0], codes[i].shape[2:]) / self.lipschitz[-1, i])
            for i in range(len(B)):
                if self.B:
                    again = W[i](estimates[i + 1], codes[i].shape[2:]) / self.lipschitz[0, i]
                    moved = B[i].adjoint(codes[i]) - W[i].adjoint(again)
                else:
                    moved = W[i].adjoint(codes[i] - estimates[i])
                codes[i + 1] = F.relu(estimates[i + 1] + moved + bias[i])
        return codes

    def features(self, X: Tensor) -> Tensor:
        maps = self.codes(X)[-1] / (
            self.n_steps + 1
        )  # at first the deepest codes grow by about themselves each time
        for depth, convolution in enumerate(self.plain):
            maps = F.max_pool2d(F.relu(convolution(maps)), 2 if depth else 1)
        return maps.flatten(1)

    def forward(self, X: Tensor) -> Tensor:
        """Scores (n, n_classes) of images X (n, channels, height, width)."""
        return F.linear(self.features(X), self.head.weight, self.head.bias)

    def first_codes(self, X: Tensor) -> tuple[Dictionary, Tensor, Tensor]:
        signals, codes = self.codes(X)[:2]
        W = self.dictionaries(self.W)[0]  # its lipschitz is not kept where there is no unfolding
        return Dictionary(W.D / W.lipschitz(), W.stride, W.padding), signals, codes


@dataclass(frozen=True, kw_only=True)
class MLISTA(NetworkMethod):
    """Multi-layer convolutional sparse coding by ML-ISTA: unfoldings upon a convolutional network.

    n_steps: unfoldings, 0 or more.
    """

    name: ClassVar[str] = "ml-ista"
    about: ClassVar[About] = About(
        family="convolutional sparse coding",
        formula="codes_i = relu(estimate_i - step_i * D_i'(D_i estimate_i - codes_{i-1}) + bias_i), estimates from "
        "the deepest codes",
        references=("sulam2020",),
        published="99.11 % on MNIST, 82.93 % on CIFAR-10 (6 unfoldings, 4.0 M parameters on CIFAR-10, 150 epochs)",
        differs="steps follow from the filters, which the authors learn apart; 2 unfoldings by default",
    )
    wrap = CodingNetwork
    n_steps: NotNegative = 2
    # lr is chosen on validation images; in batches of 128, ml-cnn fails at 0.2 on MNIST.
    recipes: ClassVar[Mapping[str, Recipe]] = adapted(lr=0.1, largest_batch=128)
    momentum: ClassVar[bool] = False
    free: ClassVar[bool] = False

    def network(self, task: Task) -> nn.Module:
        shape, side = task.image_shape, min(task.image_shape[1:])
        if side < min(LAYOUTS) or self.n_steps < 0:
            what = f"{self.name}(n_steps={self.n_steps}) on images of {shape[1]}x{shape[2]}"
            raise UserError(f"{what}: n_steps must be at least 0 and images at least 8x8")
        layout, kind = (
            LAYOUTS[max(it for it in LAYOUTS if it <= side)],
            {"momentum": self.momentum, "free": self.free},
        )
        return MultiLayerNet(shape, task.n_classes, layout, n_steps=self.n_steps, **kind)


@dataclass(frozen=True, kw_only=True)
class MLCNN(MLISTA):
    """The convolutional network that ML-ISTA starts from: the same filters, without unfolding."""

    name: ClassVar[str] = "ml-cnn"
    about: ClassVar[About] = About(
        family="convolutional sparse coding",
        formula="codes_i = relu(step_i * D_i' codes_{i-1} + bias_i), codes_0 = x",
        references=("sulam2020",),
        published="98.74 % on MNIST, 79.00 % on CIFAR-10 (4.0 M parameters, 150 epochs)",
        differs="recipe and initialisation",
    )
    n_steps: NotNegative = field(default=0, init=False)


@dataclass(frozen=True, kw_only=True)
class MLFISTA(MLISTA):
    """Multi-layer convolutional sparse coding by ML-FISTA: ML-ISTA with momentum."""

    name: ClassVar[str] = "ml-fista"
    about: ClassVar[About] = About(
        family="convolutional sparse coding",
        formula="estimate_L = codes_L + (t_k - 1) / t_{k+1} * (codes_L - those before), the rest as `ml-ista`",
        references=("sulam2020",),
        published="99.16 % on MNIST, 82.79 % on CIFAR-10 (6 unfoldings, 4.0 M parameters on CIFAR-10, 150 epochs)",
        differs="steps follow from the filters, which the authors learn apart; 2 unfoldings by default",
    )
    momentum: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class MLLISTA(MLISTA):
    """Multi-layer convolutional sparse coding by ML-LISTA: ML-ISTA with learned analysis filters."""

    name: ClassVar[str] = "ml-lista"
    about: ClassVar[About] = About(
        family="convolutional sparse coding",
        formula="codes_i = relu(estimate_i - step_i * D_i'D_i estimate_i + B_i' codes_{i-1} + bias_i)",
        references=("sulam2020",),
        published="98.81 % on MNIST, 82.68 % on CIFAR-10 (6 unfoldings, 4.0 M parameters on CIFAR-10, 150 epochs)",
        differs="steps follow from the filters, which the authors learn apart; 2 unfoldings by default",
    )
    free: ClassVar[bool] = True
