"""Stacked sparse dictionary learning (Coates and Ng, 2011) with this package's learners and pursuits."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from baselines.ksvd import ksvd_steps
from baselines.online import online_steps
from baselines.pursuit import encode
from baselines.stack import Floats, Solver, penalty
from baselines.stacked import Stacked


@dataclass(frozen=True)
class Pursuit:
    """Online dictionary learning or K-SVD; codes by coordinate descent (`lmbd`) or OMP (`n_nonzero`)."""

    learner: Literal["online", "ksvd"]
    lmbd: float
    n_nonzero: int

    def learn(self, X: Floats, n_atoms: int, seed: int) -> Iterator[Floats]:
        threads = torch.get_num_threads()
        if self.learner == "ksvd":
            steps = ksvd_steps(X, n_atoms, n_nonzero=self.n_nonzero or 5, seed=seed, n_threads=threads)
        else:
            steps = online_steps(X, n_atoms, lmbd=self.lmbd or penalty(X), seed=seed, n_threads=threads)
        return (step.D for step in steps)

    def encode(self, X: Floats, D: Floats) -> Any:
        how: dict[str, Any] = {"n_nonzero": self.n_nonzero}
        if not self.n_nonzero:
            how = {"lmbd": self.lmbd or penalty(X), "tol": 1e-3}
        return encode(X, D, **how, n_threads=torch.get_num_threads(), sparse=True, certified=False).codes


@dataclass(frozen=True, kw_only=True)
class SDL(Stacked):
    """Stacked sparse dictionary learning.

    learner: "online" (a step is a mini-batch of 512 patches) or "ksvd" (a step is a pass over all patches, with 5
        non-zeros where `n_nonzero` is 0; 20 steps do). The other hyper-parameters are those of `Stacked`.
    """

    name: ClassVar[str] = "sdl"
    learner: Literal["online", "ksvd"] = "online"

    def solver(self) -> Solver:
        return Pursuit(self.learner, self.lmbd, self.n_nonzero)
