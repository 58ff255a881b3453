"""LISTA (Gregor and LeCun, 2010): unrolled sparse coding of patches, trained as a classifier."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from baselines.features.unrolled import LISTANet
from baselines.layers.unrolled import Form
from baselines.methods.unrolled import Unrolled
from ddl_bench.api import About, Task


@dataclass(frozen=True, kw_only=True)
class LISTA(Unrolled):
    """LISTA: a few learned steps of sparse coding of patches, trained end to end as a classifier.

    Parameters
    ----------
    form
        What the steps share: "shared" has one W, S and thresholds for all of them; "tied" takes S
        from W, as ISTA does, "untied" has W and S for each step, and "coupled" a W for each step
        and S from it and a fixed dictionary.
    """

    name: ClassVar[str] = "lista"
    about: ClassVar[About] = About(
        family="unrolled networks",
        formula="codes_1 = soft_threshold(W x), codes_{t+1} = soft_threshold(W x + S codes_t), "
        "t < n_steps",
        references=("gregor2010", "chen2018"),
        differs="published to predict exact codes, which `distilled` does; here W, S and "
        "thresholds learn the classes",
    )
    form: Form = "shared"

    def network(self, task: Task) -> nn.Module:
        """Return a new network for the images of a task."""
        return LISTANet(**self.plan(task), form=self.form)
