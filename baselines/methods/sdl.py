"""Stacked sparse dictionary learning (Coates and Ng, 2011): dictionaries, codes, a readout."""

from dataclasses import dataclass
from typing import ClassVar

from baselines.features.coders import COUNTING, Coder, Learner, Pursuit, SynthesisCoder
from baselines.methods.stacked import StackedMethod
from ddl_bench.api import About
from ddl_bench.options import NotNegativeFloat, Positive, refuse_without_effect


@dataclass(frozen=True, kw_only=True)
class SparseStack(StackedMethod):
    """Stack layers of sparse codes.

    Parameters
    ----------
    n_iter
        Steps of the learner. None: chosen from the number of patches.
    lmbd
        Penalty of the codes of whitened patches, which have about unit norm. None: 0.1.
    n_nonzero
        Non-zeros of each code, in place of a penalty.
    """

    n_iter: Positive | None = None
    lmbd: NotNegativeFloat | None = None
    n_nonzero: Positive | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_sparsity()

    def check_sparsity(self) -> None:
        """Refuse a penalty beside a number of non-zeros."""
        if self.lmbd is not None and self.n_nonzero is not None:
            call = f"{type(self).__name__}(lmbd={self.lmbd}, n_nonzero={self.n_nonzero})"
            raise ValueError(f"{call}: give one of them, codes are penalised or counted")


@dataclass(frozen=True, kw_only=True)
class SDL(SparseStack):
    """Sparse dictionary learning in layers: codes of whitened patches, pooled, a linear readout.

    Parameters
    ----------
    learner
        What learns dictionaries: "online", whose step is a mini-batch of 512 patches, or "ksvd",
        "ksvd-exact" or "mod", whose step is a pass over all patches, 20 by default. These count
        the non-zeros of codes, 5 where n_nonzero is None; the codes themselves are those of the
        coder.
    coder
        What finds the codes: "coordinate-descent" or 40 iterations of "fista", which penalise them,
        or "omp" or "ormp", which count non-zeros, 5 where n_nonzero is None. None: coordinate
        descent, or OMP where n_nonzero is given.
    """

    name: ClassVar[str] = "sdl"
    about: ClassVar[About] = About(
        family="dictionaries, layer by layer",
        formula="codes = argmin 0.5*norm(X - codes @ D.T)**2 + lmbd*norm1(codes); "
        "readout of sqrt(sums of max(codes, 0), max(-codes, 0))",
        references=("coates2011", "coates2011analysis", "mairal2010", "aharon2006"),
        published="81.5 % on CIFAR-10, 50,000 images, one layer of 6,000 atoms, codes by a soft "
        "threshold, split by sign (coates2011); 79.6 % with k-means features (coates2011analysis)",
        differs="fewer atoms and exact sparse codes by default, roots of pooled codes, 3 x 3 cells "
        "for quadrants, a logistic readout that sees mirror images for a linear SVM",
        scores="logits",
    )
    learner: Learner = "online"
    coder: Pursuit | None = None

    def check_sparsity(self) -> None:
        """Refuse lmbd and n_nonzero where neither the learner nor the coder takes them."""
        if self.coder is None:
            super().check_sparsity()
            return
        beside = f"with learner={self.learner!r} and coder={self.coder!r}; leave it out"
        counts = self.coder in COUNTING
        if counts and self.learner != "online":
            refuse_without_effect(self, ("lmbd",), beside)
        if not counts and self.learner == "online":
            refuse_without_effect(self, ("n_nonzero",), beside)

    def layer_coder(self, depth: int) -> Coder:
        """Return what learns and codes each layer."""
        return SynthesisCoder(
            learner=self.learner,
            pursuit=self.coder,
            lmbd=self.lmbd,
            n_nonzero=self.n_nonzero,
            n_iter=self.n_iter,
        )
