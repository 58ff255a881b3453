"""The one training loop for networks: augmentation, schedule, divergence, snapshots."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddl_bench.api import Budget, Deadline, Diverged, Size, Task

EVALUATION_BATCH = 256
MILESTONES = (0.3, 0.6, 0.8)  # epochs 60, 120 and 160 of 200


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained: SGD with momentum on cross-entropy.

    lr: peak rate, for batches of `batch_size`. weight_decay: of weights with two or more dimensions; biases, batch
    norm, thresholds and the like have none. schedule: "steps" multiplies the rate by 0.2 at `MILESTONES` of the budget,
    "triangle" rises linearly for the share `peak` of it and falls to zero. shift: largest shift, as a share of the
    image side. flip: where the task allows it, "random", or "alternate" (every image in every second epoch, so that two
    epochs show each view once).
    """

    lr: float
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 128
    schedule: Literal["steps", "triangle"] = "triangle"
    peak: float = 0.2
    label_smoothing: float = 0.0
    shift: float = 1 / 8
    flip: Literal["alternate", "random"] = "alternate"

    def rate(self, progress: float) -> float:
        """The learning rate after a share of the budget, 0 to 1."""
        if self.schedule == "steps":
            return self.lr * 0.2 ** sum(progress >= milestone for milestone in MILESTONES)
        return self.lr * min((progress + 0.01) / (self.peak + 0.01), (1.0 - progress) / (1.0 - self.peak))


# As inferred from the base code that the authors' README names: 200 epochs, crops of images padded by 4 of 32, flips.
PAPER = Recipe(lr=0.1, schedule="steps", flip="random")
# For short schedules, after airbench (Jordan, 2024).
FAST = Recipe(lr=0.1, batch_size=64, label_smoothing=0.1, shift=1 / 16)


@runtime_checkable
class Initialises(Protocol):
    """A module that learns statistics or a dictionary from the training images before the first step."""

    def initialise(self, X: Tensor, generator: torch.Generator) -> None: ...


@runtime_checkable
class Projects(Protocol):
    """A module whose parameters are projected onto their constraints after each step."""

    def project_(self) -> None: ...


class Network:
    """A trained network as a classifier. `n_structural_zeros` of a module are stored, but are no degrees of freedom."""

    def __init__(self, module: nn.Module, budget: Budget) -> None:
        self.module = module.eval()
        self._device = torch.device(budget.device)
        self._autocast = budget.precision == "bfloat16"

    def size(self) -> Size:
        n_stored = sum(parameter.numel() for parameter in self.module.parameters())
        zeros = sum(int(getattr(module, "n_structural_zeros", 0)) for module in self.module.modules())
        n_buffers = sum(buffer.numel() for buffer in self.module.buffers())
        return Size(n_params=n_stored - zeros, n_stored=n_stored, n_buffers=n_buffers)

    def state(self) -> dict[str, Tensor]:
        return {name: value.cpu().contiguous() for name, value in self.module.state_dict().items()}

    def batches(self, X: Tensor) -> Iterator[Tensor]:
        """Images in batches on the device, channels last."""
        for batch in torch.split(X, EVALUATION_BATCH):
            yield batch.to(self._device).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def __call__(self, X: Tensor, /) -> Tensor:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast):
            return torch.cat([self.module(batch).float().cpu() for batch in self.batches(X)])


class SGDTraining:
    """Trains a module on a task. The whole training set lies on the device as uint8."""

    passes: float

    def __init__(
        self, module: nn.Module, task: Task, budget: Budget, recipe: Recipe, wrap: type[Network] = Network
    ) -> None:
        self._budget, self._recipe, self._wrap = budget, recipe, wrap
        self._images = task.train.X
        self._X = task.train.X.permute(0, 2, 3, 1).contiguous().to(budget.device)
        self._y = task.train.y.to(budget.device)
        self._mirror = task.mirror
        self._begin(copy.deepcopy(module))
        self._step(*next(self._batches()), rate=0.0)  # warm-up, on a copy: what follows knows nothing of it
        self._begin(module)

    def _begin(self, module: nn.Module) -> None:
        recipe = self._recipe
        self._module = module.to(self._budget.device).to(memory_format=torch.channels_last).train()
        self._projecting = [part for part in module.modules() if isinstance(part, Projects)]
        learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [parameter for parameter in learned if parameter.ndim > 1]},
            {"params": [parameter for parameter in learned if parameter.ndim <= 1], "weight_decay": 0.0},
        ]
        decay, momentum = recipe.weight_decay, recipe.momentum
        self._optimiser = torch.optim.SGD(groups, lr=recipe.lr, momentum=momentum, weight_decay=decay, nesterov=True)
        self._generator = torch.Generator().manual_seed(self._budget.seed)
        self._first_flip = torch.rand(len(self._X), generator=self._generator) < 0.5
        self._epoch, self._n_steps, self.passes = 0, 0, 0.0
        self._first_loss: float | None = None

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch of augmented batches: one gather a batch shifts (reflecting at the border) and flips its images."""
        (n, height, width, _), generator = self._X.shape, self._generator
        order = torch.randperm(n, generator=generator)
        rows, columns = (_shifted(side, n, self._recipe.shift, generator) for side in (height, width))
        if self._mirror:
            alternate = self._first_flip[order] ^ (self._epoch % 2 == 1)
            flip = alternate if self._recipe.flip == "alternate" else torch.rand(n, generator=generator) < 0.5
            columns = torch.where(flip[:, None], columns.flip(1), columns)
        n_batches = max(1, round(n / self._recipe.batch_size))
        for batch in torch.arange(n).tensor_split(n_batches):
            index, row, column = (part[batch].to(self._X.device) for part in (order, rows, columns))
            X = self._X[index[:, None, None], row[:, :, None], column[:, None, :]]
            yield X.permute(0, 3, 1, 2), self._y[index]

    def _step(self, X: Tensor, y: Tensor, rate: float) -> Tensor:
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.zero_grad()
        with torch.autocast(X.device.type, torch.bfloat16, enabled=self._budget.precision == "bfloat16"):
            loss = F.cross_entropy(self._module(X), y, label_smoothing=self._recipe.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]  # torch
        self._optimiser.step()
        for part in self._projecting:
            part.project_()
        return loss.detach()

    def advance(self, deadline: Deadline) -> bool:
        """One epoch, or less where the deadline comes first. Raises Diverged."""
        if self.passes == 0:
            for part in self._module.modules():
                if isinstance(part, Initialises):
                    part.initialise(self._images, self._generator)
        losses: list[Tensor] = []
        epochs, n = self._budget.epochs, len(self._X)
        for X, y in self._batches():
            if deadline.expired():
                return False
            progress = self.passes / epochs if epochs else deadline.fraction()
            losses.append(self._step(X, y, self._recipe.rate(min(progress, 1.0))))
            self._n_steps += 1
            self.passes += len(X) / n
        self._epoch += 1
        self.passes = float(self._epoch)
        self._judge(torch.stack(losses).tolist())
        return self._epoch < epochs if epochs else not deadline.expired()

    def _judge(self, losses: list[float]) -> None:
        """Raise Diverged for a loss that is not finite, or stays above its start for a whole epoch."""
        first = self._n_steps - len(losses) + 1
        bad = next((step for step, loss in enumerate(losses, first) if not loss < float("inf")), None)
        if bad is not None:
            raise Diverged(f"step {bad}: the loss is not finite")
        if self._first_loss is None:
            self._first_loss = losses[0]
        elif min(losses) > self._first_loss:
            raise Diverged(
                f"step {self._n_steps}: the loss stayed above its start, {self._first_loss:.3g}, for an epoch"
            )

    def classifier(self) -> Network:
        return self._wrap(copy.deepcopy(self._module), self._budget)


def _shifted(side: int, n: int, share: float, generator: torch.Generator) -> Tensor:
    """For each of `n` images the pixel that each of `side` positions shows: (n, side), reflected at the border."""
    most = round(share * side)
    index = torch.arange(side) + torch.randint(-most, most + 1, (n, 1), generator=generator)
    return (side - 1) - ((side - 1) - index.abs()).abs()
