"""The residual network of the comparison: ReLU activations."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ddl_bench.api import About, Task
from ddl_bench.training import backbones
from ddl_bench.training.method import NetworkMethod


@dataclass(frozen=True, kw_only=True)
class ResNet(NetworkMethod):
    """Residual network for small images: 16 to 64 channels, batch norm, ReLU.

    Parameters
    ----------
    depth
        Number of layers with weights.
    """

    name: ClassVar[str] = "resnet"
    about: ClassVar[About] = About(
        family="plain networks",
        formula="maps = ReLU(maps + norm(W_2 * ReLU(norm(W_1 * maps)))), block after block",
        references=("he2016", "tang2021"),
        published="CIFAR-10: 91.25, 93.03, 93.57 % at depths 20, 56, 110 (he2016); 87.36 ± 0.34, "
        "92.17 ± 0.15, 93.48 ± 0.16, 93.57 ± 0.14 % at 8, 20, 56, 110, CIFAR-100: 60.38 ± 0.49, "
        "68.42 ± 0.29, 71.52 ± 0.34, 72.99 ± 0.43 %; 5 seeds, shifts and flips "
        "(Table 1 of tang2021)",
        differs="the training recipe; recipe=wide-resnet is nearer",
    )
    depth: backbones.ResNetDepth = 8

    def network(self, task: Task) -> nn.Module:
        """Return a new network for the images of a task."""
        return backbones.ResNet(self.depth, task.image_shape[0], task.n_classes)
