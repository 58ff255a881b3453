"""DeTraMe-PlainNet: the plain network with a Q-metric ReLU for each ReLU."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ddl_bench import backbones
from ddl_bench.api import Task
from detrame.metric_method import MetricMethod


@dataclass(frozen=True, kw_only=True)
class DeTraMePlainNet(MetricMethod):
    """`depth` convolutions, each but the last followed by a Q-metric ReLU.

    kernel: "same" gives the paper's count at depth 9, "1x1" that at depth 12.
    """

    name: ClassVar[str] = "detrame-plainnet"
    iterations: ClassVar[dict[int, tuple[int, int]]] = {3: (5, 3)}
    depth: backbones.Depth = 3
    batch_norm: bool = True

    def network(self, task: Task) -> nn.Module:
        channels, activation = task.image_shape[0], self.activation(task)
        return backbones.PlainNet(
            self.depth, channels, task.n_classes, activation=activation, batch_norm=self.batch_norm
        )
