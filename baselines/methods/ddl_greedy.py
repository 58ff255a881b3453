"""Greedy deep dictionary learning: one layer after the other without labels, then a classifier of all codes."""

from dataclasses import dataclass
from typing import ClassVar

from baselines.methods.sdl import SDL
from ddl_bench.api import About
from ddl_bench.options import Positive


@dataclass(frozen=True, kw_only=True)
class DDLGreedy(SDL):
    """Greedy deep dictionary learning: each layer learns without labels, on the pooled codes of the one below.

    `sdl` with more than one layer: none is trained again, and a classifier takes the codes of all.
    """

    name: ClassVar[str] = "ddl-greedy"
    about: ClassVar[About] = About(
        family="dictionaries, layer by layer",
        formula="as `sdl`, layer after layer",
        references=("tariyal2016",),
        differs="layers see patches of pooled codes, not whole codes, and all of them feed the readout",
    )
    n_layers: Positive = 2
