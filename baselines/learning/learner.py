"""What dictionary learning returns, how a learner is driven, where it starts, what it replaces."""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from baselines.pursuit.compiled import Array
from ddl_bench.files import write_atomically

Samples = Array | Iterable[Array]
COHERENCE = 0.99  # inner product from which two atoms count as one, as in Aharon et al. (2006)
LEAST_GAIN = 1e-4  # relative fall of the held-out objective that counts as one
MEMORY = "memory."  # what names of a learner's arrays begin with in a file


class Look(NamedTuple):
    """The objective per held-out sample after an iteration."""

    n_iter: int
    objective: float


@dataclass(frozen=True)
class Learned:
    """Holds a dictionary as it is learned.

    Parameters
    ----------
    D
        Unit-norm atoms as columns, shape (n_features, n_atoms).
    n_iter
        Iterations so far.
    history
        Objective per sample in each iteration.
    held_out
        Objective per held-out sample, after the iterations in which it was computed.
    memory
        Arrays that a learner needs to go on from here.
    """

    D: Array
    n_iter: int = 0
    history: tuple[float, ...] = ()
    held_out: tuple[Look, ...] = ()
    memory: Mapping[str, Array] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write an .npz file to resume from.

        A file that was there is replaced as a whole, so a kill leaves the old one or the new one.
        """
        arrays = {f"{MEMORY}{name}": array for name, array in self.memory.items()}
        arrays["D"] = self.D
        arrays["n_iter"] = np.array(self.n_iter)
        arrays["history"] = np.array(self.history)
        arrays["held_out"] = np.array(self.held_out, np.float64)
        file = io.BytesIO()
        np.savez(file, **arrays)  # type: ignore[arg-type]  # no name is an option
        write_atomically(Path(path), file.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> "Learned":
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            memory = {
                name.removeprefix(MEMORY): file[name]
                for name in file.files
                if name.startswith(MEMORY)
            }
            pairs = file["held_out"].reshape(-1, 2)
            looks = tuple(Look(int(n_iter), float(value)) for n_iter, value in pairs)
            history = tuple(file["history"].tolist())
            return cls(file["D"], int(file["n_iter"]), history, looks, memory)


class Learner(Protocol):
    """Describes a way to learn dictionaries by its hyper-parameters."""

    @property
    def n_atoms(self) -> int:
        """Number of atoms, at least 1."""

    def steps(self, X: Samples, start: Learned | None = None) -> Iterator[Learned]:
        """Yield the dictionary after each iteration.

        As long as samples last: an array never ends, a stream of blocks may.
        """

    def objective(self, X: Array, D: Array) -> float:
        """Compute what is minimised, per sample of X, with the best codes in D."""


def learn(
    learner: Learner,
    X: Samples,
    *,
    n_iter: int,
    start: Learned | None = None,
    held_out: Array | None = None,
    every: int = 1,
    patience: int = 3,
    on_step: Callable[[Learned], None] | None = None,
) -> Learned:
    """Learn a dictionary for `n_iter` iterations, fewer where the stream ends or nothing is gained.

    Parameters
    ----------
    learner
        The way to learn, with its hyper-parameters.
    X
        Samples, shape (n_samples, n_features), or an iterable of such blocks.
    n_iter
        Iterations in all, those of `start` included.
    start
        Where to go on from.
    held_out
        Samples (n_samples, n_features) to stop by: their objective is computed `every` so many
        iterations and after the last, until it has not fallen by a ten-thousandth in `patience`
        such looks. Then the best dictionary looked at is returned, not the last one.
    every, patience
        In iterations, and in looks.
    on_step
        Called with the state after each iteration, to show progress or to save it.

    Returns
    -------
    Learned
        The dictionary, with the history of all iterations up to it.

    Raises
    ------
    ValueError
        If a number is below 1, `start` has another number of atoms, or there are no samples.

    Examples
    --------
    >>> import numpy as np
    >>> from baselines.learning.ksvd import KSVD
    >>> X = np.random.default_rng(0).standard_normal((200, 8))
    >>> learned = learn(KSVD(n_atoms=12, n_nonzero=2), X, n_iter=5)
    >>> learned.D.shape
    (8, 12)
    >>> learned.history[-1] < learned.history[0]
    True
    """
    counts = {"n_iter": n_iter, "every": every, "patience": patience, "n_atoms": learner.n_atoms}
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"learn: {name}={value} must be at least 1")
    if start is not None and start.D.shape[1] != learner.n_atoms:
        raise ValueError(
            f"learn: start has {start.D.shape[1]} atoms; expected n_atoms={learner.n_atoms}"
        )
    if start is not None and start.n_iter >= n_iter:
        return start
    best = start
    looks = list(start.held_out) if start is not None else []
    for state in learner.steps(X, start):
        last = state.n_iter >= n_iter
        looks_now = held_out is not None and (state.n_iter % every == 0 or last)
        if held_out is not None and looks_now:
            looks.append(Look(state.n_iter, learner.objective(held_out, state.D)))
        state = replace(state, held_out=tuple(looks))
        if on_step is not None:
            on_step(state)
        if held_out is None or not looks or (looks_now and _is_best(looks)):
            best = state
        if last or (looks_now and _has_stalled(looks, patience)):
            break
    if best is None:
        raise ValueError("learn: the stream of samples is empty; expected at least one block")
    return replace(best, held_out=tuple(looks))


def _is_best(looks: list[Look]) -> bool:
    """Tell whether no look is better than the last one."""
    return looks[-1].objective <= min(look.objective for look in looks)


def _has_stalled(looks: list[Look], patience: int) -> bool:
    """Tell whether the last `patience` looks gained next to nothing over those before."""
    before = [look.objective for look in looks[:-patience]]
    recent = [look.objective for look in looks[-patience:]]
    return bool(before) and min(recent) > (1 - LEAST_GAIN) * min(before)


def as_floats(X: Array) -> Array:
    """Convert samples to single precision, or to double where single does not hold them."""
    return np.ascontiguousarray(X, np.result_type(X, np.float32))


def first_atoms(X: Array, n_atoms: int, rng: np.random.Generator) -> Array:
    """Draw `n_atoms` samples as unit-norm atoms, (n_features, n_atoms), to start learning from.

    Without repetition while there are enough; samples of zeros become noise.

    Raises
    ------
    ValueError
        If there are no samples, or some are not finite.
    """
    if not len(X) or not np.isfinite(X).all():
        raise ValueError(
            f"learn: {len(X)} samples, not all of them finite;"
            " expected at least one, of finite entries"
        )
    D = np.array(X[rng.choice(len(X), n_atoms, replace=len(X) < n_atoms)].T, order="C")
    noise = 1e-3 * rng.standard_normal(D.shape)
    is_zero = np.linalg.norm(D, axis=0) == 0
    D += (noise * is_zero).astype(D.dtype)
    return np.asarray(D / np.linalg.norm(D, axis=0))


def replace_atoms(D: Array, gram: Array, uses: Array, R: Array, X: Array) -> NDArray[np.intp]:
    """Replace, in place, unused and doubled atoms by the samples that are represented worst.

    Of two equal atoms the less used one goes.

    Parameters
    ----------
    D, gram
        Unit-norm atoms (n_features, n_atoms), and D'D.
    uses
        How much each atom is used, (n_atoms,); 0 where it is not.
    R, X
        Residuals and samples, (n_samples, n_features).

    Returns
    -------
    Which atoms are new.
    """
    unneeded = uses == 0
    for i, j in np.argwhere(np.triu(np.abs(gram) > COHERENCE, 1)):
        unneeded[i if uses[i] < uses[j] else j] = True
    if not unneeded.any():
        return np.empty(0, np.intp)
    errors = np.einsum("ij,ij->i", R, R)
    worst = np.argsort(-errors, kind="stable")[: unneeded.sum()]
    worst = worst[errors[worst] > 0]
    new = np.flatnonzero(unneeded)[: len(worst)]
    D[:, new] = X[worst].T / np.maximum(np.linalg.norm(X[worst], axis=1), 1e-12)
    return new
