"""Sparse LSTM (SC2Net; Zhou et al., 2018): ISTA with gates and a memory, trained end to end."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from baselines.features.unrolled import Memory, SparseLSTMNet
from baselines.methods.unrolled import Unrolled
from ddl_bench.api import About, Task


@dataclass(frozen=True, kw_only=True)
class SparseLSTM(Unrolled):
    """Sparse LSTM (SC2Net): ISTA with gates and a memory, unrolled on patches, trained end to end.

    Parameters
    ----------
    memory
        What the forget gate keeps: "cell", as published, the last c; "steps", the change of the
        step, which makes the steps FISTA's where gates are constant.
    """

    name: ClassVar[str] = "sparse-lstm"
    about: ClassVar[About] = About(
        family="unrolled networks",
        formula="c_{t+1} = input * (W x + S codes_t) + forget * c_t, "
        "codes_{t+1} = soft_threshold(c_{t+1})",
        references=("zhou2018",),
        published="for supervised and unsupervised tasks; no figure of them is taken over here",
        differs="published to minimise 0.5*norm(x - D codes)**2 + lmbd*norm1(codes), without exact "
        "codes as targets: here its steps learn the classes, or by `distilled` such targets. Codes "
        "by the soft threshold are those of the authors' unsupervised code; their supervised cell "
        "has two shifted tanh and an output gate. An input gate that starts open, a forget gate "
        "that starts closed (theirs starts open), and memory = steps, are ours",
    )
    memory: Memory = "cell"

    def network(self, task: Task) -> nn.Module:
        """Return a new network for the images of a task."""
        return SparseLSTMNet(**self.plan(task), memory=self.memory)
