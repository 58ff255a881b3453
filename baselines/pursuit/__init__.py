"""Sparse codes of samples in a dictionary: X ~ codes @ D.T."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from baselines.pursuit.objective import certify


@dataclass(frozen=True)
class Encoding:
    """Codes and how they were reached: `codes` (n_samples, n_atoms) is a dense array or, on request, a CSR array.

    `n_iter`: mean steps per sample. `kkt`, `gap`: largest KKT residual and total duality gap / total objective; NaN where not
    asked for or not defined (omp).
    """

    codes: Any
    method: str
    n_iter: float
    kkt: float = float("nan")
    gap: float = float("nan")


def encode(
    X: Any,
    D: Any,
    *,
    lmbd: Any = None,
    n_nonzero: int | None = None,
    alpha: float = 0.0,
    positive: bool = False,
    linear: Any = None,
    method: str = "auto",
    tol: float = 1e-6,
    max_iter: int = 1000,
    n_threads: int | None = None,
    sparse: bool = False,
    certified: bool = True,
) -> Encoding:
    """Minimise 0.5*norm(x - D c)**2 + sum(lmbd*abs(c)) + 0.5*alpha*norm(c)**2 + linear.c for each row x of `X`."""
    X, D = _checked(X), _checked(D)
    if (lmbd is None) == (n_nonzero is None):
        raise ValueError("encode: give either lmbd or n_nonzero")
    if n_nonzero is not None:
        return Encoding(_omp(X, D, n_nonzero, n_threads, sparse), "omp", n_nonzero)
    lam = np.broadcast_to(np.asarray(lmbd, X.dtype), (D.shape[1],)).copy()
    shift = np.zeros(1, X.dtype) if linear is None else np.asarray(linear, X.dtype)
    codes, n_iter = _coordinate_descent(X, D, lam, alpha, positive, shift, tol, max_iter, n_threads)
    if not sparse:
        codes = codes.toarray()
    if not certified:
        return Encoding(codes, "coordinate_descent", n_iter)
    primal, gap, kkt = certify(X, D, codes, lam, alpha, positive, shift)
    total = float(primal.sum())
    return Encoding(
        codes, "coordinate_descent", n_iter, float(kkt.max(initial=0)), float(gap.sum()) / total if total else 0.0
    )


def encode_blocks(blocks: Iterable[Any], D: Any, **options: Any) -> Iterator[Encoding]:
    """Encode one block of samples after the other; the options are those of `encode`, without certificate by default."""
    for X in blocks:
        yield encode(X, D, **({"certified": False} | options))


def _checked(A: Any) -> Any:
    A = np.asarray(A)
    return np.ascontiguousarray(A, np.float32 if A.dtype == np.float32 else np.float64)


def _coordinate_descent(
    X: Any, D: Any, lam: Any, alpha: float, positive: bool, linear: Any, tol: float, max_iter: int, n_threads: int | None
) -> tuple[csr_array, float]:
    from baselines.pursuit.compiled import block_map
    from baselines.pursuit.coordinate_descent import solve

    gram = D.T @ D

    def work(rows: slice) -> Any:
        b = X[rows] @ D - (linear[rows] if linear.ndim == 2 else linear)
        n = len(b)
        norms = (X[rows] ** 2).sum(1)
        indptr = np.zeros(n + 1, np.int64)
        data, indices = np.empty(16 * n, X.dtype), np.empty(16 * n, np.int32)
        at, steps = 0, 0
        while at < n:
            if at:
                data, indices = np.resize(data, 2 * len(data)), np.resize(indices, 2 * len(data))
            fresh, more = solve(b, gram, norms, lam, X.dtype.type(alpha), positive, X.dtype.type(tol), max_iter,
                                data, indices, indptr, at)  # fmt: skip
            if fresh == at:
                data, indices = np.resize(data, 2 * len(data)), np.resize(indices, 2 * len(data))
            if fresh < n:
                b[fresh] = X[rows][fresh] @ D - (linear[rows][fresh] if linear.ndim == 2 else linear)
            at, steps = fresh, steps + more
        return data[: indptr[-1]], indices[: indptr[-1]], indptr, steps

    with block_map(n_threads) as run:
        parts = run(work, len(X), 1024)
    return _joined([p[:3] for p in parts], (len(X), D.shape[1]), X.dtype), sum(p[3] for p in parts) / max(len(X), 1)


def _joined(parts: list[Any], shape: tuple[int, int], dtype: Any) -> csr_array:
    if not parts:
        return csr_array(shape, dtype=dtype)
    starts = np.cumsum([0] + [len(p[0]) for p in parts])
    indptr = np.concatenate([[0]] + [p[2][1:] + at for p, at in zip(parts, starts, strict=False)])
    return csr_array((np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]), indptr), shape=shape)


def _omp(X: Any, D: Any, n_nonzero: int, n_threads: int | None, sparse: bool) -> Any:
    from baselines.pursuit.compiled import block_map
    from baselines.pursuit.omp import solve

    gram = D.T @ D
    width = min(n_nonzero, *D.shape)
    data, indices = np.zeros((len(X), width), X.dtype), np.zeros((len(X), width), np.int32)

    def work(rows: slice) -> Any:
        norms = (X[rows] ** 2).sum(1)
        return solve(X[rows] @ D, gram, norms, width, X.dtype.type(1e-12), data[rows], indices[rows])

    with block_map(n_threads) as run:
        counts = run(work, len(X), 1024)
    counts = np.concatenate(counts) if counts else np.zeros(0, np.int64)
    used = np.arange(width) < counts[:, None]
    indptr = np.concatenate([[0], np.cumsum(counts)])
    codes = csr_array((data[used], indices[used], indptr), shape=(len(X), D.shape[1]))
    codes.sort_indices()
    return codes if sparse else codes.toarray()
