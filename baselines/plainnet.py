"""The plain convolutional network of the comparison: ReLU activations."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ddl_bench import backbones
from ddl_bench.api import Task
from ddl_bench.sgd import NetworkMethod


@dataclass(frozen=True, kw_only=True)
class PlainNet(NetworkMethod):
    """`depth` convolutions with ReLU: ALL-CNN-C at depth 9, its shorter and longer forms at 3, 6 and 12."""

    name: ClassVar[str] = "plainnet"
    depth: backbones.Depth = 3
    batch_norm: bool = True

    def network(self, task: Task) -> nn.Module:
        return backbones.PlainNet(self.depth, task.image_shape[0], task.n_classes, batch_norm=self.batch_norm)
