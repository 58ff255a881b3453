"""How many operations a classifier takes for an image, and what that count leaves out."""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from ddl_bench import api

TORCH_NAMESPACES = ("aten", "prim", "prims")  # of operators whose products torch counts


def flops(classifier: api.Classifier, X: Tensor) -> api.Flops:
    """Count the operations for one image, as declared, or else as torch counts them.

    Torch counts products and convolutions; None where there are neither. It sees nothing of what
    an operator of another library computes: these are named as left out.
    """
    if isinstance(classifier, api.CountsFlops):
        declared = classifier.flops()
        return declared if isinstance(declared, api.Flops) else api.Flops(declared)
    counter = FlopCounterMode(display=False)
    with UncountedOperators(counter.flop_registry) as uncounted, counter, torch.no_grad():
        classifier(X)
    return api.Flops(counter.get_total_flops() or None, left_out=", ".join(uncounted.names))


class UncountedOperators(TorchDispatchMode):
    """Note the operators of other libraries that have no formula for their operations.

    Parameters
    ----------
    counted
        Operators that have one.
    """

    supports_higher_order_operators = True

    def __init__(self, counted: Collection[Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: dict[str, None] = {}  # in the order of their first calls
        self._counted = counted

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Note an operator, and call it."""
        is_of_torch = not isinstance(func, OpOverload) or func.namespace in TORCH_NAMESPACES
        if not is_of_torch and func.overloadpacket not in self._counted:
            self.names[func.overloadpacket.__name__] = None
        return func(*args, **kwargs or {})
