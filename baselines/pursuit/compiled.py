"""How the pursuits are compiled and spread over threads, and the inner loops that they share."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache, partial
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
Array = NDArray[Any]

CHUNK = 64  # atoms per peak: with 512 atoms the best of 32, 64 and 128


def compiled(function: F, inline: bool = False, allocates: bool = False) -> F:
    """Machine code for float32 or float64, made on first use and kept on disk; it releases the interpreter lock.

    Fast-math is safe here because samples and atoms that are not finite are refused before. Without `allocates`
    it may make no arrays: counting references to them would take 40 % of the time of a pursuit. In it, a slice
    assignment takes twenty times longer than a loop, and a literal number as argument compiles the callee once more.
    """
    options: dict[str, Any] = {
        "cache": True,
        "nogil": True,
        "fastmath": True,
        "error_model": "numpy",
    }
    options |= {"_nrt": allocates, "forceinline": inline}
    return cast(F, numba.njit(**options)(function))


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[Any]:
    """While open, BLAS has one thread: small products are faster so, and threads of our own do not wait for it."""
    return cast(AbstractContextManager[Any], _blas().limit(limits=1, user_api="blas"))


def over_blocks(
    work: Callable[[slice], T], n_samples: int, n_threads: int | None, size: int = 2048
) -> list[T]:
    """`work(rows)` for up to `size` samples at once, in order, on `n_threads` threads, by default all cores.

    BLAS has one thread in each. The default size is large enough to make buffers worth their pages, and small enough to
    share the work out.
    """
    if n_threads is None:
        n_threads = (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )
    size = max(min(size, -(-n_samples // n_threads)), 32)
    blocks = [slice(at, min(at + size, n_samples)) for at in range(0, n_samples, size)]
    with one_blas_thread():
        if n_threads == 1 or len(blocks) == 1:
            return [work(rows) for rows in blocks]
        with ThreadPoolExecutor(n_threads) as pool:
            return list(pool.map(work, blocks))


def gram_of(D: Array, n_threads: int | None) -> Array:
    """D'D, (n_atoms, n_atoms)."""
    gram = np.empty((D.shape[1], D.shape[1]), D.dtype)
    over_blocks(lambda rows: np.matmul(D[:, rows].T, D, out=gram[rows]), len(gram), n_threads)
    return gram


def bits(values: Array) -> Array:
    """The same memory as integers, which order like the floats from 0 on and whose maximum the compiler vectorises."""
    return values.view(np.int32 if values.dtype == np.float32 else np.int64)


@partial(compiled, inline=True)
def subtract(g: Array, rows: Array, which: Array, weights: Array, n: int) -> None:
    """g -= sum over p < n of weights[p] * rows[which[p]], four rows at a time; both lists need 3 spare entries."""
    for p in range(n, (n + 3) // 4 * 4):
        which[p], weights[p] = 0, 0
    for p in range(0, n, 4):
        c0, c1, c2, c3 = weights[p], weights[p + 1], weights[p + 2], weights[p + 3]
        r0, r1, r2, r3 = rows[which[p]], rows[which[p + 1]], rows[which[p + 2]], rows[which[p + 3]]
        for j in range(len(g)):
            g[j] -= c0 * r0[j] + c1 * r1[j] + c2 * r2[j] + c3 * r3[j]


@partial(compiled, inline=True)
def find_peaks(values: Array, peaks: Array) -> Any:
    """The largest of each CHUNK of integers into `peaks`; the largest of all is returned."""
    best = values[0]
    for at in range(0, len(values), CHUNK):
        part = values[at : at + CHUNK]
        top = part[0]
        for j in range(len(part)):
            top = max(top, part[j])
        peaks[at // CHUNK] = top
        best = max(best, top)
    return best
