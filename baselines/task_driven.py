"""Task-driven dictionary learning (Mairal, Bach and Ponce, 2012): one dictionary, trained for the classifier's loss."""

from dataclasses import dataclass
from typing import ClassVar

from baselines.ddl import DDL


@dataclass(frozen=True, kw_only=True)
class TaskDriven(DDL):
    """`DDL` with a single layer: elastic-net codes of patches, non-negative and pooled; the penalties are learned too.

    The original fixes the penalties and has no CIFAR figure.
    """

    name: ClassVar[str] = "task-driven"
    depth: int = 1
    width: int = 64
