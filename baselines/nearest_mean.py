"""The class whose mean image is nearest: the yardstick that every method should beat."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ddl_bench.api import Budget, Classifier, OneShot, Size, Task, Training

FAR = 1e3  # where the mean of a class without images is put; pixels lie in 0 to 1


@dataclass(frozen=True)
class ClassMeans:
    """Scores -norm(x - mean_k)**2 of images x with pixels in 0 to 1; means: (n_classes, n_pixels)."""

    means: Tensor

    def __call__(self, X: Tensor, /) -> Tensor:
        pixels = X.flatten(1).to(self.means.device) / 255
        return 2 * pixels @ self.means.T - self.means.square().sum(1) - pixels.square().sum(1, keepdim=True)

    def size(self) -> Size:
        return Size(n_params=self.means.numel(), n_stored=self.means.numel())

    def state(self) -> dict[str, Tensor]:
        return {"means": self.means}


@dataclass(frozen=True)
class NearestMean:
    """Nearest class mean in pixels; it has no hyper-parameters."""

    name: ClassVar[str] = "nearest-mean"

    def start(self, task: Task, budget: Budget) -> Training:
        X, y = task.train.X.flatten(1).to(budget.device), task.train.y.to(budget.device)

        def fit() -> Classifier:
            means = torch.full((task.n_classes, X.shape[1]), FAR, device=X.device)
            for label in y.unique().tolist():
                means[label] = X[y == label].float().mean(0) / 255
            return ClassMeans(means)

        return OneShot(fit)

    def restore(self, state: Mapping[str, Tensor], task: Task) -> Classifier:
        return ClassMeans(state["means"])
