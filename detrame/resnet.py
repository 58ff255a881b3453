"""DeTraMe-ResNet: the residual network with a Q-metric ReLU inside each block."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ddl_bench import backbones
from ddl_bench.api import Task
from detrame.metric_method import MetricMethod


@dataclass(frozen=True, kw_only=True)
class DeTraMeResNet(MetricMethod):
    """The residual net of `depth` layers; the ReLUs after the stem and after each addition stay.

    kernel: "same" is 3x3 here. n_steps: by default those of the paper.
    """

    name: ClassVar[str] = "detrame-resnet"
    iterations: ClassVar[dict[int, tuple[int, int]]] = {8: (3, 2), 20: (3, 2), 56: (3, 2)}
    depth: backbones.ResNetDepth = 8
    n_steps: int = 0

    def network(self, task: Task) -> nn.Module:
        return backbones.ResNet(self.depth, task.image_shape[0], task.n_classes, activation=self.activation(task))
