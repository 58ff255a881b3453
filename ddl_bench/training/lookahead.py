"""An average of the weights while they are trained."""

import torch
from torch import nn


class Lookahead:
    """Every fifth step, weights and batch statistics become slow + (1 - decay) * (weights - slow), as do `slow`.

    decay = 0.95**5 * progress**3, so that the average reaches further back as training ends (Zhang et al., 2019; the
    schedule is airbench's).
    """

    EVERY = 5

    def __init__(self, module: nn.Module) -> None:
        state = module.state_dict().values()
        self._fast = [
            tensor for tensor in state if tensor.is_floating_point()
        ]  # the module's own memory
        self.slow = [tensor.clone() for tensor in self._fast]
        self.n_steps = 0

    def step(self, progress: float) -> bool:
        """Whether this is a step that averages."""
        self.n_steps += 1
        if self.n_steps % self.EVERY:
            return False
        torch._foreach_lerp_(self.slow, self._fast, 1 - 0.95**self.EVERY * progress**3)
        torch._foreach_copy_(self._fast, self.slow)
        return True
