"""The base of methods that train a network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ddl_bench.api import Budget, Classifier, Task, Training
from ddl_bench.options import check_options
from ddl_bench.training.compiled import CompileMode
from ddl_bench.training.loop import SGDTraining
from ddl_bench.training.network import Network, tied
from ddl_bench.training.recipe import RECIPES, Recipe, RecipeName, RecipeOptions


@dataclass(frozen=True, kw_only=True)
class NetworkMethod:
    """Train a network; a subclass says which one, in `network`.

    Parameters
    ----------
    recipe
        How to train: "fast", "wide-resnet", "wrn-base", or one of them with other settings, as in
        recipe.lr=0.05: see `RecipeOptions`.
    compile
        Run the training steps through torch.compile: "no", "default", or "reduce-overhead", which
        records CUDA graphs. Compiling is part of the warm-up, not of the training time.

    Notes
    -----
    A class may have its own `recipes` in place of the common ones of the same name, and `wrap`, a
    subclass of `Network`, as its classifier.

    Examples
    --------
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Linear(NetworkMethod):
    ...     name: ClassVar[str] = "linear"
    ...
    ...     def network(self, task):
    ...         channels, height, width = task.image_shape
    ...         readout = nn.Linear(channels * height * width, task.n_classes)
    ...         return nn.Sequential(Normalise(channels), nn.Flatten(), readout)
    >>> method = Linear(recipe=RecipeOptions(base="wide-resnet", optimiser="adamw"))
    """

    name: ClassVar[str]
    keeps_memory: ClassVar[bool] = True  # a step frees large arrays that the next one needs
    wrap: ClassVar[Callable[..., Network]] = Network
    recipes: ClassVar[Mapping[str, Recipe]] = {}
    recipe: RecipeName | RecipeOptions = "fast"
    compile: CompileMode = "no"

    def __post_init__(self) -> None:
        check_options(self)
        self.training_recipe()

    def network(self, task: Task) -> nn.Module:
        """Make a network; draw its parameters from torch's global generator, which is seeded.

        It maps uint8 images (n, channels, height, width) to scores (n, n_classes), or to a pair
        `(scores, extra)`: see `ddl_bench.training.network.split_output`.
        """
        raise NotImplementedError

    def training_recipe(self) -> Recipe:
        """Return the complete recipe that the option `recipe` stands for."""
        chosen = self.recipe
        options = chosen if isinstance(chosen, RecipeOptions) else RecipeOptions(base=chosen)
        return options.recipe(RECIPES | dict(self.class_recipes()))

    def class_recipes(self) -> Mapping[str, Recipe]:
        """Return the recipes in place of the common ones of the same name."""
        return self.recipes

    def start(self, task: Task, budget: Budget) -> Training:
        """Make the network and the training loop around it."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(budget.seed)
            module = self.network(task)
        return SGDTraining(
            module,
            task,
            budget,
            self.training_recipe(),
            wrap=type(self).wrap,
            compile=self.compile,
        )

    def restore(self, state: Mapping[str, Tensor], task: Task) -> Classifier:
        """Rebuild a kept classifier."""
        module = self.network(task)
        shared = {second: state[first] for second, first in tied(module).items()}
        module.load_state_dict(dict(state) | shared)
        recipe = self.training_recipe()
        mirror = recipe.mirror_views and task.mirror
        return type(self).wrap(module, mirror=mirror, shift=recipe.shift_views)
