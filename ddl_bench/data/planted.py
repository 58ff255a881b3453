"""Signals made of few atoms of a known dictionary: how many of the atoms does a learner recover?"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ddl_bench.data import ImageSet
from ddl_bench.data.sources import Loader

SIDE = 8  # pixels
N_ATOMS = 100
N_CLASSES = 10
N_TRAIN = 5000
N_TEST = 500
RECOVERED_FROM = 0.99  # inner product from which an atom counts as recovered (Aharon et al., 2006)


def draw(n_nonzero: int, snr_db: float = np.inf) -> ImageSet:
    """Draw signals x = D c + noise, scaled to bytes.

    D has unit columns of normal entries; c has `n_nonzero` normal entries. The class of a signal
    is that of its largest coefficient, ten atoms to a class. Rounding to bytes adds noise at about
    39 dB. The same arguments give the same signals.

    Parameters
    ----------
    n_nonzero
        Atoms in a signal.
    snr_db
        Ratio of signal to noise, in decibel; infinite for no noise.
    """
    rng = np.random.default_rng(n_nonzero)
    n_samples = N_TRAIN + N_TEST
    D = rng.standard_normal((SIDE**2, N_ATOMS))
    D /= np.linalg.norm(D, axis=0)
    codes = np.zeros((n_samples, N_ATOMS))
    order = rng.permuted(np.tile(np.arange(N_ATOMS), (n_samples, 1)), axis=1)
    values = rng.standard_normal((n_samples, n_nonzero))
    np.put_along_axis(codes, order[:, :n_nonzero], values, axis=1)
    X = codes @ D.T
    noise = rng.standard_normal(X.shape)
    X += noise * (np.linalg.norm(X) / np.linalg.norm(noise) * 10 ** (-snr_db / 20))
    grey = np.rint(127.5 + 127.5 * X / np.abs(X).max()).astype(np.uint8)
    x = grey.reshape(-1, 1, SIDE, SIDE)
    y = np.abs(codes).argmax(1) * N_CLASSES // N_ATOMS
    each = N_ATOMS // N_CLASSES
    note = f"each signal is made of {n_nonzero} of {N_ATOMS} atoms and rounded to bytes"
    if np.isfinite(snr_db):
        note += f"; noise at {snr_db:g} dB"
    return ImageSet(
        x[:N_TRAIN],
        y[:N_TRAIN],
        x[N_TRAIN:],
        y[N_TRAIN:],
        class_names=tuple(f"atoms {i} to {i + each - 1}" for i in range(0, N_ATOMS, each)),
        note=note,
        dictionary=np.ascontiguousarray(D.T).reshape(-1, 1, SIDE, SIDE),
    )


def planted(n_nonzero: int, snr_db: float = np.inf) -> Loader:
    """Make the function that loads a planted data set, under the interface of all data sets."""

    def load(data_dir: Path, download: bool = False) -> ImageSet:
        return draw(n_nonzero, snr_db)

    noise = ""
    if np.isfinite(snr_db):
        noise = f", with noise at {snr_db:g} dB"
    load.__doc__ = (
        f"{SIDE}x{SIDE} signals made of {n_nonzero} of {N_ATOMS} planted atoms each{noise}: "
        f"{N_TRAIN:,} to train, {N_TEST} to test."
    )
    return load


planted_4 = planted(4)
planted_8 = planted(8)
planted_12 = planted(12)
planted_4_noisy = planted(4, snr_db=20)
planted_8_noisy = planted(8, snr_db=20)
planted_12_noisy = planted(12, snr_db=20)


def recovered(atoms: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """Compute the percentage of the atoms of `truth` that `atoms` has too.

    An atom is recovered where the inner product with one of `atoms` is at least 0.99 after scaling
    both to norm one, up to sign.

    Parameters
    ----------
    atoms, truth
        Learned and true atoms, shape (n_atoms, channels, height, width), of any scale.
    """
    products = np.abs(_unit_rows(atoms) @ _unit_rows(truth).T)
    return 100 * float((products.max(0) >= RECOVERED_FROM).mean())


def _unit_rows(atoms: NDArray[np.floating]) -> NDArray[np.float64]:
    rows: NDArray[np.float64] = atoms.reshape(len(atoms), -1).astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return rows
