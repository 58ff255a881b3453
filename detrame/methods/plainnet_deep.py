"""Control at equal operations: the plain network with an ordinary layer for each metric step."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ddl_bench.api import About
from detrame.methods.controls import Convolutions
from detrame.methods.plainnet import DeTraMePlainNet


@dataclass(frozen=True, kw_only=True)
class PlainNetDeep(DeTraMePlainNet):
    """Control: `detrame-plainnet` with a separate ReLU layer in place of each metric step.

    It has (`depth` - 1) * (1 + n_steps) + 1 layers, the same operations, and more parameters where
    n_steps > 1.
    """

    name: ClassVar[str] = "plainnet-deep"
    about: ClassVar[About] = About(
        family="DeTraMe-Net, controls",
        formula="U_{t+1} = ReLU(V_t * U_t + b_t), U_0 = ReLU(Z), t < n_steps, for each metric",
        differs="ours: nothing of the kind is published",
    )
    structures: ClassVar[tuple[str, ...]] = ("full",)
    has_metric: ClassVar[bool] = False

    def metric(self, channels: int, kernel: int, n_steps: int) -> nn.Module:
        """Make the layers that stand for one metric."""
        return Convolutions(channels, kernel, n_steps, shared=False)
