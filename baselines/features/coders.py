"""How a layer of a stack learns its dictionary and codes its patches: by synthesis or analysis."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from baselines.learning.ksvd import KSVD, Update
from baselines.learning.learner import Learner as DictionaryLearner
from baselines.learning.online import Online
from baselines.learning.transform import Union, hard_threshold
from baselines.pursuit.encode import encode

Floats = NDArray[np.float32]
Learner = Literal["online", "ksvd", "ksvd-exact", "mod"]
Pursuit = Literal["coordinate-descent", "fista", "omp", "ormp"]
COUNTING: tuple[Pursuit, ...] = ("omp", "ormp")  # whose codes have a number of non-zeros
UPDATES: dict[Learner, Update] = {"ksvd": "approximate", "ksvd-exact": "exact", "mod": "mod"}
DEFAULT_LMBD = 0.1  # for patches of about unit norm
DEFAULT_N_NONZERO = 5  # of the learners that count non-zeros, where codes are penalised
ONLINE_BATCH_SAMPLES = 512
NOISE_FEATURES = 8  # of the signals that coders are compiled with
TOL = 1e-3  # relative duality gap of the codes
# Of FISTA: a fixed number, so that the codes of a sample do not depend on the others of its block,
# which is solved until all have converged.
FISTA_ITERATIONS = 40


class Coder(Protocol):
    """Learns the dictionary D (n_features, n_atoms) of a layer, and finds codes of its samples.

    `n_threads` is the number of CPU threads; None takes all cores of this process.
    """

    def learn(self, X: Floats, n_atoms: int, seed: int, n_threads: int | None) -> Iterator[Floats]:
        """Yield D after each step on samples X (n_samples, n_features), without end."""

    def n_steps(self, n_samples: int) -> int:
        """Return how many steps to learn from so many samples."""

    def encode(self, X: Floats, D: Floats, n_threads: int | None) -> Any:
        """Return the codes of samples X as a sparse array (n_samples, n_atoms)."""

    def synthesis(self, D: Floats) -> Floats:
        """Return the rows (n_atoms, n_features) with X ~ codes @ rows."""

    def compile(self, n_threads: int | None) -> None:
        """Learn and code a little noise, so that what is compiled is there."""


@dataclass(frozen=True, kw_only=True)
class SynthesisCoder:
    """Minimise 0.5*norm(X - codes @ D.T)**2 + lmbd*norm1(codes), or count non-zeros instead.

    Parameters
    ----------
    learner
        "online", whose step is a mini-batch of 512 samples, or "ksvd", "ksvd-exact" and "mod",
        whose step is a pass over all samples.
    pursuit
        What finds the codes: "coordinate-descent" or 40 iterations of "fista", which penalise them,
        or "omp" or "ormp", which count non-zeros. None: coordinate descent, or OMP where n_nonzero
        is given.
    lmbd
        Penalty of the codes. None: 0.1.
    n_nonzero
        Non-zeros of each code, for pursuits and learners that count them. The learners other than
        "online" do. None: 5.
    n_iter
        Steps of the learner. None: chosen from the number of samples.
    """

    learner: Learner = "online"
    pursuit: Pursuit | None = None
    lmbd: float | None = None
    n_nonzero: int | None = None
    n_iter: int | None = None

    @property
    def penalty(self) -> float:
        """The penalty of codes that are penalised."""
        return DEFAULT_LMBD if self.lmbd is None else self.lmbd

    @property
    def counts(self) -> bool:
        """Whether codes have a number of non-zeros, instead of a penalty."""
        if self.pursuit is None:
            return self.n_nonzero is not None
        return self.pursuit in COUNTING

    def count(self, n_features: int, n_atoms: int) -> int:
        """Return the non-zeros of each code where they are counted."""
        if self.n_nonzero is not None:
            return self.n_nonzero
        return min(DEFAULT_N_NONZERO, n_features, n_atoms)

    def learn(self, X: Floats, n_atoms: int, seed: int, n_threads: int | None) -> Iterator[Floats]:
        """Yield D after each step on samples X (n_samples, n_features), without end."""
        learner: DictionaryLearner
        if self.learner == "online":
            learner = Online(n_atoms=n_atoms, lmbd=self.penalty, seed=seed, n_threads=n_threads)
        else:
            learner = KSVD(
                n_atoms=n_atoms,
                n_nonzero=self.count(X.shape[1], n_atoms),
                update=UPDATES[self.learner],
                seed=seed,
                n_threads=n_threads,
            )
        return (step.D for step in learner.steps(X))

    def n_steps(self, n_samples: int) -> int:
        """Return `n_iter`, or 20 passes over all samples, or online 3, of 150 batches at most."""
        if self.n_iter is not None:
            return self.n_iter
        if self.learner != "online":
            return 20
        return min(150, 3 * n_samples // ONLINE_BATCH_SAMPLES + 1)

    def encode(self, X: Floats, D: Floats, n_threads: int | None) -> Any:
        """Return the codes of samples X as a CSR array (n_samples, n_atoms)."""
        options: dict[str, Any] = {"n_threads": n_threads, "sparse": True}
        if self.pursuit is not None:
            options["method"] = self.pursuit.replace("-", "_")
        if self.counts:
            return encode(X, D, n_nonzero=self.count(*D.shape), **options).codes
        if self.pursuit == "fista":
            options |= {"tol": 0.0, "max_iter": FISTA_ITERATIONS}
        else:
            options["tol"] = TOL
        return encode(X, D, lmbd=self.penalty, **options).codes

    def synthesis(self, D: Floats) -> Floats:
        """Return D.T."""
        return D.T

    def compile(self, n_threads: int | None) -> None:
        """Learn and code a little noise, so that what is compiled is there."""
        few = None if self.n_nonzero is None else min(self.n_nonzero, NOISE_FEATURES)
        _learn_noise(replace(self, n_nonzero=few), n_threads)


@dataclass(frozen=True, kw_only=True)
class AnalysisCoder:
    """Code samples as hard_threshold(X @ D): thresholded products with learned transforms.

    `baselines.learning.transform.Union` learns the analysis atoms, columns of D: as many square
    transforms as make about `n_atoms` atoms.

    Parameters
    ----------
    threshold
        Least size of an entry of a code, in units of 1 / sqrt(n_features).
    lmbd
        Weight of the term that keeps each transform invertible.
    n_iter
        Steps of the learner, each a pass over all samples.
    """

    threshold: float
    lmbd: float
    n_iter: int

    def learn(self, X: Floats, n_atoms: int, seed: int, n_threads: int | None) -> Iterator[Floats]:
        """Yield D after each step on samples X (n_samples, n_features), without end."""
        n_features = X.shape[1]
        union = Union(
            n_transforms=max(1, round(n_atoms / n_features)),
            lmbd=self.lmbd,
            threshold=self.threshold / n_features**0.5,
            seed=seed,
        )
        for transforms, _ in union.steps(X):
            yield np.ascontiguousarray(transforms.reshape(-1, n_features).T, np.float32)

    def n_steps(self, n_samples: int) -> int:
        """Return `n_iter`."""
        return self.n_iter

    def encode(self, X: Floats, D: Floats, n_threads: int | None) -> Any:
        """Return the codes of samples X as a CSR array (n_samples, n_atoms)."""
        return csr_array(hard_threshold(X @ D, self.threshold / X.shape[1] ** 0.5))

    def synthesis(self, D: Floats) -> Floats:
        """Return the pseudo-inverse of D."""
        return np.linalg.pinv(D)

    def compile(self, n_threads: int | None) -> None:
        """Learn and code a little noise, so that what is compiled is there."""
        _learn_noise(self, n_threads)


def _learn_noise(coder: Coder, n_threads: int | None) -> None:
    noise = np.random.default_rng(0).standard_normal((64, NOISE_FEATURES)).astype(np.float32)
    D = next(coder.learn(noise, 2 * NOISE_FEATURES, 0, n_threads))
    coder.encode(noise, D, n_threads)
