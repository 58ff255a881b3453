"""K-SVD: codes by Batch-OMP, then one atom and its coefficients after the other."""

from collections.abc import Iterator
from functools import partial

import numpy as np
from scipy.sparse import csc_array

from baselines.learned import Floats, Learned, first_atoms
from baselines.pursuit import encode
from baselines.pursuit.compiled import compiled


@partial(compiled, allocates=True)
def _approximate(R, D, data, indices, indptr):  # type: ignore[no-untyped-def]
    n_features, n_atoms = D.shape
    old = np.empty(n_features, R.dtype)
    new = np.empty(n_features, R.dtype)
    for j in range(n_atoms):
        first, last = indptr[j], indptr[j + 1]
        if first == last:
            continue
        gg = R.dtype.type(0)
        new[:] = 0
        for f in range(n_features):
            old[f] = D[f, j]
        for k in range(first, last):
            row = R[indices[k]]
            g = data[k]
            gg += g * g
            for f in range(n_features):
                new[f] += g * row[f]
        for f in range(n_features):
            new[f] += gg * old[f]
        norm = np.sqrt((new * new).sum())
        if norm <= 0:
            continue
        new /= norm
        overlap = (new * old).sum()
        for k in range(first, last):
            row = R[indices[k]]
            g = data[k]
            s = g * overlap
            for f in range(n_features):
                s += row[f] * new[f]
            for f in range(n_features):
                row[f] += g * old[f] - s * new[f]
            data[k] = s
        for f in range(n_features):
            D[f, j] = new[f]


def _exact(R: Floats, D: Floats, codes: csc_array) -> None:
    for j in range(D.shape[1]):
        span = slice(codes.indptr[j], codes.indptr[j + 1])
        rows = codes.indices[span]
        if len(rows) == 0:
            continue
        E = R[rows] + np.outer(codes.data[span], D[:, j])
        d = np.linalg.eigh(E.T @ E)[1][:, -1]
        d *= np.sign(d @ D[:, j]) or 1
        g = E @ d
        R[rows] = E - np.outer(g, d)
        codes.data[span] = g
        D[:, j] = d


def ksvd_steps(
    X: Floats,
    n_atoms: int,
    *,
    n_nonzero: int,
    seed: int = 0,
    exact: bool = False,
    start: Learned | None = None,
    n_threads: int | None = None,
) -> Iterator[Learned]:
    """Without end: the dictionary after each iteration, `history` in 0.5*norm(x - D c)**2 per sample."""
    X = np.ascontiguousarray(X)
    at = start or Learned(first_atoms(X, n_atoms, np.random.default_rng(seed)))
    while True:
        D = at.D.copy()
        codes = csc_array(encode(X, D, n_nonzero=n_nonzero, sparse=True, n_threads=n_threads).codes)
        R = X - codes @ D.T
        worst = np.argsort(-(R * R).sum(1))
        if exact:
            _exact(R, D, codes)
        else:
            _approximate(R, D, codes.data, codes.indices, codes.indptr)
        error = 0.5 * float((R * R).sum()) / max(len(X), 1)
        unused = np.flatnonzero(np.diff(codes.indptr) == 0)
        fresh = X[worst[: len(unused)]].T
        D[:, unused[: fresh.shape[1]]] = fresh / np.maximum(np.linalg.norm(fresh, axis=0), 1e-12)
        at = Learned(D, at.n_iter + 1, (*at.history, error))
        yield at


def ksvd(
    X: Floats,
    n_atoms: int,
    *,
    n_nonzero: int,
    n_iter: int,
    seed: int = 0,
    exact: bool = False,
    start: Learned | None = None,
    n_threads: int | None = None,
) -> Learned:
    """The dictionary after `n_iter` iterations of `ksvd_steps`."""
    steps = ksvd_steps(X, n_atoms, n_nonzero=n_nonzero, seed=seed, exact=exact, start=start, n_threads=n_threads)
    for at in steps:
        if at.n_iter >= n_iter:
            return at
    raise AssertionError
