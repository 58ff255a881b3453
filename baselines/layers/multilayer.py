"""Multi-layer convolutional sparse coding (Sulam, Aberdam, Beck and Elad, TPAMI 2019).

Images x = D_1 codes_1, codes_1 = D_2 codes_2, ...: one sparse code, seen through ever more
dictionaries. Without any unfolding codes_i = relu(step_i * D_i' codes_{i-1} + bias_i),
codes_0 = x, is a convolutional network. An unfolding takes the deepest codes back,
estimate_{i-1} = D_i estimate_i from estimate_L = codes_L, and then, from the first layer on, moves
each estimate towards the codes just found below it:

    ML-ISTA   codes_i = relu(estimate_i - step_i * D_i'(estimate_{i-1} - codes_{i-1}) + bias_i)
    ML-FISTA  estimate_L = codes_L + (t_k - 1) / t_{k+1} * (codes_L - those before), then as ML-ISTA
    ML-LISTA  codes_i = relu(estimate_i - step_i * D_i'D_i estimate_i + B_i' codes_{i-1} + bias_i)

ML-LISTA has analysis filters B_i apart, which also take the codes back, divided by their
lipschitz. Learned here are W_i = step_i * D_i, the filters of the convolutional network, and
D_i = W_i / lipschitz(W_i), which makes step_i 1 / lipschitz(D_i): steps are stable however the
filters grow, as of the last bound, one of every BOUND_EVERY_STEPS training steps, and codes keep
the scale that they have in the network. The deepest codes are divided by 1 + the number of
unfoldings, because at first they grow by about themselves with each. -bias_i is a penalty times
the step, of either sign as in the authors' code.

The authors learn D_i and step_i apart: step_i starts at 1, D_i at normal numbers of deviation
0.1 / sqrt(fan-in), B_i likewise, and nothing is divided. ML-LISTA then has no step. That is
`free_steps` of a `MultiLayerNet`. Nothing bounds such a step: rates must be small.
"""

from itertools import pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.layers.convolutional import Dictionary, FirstCodes, momenta
from ddl_bench.training.backbones import Normalise

# Training steps between bounds: one takes as long as 20 images, and filters change little.
BOUND_EVERY_STEPS = 10


class CodedMaps(NamedTuple):
    """A layer of codes: atoms, and side, distance and padding of its filters in pixels."""

    n_atoms: int
    kernel: int
    stride: int
    padding: int


class Layout(NamedTuple):
    """Layers of codes, and the widths of the convolutions after them."""

    coded: tuple[CodedMaps, ...]
    plain: tuple[int, ...] = ()


def forget_count(net: nn.Module, keys: object) -> None:
    """Let a `MultiLayerNet` whose state was loaded read its count of projections again."""
    vars(net)["until_bound"] = None


class MultiLayerNet(nn.Module):
    """Code by `n_steps` unfoldings, then apply 3x3 convolutions with ReLU and a linear layer.

    All convolutions but the first halve the maps.

    Parameters
    ----------
    shape, n_classes
        Channels, height and width of the images, and number of the scores.
    layout
        Of layers of codes and convolutions.
    n_steps
        Unfoldings, 0 or more.
    momentum
        Whether to extrapolate the deepest codes, as in ML-FISTA.
    free
        Whether B_i are learned apart from W_i, as in ML-LISTA.
    free_steps
        Whether D_i and step_i are learned apart, and start as the authors have them.
    """

    lipschitz: Tensor
    n_projected: Tensor

    def __init__(
        self,
        shape: tuple[int, int, int],
        n_classes: int,
        layout: Layout,
        *,
        n_steps: int,
        momentum: bool = False,
        free: bool = False,
        free_steps: bool = False,
    ) -> None:
        super().__init__()
        self.n_steps = n_steps
        self.free_steps = free_steps
        self.momentum = momentum
        self.coded = layout.coded
        self.normalise = Normalise(shape[0])
        self.W = nn.ParameterList()
        self.B = nn.ParameterList()
        self.bias = nn.ParameterList()
        self.step = nn.ParameterList()
        inputs = shape[0]
        for n_atoms, kernel, _, _ in layout.coded:
            filters = torch.randn(n_atoms, inputs, kernel, kernel)
            variance = (0.01 if free_steps else 2) / (inputs * kernel**2)
            scale = variance**0.5
            self.W.append(filters * scale)
            if free and free_steps:
                self.B.append(torch.randn_like(filters) * scale)
            elif free:
                self.B.append(self.W[-1].detach().clone())
            elif free_steps:
                self.step.append(torch.ones(()))
            self.bias.append(torch.zeros(n_atoms))
            inputs = n_atoms
        n_sets = 2 if free else 1  # of filters: W, and B where it is free
        self.register_buffer("lipschitz", torch.ones(n_sets, len(layout.coded)))
        self.register_buffer("n_projected", torch.zeros((), dtype=torch.int64))
        # How many calls of `project_` there are to the next bound; None: to be read from
        # `n_projected`, which waits for the device.
        self.until_bound: int | None = None
        self.register_load_state_dict_post_hook(forget_count)  # type: ignore[no-untyped-call]
        self.find_lipschitz()
        self.plain = nn.ModuleList()
        for before, after in pairwise((inputs, *layout.plain)):
            convolution = nn.Conv2d(before, after, 3, padding=1)
            if free_steps:
                nn.init.kaiming_normal_(convolution.weight, nonlinearity="linear")
                nn.init.zeros_(cast(Tensor, convolution.bias))
            else:
                nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            self.plain.append(convolution)
        n_features = self.features(torch.zeros(1, *shape)).shape[1]
        self.head = nn.Linear(n_features, n_classes)

    def project_(self) -> None:
        """Find lipschitz anew at every `BOUND_EVERY_STEPS`-th call."""
        if self.until_bound is None:
            self.until_bound = BOUND_EVERY_STEPS - int(self.n_projected) % BOUND_EVERY_STEPS
        self.n_projected += 1
        self.until_bound -= 1
        if self.until_bound == 0:
            self.until_bound = BOUND_EVERY_STEPS
            self.find_lipschitz()

    @torch.no_grad()
    def find_lipschitz(self) -> None:
        """Find lipschitz of W and of B as they are now; it stays 1 where nothing asks for it."""
        if self.n_steps == 0 or self.free_steps:
            return
        for bounds, filters in zip(self.lipschitz, (self.W, self.B), strict=False):
            found = [dictionary.lipschitz() for dictionary in self.dictionaries(filters)]
            bounds.copy_(torch.stack(found))

    def dictionaries(self, filters: nn.ParameterList) -> list[Dictionary]:
        """Return the operators that W or B make, one a layer."""
        dictionaries = []
        for D, layer in zip(filters, self.coded, strict=True):
            dictionaries.append(Dictionary(D, layer.stride, layer.padding))
        return dictionaries

    def codes(self, X: Tensor) -> list[Tensor]:
        """Return the normalised images X and, layer by layer, codes (n, n_atoms, rows, columns)."""
        codes = [self.normalise(X)]
        W = self.dictionaries(self.W)
        B = self.dictionaries(self.B) if self.B else W
        bias = [each[:, None, None] for each in self.bias]
        for i in range(len(B)):
            codes.append(F.relu(self.stepped(i, B[i].adjoint(codes[i])) + bias[i]))
        previous = codes[-1]
        for _, momentum in zip(range(self.n_steps), momenta(), strict=False):
            deepest = codes[-1]
            if self.momentum:
                deepest = deepest + momentum * (deepest - previous)
            previous = codes[-1]
            estimates = [deepest]
            for i in reversed(range(len(B))):
                estimates.insert(0, B[i](estimates[0], codes[i].shape[2:]) / self.lipschitz[-1, i])
            for i in range(len(B)):
                if self.B:
                    again = W[i](estimates[i + 1], codes[i].shape[2:]) / self.lipschitz[0, i]
                    moved = B[i].adjoint(codes[i]) - W[i].adjoint(again)
                else:
                    moved = self.stepped(i, W[i].adjoint(codes[i] - estimates[i]))
                codes[i + 1] = F.relu(estimates[i + 1] + moved + bias[i])
        return codes

    def stepped(self, i: int, maps: Tensor) -> Tensor:
        """Return maps times step_i, which is part of the filters unless steps are free."""
        return maps * self.step[i] if len(self.step) else maps

    def features(self, X: Tensor) -> Tensor:
        """Return what the linear layer sees of images X, (n, n_features)."""
        maps = self.codes(X)[-1]
        if not self.free_steps:
            maps = maps / (self.n_steps + 1)
        for depth, convolution in enumerate(self.plain):
            maps = F.max_pool2d(F.relu(convolution(maps)), 2 if depth else 1)
        return maps.flatten(1)

    def forward(self, X: Tensor) -> Tensor:
        """Return scores (n, n_classes) of images X (n, channels, height, width)."""
        return F.linear(self.features(X), self.head.weight, self.head.bias)

    def first_codes(self, X: Tensor) -> FirstCodes:
        """Return dictionary, signals and codes of the layer that sees the normalised images X."""
        signals, codes = self.codes(X)[:2]
        W = self.dictionaries(self.W)[0]
        if self.free_steps:
            return FirstCodes(W, signals, codes)
        # Its lipschitz is not kept where there is no unfolding.
        dictionary = Dictionary(W.D / W.lipschitz(), W.stride, W.padding)
        return FirstCodes(dictionary, signals, codes)
