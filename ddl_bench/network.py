"""What adapters of networks share: build the module from the seed, train it by a recipe, rebuild it from its state."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ddl_bench.api import Budget, Task
from ddl_bench.sgd import FAST, PAPER, Network, SGDTraining


@dataclass(frozen=True, kw_only=True)
class NetworkMethod(ABC):
    """A method that trains `module(task)` by SGD. `recipe`: "fast", or "paper"; `lr`: 0 for the recipe's own."""

    name: ClassVar[str]
    recipe: Literal["fast", "paper"] = "fast"
    lr: float = 0.0

    @abstractmethod
    def module(self, task: Task) -> nn.Module:
        """A new network for the images and classes of a task, its weights from torch's global generator."""

    def start(self, task: Task, budget: Budget) -> SGDTraining:
        recipe = FAST if self.recipe == "fast" else PAPER
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(budget.seed)
            module = self.module(task)
        return SGDTraining(module, task, budget, replace(recipe, lr=self.lr or recipe.lr))

    def restore(self, state: Mapping[str, Tensor], task: Task) -> Network:
        module = self.module(task)
        module.load_state_dict(state)
        return Network(module, Budget(epochs=1))
