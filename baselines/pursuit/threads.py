"""How samples are shared out over threads."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

from baselines.pursuit.compiled import Array

T = TypeVar("T")

BLOCK_SAMPLES = 2048  # large enough to make buffers worth their pages, small enough to share out
SMALL_PRODUCT = 2**24  # multiplications that take less time than to start threads
LEAST_SAMPLES = 32  # of a block, however many threads there are


class _Limit:
    """How many contexts hold BLAS at one thread, and what restores its number."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.n_holders = 0
        self.restore: Callable[[], None] | None = None


_limit = _Limit()


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread while the context is open, and restore its number after.

    Small products are faster so, and threads of our own do not wait for those of BLAS. The number
    belongs to the whole process: the first of several contexts at a time sets it, in whatever
    threads they are, and the last one restores it.
    """
    with _limit.lock:
        if _limit.n_holders == 0:
            limiter: Any = _controller().limit(limits=1, user_api="blas")
            _limit.restore = limiter.restore_original_limits
        _limit.n_holders += 1
    try:
        yield
    finally:
        with _limit.lock:
            _limit.n_holders -= 1
            if _limit.n_holders == 0 and _limit.restore is not None:
                _limit.restore()


def available_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def split_rows(start: int, stop: int, size: int) -> list[slice]:
    """Cut rows start to stop into consecutive slices of at most `size`."""
    return [slice(first, min(first + size, stop)) for first in range(start, stop, size)]


def over_blocks(
    work: Callable[[slice], T], n_samples: int, n_threads: int | None, size: int = BLOCK_SAMPLES
) -> list[T]:
    """Compute work(rows) for consecutive blocks of samples; return the results in their order.

    Parameters
    ----------
    work
        What to do with a slice of samples. BLAS has one thread meanwhile.
    n_samples
        Number of samples in all.
    n_threads
        Threads to share the blocks out to; None for all cores that this process may use.
    size
        Samples of a block at most; less where some threads would get none.
    """
    if n_threads is None:
        n_threads = available_cores()
    size = max(min(size, -(-n_samples // n_threads)), LEAST_SAMPLES)
    blocks = split_rows(0, n_samples, size)
    with one_blas_thread():
        if n_threads == 1 or len(blocks) == 1:
            return [work(rows) for rows in blocks]
        with ThreadPoolExecutor(n_threads) as pool:
            return list(pool.map(work, blocks))


def gram_of(D: Array, n_threads: int | None) -> Array:
    """Compute D'D, shape (n_atoms, n_atoms)."""
    if D.size * D.shape[1] < SMALL_PRODUCT:
        n_threads = 1
    gram = np.empty((D.shape[1], D.shape[1]), D.dtype)
    over_blocks(lambda rows: np.matmul(D[:, rows].T, D, out=gram[rows]), len(gram), n_threads)
    return gram
