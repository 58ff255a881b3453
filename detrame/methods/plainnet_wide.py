"""Control at equal parameters, or at equal operations: the plain ReLU network with wider layers."""

from dataclasses import dataclass
from functools import cache
from math import prod
from typing import ClassVar, Literal

from torch import nn

from ddl_bench.api import About, Task
from ddl_bench.training.backbones import PlainNet, plain_layers
from detrame.methods.plainnet import DeTraMePlainNet


@dataclass(frozen=True, kw_only=True)
class PlainNetWide(DeTraMePlainNet):
    """Control: a wider plain ReLU network, as large or as costly as `detrame-plainnet` with the same options.

    equal: in "parameters", or in "operations" of products and convolutions for one image; within 1 %.
    """

    name: ClassVar[str] = "plainnet-wide"
    about: ClassVar[About] = About(
        family="DeTraMe-Net, controls",
        formula="as `plainnet`",
        differs="ours: nothing of the kind is published",
    )
    structures: ClassVar[tuple[str, ...]] = ("full",)
    equal: Literal["parameters", "operations"] = "parameters"

    def network(self, task: Task) -> nn.Module:
        widths = matching(self, task.image_shape, task.n_classes)
        return PlainNet(
            self.depth,
            task.image_shape[0],
            task.n_classes,
            batch_norm=self.batch_norm,
            widths=widths,
        )

    def cost(
        self,
        widths: tuple[int, int],
        image_shape: tuple[int, int, int],
        n_classes: int,
        *,
        metric: bool,
    ) -> int:
        """Parameters, or operations (multiply and add are two), with Q-metric ReLUs or with plain ones."""
        channels, *sides = image_shape
        vectors, n_steps = (2 if self.batch_norm else 1), self.steps(n_classes)
        parameters, operations = (widths[1] + 1) * n_classes, 2 * widths[1] * n_classes
        for inputs, outputs, kernel, stride in plain_layers(self.depth, channels, widths):
            own = inputs * outputs * kernel**2
            added = metric * (outputs * (kernel if self.kernel == "same" else 1)) ** 2
            sides = [-(-side // stride) for side in sides]
            parameters += (
                own + vectors * outputs + added + metric * outputs
            )  # h and b, less the diagonal of W~
            operations += 2 * prod(sides) * (own + n_steps * added)
        return parameters if self.equal == "parameters" else operations


@cache
def matching(
    method: PlainNetWide, image_shape: tuple[int, int, int], n_classes: int
) -> tuple[int, int]:
    """Widths of the two stages: multiples of 4; of those within 1 % the nearest to 1 : 2."""
    wanted = method.cost((96, 192), image_shape, n_classes, metric=True)
    costs: dict[tuple[int, int], int] = {}
    width = least = 0
    while least <= 1.01 * wanted:
        width += 4
        pairs = [(width, 2 * width + 4 * j) for j in range(-(width // 32), width // 32 + 1)]
        costs |= {pair: method.cost(pair, image_shape, n_classes, metric=False) for pair in pairs}
        least = costs[pairs[0]]
    off = {pair: abs(cost / wanted - 1) for pair, cost in costs.items()}
    return min(off, key=lambda pair: (off[pair] > 0.01, abs(pair[1] / pair[0] - 2), off[pair]))
