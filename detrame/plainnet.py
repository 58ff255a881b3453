"""DeTraMe-PlainNet: the plain network with a Q-metric ReLU for each ReLU."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from ddl_bench import backbones
from ddl_bench.api import Task
from ddl_bench.sgd import NetworkMethod
from detrame.layer import QMetricReLU


@dataclass(frozen=True, kw_only=True)
class DeTraMePlainNet(NetworkMethod):
    """`depth` convolutions, each but the last followed by a Q-metric ReLU.

    kernel: of the metric; "same" as the convolution before it (the paper's count at depth 9), or "1x1" (at depth 12).
    n_steps: unrolled steps of each metric; the paper takes 5 at depth 3 on CIFAR-10, and else 2 or 3.
    """

    name: ClassVar[str] = "detrame-plainnet"
    depth: backbones.Depth = 3
    kernel: Literal["same", "1x1"] = "same"
    n_steps: int = 2
    batch_norm: bool = True

    def network(self, task: Task) -> nn.Module:
        def metric(channels: int, kernel: int) -> nn.Module:
            return QMetricReLU(channels, kernel if self.kernel == "same" else 1, self.n_steps)

        channels, n_classes = task.image_shape[0], task.n_classes
        return backbones.PlainNet(self.depth, channels, n_classes, activation=metric, batch_norm=self.batch_norm)
