"""Schedules of the learning rate that publications name and the common recipes do not have."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from ddl_bench.options import PositiveFloat
from ddl_bench.training.recipe import (
    DECAY,
    MILESTONES,
    REFERENCE_BATCH,
    Recipe,
    Share,
    n_passed,
)

Milestones = Annotated[tuple[float, ...], Field(min_length=1)]
PublishedSchedule = Literal["steps", "triangle", "cosine"]


@dataclass(frozen=True, kw_only=True)
class PublishedRecipe(Recipe):
    """Train by a schedule of its own: steps at other places, half a cosine, or a warm-up.

    rate(p) = lr * sqrt(batch / 128) * min(p / warm_up, fall(p)), where p is the share of the
    schedule done, and fall(p) = (1 + cos(pi * p)) / 2 or decay**(number of milestones passed)

    Parameters
    ----------
    schedule
        "cosine", "steps", or "triangle" as other recipes have it, which has a warm-up of its own.
    milestones, decay
        Of "steps": the shares of the schedule after which the rate is multiplied by decay.
    warm_up
        Share of the schedule over which the rate rises from 0.

    Examples
    --------
    >>> recipe = PublishedRecipe(lr=0.1, batch_size=128, warm_up=0.1)
    >>> [round(recipe.rate(progress, 50_000), 4) for progress in (0.05, 0.5, 1.0)]
    [0.05, 0.05, 0.0]
    """

    schedule: PublishedSchedule = "cosine"  # type: ignore[assignment]
    milestones: Milestones = MILESTONES
    decay: PositiveFloat = DECAY
    warm_up: Share = 0.0

    def rate(self, progress: float, n_train: int) -> float:
        """Return the learning rate after the share `progress` of the schedule, 0 to 1."""
        if self.schedule == "triangle":
            return super().rate(progress, n_train)
        if self.schedule == "cosine":
            fall = (1 + math.cos(math.pi * progress)) / 2
        else:
            fall = float(self.decay ** n_passed(progress, self.milestones))
        rise = progress / self.warm_up if progress < self.warm_up else 1.0
        return self.lr * math.sqrt(self.batch(n_train) / REFERENCE_BATCH) * min(rise, fall)
