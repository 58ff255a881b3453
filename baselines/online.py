"""Online dictionary learning (Mairal et al., 2009): mini-batches, sufficient statistics, block coordinate updates."""

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np

from baselines.learned import Floats, Learned, first_atoms
from baselines.pursuit import encode
from baselines.pursuit.compiled import compiled


@partial(compiled, allocates=True)
def _update(D, A, B, n_pass):  # type: ignore[no-untyped-def]
    """Minimise 0.5*tr(A D'D) - tr(B'D) over unit-norm atoms, one after the other; the rows of D, A, B are atoms."""
    n_atoms, n_features = D.shape
    u = np.empty(n_features, D.dtype)
    for _ in range(n_pass):
        for j in range(n_atoms):
            if A[j, j] <= 1e-10:
                continue
            u[:] = B[j]
            for k in range(n_atoms):
                a = A[j, k]
                if a != 0:
                    for f in range(n_features):
                        u[f] -= a * D[k, f]
            u += A[j, j] * D[j]
            norm = np.sqrt((u * u).sum())
            if norm > 0:
                D[j] = u / norm


def _batches(X: Floats | Iterable[Floats], batch_size: int, seed: int, skip: int) -> Iterator[Floats]:
    if not isinstance(X, np.ndarray):
        yield from X
        return
    per_pass = max(len(X) // batch_size, 1)
    at = skip
    while True:
        order = np.random.default_rng([seed, at // per_pass]).permutation(len(X))
        for k in range(at % per_pass, per_pass):
            yield X[order[k * batch_size : (k + 1) * batch_size]]
            at += 1


def online_steps(
    X: Floats | Iterable[Floats],
    n_atoms: int,
    *,
    lmbd: float,
    batch_size: int = 512,
    seed: int = 0,
    alpha: float = 0.0,
    positive: bool = False,
    forgetting: float = 1.0,
    start: Learned | None = None,
    n_threads: int | None = None,
) -> Iterator[Learned]:
    """The dictionary after each mini-batch; `history`: objective a sample of each batch, before learning from it."""
    at = start
    for batch in _batches(X, batch_size, seed, at.n_iter if at else 0):
        if at is None:
            D = first_atoms(batch, n_atoms, np.random.default_rng(seed))
            at = Learned(D, 0, (), {"A": np.zeros((n_atoms, n_atoms), D.dtype), "B": np.zeros(D.T.shape, D.dtype)})
        t = at.n_iter + 1
        codes = encode(
            batch, at.D, lmbd=lmbd, alpha=alpha, positive=positive, sparse=True, tol=1e-4, n_threads=n_threads
        ).codes
        R = batch - codes @ at.D.T
        value = 0.5 * (R * R).sum() + lmbd * abs(codes.data).sum() + 0.5 * alpha * (codes.data**2).sum()
        keep = (1 - 1 / t) ** forgetting
        A = keep * at.memory["A"] + (codes.T @ codes).toarray()
        B = keep * at.memory["B"] + codes.T @ batch
        rows = np.ascontiguousarray(at.D.T)
        _update(rows, A.astype(rows.dtype), B.astype(rows.dtype), 1)
        at = Learned(np.ascontiguousarray(rows.T), t, (*at.history, float(value) / len(batch)), {"A": A, "B": B})
        yield at


def online(
    X: Floats | Iterable[Floats],
    n_atoms: int,
    *,
    lmbd: float,
    n_iter: int,
    batch_size: int = 512,
    seed: int = 0,
    alpha: float = 0.0,
    positive: bool = False,
    forgetting: float = 1.0,
    start: Learned | None = None,
    n_threads: int | None = None,
) -> Learned:
    """The dictionary after `n_iter` mini-batches, or fewer where the stream ends before."""
    steps = online_steps(X, n_atoms, lmbd=lmbd, batch_size=batch_size, seed=seed, alpha=alpha, positive=positive,
                         forgetting=forgetting, start=start, n_threads=n_threads)  # fmt: skip
    at = start
    for at in steps:
        if at.n_iter >= n_iter:
            break
    if at is None:
        raise ValueError("online: the stream of samples is empty; expected at least one batch")
    return at
