"""An average of the weights while they are trained."""

import torch
from torch import nn

EVERY_STEPS = 5
DECAY = 0.95  # of what was averaged before, a step, at the end of training


class Lookahead:
    """Every fifth step, weights become slow + (1 - decay) * (weights - slow), and so does `slow`.

    So do the statistics of batch norm. decay = 0.95**5 * progress**3, so that the average reaches
    further back as training ends (Zhang et al., 2019; the schedule is airbench's).

    Attributes
    ----------
    slow
        The average: a tensor for each floating-point entry of the module's state.
    n_steps
        Steps taken so far.
    """

    def __init__(self, module: nn.Module) -> None:
        entries = module.state_dict().values()
        # These share the module's own memory.
        self._fast = [tensor for tensor in entries if tensor.is_floating_point()]
        self.slow = [tensor.clone() for tensor in self._fast]
        self.n_steps = 0

    def step(self, progress: float) -> bool:
        """Count a step, after the share `progress` of training; True where this one averages."""
        self.n_steps += 1
        if self.n_steps % EVERY_STEPS:
            return False
        torch._foreach_lerp_(self.slow, self._fast, 1 - DECAY**EVERY_STEPS * progress**3)
        torch._foreach_copy_(self._fast, self.slow)
        return True
