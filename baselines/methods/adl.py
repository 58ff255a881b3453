"""Stacked analysis dictionary learning: sparsifying transforms of whitened patches, pooled, then a linear readout."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from baselines.features.stack import BLOCK, Floats, Stack
from baselines.learning.transform import Union, hard_threshold
from baselines.methods.sdl import SDL
from ddl_bench.api import About, Budget, Classifier, CodeStats, Deadline, Task
from ddl_bench.options import NotNegative, NotNegativeFloat, PositiveFloat


@dataclass(frozen=True)
class Analysis(Stack):
    """A stack whose first layer analyses: codes ~ signals @ D, so that signals ~ codes @ pinv(D)."""

    def code_stats(self, X: Tensor, /) -> CodeStats:
        sums, inverse = np.zeros(4), np.linalg.pinv(self.layers[0].D.numpy())
        for block in torch.split(X.cpu(), BLOCK):
            signals, codes = self.layers[0].codes(block)
            residual = signals - codes @ inverse
            sums += (
                codes.nnz,
                np.prod(codes.shape),
                np.square(residual).sum(),
                np.square(signals).sum(),
            )
        return CodeStats(
            n_nonzero=sums[0], n_entries=sums[1], squared_error=sums[2], squared_norm=sums[3]
        )


@dataclass(frozen=True, kw_only=True)
class ADL(SDL):
    """Analysis dictionary learning: thresholded products with learned transforms in place of a pursuit.

    The stack of `sdl` with codes hard_threshold(W x) of analysis atoms, rows of W, learned by
    `baselines.learning.transform.Union`: as many square transforms as make about `n_atoms` atoms.
    Options of `sdl` that name a learner or a number of non-zeros have no effect.

    threshold: the least size of a code, in units of 1 / sqrt(n_features): patches have about unit norm.
    lmbd: weight of the term that keeps each transform invertible, per squared norm of its samples; codes vanish where
        it is small beside the threshold.
    """

    name: ClassVar[str] = "adl"
    about: ClassVar[About] = About(
        family="dictionaries, layer by layer",
        formula="min norm(W X - Z)**2 + threshold**2 * nnz(Z) + lmbd * (norm(W)**2 - log|det W|);"
        " codes = hard_threshold(W x)",
        references=("ravishankar2013", "wen2015"),
        differs="published to represent and denoise images; pooling and readout are those of `sdl`",
    )
    threshold: NotNegativeFloat = 0.7
    lmbd: PositiveFloat = 1.0
    n_iter: NotNegative = 20

    def learn(self, X: Floats, n_atoms: int, seed: int) -> Iterator[Floats]:
        n_features = X.shape[1]
        n_transforms = max(1, round(n_atoms / n_features))
        union = Union(
            n_transforms=n_transforms,
            lmbd=self.lmbd,
            threshold=self.threshold / n_features**0.5,
            seed=seed,
        )
        return (
            np.ascontiguousarray(W.reshape(-1, n_features).T, np.float32) for W, _ in union.steps(X)
        )

    def encode(self, X: Floats, D: Floats) -> Any:
        return csr_array(hard_threshold(X @ D, self.threshold / X.shape[1] ** 0.5))

    def restore(self, state: Mapping[str, Tensor], task: Task) -> Classifier:
        return Analysis(**vars(super().restore(state, task)))

    def _steps(self, task: Task, budget: Budget, deadline: Deadline) -> Iterator[Classifier]:
        return (Analysis(**vars(stack)) for stack in super()._steps(task, budget, deadline))
