"""The stack of `sdl` on the learner and the coder of SPAMS (Mairal et al.)."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from baselines.learned import first_atoms
from baselines.sdl import SDL
from baselines.stack import Floats, Solver


@dataclass(frozen=True)
class SpamsSolver:
    """`trainDL` on mini-batches; codes by `lasso` (LARS) or `omp`."""

    spams: ModuleType
    lmbd: float
    n_nonzero: int

    def learn(self, X: Floats, n_atoms: int, seed: int) -> Iterator[Floats]:
        rng = np.random.default_rng(seed)
        how = {"lambda1": self.n_nonzero or self.lmbd, "mode": 3 if self.n_nonzero else 2}
        D, model = np.asfortranarray(first_atoms(X, n_atoms, rng)), None
        while True:
            batch = np.asfortranarray(X[rng.choice(len(X), min(512, len(X)), replace=False)].T)
            D, model = self.spams.trainDL(
                batch, D=D, model=model, return_model=True, iter=1, batchsize=512, verbose=False,
                numThreads=torch.get_num_threads(), **how,
            )  # fmt: skip
            yield np.ascontiguousarray(D)

    def encode(self, X: Floats, D: Floats) -> Any:
        signals, atoms, threads = np.asfortranarray(X.T), np.asfortranarray(D), torch.get_num_threads()
        if self.n_nonzero:
            codes = self.spams.omp(signals, atoms, L=self.n_nonzero, numThreads=threads)
        else:
            codes = self.spams.lasso(signals, atoms, lambda1=self.lmbd, mode=2, numThreads=threads)
        return codes.T


@dataclass(frozen=True, kw_only=True)
class Spams(SDL):
    """Stacked sparse dictionary learning by SPAMS; raises ModuleNotFoundError where it is not installed."""

    name: ClassVar[str] = "spams"
    learner: Literal["online"] = "online"

    def solver(self) -> Solver:
        import spams

        return SpamsSolver(spams, self.lmbd, self.n_nonzero)
