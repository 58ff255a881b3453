"""How the kernels of the pursuits are compiled, and the inner loops that they share."""

import hashlib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # of float32 or float64, unless a docstring says otherwise
F = TypeVar("F", bound=Callable[..., Any])

CHUNK_ATOMS = 64  # atoms that share a peak: with 512 atoms the best of 32, 64 and 128


def compiled(function: F, inline: bool = False, allocates: bool = False) -> F:
    """Compile a function to machine code, on its first call for each type, and cache it on disk.

    The code releases the interpreter lock. Sums may be reordered, so that they use vectors; nothing
    else of fast-math is allowed, since a division turned into a product can overflow.

    Parameters
    ----------
    inline
        Copy the code into its callers.
    allocates
        Allow the function to make arrays. Without it, it may not: counting the references to
        arrays would take 40 % of the time of a pursuit. With it, a slice assignment takes twenty
        times longer than a loop, and a literal number as argument compiles the callee once more.
    """
    options: dict[str, Any] = {
        "nogil": True,
        "fastmath": {"reassoc", "contract", "nnan", "nsz"},
        "error_model": "numpy",
        "_nrt": allocates,
        "forceinline": inline,
    }
    dispatcher = numba.njit(**options)(function)
    _enable_cache(dispatcher)
    return cast(F, dispatcher)


def _enable_cache(dispatcher: Any) -> None:
    """Keep the machine code of a function on disk until a file with compiled functions changes.

    Numba itself looks only at the file of the function, not at those of the functions it calls.
    """
    try:
        dispatcher.enable_caching()
    except RuntimeError:  # nowhere to write, as in a read-only container: each process compiles
        return
    file = dispatcher._cache._cache_file
    file._source_stamp = (file._source_stamp, _stamp_of_kernels())


@cache
def _stamp_of_kernels() -> str:
    """Hash the files of this package that compile functions."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        source = path.read_bytes()
        if b"compiled" in source:
            digest.update(source)
    return digest.hexdigest()


@partial(compiled, inline=True)
def soft_threshold(x: Any, threshold: Any, positive: bool) -> Any:
    """Return sign(x) * max(abs(x) - threshold, 0), or max(x - threshold, 0) if `positive`."""
    zero = np.float32(0)  # an int would turn float32 into float64
    size = max((x if positive else abs(x)) - threshold, zero)
    return size if x > 0 else -size


@partial(compiled, inline=True)
def subtract(g: Array, rows: Array, which: Array, weights: Array, n: int) -> None:
    """Compute g -= sum over p < n of weights[p] * rows[which[p]].

    Four rows at a time, so that each entry of `g` is loaded and stored a quarter as often. Zero
    weights fill up the last four: `which` and `weights` need 3 spare entries.
    """
    for p in range(n, (n + 3) // 4 * 4):
        which[p] = 0
        weights[p] = 0
    for p in range(0, n, 4):
        w0, w1, w2, w3 = weights[p], weights[p + 1], weights[p + 2], weights[p + 3]
        r0, r1, r2, r3 = rows[which[p]], rows[which[p + 1]], rows[which[p + 2]], rows[which[p + 3]]
        for j in range(len(g)):
            g[j] -= w0 * r0[j] + w1 * r1[j] + w2 * r2[j] + w3 * r3[j]


class Scores(NamedTuple):
    """A score for each atom and the largest score of each chunk of atoms, as floats and integers.

    The integers are the same memory: from 0 on they order as the floats do, and the compiler
    vectorises their maximum. A negative score is an integer below 0, and stays below all others.

    Parameters
    ----------
    values, value_bits
        The scores, shape (n_atoms,).
    peaks, peak_bits
        The largest of each chunk of CHUNK_ATOMS, shape (n_chunks,).
    """

    values: Array
    value_bits: Array
    peaks: Array
    peak_bits: Array


def empty_scores(n_atoms: int, dtype: Any) -> Scores:
    """Return memory for the scores of `n_atoms` atoms."""
    integer = np.int32 if dtype == np.float32 else np.int64
    values = np.empty(n_atoms, dtype)
    peaks = np.empty(-(-n_atoms // CHUNK_ATOMS), dtype)
    return Scores(values, values.view(integer), peaks, peaks.view(integer))


@partial(compiled, inline=True)
def highest_chunk(scores: Scores) -> int:
    """Update the peaks from the scores; return the first chunk that holds the largest score."""
    bits = scores.value_bits
    peaks = scores.peak_bits
    best = bits[0]
    for start in range(0, len(bits), CHUNK_ATOMS):
        part = bits[start : start + CHUNK_ATOMS]
        top = part[0]
        for j in range(len(part)):
            top = max(top, part[j])
        peaks[start // CHUNK_ATOMS] = top
        best = max(best, top)
    chunk = 0
    while peaks[chunk] != best:
        chunk += 1
    return chunk


@partial(compiled, inline=True)
def peak_atom(scores: Scores, chunk: int) -> int:
    """Return the first atom of a chunk whose score is the chunk's peak."""
    j = chunk * CHUNK_ATOMS
    while scores.value_bits[j] != scores.peak_bits[chunk]:
        j += 1
    return j
