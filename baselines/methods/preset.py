"""Networks that are small by default and have presets: published sizes, published recipes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, Self

from ddl_bench.options import refuse_without_effect
from ddl_bench.training.method import NetworkMethod
from ddl_bench.training.recipe import Recipe

PresetName = Literal["small", "published"]


class Preset(NamedTuple):
    """Hold the options that a preset fixes, and the recipe that it trains by."""

    options: Mapping[str, Any]
    recipe: Recipe


@dataclass(frozen=True, kw_only=True)
class PresetMethod(NetworkMethod):
    """Train a network whose size and recipe a preset may fix.

    Parameters
    ----------
    preset
        "small", or "published": size and recipe of the publication. The latter fixes the options
        of size; its recipe stands in place of "fast", and `recipe` may change settings of it.

    Notes
    -----
    A subclass has `presets` by name. The preset "small" is not among them: it leaves all options
    as they are given.
    """

    presets: ClassVar[Mapping[str, Preset]]
    preset: PresetName = "small"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.preset in self.presets:
            fixed = tuple(self.presets[self.preset].options)
            refuse_without_effect(self, fixed, f"with preset={self.preset!r}; leave it out")
            self.sized()  # whose options are checked in turn

    def sized(self) -> Self:
        """Return a method of the same network whose options say what the preset fixes."""
        if self.preset not in self.presets:
            return self
        options = self.presets[self.preset].options
        # The recipe is that of the preset, which does not matter for the network.
        return replace(self, preset="small", recipe="fast", **options)

    def class_recipes(self) -> Mapping[str, Recipe]:
        """Return the recipes in place of the common ones of the same name."""
        recipes = super().class_recipes()
        if self.preset not in self.presets:
            return recipes
        return {**recipes, "fast": self.presets[self.preset].recipe}
