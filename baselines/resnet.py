"""The residual network of the comparison: ReLU activations."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ddl_bench import backbones
from ddl_bench.api import Task
from ddl_bench.sgd import NetworkMethod


@dataclass(frozen=True, kw_only=True)
class ResNet(NetworkMethod):
    """The residual net of He et al. (2016) for CIFAR: `depth` layers, 16 to 64 channels, batch norm, ReLU."""

    name: ClassVar[str] = "resnet"
    depth: backbones.ResNetDepth = 8

    def network(self, task: Task) -> nn.Module:
        return backbones.ResNet(self.depth, task.image_shape[0], task.n_classes)
