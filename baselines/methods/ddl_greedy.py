"""Greedy deep dictionary learning (Tariyal et al., 2016): one layer after the other."""

from dataclasses import dataclass
from typing import ClassVar

from baselines.methods.sdl import SDL
from ddl_bench.api import About
from ddl_bench.options import Positive


@dataclass(frozen=True, kw_only=True)
class DDLGreedy(SDL):
    """Greedy deep dictionary learning: layers learn one after the other, without labels.

    It is `sdl` with more than one layer. Each learns on the pooled codes of the one below, none is
    trained again, and a classifier takes the codes of all.
    """

    name: ClassVar[str] = "ddl-greedy"
    about: ClassVar[About] = About(
        family="dictionaries, layer by layer",
        formula="codes_l = argmin 0.5*norm(X_l - codes_l @ D_l.T)**2 + lmbd*norm1(codes_l), "
        "X_{l+1} patches of sqrt(sums of codes_l)",
        references=("tariyal2016",),
        published="for the classification of digits and of other small sets, from whole images; "
        "none for CIFAR, and those for digits are not taken over here",
        differs="layers see patches of pooled codes, not whole codes, and all of them feed the "
        "readout",
    )
    n_layers: Positive = 2
