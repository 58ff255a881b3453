"""The stack of `sdl` on the learner and the coders of SPAMS (Mairal et al.)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from baselines.features.stack import Floats
from baselines.learning.learner import first_atoms
from baselines.methods.sdl import SDL
from ddl_bench.api import About


@dataclass(frozen=True, kw_only=True)
class Spams(SDL):
    """The stack of `sdl` with the dictionary learner and the coders of the library SPAMS.

    Dictionaries by `trainDL` on batches of 512, codes by `lasso` or `omp`; ModuleNotFoundError without SPAMS.
    """

    name: ClassVar[str] = "spams"
    about: ClassVar[About] = About(
        family="dictionaries, layer by layer",
        formula="as `sdl`",
        references=("mairal2010",),
        differs="all but learner and coder is that of `sdl`",
        needs=("spams",),
    )
    learner: Literal["online"] = "online"

    def learn(self, X: Floats, n_atoms: int, seed: int) -> Iterator[Floats]:
        import spams

        rng, model = np.random.default_rng(seed), None
        D = np.asfortranarray(first_atoms(X, n_atoms, rng))
        how: dict[str, Any] = {
            "lambda1": self.n_nonzero or self.lmbd,
            "mode": 3 if self.n_nonzero else 2,
        }
        how |= {
            "return_model": True,
            "iter": 1,
            "verbose": False,
            "numThreads": torch.get_num_threads(),
        }
        while True:
            batch = np.asfortranarray(X[rng.choice(len(X), min(512, len(X)), replace=False)].T)
            D, model = spams.trainDL(batch, D=D, model=model, batchsize=512, **how)
            yield np.ascontiguousarray(D)

    def encode(self, X: Floats, D: Floats) -> Any:
        import spams

        signals, atoms, threads = (
            np.asfortranarray(X.T),
            np.asfortranarray(D),
            torch.get_num_threads(),
        )
        if self.n_nonzero:
            return spams.omp(
                signals, atoms, L=self.n_nonzero, eps=0.0, numThreads=threads
            ).T  # unset, eps is random
        return spams.lasso(signals, atoms, lambda1=self.lmbd, mode=2, numThreads=threads).T
