"""ML-ISTA, ML-FISTA and ML-LISTA (Sulam et al., 2019), and the network that they unfold."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor, nn

from baselines.layers.convolutional import CodingNetwork
from baselines.layers.multilayer import CodedMaps, Layout, MultiLayerNet
from baselines.methods.preset import Preset, PresetMethod
from ddl_bench.api import About, Budget, Classifier, Task, Training
from ddl_bench.errors import UserError
from ddl_bench.options import NotNegative
from ddl_bench.training.recipe import Recipe, adapted
from ddl_bench.training.schedules import PublishedRecipe

# By the least side of the images that they are for, in pixels. The last two are the authors', for
# MNIST and CIFAR-10.
LAYOUTS = {
    8: Layout((CodedMaps(32, 4, 2, 1), CodedMaps(64, 4, 2, 1), CodedMaps(128, 2, 2, 0))),
    28: Layout((CodedMaps(64, 6, 2, 0), CodedMaps(128, 6, 2, 0), CodedMaps(512, 4, 4, 0))),
    32: Layout(
        (CodedMaps(32, 4, 2, 1), CodedMaps(64, 4, 2, 1), CodedMaps(128, 4, 2, 1)),
        plain=(256, 512, 512),
    ),
}

# That of the authors' notebook for CIFAR-10: 150 epochs, the rate a fifth after each 50.
ML_RECIPE = PublishedRecipe(
    lr=0.005,
    nesterov=False,
    weight_decay=0.0,
    batch_size=128,
    batches="full",
    schedule="steps",
    milestones=(1 / 3, 2 / 3),
    decay=0.2,
    shift=1 / 8,
    border="zero",
    flip="random",
)
START_AND_RECIPE = (
    "coding filters start by Kaiming's rule, where the authors' are 14 times smaller; flips, "
    "smoothed labels, weight decay and a rate of 0.1, where the authors only crop, at a rate of "
    "0.005. The preset follows the authors"
)
DEEPEST = "the deepest codes are divided by n_steps + 1"
UNFOLDING = (
    "2 unfoldings by default; steps follow from the filters, the authors learn them apart; "
    f"{DEEPEST}"
)


@dataclass(frozen=True, kw_only=True)
class MLISTA(PresetMethod):
    """Multi-layer convolutional sparse coding by ML-ISTA: an unfolded convolutional network.

    The layers are the published ones. The preset "published" adds 6 unfoldings, steps that are
    learned apart from the filters, the authors' start, and their recipe without flips, in 150
    epochs.

    Parameters
    ----------
    n_steps
        Number of unfolded iterations, 0 or more.
    """

    name: ClassVar[str] = "ml-ista"
    about: ClassVar[About] = About(
        family="convolutional sparse coding",
        formula="codes_i = relu(estimate_i - step_i * D_i'(D_i(estimate_i) - codes_{i-1}) + bias_i)"
        ", estimates from the deepest codes",
        references=("sulam2020",),
        published="99.11 % on MNIST, 82.93 % on CIFAR-10 (6 unfoldings, 4.0 M parameters on "
        "CIFAR-10, 150 epochs)",
        differs=f"{UNFOLDING}; {START_AND_RECIPE}",
    )
    wrap = CodingNetwork
    # lr is chosen on validation images; in batches of 128, ml-cnn fails at 0.2 on MNIST.
    recipes: ClassVar[Mapping[str, Recipe]] = adapted(lr=0.1, largest_batch=128)
    presets: ClassVar[Mapping[str, Preset]] = {"published": Preset({"n_steps": 6}, ML_RECIPE)}
    n_steps: NotNegative = 2
    momentum: ClassVar[bool] = False
    free: ClassVar[bool] = False

    def network(self, task: Task) -> nn.Module:
        """Return a new network for the images of a task."""
        side = min(task.image_shape[1:])
        if side < min(LAYOUTS):
            _, height, width = task.image_shape
            raise UserError(f"{self.name}: images are {height}x{width}; they must be at least 8x8")
        layout = LAYOUTS[max(least for least in LAYOUTS if least <= side)]
        return MultiLayerNet(
            task.image_shape,
            task.n_classes,
            layout,
            n_steps=self.sized().n_steps,
            momentum=self.momentum,
            free=self.free,
            free_steps=self.preset == "published",
        )

    def start(self, task: Task, budget: Budget) -> Training:
        """Begin a training; images are not flipped with preset="published"."""
        return super().start(self.without_flips(task), budget)

    def restore(self, state: Mapping[str, Tensor], task: Task) -> Classifier:
        """Rebuild a kept classifier."""
        return super().restore(state, self.without_flips(task))

    def without_flips(self, task: Task) -> Task:
        """Return the task, which allows no mirror images with preset="published"."""
        return replace(task, mirror=False) if self.preset == "published" else task


@dataclass(frozen=True, kw_only=True)
class MLCNN(MLISTA):
    """Convolutional network that ML-ISTA starts from: the same filters, without unfolding."""

    name: ClassVar[str] = "ml-cnn"
    about: ClassVar[About] = About(
        family="convolutional sparse coding",
        formula="codes_i = relu(step_i * D_i' codes_{i-1} + bias_i), codes_0 = x",
        references=("sulam2020",),
        published="98.74 % on MNIST, 79.00 % on CIFAR-10 (4.0 M parameters, 150 epochs)",
        differs=f"no factor step_i, which the authors learn; {START_AND_RECIPE}",
    )
    presets: ClassVar[Mapping[str, Preset]] = {"published": Preset({}, ML_RECIPE)}
    n_steps: NotNegative = field(default=0, init=False)


@dataclass(frozen=True, kw_only=True)
class MLFISTA(MLISTA):
    """Multi-layer convolutional sparse coding by ML-FISTA: ML-ISTA with momentum."""

    name: ClassVar[str] = "ml-fista"
    about: ClassVar[About] = About(
        family="convolutional sparse coding",
        formula="estimate_L = codes_L + (t_k - 1) / t_{k+1} * (codes_L - those before), then as "
        "`ml-ista`",
        references=("sulam2020",),
        published="99.16 % on MNIST, 82.79 % on CIFAR-10 (6 unfoldings, 4.0 M parameters on "
        "CIFAR-10, 150 epochs)",
        differs=f"{UNFOLDING}; {START_AND_RECIPE}",
    )
    momentum: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class MLLISTA(MLISTA):
    """Multi-layer convolutional sparse coding by ML-LISTA: ML-ISTA with analysis filters."""

    name: ClassVar[str] = "ml-lista"
    about: ClassVar[About] = About(
        family="convolutional sparse coding",
        formula="codes_i = relu(estimate_i - step_i * D_i'D_i(estimate_i) + B_i' codes_{i-1} + "
        "bias_i)",
        references=("sulam2020",),
        published="98.81 % on MNIST, 82.68 % on CIFAR-10 (6 unfoldings, 4.0 M parameters on "
        "CIFAR-10, 150 epochs)",
        differs="2 unfoldings by default; the steps are ours, the authors have none; "
        f"{DEEPEST}; {START_AND_RECIPE}",
    )
    free: ClassVar[bool] = True
