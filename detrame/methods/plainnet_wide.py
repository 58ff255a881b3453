"""Control at equal parameters, or at equal operations: the plain ReLU network, but wider."""

from dataclasses import dataclass
from functools import cache
from math import prod
from typing import ClassVar, Literal, NamedTuple

from torch import nn

from ddl_bench.api import About, Task
from ddl_bench.options import refuse_without_effect
from ddl_bench.training.backbones import PlainNet, plain_layers
from detrame.methods.plainnet import DeTraMePlainNet

TOLERANCE = 0.01
"""Largest difference in size or work from the network with metrics, relative to it."""
WIDTH_STEP = 4
"""Widths are multiples of this number of channels."""


class Widths(NamedTuple):
    """Hold the channels of stage 1, and of stages 2 and 3, of a plain network."""

    first: int
    later: int


METRIC_WIDTHS = Widths(96, 192)
"""Widths of `detrame-plainnet`."""


@dataclass(frozen=True, kw_only=True)
class PlainNetWide(DeTraMePlainNet):
    """Control: a wider plain ReLU network that matches `detrame-plainnet` with the same options.

    Parameters
    ----------
    equal
        What matches within 1 %: the number of "parameters", or of "operations" of products and
        convolutions for one image.
    """

    name: ClassVar[str] = "plainnet-wide"
    about: ClassVar[About] = About(
        family="DeTraMe-Net, controls",
        formula="as `plainnet`",
        differs="ours: nothing of the kind is published",
    )
    structures: ClassVar[tuple[str, ...]] = ("full",)
    has_metric: ClassVar[bool] = False
    equal: Literal["parameters", "operations"] = "parameters"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.equal == "parameters":
            refuse_without_effect(
                self, ("n_steps",), "where equal='parameters': more steps are no more parameters"
            )

    def network(self, task: Task) -> nn.Module:
        """Make the network."""
        return PlainNet(
            self.depth,
            task.image_shape[0],
            task.n_classes,
            batch_norm=self.batch_norm,
            widths=matching_widths(self, task.image_shape, task.n_classes),
        )

    def cost(
        self,
        widths: Widths,
        image_shape: tuple[int, int, int],
        n_classes: int,
        *,
        with_metrics: bool,
    ) -> int:
        """Count the parameters, or the operations, whichever are to be equal, of a network.

        Multiply and add are two operations.

        Parameters
        ----------
        widths
            Channels of the stages.
        image_shape
            Channels, height, width.
        n_classes
            Number of classes.
        with_metrics
            Whether the network has Q-metric ReLUs; otherwise it has plain ones.
        """
        channels, *sides = image_shape
        n_vectors = 2 if self.batch_norm else 1
        parameters = (widths.later + 1) * n_classes
        operations = 2 * widths.later * n_classes
        for layer in plain_layers(self.depth, channels, widths):
            sides = [-(-side // layer.stride) for side in sides]
            weights = layer.inputs * layer.outputs * layer.kernel**2
            parameters += weights + n_vectors * layer.outputs
            operations += 2 * prod(sides) * weights
            if with_metrics:
                side = layer.kernel if self.kernel == "same" else 1
                metric = (layer.outputs * side) ** 2
                parameters += metric + layer.outputs  # h and b, less the diagonal of W~
                operations += 2 * prod(sides) * self.steps(n_classes) * metric
        return parameters if self.equal == "parameters" else operations


@cache
def matching_widths(
    method: PlainNetWide, image_shape: tuple[int, int, int], n_classes: int
) -> Widths:
    """Find the widths that match: of those within the tolerance the nearest to 1 : 2."""
    wanted = method.cost(METRIC_WIDTHS, image_shape, n_classes, with_metrics=True)
    costs: dict[Widths, int] = {}
    width = 0
    least = 0
    while least <= (1 + TOLERANCE) * wanted:
        width += WIDTH_STEP
        spread = width // 32
        pairs = [
            Widths(width, 2 * width + WIDTH_STEP * step) for step in range(-spread, spread + 1)
        ]
        for pair in pairs:
            costs[pair] = method.cost(pair, image_shape, n_classes, with_metrics=False)
        least = costs[pairs[0]]

    def badness(pair: Widths) -> tuple[bool, float, float]:
        error = abs(costs[pair] / wanted - 1)
        return error > TOLERANCE, abs(pair.later / pair.first - 2), error

    return min(costs, key=badness)
