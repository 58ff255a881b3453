"""Greedy deep dictionary learning: one layer after the other without labels, then a classifier of all codes."""

from dataclasses import dataclass
from typing import ClassVar

from baselines.sdl import SDL


@dataclass(frozen=True, kw_only=True)
class DDLGreedy(SDL):
    """`SDL` with more than one layer: each learns on the pooled codes of the one below, and none is trained again."""

    name: ClassVar[str] = "ddl-greedy"
    n_layers: int = 2
