"""The one training loop for networks, with its augmentation of images."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddl_bench.api import Budget, Deadline, Task
from ddl_bench.errors import UserError
from ddl_bench.training.compiled import CompileMode, begin_step, compiled, warm_up
from ddl_bench.training.lookahead import Lookahead
from ddl_bench.training.losses import Losses
from ddl_bench.training.network import (
    BeforeStep,
    Initialises,
    Network,
    Projects,
    UsesThreads,
    on_device,
    reflect,
    snapshot,
    split_output,
    wants_channels_last,
)
from ddl_bench.training.optimiser import optimisers
from ddl_bench.training.recipe import Recipe
from ddl_bench.training.resizing import SIDES, resized, side_after


def is_inside(index: Tensor, size: int) -> Tensor:
    """Whether indices are those of pixels 0 to size - 1."""
    return (index >= 0) & (index < size)


class SGDTraining:
    """Train a module, in place, by a recipe: stochastic gradient descent on cross-entropy.

    The images lie on the device as bytes and are augmented there. The host looks at the loss once
    an epoch and waits for the device at no other time.

    Parameters
    ----------
    module
        Maps uint8 images to scores, or to `(scores, extra)`: see `split_output`. Its parts may
        have `initialise`, `before_step`, `project_` and `use_threads`: see
        `ddl_bench.training.network`.
    task, budget
        As given to `Method.start`.
    recipe
        All settings.
    wrap
        Makes the classifier of a copy of the module, called with it and (device, precision,
        mirror, shift) by keyword.
    compile
        How the module is compiled for training; classifiers are made of it as it is.

    Raises
    ------
    Diverged
        From `advance`, naming the step, where the loss is not a number, or stays above its start
        for an epoch.
    """

    passes: float
    _forward: Callable[[Tensor], Any]

    def __init__(
        self,
        module: nn.Module,
        task: Task,
        budget: Budget,
        recipe: Recipe,
        *,
        wrap: Callable[..., Network] = Network,
        compile: CompileMode = "no",
    ) -> None:
        self._task = task
        self._budget = budget
        self._recipe = recipe
        self._wrap = wrap
        self._X = task.train.X.to(budget.device).permute(0, 2, 3, 1).contiguous()
        self._y = task.train.y.to(budget.device)
        self.keeps_epochs = recipe.score_epochs
        self._compile: CompileMode = "no"
        self._begin(snapshot(module))
        if self._X.device.type != "cpu":
            self._initialise()  # libraries of a device are loaded when they are first called
        self._try_step()
        self._begin(module)
        if compile != "no":
            self._compile = compile
            self._forward = compiled(module, compile, budget.device)
            self._warm_up()

    def _begin(self, module: nn.Module) -> None:
        self._module = on_device(module, self._budget.device).train()
        for part in module.modules():
            if isinstance(part, UsesThreads):
                part.use_threads(self._budget.threads)
        self._forward = self._module
        self._channels_last = wants_channels_last(module)
        self._optimisers = optimisers(module, self._recipe)
        self._preparing = [part for part in module.modules() if isinstance(part, BeforeStep)]
        self._projecting = [part for part in module.modules() if isinstance(part, Projects)]
        self._generator = torch.Generator().manual_seed(self._budget.seed)
        self._mirrored_first = torch.rand(len(self._X), generator=self._generator) < 0.5
        self._epoch = 0
        self.passes = 0.0
        self.loss = math.nan
        self._losses = Losses()
        self._lookahead: Lookahead | None = None

    def _try_step(self) -> None:
        """Warm up by a step; with smaller images at first, by one of each of their sizes.

        Raises
        ------
        UserError
            Where smaller images fail, and those of full size do not.
        """
        X, y = next(self._batches())
        share = self._recipe.progressive_resizing
        if share == 0:
            self._step(X, y, progress=0.0)
            return
        try:
            self._step(X, y, progress=0.0)
            self._step(X, y, progress=share / 2)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._step(X, y, progress=1.0)
            cause = " ".join(str(error).split())
            raise UserError(
                f"recipe.progressive_resizing={share:g}: the network fails with smaller images"
                f" ({cause:.200}); leave the option out if it needs images of one size"
            ) from error

    def _warm_up(self) -> None:
        """Compile for each size of batches, of which there are one or two, and of images."""
        chance = self._generator.get_state()
        batches = {len(y): (X, y) for X, y in self._batches()}
        losses: list[Callable[[], Tensor]] = [
            partial(self._loss, X, y) for X, y in batches.values()
        ]
        if self._recipe.progressive_resizing:
            for side in SIDES:
                losses += [partial(self._loss, resized(X, side), y) for X, y in batches.values()]
        warm_up(self._module, losses, self._compile)
        self._generator.set_state(chance)

    def _initialise(self) -> None:
        on_cpu = self._X.device.type == "cpu"
        images = self._task.train.X if on_cpu else self._X.permute(0, 3, 1, 2)
        for part in self._module.modules():
            if isinstance(part, Initialises):
                part.initialise(images, self._generator)

    def advance(self, deadline: Deadline) -> bool:
        """Train for an epoch, or to the deadline; True while more remains."""
        if self._epoch == 0:
            self._initialise()
            if self._recipe.lookahead:
                self._lookahead = Lookahead(self._module)
        if not self._recipe.keep_momentum:
            for optimiser in self._optimisers:
                optimiser.state.clear()
        epochs = self._budget.epochs
        losses: list[Tensor] = []
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
        """Return a copy of the network, for evaluation."""
        return self._wrap(
            snapshot(self._module),
            device=self._budget.device,
            precision=self._budget.precision,
            mirror=self._recipe.mirror_views and self._task.mirror,
            shift=self._recipe.shift_views,
        )

    def state(self) -> dict[str, Any]:
        """Return all that changes: see `Resumable`."""
        average: dict[str, Any] = {}
        if self._lookahead:
            average = {"slow": self._lookahead.slow, "n_steps": self._lookahead.n_steps}
        return {
            "epoch": self._epoch,
            "passes": self.passes,
            "losses": vars(self._losses),
            "generator": self._generator.get_state(),
            "mirrored_first": self._mirrored_first,
            "module": self._module.state_dict(),
            "optimisers": [each.state_dict() for each in self._optimisers],
            "lookahead": average,
        }

    def load(self, state: Mapping[str, Any], /) -> None:
        """Go on from a state."""
        self._module.load_state_dict(state["module"])
        for optimiser, saved in zip(self._optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self._generator.set_state(state["generator"])
        self._mirrored_first = state["mirrored_first"]
        self._epoch = state["epoch"]
        self.passes = state["passes"]
        vars(self._losses).update(state["losses"])
        average = state["lookahead"]
        if average:
            self._lookahead = Lookahead(self._module)
            # The state may lie on another device.
            torch._foreach_copy_(self._lookahead.slow, average["slow"])
            self._lookahead.n_steps = average["n_steps"]

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the training set once, in random order, in batches as equal as they can be.

        Images are shifted and mirrored by reading their pixels at other places: one gather.
        Chance comes from the host, a few numbers an image; the device makes indices of them.
        """
        n, *sides, _ = self._X.shape
        device = self._X.device
        order = torch.randperm(n, generator=self._generator)
        places = []
        for side in sides:
            most = min(math.ceil(self._recipe.shift * side), side - 1)
            shift = torch.randint(-most, most + 1, (n, 1), generator=self._generator)
            places.append(torch.arange(side, device=device) + shift.to(device))
        if self._task.mirror:
            mirrored = self._mirrored(order).to(device)
            places[1] = torch.where(mirrored[:, None], places[1].flip(1), places[1])
        rows, columns = places
        indices = [order.to(device), reflect(rows, sides[0]), reflect(columns, sides[1])]
        if self._recipe.border == "zero":
            indices += [is_inside(rows, sides[0]), is_inside(columns, sides[1])]
        chosen = map(self._in_batches, indices)
        for image, row, column, *inside in zip(*chosen, strict=True):
            X = self._X[image[:, None, None], row[:, :, None], column[:, None, :]]
            if inside:
                is_row, is_column = inside
                X *= (is_row[:, :, None] & is_column[:, None, :])[..., None]
            X = X.permute(0, 3, 1, 2)
            if not self._channels_last:  # `contiguous` would leave grey images as they are
                X = X.clone(memory_format=torch.contiguous_format)
            yield X, self._y[image]

    def _in_batches(self, index: Tensor) -> tuple[Tensor, ...]:
        """Cut what there is of each image, in the order in which they are shown, into batches."""
        n = len(index)
        size = self._recipe.batch(n)
        if self._recipe.batches == "full":
            return tuple(index.split(size))
        return index.tensor_split(max(1, round(n / size)))

    def _mirrored(self, order: Tensor) -> Tensor:
        """Which images to mirror in this epoch, in the order in which they are shown."""
        if self._recipe.flip == "random":
            return torch.rand(len(order), generator=self._generator) < 0.5
        return self._mirrored_first[order] ^ bool(self._epoch % 2)

    def _step(self, X: Tensor, y: Tensor, *, progress: float) -> Tensor:
        for part in self._preparing:
            part.before_step(progress)
        side = side_after(progress, self._recipe.progressive_resizing)
        if side < 1:
            X = resized(X, side)
        rate = self._recipe.rate(progress, len(self._X))
        for optimiser in self._optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["rate"] * rate
            optimiser.zero_grad()
        begin_step(self._compile)
        loss = self._loss(X, y)
        torch.autograd.backward(loss)
        for optimiser in self._optimisers:
            optimiser.step()
        self._project()
        if self._lookahead and self._lookahead.step(progress):
            self._project()  # unit norms are no convex set
        return loss.detach()

    def _loss(self, X: Tensor, y: Tensor) -> Tensor:
        low = self._budget.precision == "bfloat16"
        with torch.autocast(X.device.type, torch.bfloat16, enabled=low):
            scores, extra = split_output(self._forward(X))
        if scores.shape != (len(X), self._task.n_classes):
            wanted = (len(X), self._task.n_classes)
            raise UserError(
                f"the network returned scores of shape {tuple(scores.shape)}, expected {wanted}"
            )
        smoothing = self._recipe.label_smoothing
        loss = F.cross_entropy(scores.float(), y, label_smoothing=smoothing)
        return loss if extra is None else loss + extra.float()

    def _project(self) -> None:
        for part in self._projecting:
            part.project_()
