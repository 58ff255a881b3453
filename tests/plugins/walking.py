"""A method of slow, random steps, each of which changes its result, with or without a state.

Each training that comes to its end leaves a line in the file that $WALKING_LOG names.
"""

import os
import subprocess
import time
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ddl_bench.api import Budget, Classifier, Deadline, Size, Task, Training

LOG = os.environ.get("WALKING_LOG", "")


class Linear:
    """Scores by weights."""

    def __init__(self, weights: Tensor) -> None:
        self._weights = weights

    def size(self) -> Size:
        return Size(n_params=self._weights.numel(), n_stored=self._weights.numel())

    def __call__(self, X: Tensor, /) -> Tensor:
        return X.flatten(1).float() @ self._weights


class Walk:
    """Adds noise to weights in each step, and lasts `step_s`."""

    def __init__(self, task: Task, budget: Budget, step_s: float, children: bool) -> None:
        self._seed = budget.seed
        self._generator = torch.Generator().manual_seed(budget.seed)
        self._weights = torch.zeros(task.train.X[0].numel(), task.n_classes)
        self._n_steps = 0
        self._n_epochs = budget.epochs or 1
        self._step_s = step_s
        self._children = children

    def advance(self, deadline: Deadline) -> bool:
        if self._children:
            subprocess.run(["sleep", str(self._step_s)], check=True)
        else:
            time.sleep(self._step_s)
        self._weights += torch.randn(self._weights.shape, generator=self._generator)
        self._n_steps += 1
        if self._n_steps < self._n_epochs:
            return True
        if LOG:
            with open(LOG, "a") as log:
                log.write(f"{self._seed}\n")
        return False

    def classifier(self) -> Classifier:
        return Linear(self._weights.clone())


class ResumableWalk(Walk):
    """A walk that goes on from where another process was."""

    def state(self) -> dict[str, Any]:
        return {
            "weights": self._weights,
            "n_steps": self._n_steps,
            "generator": self._generator.get_state(),
        }

    def load(self, state: dict[str, Any], /) -> None:
        self._weights.copy_(state["weights"])
        self._n_steps = state["n_steps"]
        self._generator.set_state(state["generator"])


@dataclass(frozen=True)
class Walking:
    """Walks at random."""

    name: ClassVar[str] = "walking"
    step_s: float = 0.05
    resumable: bool = True
    children: bool = False  # which do the waiting

    def start(self, task: Task, budget: Budget) -> Training:
        kind = ResumableWalk if self.resumable else Walk
        return kind(task, budget, self.step_s, self.children)
