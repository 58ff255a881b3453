"""Tell a training that diverges."""

import math

import torch
from torch import Tensor

from ddl_bench.errors import Diverged

PATIENCE = 20  # steps a loss may stay above its start at least: an epoch may be a single step


class Losses:
    """Watches the loss, an epoch at a time: no step then has to wait for the device."""

    def __init__(self) -> None:
        self._start = math.nan
        self._step = 0
        self._sound = 0  # the last step whose loss was not above the first

    def check(self, losses: list[Tensor]) -> float:
        """Return the mean loss of an epoch, nan without steps.

        Raises
        ------
        Diverged
            Where a loss is not a number, or stays above its start for an epoch.
        """
        values: list[float] = torch.stack(losses).tolist() if losses else []
        for loss in values:
            self._step += 1
            if not math.isfinite(loss):
                raise Diverged(f"step {self._step}: the loss is {loss}")
            if self._step == 1:
                self._start = loss
            if loss <= self._start:
                self._sound = self._step
            elif self._step - self._sound >= max(len(losses), PATIENCE):
                above = f"above its start {self._start:.3g} for an epoch"
                raise Diverged(f"step {self._step}: the loss is {loss:.3g}, {above}")
        return sum(values) / len(values) if values else math.nan
