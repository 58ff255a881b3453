"""Task-driven dictionary learning (Mairal, Bach and Ponce, 2012): one dictionary, trained for the classifier's loss."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from baselines.methods.ddl import DDL, Depth
from ddl_bench.api import About
from ddl_bench.options import NotNegative
from ddl_bench.training.recipe import Recipe, adapted


@dataclass(frozen=True, kw_only=True)
class TaskDriven(DDL):
    """Task-driven dictionary learning: one dictionary of patches, trained for the classifier's loss.

    `ddl` with a single layer, whose penalties are learned too.
    """

    name: ClassVar[str] = "task-driven"
    about: ClassVar[About] = About(
        family="deep dictionaries, end to end",
        formula="codes = argmin over codes >= 0 of 0.5*norm(x - D codes)**2 + lmbd*norm1(codes) + "
        "0.5*alpha*norm(codes)**2; min over D and readout of the cross-entropy",
        references=("mairal2012",),
        published="none for CIFAR; those for digits are not taken over here",
        differs="codes >= 0 of patches, pooled; the penalties are fixed in the publication",
    )
    depth: Depth = 1
    width: NotNegative = 64
    recipes: ClassVar[Mapping[str, Recipe]] = adapted(lr=0.1)
