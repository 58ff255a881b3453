"""Deep analysis dictionaries under a synthesis dictionary, after Huang and Dragotti (2018).

They map small images to large ones: thresholded analysis atoms layer by layer, and atoms that make
the output at the end. Here the last layer codes what the analysis layers pool, and a linear
readout takes the codes. No figure for classification has been published.
"""

from dataclasses import dataclass
from typing import ClassVar

from baselines.features.coders import Coder, Learner, SynthesisCoder
from baselines.methods.adl import AnalysisStack
from ddl_bench.api import About
from ddl_bench.options import NotNegativeFloat, Positive


@dataclass(frozen=True, kw_only=True)
class ADLSDL(AnalysisStack):
    """Analysis dictionaries under a synthesis dictionary, all of them read out.

    The first `n_layers` - 1 layers are those of `adl`, the last is one of `sdl`.

    Parameters
    ----------
    learner
        What learns the dictionary of the last layer, as in `sdl`.
    synthesis_lmbd
        Penalty of the codes of the last layer. None: 0.1.
    n_nonzero
        Non-zeros of each code of the last layer, in place of a penalty.
    """

    name: ClassVar[str] = "adl-sdl"
    about: ClassVar[About] = About(
        family="dictionaries, layer by layer",
        formula="codes_l = hard_threshold(X_l @ W_l.T), then "
        "argmin 0.5*norm(X - codes @ D.T)**2 + lmbd*norm1(codes), X patches of pooled codes",
        references=("huang2018",),
        differs="published for super-resolution, where the synthesis atoms make the output: here "
        "they code; thresholds are hard, the published ones soft; analysis atoms are of one kind, "
        "where the publication has two, one that keeps information and one that clusters",
    )
    n_layers: Positive = 2
    learner: Learner = "online"
    synthesis_lmbd: NotNegativeFloat | None = None
    n_nonzero: Positive | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_layers < 2:
            call = f"ADLSDL(n_layers={self.n_layers})"
            raise ValueError(f"{call}: an analysis and a synthesis layer need at least 2")
        if self.synthesis_lmbd is not None and self.n_nonzero is not None:
            options = f"synthesis_lmbd={self.synthesis_lmbd}, n_nonzero={self.n_nonzero}"
            raise ValueError(f"ADLSDL({options}): give one of them, codes are penalised or counted")

    def layer_coder(self, depth: int) -> Coder:
        """Return what learns and codes layer `depth`, counted from 0."""
        if depth < self.n_layers - 1:
            return super().layer_coder(depth)
        return SynthesisCoder(
            learner=self.learner, lmbd=self.synthesis_lmbd, n_nonzero=self.n_nonzero
        )
