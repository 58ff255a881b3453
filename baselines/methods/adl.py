"""Stacked analysis dictionary learning: sparsifying transforms of whitened patches."""

from dataclasses import dataclass
from typing import ClassVar

from baselines.features.coders import AnalysisCoder, Coder
from baselines.methods.stacked import StackedMethod
from ddl_bench.api import About
from ddl_bench.options import NotNegativeFloat, Positive, PositiveFloat


@dataclass(frozen=True, kw_only=True)
class AnalysisStack(StackedMethod):
    """Stack layers of thresholded analysis atoms.

    Parameters
    ----------
    n_iter
        Steps of the learner of transforms, each a pass over all patches.
    threshold
        Least size of an entry of a code, in units of 1 / sqrt(n_features): patches have about
        unit norm.
    lmbd
        Weight of the term that keeps each transform invertible, per squared norm of its samples.
        Codes vanish where it is small beside the threshold.
    """

    n_iter: Positive = 20
    threshold: NotNegativeFloat = 0.7
    lmbd: PositiveFloat = 1.0

    def layer_coder(self, depth: int) -> Coder:
        """Return what learns and codes each layer."""
        return AnalysisCoder(threshold=self.threshold, lmbd=self.lmbd, n_iter=self.n_iter)


@dataclass(frozen=True, kw_only=True)
class ADL(AnalysisStack):
    """Analysis dictionary learning: thresholded products with learned transforms, not a pursuit.

    It is the stack of `sdl` with the codes hard_threshold(X @ W.T) of analysis atoms, rows of W.
    They are learned as a union of as many square transforms as make about `n_atoms` atoms.
    """

    name: ClassVar[str] = "adl"
    about: ClassVar[About] = About(
        family="dictionaries, layer by layer",
        formula="min norm(X @ W.T - codes)**2 + threshold**2/n_features * count_nonzero(codes) + "
        "lmbd*norm(X)**2 * (norm(W)**2 - log|det W|); codes = hard_threshold(X @ W.T)",
        references=("ravishankar2015", "ravishankar2013", "wen2015"),
        differs="published to represent and denoise images, not to classify them; transforms are "
        "updated in the closed form of ravishankar2015, whose threshold is hard too; pooling and "
        "readout are those of `sdl`",
    )
