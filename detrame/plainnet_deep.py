"""Control at equal operations: the plain network with an ordinary layer for each step of a metric."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from detrame.controls import Convolutions
from detrame.plainnet import DeTraMePlainNet


@dataclass(frozen=True, kw_only=True)
class PlainNetDeep(DeTraMePlainNet):
    """`detrame-plainnet` of the same options with `n_steps` ReLU layers, each with its own weights, for each metric.

    It has (`depth` - 1) * (1 + n_steps) + 1 layers, the same operations, and more parameters where n_steps > 1.
    """

    name: ClassVar[str] = "plainnet-deep"
    structures: ClassVar[tuple[str, ...]] = ("full",)

    def metric(self, channels: int, kernel: int, n_steps: int) -> nn.Module:
        return Convolutions(channels, kernel, n_steps, shared=False)
