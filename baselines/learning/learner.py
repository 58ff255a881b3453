"""What dictionary learning returns, how a learner is driven, where it starts, what it replaces."""

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from baselines.learning.samples import (
    Samples,
    as_floats,
    as_matrix,
    as_samples,
    check_counts,
    is_array,
    largest,
    unit_columns,
)
from baselines.pursuit.compiled import Array
from baselines.pursuit.threads import split_rows
from ddl_bench.files import write_atomically

COHERENCE = 0.99  # inner product from which two atoms count as one, as in Aharon et al. (2006)
LEAST_GAIN = 1e-4  # relative fall of the held-out objective that counts as one
CANDIDATE_SAMPLES = 256  # compared with each other at a time, as they may become atoms
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
        A folder that does not exist is made.

        Raises
        ------
        UserError
            If the folder cannot be made or the file cannot be written.
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
        """Read what `save` wrote.

        Raises
        ------
        OSError
            If there is no such file.
        ValueError
            If `save` did not write it.
        """
        data = io.BytesIO(Path(path).read_bytes())
        try:
            with np.load(data, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            memory = {
                name.removeprefix(MEMORY): array
                for name, array in arrays.items()
                if name.startswith(MEMORY)
            }
            pairs = arrays["held_out"].reshape(-1, 2)
            looks = tuple(Look(int(n_iter), float(value)) for n_iter, value in pairs)
            history = tuple(arrays["history"].tolist())
            return cls(arrays["D"], int(arrays["n_iter"]), history, looks, memory)
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"Learned.load: {path} holds no dictionary; expected a file that Learned.save wrote"
            ) from error


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
        Samples, shape (n_samples, n_features): an array or a tensor of finite real numbers, of any
        type and size, or an iterable of such blocks, each perhaps alone in a list. Float32 and
        smaller types are learned from in float32, others in float64.
    n_iter
        Iterations in all, those of `start` included.
    start
        Where to go on from. Its atoms are brought to unit norm; those of zeros become noise.
    held_out
        Samples (n_samples, n_features) to stop by, an array or a tensor: their objective is
        computed `every` so many iterations and after the last, until it has not fallen by a
        ten-thousandth in `patience` such looks. Then the best dictionary looked at is returned, not
        the last one.
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
        If a number is no integer of at least 1, samples, `start` or `held_out` are not as
        described or do not fit each other, or there are no samples.

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
    check_counts("learn", n_iter=n_iter, every=every, patience=patience, n_atoms=learner.n_atoms)
    n_features = _n_features(learner, X, start)
    if held_out is not None:
        held_out = as_samples(held_out, "held_out")
        largest(held_out, "held_out")
        _check_features(held_out, n_features)
    if start is not None and start.n_iter >= n_iter:
        return start
    best = None
    looks = list(start.held_out) if start is not None else []
    for state in learner.steps(X, start):
        last = state.n_iter >= n_iter
        looks_now = held_out is not None and (state.n_iter % every == 0 or last)
        if held_out is not None and looks_now:
            _check_features(held_out, len(state.D))
            looks.append(Look(state.n_iter, learner.objective(held_out, state.D)))
        state = replace(state, held_out=tuple(looks))
        if on_step is not None:
            on_step(state)
        if held_out is None or not looks or (looks_now and _is_best(looks)):
            best = state
        elif best is None:
            best = start
        if last or (looks_now and _has_stalled(looks, patience)):
            break
    if best is None:
        raise ValueError("learn: the stream of samples is empty; expected at least one block")
    return replace(best, held_out=tuple(looks))


def _n_features(learner: Learner, X: Samples, start: Learned | None) -> int | None:
    """Return the number of features, None where a stream will tell it.

    Raises ValueError unless `X`, if it is an array, and `start` fit each other.
    """
    n_features = None
    if is_array(X):
        n_features = as_samples(X).shape[1]
    if start is None:
        return n_features
    if not isinstance(start, Learned):
        raise ValueError(
            f"learn: start is a {type(start).__name__}; expected a Learned, such as Learned(D)"
        )
    D = as_matrix(start.D, "start.D", "(n_features, n_atoms)")
    if D.shape[1] != learner.n_atoms:
        raise ValueError(f"learn: start has {D.shape[1]} atoms; expected n_atoms={learner.n_atoms}")
    if n_features not in (None, len(D)):
        raise ValueError(f"learn: start has {len(D)} features; expected {n_features}, as X has")
    return len(D)


def _check_features(held_out: Array, n_features: int | None) -> None:
    """Raise ValueError if the number of features is known and is another one."""
    if n_features not in (None, held_out.shape[1]):
        raise ValueError(
            f"learn: held_out has {held_out.shape[1]} features; expected {n_features}, as X has"
        )


def _is_best(looks: list[Look]) -> bool:
    """Tell whether no look is better than the last one."""
    return looks[-1].objective <= min(look.objective for look in looks)


def _has_stalled(looks: list[Look], patience: int) -> bool:
    """Tell whether the last `patience` looks gained next to nothing over those before."""
    before = [look.objective for look in looks[:-patience]]
    recent = [look.objective for look in looks[-patience:]]
    return bool(before) and min(recent) > (1 - LEAST_GAIN) * min(before)


def first_atoms(X: Array, n_atoms: int, rng: np.random.Generator) -> Array:
    """Draw `n_atoms` samples as unit-norm atoms, (n_features, n_atoms), to start learning from.

    Without repetition while there are enough; samples of zeros become noise.

    Raises
    ------
    ValueError
        If there are no samples, or some are not finite.
    """
    X = as_floats(as_samples(X))
    largest(X)
    D = np.ascontiguousarray(X[rng.choice(len(X), n_atoms, replace=len(X) < n_atoms)].T)
    return _noise_for_zeros(unit_columns(D), rng)


def resume(start: Learned, X: Array, n_atoms: int, seed: int) -> Learned:
    """Return `start` as learning from X goes on from it: its arrays are not changed later.

    D has the type of X (n_samples, n_features). Atoms that are not of unit norm are brought to it;
    atoms of zeros become noise.

    Raises
    ------
    ValueError
        If its dictionary is not of shape (n_features, n_atoms), or not finite.
    """
    D = as_floats(as_matrix(start.D, "start.D", "(n_features, n_atoms)"))
    n_features = X.shape[1]
    if D.shape != (n_features, n_atoms):
        raise ValueError(
            f"learn: start.D has shape {D.shape}; expected {(n_features, n_atoms)}, as X has"
            f" {n_features} features and n_atoms={n_atoms}"
        )
    largest(D, "start.D")
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(D, axis=0)
    # a run that goes on must not be changed: what was normalised is only so up to rounding
    is_off = ~(np.abs(norms - 1) <= 8 * n_features * np.finfo(D.dtype).eps)
    if is_off.any():
        D = np.where(is_off, unit_columns(D), D)
        D = _noise_for_zeros(D, np.random.default_rng(seed))
    return replace(start, D=np.ascontiguousarray(D, X.dtype))


def _noise_for_zeros(D: Array, rng: np.random.Generator) -> Array:
    """Return D with unit-norm noise in place of columns of zeros."""
    noise = 1e-3 * rng.standard_normal(D.shape)
    return np.ascontiguousarray(np.where(D.any(axis=0), D, unit_columns(noise.astype(D.dtype))))


def replace_atoms(D: Array, gram: Array, uses: Array, R: Array, X: Array) -> NDArray[np.intp]:
    """Replace, in place, unused and doubled atoms by the samples that are represented worst.

    Of two equal atoms the less used one goes. A sample that is a multiple of an atom, or of one
    taken before, is passed over. Where samples run out, atoms stay.

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
    worst = np.argsort(-errors, kind="stable")
    worst = worst[errors[worst] > 0]
    new = np.flatnonzero(unneeded)
    fresh = _distinct(X[worst], D[:, ~unneeded], len(new))
    new = new[: fresh.shape[1]]
    D[:, new] = fresh
    return new


def _distinct(X: Array, D: Array, n_atoms: int) -> Array:
    """Return the first `n_atoms` samples that double no atom of D and none before, of unit norm.

    As columns; fewer where there are no more.
    """
    fresh: list[Array] = []
    for rows in split_rows(0, len(X), CANDIDATE_SAMPLES):
        candidates = unit_columns(X[rows].T)
        others = np.column_stack([D, *fresh])
        is_new = np.abs(others.T @ candidates).max(axis=0, initial=0) <= COHERENCE
        gram = np.abs(candidates.T @ candidates)
        chosen: list[int] = []
        for k in np.flatnonzero(is_new):
            if len(fresh) == n_atoms:
                break
            if gram[k, chosen].max(initial=0) <= COHERENCE:
                chosen.append(int(k))
                fresh.append(candidates[:, k])
        if len(fresh) == n_atoms:
            break
    return np.column_stack([D[:, :0], *fresh])
