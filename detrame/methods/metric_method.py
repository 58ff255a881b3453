"""What the networks with metrics share: the options of a metric, and the paper's numbers of iterations."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from torch import nn

from ddl_bench.api import Task
from ddl_bench.training.backbones import Activation
from ddl_bench.training.method import NetworkMethod
from detrame.layer import QMetricReLU, Structure


@dataclass(frozen=True, kw_only=True)
class MetricMethod(NetworkMethod):
    """A network whose activations are made by `metric`: Q-metric ReLUs.

    depth: of the network.
    kernel: of the metric; "same" as the convolution before it, or "1x1".
    structure: of its W~; "depthwise" is 3x3 after 1x1 convolutions too, or it would be zero. rank: of "low-rank".
    n_steps: unrolled steps of each metric; 0 takes the paper's Table 1: the column of CIFAR-100 for a task of 100
        classes, and of CIFAR-10 for any other.
    """

    structures: ClassVar[tuple[str, ...]] = get_args(Structure)  # that a subclass can have
    iterations: ClassVar[
        dict[int, tuple[int, int]]
    ]  # Table 1 by depth: CIFAR-10, CIFAR-100; where it is not 2, 2
    depth: int
    kernel: Literal["same", "1x1"] = "same"
    n_steps: int = 2
    structure: Structure = "full"
    rank: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_steps < 0:
            raise ValueError(
                f"{self.name}(n_steps={self.n_steps}): must be positive, or 0 for those of the paper"
            )
        if self.structure not in self.structures:
            wanted = " or ".join(map(repr, self.structures))
            raise ValueError(f"{self.name}(structure={self.structure!r}): must be {wanted}")

    def steps(self, n_classes: int) -> int:
        return self.n_steps or self.iterations.get(self.depth, (2, 2))[n_classes == 100]

    def metric(self, channels: int, kernel: int, n_steps: int) -> nn.Module:
        kernel = max(kernel, 3) if self.structure == "depthwise" else kernel
        rank = min(self.rank, channels) if self.structure == "low-rank" else None
        return QMetricReLU(channels, kernel, n_steps, structure=self.structure, rank=rank)

    def activation(self, task: Task) -> Activation:
        n_steps = self.steps(task.n_classes)
        return lambda channels, kernel: self.metric(
            channels, kernel if self.kernel == "same" else 1, n_steps
        )
