"""LISTA (Gregor and LeCun, 2010): unrolled sparse coding of patches, trained end to end as a classifier."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.features.patches import Whitening, extract, positions
from baselines.features.readout import fit_readout, shuffled
from baselines.layers.unrolled import CodedNetwork, Form, LISTALayer
from baselines.learning.learner import learn
from baselines.learning.online import Online
from baselines.pursuit.encode import encode
from ddl_bench.api import About, Budget, Classifier, Deadline, Stepwise, Task, Training
from ddl_bench.errors import UserError
from ddl_bench.options import NotNegative, NotNegativeFloat, Positive
from ddl_bench.training.method import NetworkMethod
from ddl_bench.training.recipe import Recipe, adapted

LMBD = 0.5  # penalty of the first codes, in units of whitened patches and unit-norm atoms; thresholds are then learned


class LISTANet(LISTALayer):
    """Codes of whitened patches (learned once), pooled on n_cells x n_cells, signs apart, and a linear readout."""

    floor: Tensor

    def __init__(
        self, channels: int, n_classes: int, *, patch: int, stride: int, n_atoms: int, n_steps: int, n_cells: int,
        form: Form = "shared", normalise: bool = True,
    ) -> None:  # fmt: skip
        n_features, n_pooled = channels * patch**2, 2 * n_atoms * n_cells**2
        super().__init__(n_features, n_atoms, n_steps, form)
        self.patch, self.stride, self.n_cells = patch, stride, n_cells
        self.mean = nn.Parameter(torch.zeros(n_features), requires_grad=False)
        self.matrix = nn.Parameter(torch.eye(n_features), requires_grad=False)
        self.register_buffer("floor", torch.ones(()))
        self.norm = nn.BatchNorm1d(n_pooled) if normalise else nn.Identity()
        self.readout = nn.Linear(n_pooled, n_classes)
        nn.init.zeros_(self.readout.weight)  # W shall not follow a random readout at first

    @torch.no_grad()
    def whiten(self, X: Tensor, generator: torch.Generator) -> Tensor:
        """Learn the whitening from patches of images X, and return them whitened, (n_samples, n_features)."""
        patches = extract(X[torch.randperm(len(X), generator=generator)[:500]], self.patch, 1)
        patches = patches[torch.randperm(len(patches), generator=generator)[:20_000]]
        whitening = Whitening.learn(patches, contrast=0.01, regulariser=0.1)
        for mine, learned in zip(
            (self.mean, self.matrix, self.floor), vars(whitening).values(), strict=True
        ):
            mine.copy_(learned)
        return whitening(patches)

    def initialise(self, X: Tensor, generator: torch.Generator) -> None:
        """Learn the whitening, and start from whitened patches as atoms, scaled to lipschitz 1."""
        signals = self.whiten(X, generator)
        lively = signals[signals.norm(dim=1) >= signals.norm(dim=1).mean() / 10]
        D = F.normalize(lively[torch.arange(self.n_atoms) % len(lively)].T, dim=0)
        scale = torch.linalg.matrix_norm(D, 2)
        self.start_from(D / scale, LMBD / float(scale))

    def codes(self, X: Tensor) -> Tensor:
        """Codes of the patches of images (n, channels, height, width): (n, n_atoms, rows, columns)."""
        X = X.to(self.W.dtype)
        # Whitening and W are one convolution: contrast normalisation only divides each patch by a number.
        filters = self.W @ self.matrix.T
        centred = (filters - filters.mean(1, keepdim=True)).view(
            len(filters), -1, self.patch, self.patch
        )
        moments = F.avg_pool2d(
            torch.stack([X.mean(1), X.square().mean(1)], 1), self.patch, self.stride
        )
        contrast = ((moments[:, 1:] - moments[:, :1].square()).clamp(min=0) + self.floor).sqrt()
        return self.unroll(
            F.conv2d(X, centred, stride=self.stride) / contrast
            - (filters @ self.mean)[:, None, None]
        )

    def pooled(self, X: Tensor) -> Tensor:
        codes = self.codes(X)
        parts = torch.cat([F.relu(codes), F.relu(-codes)], 1)
        return F.adaptive_avg_pool2d(parts, self.n_cells).flatten(1)

    def coded(self, X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Whitened patches (n_samples, n_features), their codes (n_samples, n_atoms) and the dictionary."""
        signals = Whitening(self.mean, self.matrix, self.floor)(extract(X, self.patch, self.stride))
        return signals, self.codes(X).permute(0, 2, 3, 1).flatten(0, 2), self.dictionary()

    def forward(self, X: Tensor) -> Tensor:
        scores: Tensor = self.readout(self.norm(self.pooled(X)))
        return scores


class LISTANetwork(CodedNetwork):
    module: LISTANet

    def atoms(self) -> np.ndarray:
        """Return what each atom sees of a patch through the whitening."""
        net = self.module
        filters = (net.W[-net.n_atoms :] @ net.matrix.T).detach().cpu()
        return np.asarray(filters.view(len(filters), -1, net.patch, net.patch))


def distil(
    net: LISTALayer,
    signals: Tensor,
    codes: Tensor,
    *,
    n_iter: int,
    seed: int,
    deadline: Deadline | None = None,
) -> None:
    """Bring net.signal_codes(signals) near `codes` (n_samples, n_atoms) in the mean square: Adam, batches of 512."""
    generator, size = torch.Generator().manual_seed(seed), float(codes.square().mean())
    optimiser = torch.optim.Adam([each for each in net.parameters() if each.requires_grad])
    for step in range(n_iter):
        optimiser.param_groups[0]["lr"] = 3e-3 * (1 - step / n_iter)
        rows = torch.randint(len(signals), (512,), generator=generator)
        optimiser.zero_grad()
        torch.autograd.backward(
            (net.signal_codes(signals[rows]) - codes[rows]).square().mean() / size
        )
        optimiser.step()
        net.project_()
        if deadline is not None and deadline.fraction() > 0.5:
            break


def error_curves(
    D: Tensor,
    lmbd: float,
    train: Tensor,
    test: Tensor,
    depths: list[int],
    form: Form = "coupled",
    n_iter: int = 1000,
) -> dict[str, list[float]]:
    """norm(codes - exact)**2 / norm(exact)**2 on samples `test` after each number of steps in `depths`.

    "ista": of ISTA on 0.5*norm(x - D codes)**2 + lmbd*norm1(codes); "lista": of a layer of so many steps, distilled on
    samples `train` (n_samples, n_features).
    """
    wanted, exact = (
        encode(X, D, lmbd=lmbd, tol=1e-7, max_iter=10_000).codes for X in (train, test)
    )
    curves: dict[str, list[float]] = {"ista": [], "lista": []}
    for depth in depths:
        layer = LISTALayer(len(D), D.shape[1], depth, form)
        layer.start_from(D, lmbd)
        for name in curves:
            if name == "lista":
                distil(layer, train, wanted, n_iter=n_iter, seed=0)
            error = (
                layer.signal_codes(test).detach() - exact
            ).square().sum() / exact.square().sum()
            curves[name].append(float(error))
    return curves


@dataclass(frozen=True, kw_only=True)
class Unrolled(NetworkMethod):
    """Unrolled sparse coding of patches.

    A setting of 0 follows from the size of the images.

    patch, stride: side and distance of patches, in pixels. n_atoms: atoms. n_steps: unrolled steps, at least 1.
    n_cells: codes are pooled on n_cells x n_cells, at most as many as there are patches a side.
    distilled: learn exact codes of whitened patches, then a linear readout; not the classes. lmbd: their penalty.
    """

    wrap = LISTANetwork
    recipes: ClassVar[Mapping[str, Recipe]] = adapted(lr=0.015)
    patch: NotNegative = 0
    stride: NotNegative = 0
    n_atoms: NotNegative = 0
    n_cells: NotNegative = 0
    n_steps: Positive = 3
    distilled: bool = False
    lmbd: NotNegativeFloat = 0.1

    def plan(self, task: Task) -> dict[str, Any]:
        """The arguments of the network for images as those of the task."""
        channels, *sides = task.image_shape
        side, small, mine = min(sides), min(sides) < 16, type(self).__name__
        patch = self.patch or min(6, max(2, side // 2))
        if patch > side:
            raise UserError(
                f"{mine}(patch={patch}): larger than the {sides[0]}x{sides[1]} images; use at most {side}"
            )
        stride = self.stride or (1 if side < 24 else 2)
        plan = {"channels": channels, "n_classes": task.n_classes, "patch": patch, "stride": stride}
        n_cells = min(self.n_cells or (2 if small else 3), positions(side, patch, stride))
        return plan | {
            "n_atoms": self.n_atoms or (64 if small else 192),
            "n_steps": self.n_steps,
            "n_cells": n_cells,
        }

    def start(self, task: Task, budget: Budget) -> Training:
        if not self.distilled:
            return super().start(task, budget)
        return Stepwise(lambda deadline: self._distil(task, budget, deadline))

    @torch.no_grad()
    def _distil(self, task: Task, budget: Budget, deadline: Deadline) -> Iterator[Classifier]:
        X, y, held_out = shuffled(task, budget.seed)
        with torch.random.fork_rng(devices=[]):
            net: Any = self.network(task)
        signals = net.whiten(X[~held_out], torch.Generator().manual_seed(budget.seed))
        learner = Online(
            n_atoms=net.n_atoms, lmbd=self.lmbd, seed=budget.seed, n_threads=budget.threads
        )
        D = learn(learner, signals.numpy(), n_iter=150).D
        net.start_from(torch.from_numpy(D), self.lmbd)
        with torch.enable_grad():
            codes = encode(signals, D, lmbd=self.lmbd, tol=1e-4, n_threads=budget.threads).codes
            distil(net, signals, codes, n_iter=1000, seed=budget.seed, deadline=deadline)
        Z = torch.cat([net.pooled(block) for block in X.split(256)])
        readout = fit_readout(Z, y, held_out, task.n_classes, deadline, refit=not len(task.val))
        net.readout.load_state_dict({"weight": readout.weight.T, "bias": readout.bias})
        yield type(self).wrap(net, device=budget.device)


@dataclass(frozen=True, kw_only=True)
class LISTA(Unrolled):
    """LISTA: a few learned steps of sparse coding of patches, trained end to end as a classifier.

    form: of the steps, see `LISTALayer`.
    """

    name: ClassVar[str] = "lista"
    about: ClassVar[About] = About(
        family="unrolled networks",
        formula="codes_1 = shrink(W x), codes_{t+1} = shrink(W x + S codes_t), t < n_steps",
        references=("gregor2010", "chen2018"),
        differs="published to predict exact codes, which `distilled` does; here W, S and thresholds learn the classes",
    )
    form: Form = "shared"

    def network(self, task: Task) -> nn.Module:
        return LISTANet(**self.plan(task), form=self.form, normalise=not self.distilled)
