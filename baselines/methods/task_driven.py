"""Task-driven dictionary learning (Mairal, Bach and Ponce, 2012): one dictionary, end to end."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from baselines.methods.ddl import ImplicitMethod
from ddl_bench.api import About
from ddl_bench.options import Positive
from ddl_bench.training.backbones import ConvolutionPlan
from ddl_bench.training.recipe import Recipe, adapted


@dataclass(frozen=True, kw_only=True)
class TaskDriven(ImplicitMethod):
    """Task-driven dictionary learning: one dictionary of patches, trained for the labels.

    It is `ddl` with a single layer.

    Parameters
    ----------
    width
        Number of atoms.
    """

    name: ClassVar[str] = "task-driven"
    about: ClassVar[About] = About(
        family="deep dictionaries, end to end",
        formula="codes = argmin over codes >= 0 of 0.5*norm(X - codes @ D.T)**2 + "
        "lmbd*norm1(codes) + 0.5*alpha*norm(codes)**2 + sum(linear*codes); "
        "min over D and readout of the cross-entropy",
        references=("mairal2012",),
        published="error rates on MNIST and USPS, from whole digits, one classifier for each class "
        "or pair of classes; none for CIFAR, and those for digits are not taken over here",
        differs="codes >= 0 of patches, pooled; lmbd and alpha are learned, and lmbd may fall to "
        "0, where the published ones are constant, as learn_penalty=false has them; a linear term; "
        "batch norm before the codes and before the readout; unit-norm atoms that start from "
        "patches, where the published ones start from a dictionary learned without labels; 64 "
        "atoms, on images of 32x32 of 5x5 pixels, two apart",
    )
    recipes: ClassVar[Mapping[str, Recipe]] = adapted(lr=0.1)
    width: Positive = 64

    def plan(self, shape: tuple[int, int, int]) -> Iterator[ConvolutionPlan]:
        """Yield the layer for images of (channels, height, width)."""
        return self.small_plan(shape, depth=1)
