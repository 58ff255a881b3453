"""The one training loop for networks: augmentation, and the base of their adapters."""

import copy
import ctypes
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddl_bench.api import Budget, Deadline, Task
from ddl_bench.errors import Diverged
from ddl_bench.training.lookahead import Lookahead
from ddl_bench.training.network import Network, on_device
from ddl_bench.training.recipe import Recipe

PATIENCE = 20  # steps at least before a loss above its start counts as divergence: an epoch may be a single step


@runtime_checkable
class Initialises(Protocol):
    """A module that learns from the uint8 training images before the first step, on the clock."""

    def initialise(self, X: Tensor, generator: torch.Generator, /) -> None: ...


@runtime_checkable
class Projects(Protocol):
    """A module with constraints, restored after each step."""

    def project_(self) -> None: ...


def reflect(index: Tensor, size: int) -> Tensor:
    """Pixels 0 to size - 1 for indices that stand out by less than `size` on either side."""
    return (size - 1) - ((size - 1) - index.abs()).abs()


def keep_memory() -> None:
    """Let this process keep the memory that it frees, where the C library is glibc.

    A step frees the large arrays that the next one asks for. Handed back, their pages are faulted in and zeroed anew
    each time: 40 % of a step of `fastnet` with batches of 1,024 on two cores. The resident peak grows by 15 %.
    """
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        for parameter, value in (
            (-8, 1),
            (-4, 0),
            (-1, 2**31 - 1),
            (-2, 2**28),
        ):  # malloc.h: M_ARENA_MAX, M_MMAP_MAX,
            libc.mallopt(parameter, value)  # M_TRIM_THRESHOLD and M_TOP_PAD


class SGDTraining:
    """Trains `module`, in place, by `recipe`; the images lie on the device as bytes and are augmented there.

    wrap: makes the classifier of a copy of the module, called with it and (device, precision, mirror) by keyword.

    Raises api.Diverged, naming the step, where the loss is not a number, or stays above its start for an epoch.
    """

    passes: float

    def __init__(
        self,
        module: nn.Module,
        task: Task,
        budget: Budget,
        recipe: Recipe,
        *,
        wrap: Callable[..., Network] = Network,
    ) -> None:
        self._task, self._budget, self._recipe, self._wrap = task, budget, recipe, wrap
        self._X = task.train.X.to(budget.device).permute(0, 2, 3, 1).contiguous()
        self._y = task.train.y.to(budget.device)
        if task.train.X.device.type == torch.device(budget.device).type == "cpu":
            keep_memory()
        self._begin(copy.deepcopy(module))
        self._step(*next(self._batches()), progress=0.0)  # warms up, on the copy
        self._begin(module)

    def _begin(self, module: nn.Module) -> None:
        recipe = self._recipe
        self._module = on_device(module, self._budget.device).train()
        learned = [
            (name, parameter)
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        ]
        biases = [
            parameter
            for name, parameter in learned
            if parameter.ndim <= 1 and name.endswith("bias")
        ]
        others = [
            parameter
            for name, parameter in learned
            if parameter.ndim <= 1 and not name.endswith("bias")
        ]
        groups: list[dict[str, Any]] = [
            {
                "params": [it for _, it in learned if it.ndim > 1],
                "weight_decay": recipe.weight_decay,
                "rate": 1.0,
            },
            {"params": biases, "rate": recipe.bias_rate},
            {"params": others, "rate": 1.0},
        ]
        groups = [group for group in groups if group["params"]]
        self._optimiser = torch.optim.SGD(
            groups, recipe.lr, recipe.momentum, nesterov=recipe.nesterov, fused=True
        )
        self._projecting = [part for part in module.modules() if isinstance(part, Projects)]
        self._generator = torch.Generator().manual_seed(self._budget.seed)
        self._mirrored_first = torch.rand(len(self._X), generator=self._generator) < 0.5
        self._epoch, self.passes = 0, 0.0
        self._losses = Losses()
        self._lookahead: Lookahead | None = None

    def advance(self, deadline: Deadline) -> bool:
        if self._epoch == 0:
            for part in self._module.modules():
                if isinstance(part, Initialises):
                    part.initialise(self._task.train.X, self._generator)
            self._lookahead = Lookahead(self._module) if self._recipe.lookahead else None
        epochs, losses = self._budget.epochs, []
        for X, y in self._batches():
            if deadline.expired():
                break
            progress = self.passes / epochs if epochs else deadline.fraction()
            losses.append(self._step(X, y, progress=min(progress, 1.0)))
            self.passes += len(X) / len(self._X)
        self._epoch += 1
        self.loss = self._losses.check(losses)  # mean over the epoch
        return not deadline.expired() and (epochs is None or self._epoch < epochs)

    def classifier(self) -> Network:
        mirror = self._recipe.mirror_views and self._task.mirror
        module = copy.deepcopy(self._module)
        return self._wrap(
            module, device=self._budget.device, precision=self._budget.precision, mirror=mirror
        )

    def state(self) -> dict[str, Any]:
        position = {"epoch": self._epoch, "passes": self.passes, "losses": vars(self._losses)}
        chance = {"generator": self._generator.get_state(), "mirrored_first": self._mirrored_first}
        slow = (
            {"slow": self._lookahead.slow, "n_steps": self._lookahead.n_steps}
            if self._lookahead
            else {}
        )
        weights = {
            "module": self._module.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "lookahead": slow,
        }
        return position | chance | weights

    def load(self, state: Mapping[str, Any], /) -> None:
        self._module.load_state_dict(state["module"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._generator.set_state(state["generator"])
        self._mirrored_first, self._epoch, self.passes = (
            state["mirrored_first"],
            state["epoch"],
            state["passes"],
        )
        vars(self._losses).update(state["losses"])
        if state["lookahead"]:
            self._lookahead = Lookahead(self._module)
            torch._foreach_copy_(
                self._lookahead.slow, state["lookahead"]["slow"]
            )  # which may lie on another device
            self._lookahead.n_steps = state["lookahead"]["n_steps"]

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The training set once, in random order, in batches as equal as they can be: shifted and mirrored."""
        n, *sides, _ = self._X.shape
        order, at = torch.randperm(n, generator=self._generator), []
        for side in sides:
            most = min(math.ceil(self._recipe.shift * side), side - 1)
            shift = torch.randint(-most, most + 1, (n, 1), generator=self._generator)
            at.append(reflect(torch.arange(side) + shift, side))
        if self._task.mirror:
            mirrored = self._mirrored_first[order] ^ bool(self._epoch % 2)
            if self._recipe.flip == "random":
                mirrored = torch.rand(n, generator=self._generator) < 0.5
            at[1] = torch.where(mirrored[:, None], at[1].flip(1), at[1])
        parts = max(1, round(n / self._recipe.batch(n)))
        chosen = (indices.to(self._X.device).tensor_split(parts) for indices in (order, *at))
        for image, row, column in zip(*chosen, strict=True):
            X = self._X[image[:, None, None], row[:, :, None], column[:, None, :]]
            yield X.permute(0, 3, 1, 2), self._y[image]

    def _step(self, X: Tensor, y: Tensor, *, progress: float) -> Tensor:
        for group in self._optimiser.param_groups:
            group["lr"] = group["rate"] * self._recipe.rate(progress, len(self._X))
        self._optimiser.zero_grad()
        with torch.autocast(
            X.device.type, torch.bfloat16, enabled=self._budget.precision == "bfloat16"
        ):
            scores = self._module(X)
        loss = F.cross_entropy(scores.float(), y, label_smoothing=self._recipe.label_smoothing)
        torch.autograd.backward(loss)
        self._optimiser.step()
        self._project()
        if self._lookahead and self._lookahead.step(progress):
            self._project()  # unit norms are no convex set
        return loss.detach()

    def _project(self) -> None:
        for part in self._projecting:
            part.project_()


class Losses:
    """Watches the loss, an epoch at a time, so that a device need not be waited for at each step."""

    def __init__(self) -> None:
        self._start = math.nan
        self._step = self._sound = (
            0  # the last step, and the last one whose loss was not above the first
        )

    def check(self, losses: list[Tensor]) -> float:
        for loss in (values := torch.stack(losses).tolist() if losses else []):
            self._step += 1
            if not math.isfinite(loss):
                raise Diverged(f"step {self._step}: the loss is {loss}")
            if self._step == 1:
                self._start = loss
            if loss <= self._start:
                self._sound = self._step
            elif self._step - self._sound >= max(len(losses), PATIENCE):
                above = f"above its start {self._start:.3g} for an epoch"
                raise Diverged(f"step {self._step}: the loss is {loss:.3g}, {above}")
        return sum(values) / len(values) if values else math.nan
