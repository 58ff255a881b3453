"""What dictionary learning returns, how a learner is driven, where it starts, and which atoms it replaces."""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ddl_bench.files import write_atomically

Floats = NDArray[Any]
Samples = Floats | Iterable[Floats]
COHERENCE = 0.99  # inner product from which two atoms count as one, as in Aharon et al. (2006)


@dataclass(frozen=True)
class Learned:
    """A dictionary under way: `D` (n_features, n_atoms), unit-norm columns, after `n_iter` iterations.

    history: objective per sample in each iteration. held_out: (iteration, objective per held-out sample) where looked
    at. memory: arrays that a learner needs to go on from here.
    """

    D: Floats
    n_iter: int = 0
    history: tuple[float, ...] = ()
    held_out: tuple[tuple[int, float], ...] = ()
    memory: Mapping[str, Floats] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write an .npz to go on from later; one that was there is replaced whole, so a kill leaves either."""
        kept = {f"memory.{name}": array for name, array in self.memory.items()}
        kept |= {"D": self.D, "n_iter": np.array(self.n_iter), "history": np.array(self.history)}
        np.savez(file := io.BytesIO(), held_out=self.held_out, **kept)  # type: ignore[arg-type]  # no name is an option
        write_atomically(Path(path), file.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> "Learned":
        """What `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            memory = {name[7:]: file[name] for name in file.files if name.startswith("memory.")}
            seen = tuple((int(at), float(value)) for at, value in file["held_out"].reshape(-1, 2))
            return cls(
                file["D"], int(file["n_iter"]), tuple(file["history"].tolist()), seen, memory
            )


class Learner(Protocol):
    """Hyper-parameters of a way to learn dictionaries."""

    @property
    def n_atoms(self) -> int:
        """At least 1."""

    def steps(self, X: Samples, start: Learned | None = None) -> Iterator[Learned]:
        """The dictionary after each iteration, as long as samples last: an array never ends, a stream may."""

    def objective(self, X: Floats, D: Floats) -> float:
        """What is minimised, per sample of X, with the best codes in D."""


def learn(
    learner: Learner,
    X: Samples,
    *,
    n_iter: int,
    start: Learned | None = None,
    held_out: Floats | None = None,
    every: int = 1,
    patience: int = 3,
    on_step: Callable[[Learned], None] | None = None,
) -> Learned:
    """The dictionary after `n_iter` iterations in all, or fewer where the stream ends or held-out samples tell to stop.

    X: samples (n_samples, n_features), or an iterable of such blocks. start: where to go on from.
    held_out: samples (n_samples, n_features) on which the objective is looked at `every` so many iterations and after
    the last of `n_iter`, until it has not fallen by a ten-thousandth in `patience` looks. The best dictionary that was
    looked at is returned.
    on_step: called with the state after each iteration, to show progress or to save it.
    """
    for name, value in (
        ("n_iter", n_iter),
        ("every", every),
        ("patience", patience),
        ("n_atoms", learner.n_atoms),
    ):
        if value < 1:
            raise ValueError(f"learn: {name}={value} must be at least 1")
    if start is not None and start.D.shape[1] != learner.n_atoms:
        raise ValueError(
            f"learn: start has {start.D.shape[1]} atoms; expected n_atoms={learner.n_atoms}"
        )
    if start is not None and start.n_iter >= n_iter:
        return start
    at = best = start
    seen = list(start.held_out) if start else []
    for at in learner.steps(X, start):
        looked = held_out is not None and (at.n_iter % every == 0 or at.n_iter >= n_iter)
        if held_out is not None and looked:
            seen.append((at.n_iter, learner.objective(held_out, at.D)))
        at = replace(at, held_out=tuple(seen))
        if on_step is not None:
            on_step(at)
        if (
            held_out is None
            or not seen
            or (looked and seen[-1][1] <= min(value for _, value in seen))
        ):
            best = at
        recent = min((value for _, value in seen[-patience:]), default=0.0)
        stalled = (
            looked
            and len(seen) > patience
            and recent > (1 - 1e-4) * min(value for _, value in seen[:-patience])
        )
        if at.n_iter >= n_iter or stalled:
            break
    if at is None or best is None:
        raise ValueError("learn: the stream of samples is empty; expected at least one block")
    return replace(best, held_out=tuple(seen))


def floats(X: Floats) -> Floats:
    """Samples in single precision, or in double where single does not hold them."""
    return np.ascontiguousarray(X, np.result_type(X, np.float32))


def first_atoms(X: Floats, n_atoms: int, rng: np.random.Generator) -> Floats:
    """`n_atoms` samples, drawn without repetition while there are enough, of unit norm: (n_features, n_atoms)."""
    if not len(X) or not np.isfinite(X).all():
        raise ValueError(
            f"learn: {len(X)} samples, not all of them finite; expected at least one, of finite entries"
        )
    D = np.array(X[rng.choice(len(X), n_atoms, replace=len(X) < n_atoms)].T, order="C")
    noise = 1e-3 * rng.standard_normal(D.shape)
    D += (noise * (np.linalg.norm(D, axis=0) == 0)).astype(D.dtype)
    return np.asarray(D / np.linalg.norm(D, axis=0))


def replace_atoms(D: Floats, gram: Floats, uses: Floats, R: Floats, X: Floats) -> NDArray[np.intp]:
    """Replace, in place, unused atoms and the less used of two equal ones by the samples that are represented worst.

    gram: D'D. uses: (n_atoms,), 0 where an atom is dead. R: residuals of the samples X. Returns which atoms are new.
    """
    gone = uses == 0
    for i, j in np.argwhere(np.triu(np.abs(gram) > COHERENCE, 1)):
        gone[i if uses[i] < uses[j] else j] = True
    if not gone.any():
        return np.empty(0, np.intp)
    errors = np.einsum("ij,ij->i", R, R)
    worst = np.argsort(-errors, kind="stable")[: gone.sum()]
    worst = worst[errors[worst] > 0]
    new = np.flatnonzero(gone)[: len(worst)]
    D[:, new] = X[worst].T / np.maximum(np.linalg.norm(X[worst], axis=1), 1e-12)
    return new
