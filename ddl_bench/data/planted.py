"""Signals made of few atoms of a dictionary that is known: how much of it is found again?"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ddl_bench.data import ImageSet

SIDE, N_ATOMS, N_CLASSES = 8, 100, 10
N_TRAIN, N_TEST = 5000, 500
COHERENT = 0.99  # the inner product from which an atom counts as found (Aharon et al., 2006)


def _draw(n_nonzero: int, snr: float) -> ImageSet:
    """x = D c + noise: D normal with unit columns, c with `n_nonzero` normal entries; `snr` in decibel.

    The class of a signal is that of its largest coefficient, ten atoms a class. Rounding to bytes leaves about 39 dB.
    """
    rng = np.random.default_rng(n_nonzero)
    n = N_TRAIN + N_TEST
    D = rng.standard_normal((SIDE**2, N_ATOMS))
    D /= np.linalg.norm(D, axis=0)
    codes = np.zeros((n, N_ATOMS))
    chosen = rng.permuted(np.tile(np.arange(N_ATOMS), (n, 1)), axis=1)[:, :n_nonzero]
    np.put_along_axis(codes, chosen, rng.standard_normal((n, n_nonzero)), axis=1)
    X, noise = codes @ D.T, rng.standard_normal((n, SIDE**2))
    X += noise * (np.linalg.norm(X) / np.linalg.norm(noise) * 10 ** (-snr / 20))
    x = np.rint(127.5 + 127.5 * X / np.abs(X).max()).astype(np.uint8).reshape(-1, 1, SIDE, SIDE)
    y = np.abs(codes).argmax(1) * N_CLASSES // N_ATOMS
    each = N_ATOMS // N_CLASSES
    names = tuple(f"atoms {first} to {first + each - 1}" for first in range(0, N_ATOMS, each))
    atoms = np.ascontiguousarray(D.T).reshape(-1, 1, SIDE, SIDE)
    note = f"made of {n_nonzero} of {N_ATOMS} atoms, in bytes" + (
        f"; noise at {snr:g} dB" if np.isfinite(snr) else ""
    )
    train, test = slice(N_TRAIN), slice(N_TRAIN, n)
    return ImageSet(x[train], y[train], x[test], y[test], names, note=note, dictionary=atoms)


def planted_4(data_dir: Path, download: bool = False) -> ImageSet:
    """8x8 signals of 4 atoms each, of a planted dictionary of 100: 5,000 to train, 500 to test."""
    return _draw(4, np.inf)


def planted_8(data_dir: Path, download: bool = False) -> ImageSet:
    """8x8 signals of 8 atoms each, of a planted dictionary of 100: 5,000 to train, 500 to test."""
    return _draw(8, np.inf)


def planted_12(data_dir: Path, download: bool = False) -> ImageSet:
    """8x8 signals of 12 atoms each, of a planted dictionary of 100: 5,000 to train, 500 to test."""
    return _draw(12, np.inf)


def planted_4_noisy(data_dir: Path, download: bool = False) -> ImageSet:
    """8x8 signals of 4 of 100 planted atoms each, with noise at 20 dB: 5,000 to train, 500 to test."""
    return _draw(4, 20)


def planted_8_noisy(data_dir: Path, download: bool = False) -> ImageSet:
    """8x8 signals of 8 of 100 planted atoms each, with noise at 20 dB: 5,000 to train, 500 to test."""
    return _draw(8, 20)


def planted_12_noisy(data_dir: Path, download: bool = False) -> ImageSet:
    """8x8 signals of 12 of 100 planted atoms each, with noise at 20 dB: 5,000 to train, 500 to test."""
    return _draw(12, 20)


def recovered(found: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """Percentage of the atoms of `truth` to which one of `found` has an inner product of at least 0.99, up to sign.

    Both: (n_atoms, channels, height, width), of any scale.
    """
    rows = [atoms.reshape(len(atoms), -1).astype(np.float64) for atoms in (found, truth)]
    rows = [
        atoms / np.maximum(np.linalg.norm(atoms, axis=1, keepdims=True), 1e-12) for atoms in rows
    ]
    return 100 * float((np.abs(rows[0] @ rows[1].T).max(0) >= COHERENT).mean())
