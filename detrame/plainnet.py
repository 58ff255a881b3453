"""DeTraMe-PlainNet (Tang et al., 2021): every ReLU of a PlainNet becomes a Q-metric ReLU."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import nn

from ddl_bench.api import Task
from ddl_bench.backbones import Depth, PlainNet
from ddl_bench.network import NetworkMethod
from detrame.layer import QMetricReLU


@dataclass(frozen=True, kw_only=True)
class DeTraMePlainNet(NetworkMethod):
    """PlainNet with Q-metric ReLUs: U <- ReLU(h Z + W~ (U - Z) - b), n_steps times, after each layer but the last.

    `kernel` is that of W~: "same" as the layer before it (fits the paper's 3.0 M at 9 layers), or "1x1" (its 2.4 M at 12).
    """

    name: ClassVar[str] = "detrame-plainnet"
    depth: Depth = 3
    kernel: Literal["same", "1x1"] = "1x1"
    n_steps: Annotated[int, Field(ge=1)] = 2
    batch_norm: bool = True

    def module(self, task: Task) -> nn.Module:
        def activation(channels: int, kernel: int) -> nn.Module:
            return QMetricReLU(channels, kernel if self.kernel == "same" else 1, self.n_steps)

        channels, n_classes = task.image_shape[0], task.n_classes
        return PlainNet(
            self.depth, channels=channels, n_classes=n_classes, activation=activation, batch_norm=self.batch_norm
        )
