"""What implicit layers share: solutions as functions with derivatives of any order and kind."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


class LoopedFunction(torch.autograd.Function):
    """A function that `torch.func.vmap` applies to one element of the batch after the other.

    A subclass has `forward`, `setup_context`, `backward` and `jvp`. Where these are made of
    differentiable operations, torch differentiates them again, in either direction.
    """

    @classmethod
    def vmap(  # torch looks it up on the class
        cls, info: Any, in_dims: tuple[Any, ...], *arguments: Any
    ) -> tuple[Tensor, int]:
        """Return the results along dimension 0."""
        results = []
        for element in range(info.batch_size):
            selected = []
            for argument, dim in zip(arguments, in_dims, strict=True):
                mapped = isinstance(argument, Tensor) and dim is not None
                selected.append(argument.select(dim, element) if mapped else argument)
            results.append(cls.apply(*selected))
        return torch.stack(results), 0


def solver_type(D: Tensor) -> torch.dtype:
    """Return the type to solve in for a dictionary D: its own, or float32 where that is finer.

    Raises ValueError for a dictionary of integers or complex numbers.
    """
    if not D.is_floating_point():
        raise ValueError(f"D is a tensor of {D.dtype}: must be of floating point, use D.float()")
    return torch.promote_types(D.dtype, torch.float32)


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Keep the types of tensors on a device while the context is open."""
    if device.type == "meta":  # which knows no autocast
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
