"""How networks are trained: the settings of the one training loop, and the two that all networks can take."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Stochastic gradient descent with momentum on cross-entropy, batch by batch.

    lr: highest learning rate, for batches of 128; others have lr * sqrt(batch / 128).
    weight_decay: on tensors of two or more dimensions; biases, batch norm, thresholds and the like have none.
    bias_rate: learning rate of biases / lr.
    batch_size: images; 0 makes `steps` of an epoch, with batches of 32 to `largest`.
    schedule: "steps" multiplies by 0.2 after 30, 60 and 80 %; "triangle" rises over the first fifth and falls to 0.
    label_smoothing: share of the target spread over all classes.
    shift: largest shift in each direction / side of the image, rounded up to pixels; the border is reflected.
    flip: "random", or "alternate": each image in every other epoch; only where the task allows mirror images.
    mirror_views: score images and their mirror images and add, where the task allows it.
    lookahead: average the weights as `Lookahead` does.
    """

    lr: float
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    bias_rate: float = 1.0
    batch_size: int = 0
    steps: int = 100
    largest: int = 512
    schedule: Literal["steps", "triangle"] = "triangle"
    label_smoothing: float = 0.0
    shift: float = 1 / 16
    flip: Literal["alternate", "random"] = "alternate"
    mirror_views: bool = False
    lookahead: bool = False

    def batch(self, n_train: int) -> int:
        return min(n_train, self.batch_size or min(max(n_train // self.steps, 32), self.largest))

    def rate(self, progress: float, n_train: int) -> float:
        """Learning rate after the share `progress` of the schedule, 0 to 1."""
        lr = self.lr * math.sqrt(self.batch(n_train) / 128)
        if self.schedule == "steps":
            return lr * 0.2 ** sum(progress >= milestone for milestone in (0.3, 0.6, 0.8))
        return lr * min(0.05 + 4.75 * progress, 1.25 * (1 - progress))


# The wide residual nets' recipe (Zagoruyko and Komodakis, 2016), which the paper's own command line points to.
PAPER = Recipe(lr=0.1, batch_size=128, schedule="steps", shift=1 / 8, flip="random")
# After airbench (Jordan, 2024).
FAST = Recipe(lr=0.2, label_smoothing=0.1)
RECIPES = {"paper": PAPER, "fast": FAST}
