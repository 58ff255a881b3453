"""Control at equal parameters and operations: the metric's convolutions without the metric."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from detrame.controls import Convolutions
from detrame.plainnet import DeTraMePlainNet


@dataclass(frozen=True, kw_only=True)
class PlainNetExtra(DeTraMePlainNet):
    """`detrame-plainnet` of the same options with one kernel, applied `n_steps` times, for each metric.

    It has the same parameters (degrees of freedom) and operations; with n_steps = 1 each is an ordinary layer.
    """

    name: ClassVar[str] = "plainnet-extra"
    structures: ClassVar[tuple[str, ...]] = ("full",)

    def metric(self, channels: int, kernel: int, n_steps: int) -> nn.Module:
        return Convolutions(channels, kernel, n_steps, shared=True)
