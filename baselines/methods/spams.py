"""The stack of `sdl` on the learner and the coders of SPAMS (Mairal et al.)."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, cast

import numpy as np
from threadpoolctl import ThreadpoolController

from baselines.features.coders import ONLINE_BATCH_SAMPLES, Coder, Floats, SynthesisCoder
from baselines.learning.learner import first_atoms
from baselines.methods.sdl import SparseStack
from ddl_bench.api import About

PENALISED = 2  # SPAMS' numbers of its problems: lasso with a penalty
COUNTED = 3  # and codes with so many non-zeros
ALL_CORES = -1


@dataclass(frozen=True, kw_only=True)
class SpamsCoder(SynthesisCoder):
    """Learn by `trainDL` on batches of 512 samples, and code by `lasso` or `omp`."""

    def learn(self, X: Floats, n_atoms: int, seed: int, n_threads: int | None) -> Iterator[Floats]:
        """Yield D after each batch of samples X (n_samples, n_features), without end."""
        import spams

        rng = np.random.default_rng(seed)
        D = np.asfortranarray(first_atoms(X, n_atoms, rng))
        options: dict[str, Any] = {"mode": PENALISED, "lambda1": self.penalty}
        if self.n_nonzero is not None:
            options = {"mode": COUNTED, "lambda1": self.n_nonzero}
        model = None
        while True:
            rows = rng.choice(len(X), min(ONLINE_BATCH_SAMPLES, len(X)), replace=False)
            batch = np.asfortranarray(X[rows].T)
            with _openmp_as_it_was():
                D, model = spams.trainDL(
                    batch,
                    D=D,
                    model=model,
                    return_model=True,
                    batchsize=ONLINE_BATCH_SAMPLES,
                    iter=1,
                    numThreads=_n_threads(n_threads),
                    verbose=False,
                    **options,
                )
            yield np.ascontiguousarray(D)

    def encode(self, X: Floats, D: Floats, n_threads: int | None) -> Any:
        """Return the codes of samples X as a sparse matrix (n_samples, n_atoms)."""
        import spams

        signals = np.asfortranarray(X.T)
        atoms = np.asfortranarray(D)
        options: dict[str, Any] = {"numThreads": _n_threads(n_threads)}
        with _openmp_as_it_was():
            if self.n_nonzero is None:
                codes = spams.lasso(signals, atoms, lambda1=self.penalty, mode=PENALISED, **options)
            else:  # eps, where it is left out, is random
                codes = spams.omp(signals, atoms, L=self.n_nonzero, eps=0.0, **options)
        return codes.T


def _n_threads(n_threads: int | None) -> int:
    return ALL_CORES if n_threads is None else n_threads


@cache
def _pools() -> ThreadpoolController:
    return ThreadpoolController()


def _openmp_as_it_was() -> AbstractContextManager[Any]:
    """Give OpenMP back the number of threads that SPAMS sets, for the whole process, when called.

    Torch has the same pool: left at another number, its sums would come out in another order.
    """
    return cast(AbstractContextManager[Any], _pools().limit(limits=None))


@dataclass(frozen=True, kw_only=True)
class Spams(SparseStack):
    """Sparse dictionary learning in layers, as `sdl`, with learner and coders of the library SPAMS.

    Without SPAMS a training raises ModuleNotFoundError.
    """

    name: ClassVar[str] = "spams"
    about: ClassVar[About] = About(
        family="dictionaries, layer by layer",
        formula="codes = argmin 0.5*norm(X - codes @ D.T)**2 + lmbd*norm1(codes), as `sdl`",
        references=("mairal2010",),
        differs="all but learner and coder is that of `sdl`",
        needs=("spams",),
        scores="logits",
    )

    def layer_coder(self, depth: int) -> Coder:
        """Return what learns and codes each layer."""
        return SpamsCoder(lmbd=self.lmbd, n_nonzero=self.n_nonzero, n_iter=self.n_iter)
