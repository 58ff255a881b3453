"""The class whose mean image is nearest: a baseline that every method should beat."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from baselines.features.readout import ABSENT, Linear
from ddl_bench.api import About, Budget, Classifier, OneShot, Task, Training


@dataclass(frozen=True)
class NearestMean:
    """Nearest class mean: the class whose mean image is the nearest.

    The score of class k is 2 x.mean_k - norm(mean_k)**2 = norm(x)**2 - norm(x - mean_k)**2. There
    are no options.
    """

    name: ClassVar[str] = "nearest-mean"
    about: ClassVar[About] = About(family="baseline", formula="argmin_k norm(x - mean_k)")

    def start(self, task: Task, budget: Budget) -> Training:
        """Begin a training."""
        return OneShot(lambda: self._fit(task))

    def restore(self, state: Mapping[str, Tensor], task: Task) -> Classifier:
        """Rebuild a classifier from its arrays."""
        return Linear(state["weight"], state["bias"], state["weight"].numel())

    def _fit(self, task: Task) -> Classifier:
        X = task.train.X.flatten(1)
        y = task.train.y
        means = torch.zeros(task.n_classes, X.shape[1])
        bias = torch.full((task.n_classes,), ABSENT)
        for label in torch.unique(y).tolist():
            means[label] = X[y == label].double().mean(0)
            bias[label] = -means[label].square().sum()
        return Linear(2 * means.T, bias, means.numel())
