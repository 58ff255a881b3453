"""The plain convolutional network of the comparison: ReLU activations."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ddl_bench.api import About, Task
from ddl_bench.training import backbones
from ddl_bench.training.method import NetworkMethod


@dataclass(frozen=True, kw_only=True)
class PlainNet(NetworkMethod):
    """Plain convolutional network with ReLUs: ALL-CNN-C at depth 9, similar at 3, 6 and 12.

    Parameters
    ----------
    depth
        Number of convolutions.
    batch_norm
        Whether batch norm follows each convolution but the last, in place of a bias.
    """

    name: ClassVar[str] = "plainnet"
    about: ClassVar[About] = About(
        family="plain networks",
        formula="ReLU(norm(W * maps)), layer after layer; the mean of the last maps over space",
        references=("springenberg2015", "tang2021"),
        published="CIFAR-10: 35.14 ± 4.94, 86.71 ± 0.36, 90.31 ± 0.31, 91.28 ± 0.27 % at depths 3, "
        "6, 9, 12; CIFAR-100: 22.01 ± 1.24, 62.81 ± 0.75, 66.15 ± 0.61, 68.70 ± 0.65 %; 5 seeds, "
        "shifts and flips (Table 1 of tang2021)",
        differs="batch norm, which ALL-CNN-C does without; no dropout (0.2 of the image and 0.5 "
        "after the layers of stride 2 there), no ReLU on the class maps, and padding in all "
        "layers, where ALL-CNN-C has one without; depths 3, 6 and 12 are our reading of the "
        "DeTraMe-Net paper",
    )
    depth: backbones.Depth = 3
    batch_norm: bool = True

    def network(self, task: Task) -> nn.Module:
        """Return a new network for the images of a task."""
        return backbones.PlainNet(
            self.depth, task.image_shape[0], task.n_classes, batch_norm=self.batch_norm
        )
