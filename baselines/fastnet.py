"""The fast network of the comparison: ReLU or GELU activations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from ddl_bench import backbones, fastnet
from ddl_bench.api import Task
from ddl_bench.recipe import Recipe
from ddl_bench.sgd import NetworkMethod


@dataclass(frozen=True, kw_only=True)
class FastNet(NetworkMethod):
    """The network of airbench (Jordan, 2024); its recipe "fast" has the rates, smoothing and batches of that work."""

    name: ClassVar[str] = "fastnet"
    recipes: ClassVar[Mapping[str, Recipe]] = fastnet.RECIPES
    activation: Literal["relu", "gelu"] = "relu"
    mirror_views: bool = True

    def network(self, task: Task) -> nn.Module:
        activation = fastnet.gelu if self.activation == "gelu" else backbones.relu
        return fastnet.FastNet(task.image_shape[0], task.n_classes, activation=activation)
