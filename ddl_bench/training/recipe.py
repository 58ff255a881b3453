"""How networks are trained: the settings of the training loop, and recipes for all networks."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from ddl_bench.options import NotNegativeFloat, Positive, PositiveFloat, check_options

Optimiser = Literal["sgd", "adamw", "muon"]
Schedule = Literal["steps", "triangle"]
Flip = Literal["alternate", "random"]
Border = Literal["reflect", "zero"]
Batches = Literal["even", "full"]
RecipeName = Literal["fast", "wide-resnet", "wrn-base", "paper"]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]

REFERENCE_BATCH = 128  # images of the batch that `lr` is for
SMALLEST_BATCH = 32  # images of a batch whose size is chosen by the recipe
MILESTONES = (0.3, 0.6, 0.8)  # shares of the training after which "steps" lowers the rate
ROUNDING = 1e-9  # of a share that is a sum over batches
DECAY = 0.2  # of the rate at each milestone


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Minimise cross-entropy batch by batch: all settings of the training loop.

    The settings are explained at `RecipeOptions`.
    """

    optimiser: Optimiser = "sgd"
    lr: PositiveFloat
    momentum: Momentum = 0.9
    nesterov: bool = True
    weight_decay: NotNegativeFloat = 5e-4
    decay_all: bool = False
    keep_momentum: bool = True
    bias_rate: PositiveFloat = 1.0
    batch_size: Positive | None = None
    batches: Batches = "even"
    steps_per_epoch: Positive = 100
    largest_batch: Positive = 512
    schedule: Schedule = "triangle"
    label_smoothing: Share = 0.0
    shift: Share = 1 / 16
    border: Border = "reflect"
    flip: Flip = "alternate"
    progressive_resizing: Share = 0.0
    mirror_views: bool = False
    shift_views: bool = False
    lookahead: bool = False
    score_epochs: bool = False

    def __post_init__(self) -> None:
        check_options(self)
        if self.nesterov and self.momentum == 0 and self.optimiser != "adamw":
            raise ValueError("Recipe(nesterov=True, momentum=0): needs momentum above 0")

    def batch(self, n_train: int) -> int:
        """Return the number of images in a batch, of `n_train` training images."""
        if self.batch_size is not None:
            return min(n_train, self.batch_size)
        even = max(n_train // self.steps_per_epoch, SMALLEST_BATCH)
        return min(n_train, even, self.largest_batch)

    def rate(self, progress: float, n_train: int) -> float:
        """Return the learning rate after the share `progress` of the schedule, 0 to 1."""
        lr = self.lr * math.sqrt(self.batch(n_train) / REFERENCE_BATCH)
        if self.schedule == "steps":
            return float(lr * DECAY ** n_passed(progress, MILESTONES))
        return lr * min(0.05 + 4.75 * progress, 1.25 * (1 - progress))


def n_passed(progress: float, milestones: Iterable[float]) -> int:
    """Count the milestones that are passed; `progress` is a sum over batches, and so rounded."""
    return sum(progress + ROUNDING >= milestone for milestone in milestones)


# The wide residual nets' (Zagoruyko and Komodakis, 2016), without decay of biases and the like. The
# DeTraMe-Net paper names no recipe. Its authors' README has `--lr 0.1 --num_epochs 200 --steps 2`,
# and wide-resnet.pytorch, a program for these nets, has settings `lr` and `num_epochs`: that it is
# the base is an inference.
WIDE_RESNET = Recipe(lr=0.1, batch_size=128, schedule="steps", shift=1 / 8, flip="random")
# wide-resnet.pytorch: no Nesterov momentum, an optimiser that is made anew each epoch, decay of all
# parameters, a border of zeros, and a last batch of what remains.
WRN_BASE = replace(
    WIDE_RESNET,
    nesterov=False,
    keep_momentum=False,
    decay_all=True,
    border="zero",
    batches="full",
)
# After airbench (Jordan, 2024).
FAST = Recipe(lr=0.2, label_smoothing=0.1)
RECIPES: dict[str, Recipe] = {
    "fast": FAST,
    "wide-resnet": WIDE_RESNET,
    "wrn-base": WRN_BASE,
    "paper": WIDE_RESNET,  # its name in version 0.1.0, whose rows have it
}

# What another optimiser than its own changes of a recipe.
CHANGES: dict[str, dict[str, Any]] = {
    "sgd": {"lr": 0.2, "weight_decay": 5e-4, "momentum": 0.9, "bias_rate": 1.0},
    "adamw": {"lr": 2e-3, "weight_decay": 0.05, "momentum": 0.9, "bias_rate": 1.0},
    "muon": {"lr": 2e-3, "weight_decay": 0.05, "momentum": 0.95, "bias_rate": 1.0},
}


def adapted(**changes: Any) -> dict[str, Recipe]:
    """Return all recipes with other settings, as the `recipes` of a `NetworkMethod`."""
    return {name: replace(recipe, **changes) for name, recipe in RECIPES.items()}


@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """Choose a recipe and change settings of it; None leaves a setting as the recipe has it.

    The option `recipe` of every network: `recipe = { base = "wrn-base", lr = 0.05 }` in a track,
    `plainnet[recipe.base=wrn-base,recipe.lr=0.05]` on a command line. A setting that would do
    nothing is refused. Another optimiser than the recipe's comes with its own lr, weight_decay,
    momentum and bias_rate.

    Parameters
    ----------
    base
        The recipe to start from; None below is a setting as it has it. "fast": short schedules.
        "wide-resnet": that of the wide residual nets, on which the DeTraMe-Net paper's seems to be
        based; "paper" is an older name of it. "wrn-base": as wide-resnet.pytorch trains.
    optimiser
        "sgd" with momentum, "adamw", or "muon": Muon for matrices inside the network, AdamW for
        the rest (see `ddl_bench.training.optimiser`).
    lr
        Highest learning rate, for batches of 128; others have lr * sqrt(batch / 128).
    momentum
        Of SGD and Muon; the first beta of AdamW.
    nesterov
        Look ahead along the momentum.
    weight_decay
        Of tensors of two or more dimensions; biases, batch norm, thresholds and the like have none.
    decay_all
        Give weight decay to these too.
    keep_momentum
        Keep the optimiser's state from one epoch to the next; false forgets it.
    bias_rate
        Learning rate of biases / lr.
    batch_size
        Images in a batch; None makes `steps_per_epoch` batches of an epoch.
    batches
        "even" makes the batches of an epoch as equal as they can be, "full" leaves a smaller last.
    steps_per_epoch
        Batches of an epoch where `batch_size` is None, of 32 to `largest_batch` images.
    largest_batch
        Images in a batch at most, where `batch_size` is None.
    schedule
        "steps" multiplies the rate by 0.2 after 30, 60 and 80 %; "triangle" raises it over the
        first fifth and lowers it to 0.
    label_smoothing
        Share of the target spread over all classes.
    shift
        Largest shift in each direction / side of the image, rounded up to pixels.
    border
        What a shift moves into the image: the border reflected ("reflect"), or black ("zero").
    flip
        "random", or "alternate": each image in every other epoch; only where the task allows
        mirror images.
    progressive_resizing
        Share of the training in which images are smaller than they are: 5/8 of their height and
        width in the first half of it, 7/8 in the second.
    mirror_views
        Score images and their mirror images and add, where the task allows it.
    shift_views
        Score images also moved by a pixel, up to the left and down to the right, at half the
        weight.
    lookahead
        Average the weights of the last steps, which reaches further back as training ends.
    score_epochs
        Keep the weights of each epoch and score them on the test images when training is over, as
        wide-resnet.pytorch prints the best of these: a column that chooses nothing, for base
        "wrn-base" alone.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    base: RecipeName = "fast"
    optimiser: Optimiser | None = None
    lr: PositiveFloat | None = None
    momentum: Momentum | None = None
    nesterov: bool | None = None
    weight_decay: NotNegativeFloat | None = None
    decay_all: bool | None = None
    keep_momentum: bool | None = None
    bias_rate: PositiveFloat | None = None
    batch_size: Positive | None = None
    batches: Batches | None = None
    steps_per_epoch: Positive | None = None
    largest_batch: Positive | None = None
    schedule: Schedule | None = None
    label_smoothing: Share | None = None
    shift: Share | None = None
    border: Border | None = None
    flip: Flip | None = None
    progressive_resizing: Share | None = None
    mirror_views: bool | None = None
    shift_views: bool | None = None
    lookahead: bool | None = None
    score_epochs: bool | None = None

    def __post_init__(self) -> None:
        check_options(self)

    def given(self) -> dict[str, Any]:
        """Return the settings that are to be changed."""
        names = [each.name for each in fields(self) if each.name != "base"]
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}

    def recipe(self, recipes: Mapping[str, Recipe] = RECIPES) -> Recipe:
        """Return the recipe that these options describe.

        Raises
        ------
        ValueError
            For a setting that would do nothing beside the others.
        """
        given = self.given()
        base = recipes[self.base]
        changes: dict[str, Any] = {}
        if given.get("optimiser", base.optimiser) != base.optimiser:
            changes |= CHANGES[given["optimiser"]]
        changes |= given
        if changes.get("momentum") == 0:
            changes.setdefault("nesterov", False)
        if self.base != "wrn-base":
            _refuse(given, ("score_epochs",), f"base={self.base!r}: use base='wrn-base'")
        recipe = replace(base, **changes)
        if recipe.batch_size is not None:
            _refuse(given, ("steps_per_epoch", "largest_batch"), f"batch_size={recipe.batch_size}")
        if recipe.optimiser == "adamw":
            _refuse(given, ("nesterov",), "optimiser='adamw'")
        return recipe


def _refuse(given: Mapping[str, Any], names: tuple[str, ...], reason: str) -> None:
    for name in names:
        if name in given:
            raise ValueError(f"recipe.{name}={given[name]!r}: has no effect with {reason}")
