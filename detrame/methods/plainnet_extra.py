"""Control at equal parameters and operations: the metric's convolutions without the metric."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ddl_bench.api import About
from detrame.methods.controls import Convolutions
from detrame.methods.plainnet import DeTraMePlainNet


@dataclass(frozen=True, kw_only=True)
class PlainNetExtra(DeTraMePlainNet):
    """Control: `detrame-plainnet` with one ReLU layer, applied `n_steps` times, per metric.

    It has the same parameters (degrees of freedom) and operations; with n_steps = 1 each is an
    ordinary layer.
    """

    name: ClassVar[str] = "plainnet-extra"
    about: ClassVar[About] = About(
        family="DeTraMe-Net, controls",
        formula="U_{t+1} = ReLU(V * U_t + b), U_0 = ReLU(Z), t < n_steps, for each metric",
        differs="ours: nothing of the kind is published",
    )
    structures: ClassVar[tuple[str, ...]] = ("full",)
    has_metric: ClassVar[bool] = False

    def metric(self, channels: int, kernel: int, n_steps: int) -> nn.Module:
        """Make the layer that stands for one metric."""
        return Convolutions(channels, kernel, n_steps, shared=True)
