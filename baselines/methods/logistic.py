"""scikit-learn's multinomial logistic regression on standardised pixels."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from baselines.features.readout import ABSENT, Linear, search, shuffled
from ddl_bench.api import About, Budget, Classifier, Deadline, Stepwise, Task, Training
from ddl_bench.options import PositiveFloat, check_options

STRENGTHS = tuple(10.0 ** (power / 2) for power in range(-12, 3))
MOST_ITERATIONS = 1000  # between two looks at the clock
NUMBERS_PER_S = 1e9  # of the images, that iterations go through in about a second


@dataclass(frozen=True, kw_only=True)
class Logistic:
    """Multinomial logistic regression on standardised pixels, penalty chosen on validation images.

    Parameters
    ----------
    strengths
        Values of C, tried in this order until the loss on validation images rises twice running.
    mirror
        Whether to tie weights to their mirror images where the task allows it: what training on
        mirror images too would lead to, at half the cost.
    """

    name: ClassVar[str] = "logistic"
    about: ClassVar[About] = About(
        family="baseline",
        formula="min C * sum(-log softmax(scores)[y]) + 0.5*norm(weights)**2, the best C on "
        "validation images",
        references=("pedregosa2011",),
        differs="the weights of a pixel and of its mirror image are equal where the data set is "
        "mirrored, so that about half of them are free",
        scores="logits",
    )
    strengths: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = STRENGTHS
    mirror: bool = True

    def __post_init__(self) -> None:
        check_options(self)

    def start(self, task: Task, budget: Budget) -> Training:
        """Begin a training."""
        n_iterations = MOST_ITERATIONS
        if budget.seconds is not None:  # about a second between two looks at the clock
            affordable = int(NUMBERS_PER_S / max(task.train.X.numel(), 1))
            n_iterations = max(10, min(MOST_ITERATIONS, affordable))
        model = LogisticRegression(warm_start=True, max_iter=n_iterations)
        return Stepwise(lambda deadline: self._steps(model, task, budget, deadline))

    def restore(self, state: Mapping[str, Tensor], task: Task) -> Classifier:
        """Rebuild a classifier from its arrays."""
        n_features = self._features(torch.zeros(1, *task.image_shape), task).size
        return Linear(state["weight"], state["bias"], (n_features + 1) * task.n_classes)

    def _features(self, X: Tensor, task: Task) -> NDArray[np.float32]:
        """Pixels, (n, n_features); where weights are tied, left half plus mirrored right half."""
        images = X.float()
        if self.mirror and task.mirror:
            images = (images + images.flip(3))[..., : (images.shape[3] + 1) // 2]
        return images.flatten(1).numpy()

    def _steps(
        self, model: Any, task: Task, budget: Budget, deadline: Deadline
    ) -> Iterator[Classifier]:
        images, labels, held_out = shuffled(task, budget.seed)
        X = self._features(images, task)
        y = labels.numpy()
        mean = X[~held_out].mean(0)
        variance = X[~held_out].var(0)
        # Pixels that hardly vary are not blown up.
        deviation = np.sqrt(variance + 0.1 * variance.mean() + 1e-9)
        X = (X - mean) / deviation

        def fit(strength: float, rows: Tensor = ~held_out) -> Linear:
            model.C = strength
            with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
                converged = False
                while not converged:
                    model.fit(X[rows], y[rows])
                    converged = model.n_iter_.max() < model.max_iter or deadline.expired()
            return self._classifier(model, mean, deviation, task)

        strength, best = search(fit, self.strengths, images[held_out], labels[held_out], deadline)
        if len(task.val) == 0 and not deadline.expired():
            model.warm_start = False
            best = fit(strength, torch.ones_like(held_out))
        yield best

    def _classifier(self, model: Any, mean: Any, deviation: Any, task: Task) -> Linear:
        """The model on pixels as they are: standardisation folded in, tied weights spread out."""
        coef = model.coef_
        intercept = model.intercept_
        if len(model.classes_) == 2:
            coef = np.vstack([0 * coef, coef])
            intercept = np.append(0 * intercept, intercept)
        weight = torch.zeros(task.n_classes, len(mean))
        bias = torch.full((task.n_classes,), ABSENT)
        weight[model.classes_] = torch.from_numpy(coef / deviation).float()
        bias[model.classes_] = torch.from_numpy(intercept - coef @ (mean / deviation)).float()
        n_params = weight.numel() + bias.numel()
        if self.mirror and task.mirror:
            channels, height, width = task.image_shape
            half = weight.view(task.n_classes, channels, height, -1)
            padded = F.pad(half, (0, width - half.shape[3]))
            weight = (padded + padded.flip(3)).flatten(1)
        return Linear(weight.T.contiguous(), bias, n_params)
