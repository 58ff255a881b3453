"""The one training loop for networks: augmentation, schedule, snapshots."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddl_bench.api import Budget, Deadline, Diverged, Size, Task

EVALUATION_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Recipe:
    lr: float
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    batch_size: int = 128
    schedule: Literal["steps", "triangle"] = "triangle"
    label_smoothing: float = 0.0
    shift: float = 4 / 32
    flip: Literal["alternate", "random", "none"] = "alternate"
    averaging: float = 0.0
    peak: float = 0.2

    def rate(self, progress: float) -> float:
        if self.schedule == "steps":
            return self.lr * 0.2 ** sum(progress >= milestone for milestone in (0.3, 0.6, 0.8))
        return self.lr * min((progress + 0.01) / (self.peak + 0.01), (1.0 - progress) / (1.0 - self.peak))


PAPER = Recipe(lr=0.1, schedule="steps", flip="random")
FAST = Recipe(lr=0.1, label_smoothing=0.1)


@runtime_checkable
class Initialises(Protocol):
    def initialise(self, X: Tensor, generator: torch.Generator) -> None: ...


@runtime_checkable
class Projects(Protocol):
    def project_(self) -> None: ...


class Network:
    def __init__(self, module: nn.Module, budget: Budget, *, mirror: bool = False) -> None:
        self.module = module.eval()
        self._device, self._mirror = torch.device(budget.device), mirror
        self._autocast = budget.precision == "bfloat16"

    def size(self) -> Size:
        n_stored = sum(p.numel() for p in self.module.parameters())
        zeros = sum(int(getattr(m, "n_structural_zeros", 0)) for m in self.module.modules())
        return Size(
            n_params=n_stored - zeros, n_stored=n_stored, n_buffers=sum(b.numel() for b in self.module.buffers())
        )

    def state(self) -> dict[str, Tensor]:
        return {name: value.cpu().contiguous() for name, value in self.module.state_dict().items()}

    @torch.inference_mode()
    def __call__(self, X: Tensor, /) -> Tensor:
        return torch.cat([self._scores(batch) for batch in X.split(EVALUATION_BATCH)])

    def _scores(self, X: Tensor) -> Tensor:
        X = X.to(self._device, memory_format=torch.channels_last)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast):
            scores: Tensor = self.module(X)
            if self._mirror:
                scores = scores + self.module(X.flip(3))
        return scores.float().cpu()


def _reflect(index: Tensor, size: int) -> Tensor:
    return (size - 1) - ((size - 1) - index.abs()).abs()


class SGDTraining:
    passes: float

    def __init__(
        self,
        module: nn.Module,
        task: Task,
        budget: Budget,
        recipe: Recipe,
        *,
        wrap: Callable[[nn.Module, Budget], Network] = Network,
    ) -> None:
        self._budget, self._recipe, self._wrap = budget, recipe, wrap
        self._images = task.train.X
        self._X = task.train.X.permute(0, 2, 3, 1).contiguous().to(budget.device)
        self._y = task.train.y.to(budget.device)
        self._flip = recipe.flip if task.mirror else "none"
        self._begin(copy.deepcopy(module))
        self._step(*next(iter(self._batches())), 0.0)
        self._begin(module)

    def _begin(self, module: nn.Module) -> None:
        recipe = self._recipe
        self._module = module.to(self._budget.device, memory_format=torch.channels_last).train()
        learned = [p for p in module.parameters() if p.requires_grad]
        self._optimiser = torch.optim.SGD(
            [
                {"params": [p for p in learned if p.ndim > 1]},
                {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self._projects = [m for m in module.modules() if isinstance(m, Projects)]
        self._generator = torch.Generator().manual_seed(self._budget.seed)
        self._first_flip = torch.rand(len(self._X), generator=self._generator) < 0.5
        self._epoch, self.passes = 0, 0.0
        self._losses: list[float] = []

    def _batches(self):
        n, height, width, _ = self._X.shape
        g = self._generator
        order = torch.randperm(n, generator=g)
        dy = torch.randint(-1000, 1001, (n,), generator=g)
        ry, rx = (-int(-self._recipe.shift * side // 1) for side in (height, width))
        dy = torch.randint(-ry, ry + 1, (n, 1), generator=g)
        dx = torch.randint(-rx, rx + 1, (n, 1), generator=g)
        rows = _reflect(torch.arange(height) + dy, height)
        cols = _reflect(torch.arange(width) + dx, width)
        if self._flip != "none":
            flip = (
                self._first_flip[order] ^ (self._epoch % 2 == 1)
                if self._flip == "alternate"
                else torch.rand(n, generator=g) < 0.5
            )
            cols = torch.where(flip[:, None], cols.flip(1), cols)
        parts = max(1, round(n / self._recipe.batch_size))
        order, rows, cols = order.to(self._X.device), rows.to(self._X.device), cols.to(self._X.device)
        for i, r, c in zip(order.tensor_split(parts), rows.tensor_split(parts), cols.tensor_split(parts), strict=True):
            yield self._X[i[:, None, None], r[:, :, None], c[:, None, :]].permute(0, 3, 1, 2), self._y[i]

    def _step(self, X, y, progress):
        for group in self._optimiser.param_groups:
            group["lr"] = self._recipe.rate(progress)
        self._optimiser.zero_grad()
        loss = F.cross_entropy(self._module(X), y, label_smoothing=self._recipe.label_smoothing)
        loss.backward()
        self._optimiser.step()
        for m in self._projects:
            m.project_()
        return loss.detach()

    def advance(self, deadline: Deadline) -> bool:
        if self._epoch == 0:
            for m in self._module.modules():
                if isinstance(m, Initialises):
                    m.initialise(self._images, self._generator)
        n = len(self._X)
        seen = 0
        for X, y in self._batches():
            p = (self._epoch + seen / n) / self._budget.epochs if self._budget.epochs else deadline.fraction()
            if deadline.expired():
                return False
            self._losses.append(self._step(X, y, p))
            seen += len(X)
        self._epoch += 1
        return self._epoch < self._budget.epochs if self._budget.epochs else not deadline.expired()

    def classifier(self):
        return self._wrap(copy.deepcopy(self._module), self._budget)
