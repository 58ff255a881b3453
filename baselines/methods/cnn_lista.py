"""A small convolutional network whose features LISTA codes, trained end to end.

Such networks served super-resolution (Wang et al., 2015) and scene recognition (Liu et al., 2018),
on other data sets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from baselines.features.defaults import is_small
from baselines.layers.cnn_lista import CNNLISTANet
from baselines.layers.unrolled import CodedNetwork, Form
from ddl_bench.api import About, Task
from ddl_bench.options import Positive
from ddl_bench.training.method import NetworkMethod
from ddl_bench.training.recipe import Recipe, adapted


@dataclass(frozen=True, kw_only=True)
class CNNLISTA(NetworkMethod):
    """Convolutional network whose features LISTA codes, trained end to end.

    Parameters
    ----------
    width
        Channels of the first convolution, doubled at each halving of the maps. None: chosen from
        the size of the images.
    n_atoms
        Number of atoms. None: chosen from the size of the images.
    n_steps
        Unrolled steps, at least 1.
    form
        What the steps share, as in `lista`.
    """

    name: ClassVar[str] = "cnn-lista"
    about: ClassVar[About] = About(
        family="unrolled networks",
        formula="x = features of a place; codes_1 = soft_threshold(W x), "
        "codes_{t+1} = soft_threshold(W x + S codes_t), t < n_steps",
        references=("wang2015", "liu2018", "gregor2010"),
        published="for super-resolution and scene recognition; none for the data sets here",
        differs="the convolutions and the readout are our own",
    )
    wrap = CodedNetwork
    recipes: ClassVar[Mapping[str, Recipe]] = adapted(lr=0.05)
    width: Positive | None = None
    n_atoms: Positive | None = None
    n_steps: Positive = 3
    form: Form = "shared"

    def network(self, task: Task) -> nn.Module:
        """Return a new network for the images of a task."""
        small = is_small(task.image_shape)
        width = self.width
        if width is None:
            width = 16 if small else 32
        n_atoms = self.n_atoms
        if n_atoms is None:
            n_atoms = 64 if small else 256
        widths = [width * 2**depth for depth in range(2 if small else 3)]
        channels = task.image_shape[0]
        return CNNLISTANet(channels, task.n_classes, widths, n_atoms, self.n_steps, self.form)
