"""What networks with Q-metric ReLUs share: options of the metric, numbers of steps of the paper."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple, get_args

from pydantic import Field
from torch import nn

from ddl_bench.api import Task
from ddl_bench.options import Positive, refuse_without_effect
from ddl_bench.training.backbones import Activation
from ddl_bench.training.method import NetworkMethod
from detrame.layer import QMetricReLU, Structure

DEFAULT_RANK = 8
Tolerance = Annotated[float, Field(gt=0, lt=1)]


class PaperSteps(NamedTuple):
    """Hold the numbers of iterations ("steps" here) of one depth in the paper's Table 1."""

    cifar10: int
    cifar100: int


@dataclass(frozen=True, kw_only=True)
class MetricMethod(NetworkMethod):
    """Train a network whose activations are Q-metric ReLUs, or what a control puts in their place.

    A subclass has the `paper_steps` by depth where they are not 2 and 2, and may restrict the
    `structures` that it accepts. A control, which has no metric, says `has_metric = False`.

    Parameters
    ----------
    depth
        Depth of the network.
    kernel
        Kernel of the metrics: "same" as the convolution before each, or "1x1".
    n_steps
        Unrolled steps of each metric. None takes those of Table 1 of tang2021: the column of
        CIFAR-100 for a task of 100 classes, and that of CIFAR-10 for any other.
    structure
        Structure of W~: "full", "low-rank", or "depthwise", whose kernel is always 3x3, because a
        depthwise W~ of kernel 1x1 would be zero.
    rank
        Rank of a "low-rank" W~, at most its number of channels. None takes 8.
    tol
        Stop after the step with norm(U_{t+1} - U_t) <= tol * norm(U_{t+1}) in each image of a
        batch, `n_steps` at the latest; between 0 and 1. None does all steps.
    elastic_net
        Whether the ridge beside the penalty is learned. Without it h = 1.
    """

    structures: ClassVar[tuple[str, ...]] = get_args(Structure)
    has_metric: ClassVar[bool] = True
    paper_steps: ClassVar[dict[int, PaperSteps]]
    depth: int
    kernel: Literal["same", "1x1"] = "same"
    n_steps: Positive | None = 2
    structure: Structure = "full"
    rank: Positive | None = None
    tol: Tolerance | None = None
    elastic_net: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.structure not in self.structures:
            expected = " or ".join(map(repr, self.structures))
            raise ValueError(
                f"{type(self).__name__}(structure={self.structure!r}): must be {expected}"
            )
        if self.structure == "depthwise":
            refuse_without_effect(self, ("kernel",), "where structure='depthwise': leave it out")
        if self.structure != "low-rank":
            refuse_without_effect(self, ("rank",), "without structure='low-rank': leave it out")
        if not self.has_metric:
            refuse_without_effect(self, ("tol", "elastic_net"), "without a metric: leave it out")

    def steps(self, n_classes: int) -> int:
        """Return the number of steps of each metric for a task of so many classes."""
        if self.n_steps is not None:
            return self.n_steps
        paper = self.paper_steps.get(self.depth, PaperSteps(2, 2))
        return paper.cifar100 if n_classes == 100 else paper.cifar10

    def metric(self, channels: int, kernel: int, n_steps: int) -> nn.Module:
        """Make one activation, for `channels` and with a kernel of `kernel` pixels."""
        rank = None
        if self.structure == "low-rank":
            rank = min(self.rank or DEFAULT_RANK, channels)
        if self.structure == "depthwise":
            kernel = max(kernel, 3)
        return QMetricReLU(
            channels,
            kernel,
            n_steps,
            structure=self.structure,
            rank=rank,
            tol=self.tol,
            elastic_net=self.elastic_net,
        )

    def activation(self, task: Task) -> Activation:
        """Return what makes the activation after each layer of a network for a task."""
        n_steps = self.steps(task.n_classes)

        def activation_after(channels: int, kernel: int) -> nn.Module:
            return self.metric(channels, kernel if self.kernel == "same" else 1, n_steps)

        return activation_after
