"""The fast network of the comparison: ReLU or GELU activations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from ddl_bench.api import About, Task
from ddl_bench.training import backbones, fastnet
from ddl_bench.training.method import NetworkMethod
from ddl_bench.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class FastNet(NetworkMethod):
    """Fast network (airbench): frozen whitening of 2x2 patches, three wide blocks, few epochs.

    The recipe "fast" is near that work, see what differs.

    Parameters
    ----------
    activation
        Activation of every block.
    widths
        Channels of the three blocks: "airbench94" has 64, 256 and 256, "airbench95" 128, 384 and
        384.
    """

    name: ClassVar[str] = "fastnet"
    about: ClassVar[About] = About(
        family="plain networks",
        formula="activation(norm(W * maps)) behind a whitening of 2x2 patches; scores of an image "
        "and its mirror image",
        references=("jordan2024",),
        published="94 % on CIFAR-10 after 3.29 s on an A100; 94.01 % after 2.59 s in the author's "
        "later version",
        differs="ReLU by default, the author has GELU (activation=gelu); no averaging of the "
        "weights by default (recipe.lookahead=true); batches follow the number of training images. "
        "The bias of the whitening has 64 times the rate, as those of batch norms, and stays free; "
        "the author's has the rate itself, and is frozen after 3 epochs. The rate rises from 5 % "
        "for a fifth of the training and falls to 0; the author's from 20 % for 23 %, to 7 %. "
        "Biases of batch norms do not decay. "
        "Scores add an image and its mirror image, where the author also moves both by a pixel "
        "(recipe.shift_views=true); of the other networks here only detrame-fastnet scores more "
        "than one view by default (recipe.mirror_views=false leaves it out)",
    )
    recipes: ClassVar[Mapping[str, Recipe]] = fastnet.RECIPES
    activation: Literal["relu", "gelu"] = "relu"
    widths: fastnet.Widths = "airbench94"

    def network(self, task: Task) -> nn.Module:
        """Return a new network for the images of a task."""
        activation = fastnet.gelu if self.activation == "gelu" else backbones.relu
        return fastnet.FastNet(
            task.image_shape[0], task.n_classes, activation=activation, widths=self.widths
        )
