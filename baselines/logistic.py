"""scikit-learn's multinomial logistic regression on standardised pixels, its penalty chosen on validation images."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ddl_bench.api import Budget, Classifier, Deadline, Size, Stepwise, Task, Training

ABSENT = -1e3  # score of a class without training images


@dataclass(frozen=True)
class LinearPixels:
    """Scores x @ weight + bias of images x with pixels in 0 to 1: weight (n_pixels, n_classes), bias (n_classes,)."""

    weight: Tensor
    bias: Tensor
    n_params: int

    def __call__(self, X: Tensor, /) -> Tensor:
        return torch.addmm(self.bias, X.cpu().flatten(1) / 255, self.weight)

    def size(self) -> Size:
        """Weights that were tied by mirror symmetry are stored twice and count once."""
        return Size(n_params=self.n_params, n_stored=self.weight.numel() + self.bias.numel())

    def state(self) -> dict[str, Tensor]:
        return {"weight": self.weight, "bias": self.bias}


@dataclass(frozen=True, kw_only=True)
class Logistic:
    """Minimise C * sum(-log softmax(scores)[y]) + norm(weights)**2 / 2 for each C, and keep the best on validation.

    strengths: values of C, tried from the smallest up, each from the solution before it, until validation accuracy has
        fallen twice. mirror: where the task allows it, tie weights to their mirror images: the same minimum as training
        on mirror images too, at half the cost of training without.
    """

    name: ClassVar[str] = "logistic"
    strengths: tuple[float, ...] = tuple(float(value) for value in 10.0 ** np.arange(-6, 1.1, 0.5))
    mirror: bool = True

    def start(self, task: Task, budget: Budget) -> Training:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(warm_start=True, max_iter=1000 if budget.seconds is None else self._chunk(task))
        return Stepwise(lambda deadline: self._steps(model, task, budget, deadline))

    def restore(self, state: Mapping[str, Tensor], task: Task) -> Classifier:
        channels, height, width = task.image_shape
        n_free = channels * height * ((width + 1) // 2 if self.mirror and task.mirror else width)
        return LinearPixels(state["weight"], state["bias"], (n_free + 1) * len(state["bias"]))

    def _chunk(self, task: Task) -> int:
        """Iterations between two looks at the clock: about a second's work."""
        return max(10, min(1000, int(1e9 / task.train.X.numel())))

    def _steps(self, model: Any, task: Task, budget: Budget, deadline: Deadline) -> Iterator[Classifier]:
        from sklearn.exceptions import ConvergenceWarning

        tied = self.mirror and task.mirror
        X, y = _features(torch.cat([task.train.X, task.val.X]), tied), torch.cat([task.train.y, task.val.y]).numpy()
        order = np.arange(len(X))
        if not len(task.val):
            order = np.random.default_rng(budget.seed).permutation(len(X))
        n_val = len(task.val) or len(X) // 10
        train, val = order[: len(X) - n_val], order[len(X) - n_val :]
        mean, variance = X[train].mean(0), X[train].var(0)
        deviation = np.sqrt(variance + 0.1 * variance.mean() + 1e-12)  # borders hardly vary: do not blow them up
        X -= mean
        X /= deviation
'''
