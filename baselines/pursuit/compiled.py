"""How the pursuits are compiled, and how blocks of samples are spread over threads."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar, cast

import numba
from threadpoolctl import ThreadpoolController

F = TypeVar("F", bound=Callable[..., Any])

# No "nnan" and "ninf": a NaN in the input must stay one.
_FASTMATH = {"reassoc", "contract", "nsz", "arcp"}


def compiled(function: F) -> F:
    """Compile for float32 or float64 on first use and keep the machine code on disk; the interpreter lock is released."""
    return cast(F, numba.njit(cache=True, nogil=True, fastmath=_FASTMATH, error_model="numpy")(function))


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def block_map(n_threads: int | None) -> Iterator[Callable[[Callable[[slice], Any], int, int], list[Any]]]:
    """A function `(work, n_samples, block) -> results` that runs `work(slice)` on `n_threads` threads, BLAS on one each."""
    n_threads = n_threads or cores()

    def run(work: Callable[[slice], Any], n_samples: int, block: int) -> list[Any]:
        return list(pool.map(work, (slice(at, min(at + block, n_samples)) for at in range(0, n_samples, block))))

    with _blas().limit(limits=1, user_api="blas"), ThreadPoolExecutor(n_threads) as pool:
        yield run
