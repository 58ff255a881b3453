"""DeTraMe on the fast network: a Q-metric ReLU for each of its activations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from ddl_bench.api import About, Task
from ddl_bench.options import Positive
from ddl_bench.training import fastnet
from ddl_bench.training.method import NetworkMethod
from ddl_bench.training.recipe import Recipe
from detrame.layer import QMetricReLU


@dataclass(frozen=True, kw_only=True)
class DeTraMeFastNet(NetworkMethod):
    """DeTraMe on the fast network: a Q-metric ReLU in place of each activation of `fastnet`.

    Parameters
    ----------
    kernel
        Side of the kernels of the metrics, in pixels.
    n_steps
        Unrolled steps of each metric.
    widths
        Channels of the three blocks, as of `fastnet`.
    """

    name: ClassVar[str] = "detrame-fastnet"
    about: ClassVar[About] = About(
        family="DeTraMe-Net",
        formula="U_{t+1} = ReLU(h*Z + W~(U_t - Z) - b), U_0 = 0, "
        "with diag(W~) = 0, 0 <= h <= 1, b >= 0",
        references=("tang2021", "jordan2024"),
        differs="the combination is ours; scores are those of two mirrored views, as those of "
        "`fastnet`",
    )
    recipes: ClassVar[Mapping[str, Recipe]] = fastnet.RECIPES
    kernel: Literal[1, 3] = 1
    n_steps: Positive = 2
    widths: fastnet.Widths = "airbench94"

    def network(self, task: Task) -> nn.Module:
        """Make the network."""

        def metric(channels: int, _: int) -> nn.Module:
            return QMetricReLU(channels, self.kernel, self.n_steps)

        return fastnet.FastNet(
            task.image_shape[0], task.n_classes, activation=metric, widths=self.widths
        )
