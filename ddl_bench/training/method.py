"""The base of methods that train a network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ddl_bench.api import Budget, Classifier, Task, Training
from ddl_bench.options import NotNegative, NotNegativeFloat
from ddl_bench.training.loop import SGDTraining
from ddl_bench.training.network import Network
from ddl_bench.training.recipe import RECIPES, Recipe


@dataclass(frozen=True, kw_only=True)
class NetworkMethod:
    """A `Method` that trains a network: subclasses say which one.

    recipe: "fast" or "paper". lr, batch_size: instead of the recipe's, 0 keeps it.
    mirror_views: score images and their mirror images and add, where the task allows it.
    lookahead: average the weights of the last steps, which reaches further back as training ends.
    """

    name: ClassVar[str]
    wrap: ClassVar[Callable[..., Network]] = Network
    recipes: ClassVar[Mapping[str, Recipe]] = {}  # of its own, in place of the common ones
    recipe: Literal["fast", "paper"] = "fast"
    lr: NotNegativeFloat = 0.0
    batch_size: NotNegative = 0
    mirror_views: bool = False
    lookahead: bool = False

    def network(self, task: Task) -> nn.Module:
        """A new network, its parameters drawn from torch's global generator, which the caller has seeded."""
        raise NotImplementedError

    def start(self, task: Task, budget: Budget) -> Training:
        base = (RECIPES | dict(self.recipes))[self.recipe]
        lr, batch_size = self.lr or base.lr, self.batch_size or base.batch_size
        recipe = replace(
            base,
            lr=lr,
            batch_size=batch_size,
            mirror_views=self.mirror_views,
            lookahead=self.lookahead,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(budget.seed)
            module = self.network(task)
        return SGDTraining(module, task, budget, recipe, wrap=type(self).wrap)

    def restore(self, state: Mapping[str, Tensor], task: Task) -> Classifier:
        module = self.network(task)
        module.load_state_dict(dict(state))
        return type(self).wrap(module, mirror=self.mirror_views and task.mirror)
