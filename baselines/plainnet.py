"""Plain convolutional networks with ReLU: the control of every dictionary network."""

from dataclasses import dataclass
from typing import ClassVar

from ddl_bench.api import Task
from ddl_bench.backbones import Depth
from ddl_bench.backbones import PlainNet as Module
from ddl_bench.network import NetworkMethod


@dataclass(frozen=True, kw_only=True)
class PlainNet(NetworkMethod):
    """PlainNet of 3, 6, 9 (ALL-CNN-C) or 12 layers with ReLU (Springenberg et al., 2015)."""

    name: ClassVar[str] = "plainnet"
    depth: Depth = 3
    batch_norm: bool = True

    def module(self, task: Task) -> Module:
        channels, n_classes = task.image_shape[0], task.n_classes
        return Module(self.depth, channels=channels, n_classes=n_classes, batch_norm=self.batch_norm)
