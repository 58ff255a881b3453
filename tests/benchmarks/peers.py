"""What the comparisons with other libraries share: patches, dictionaries, the peers' solvers."""

import importlib
import importlib.util
import os
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from baselines.features.patches import Whitening, extract
from baselines.learning.learner import Learned, Learner, learn
from baselines.learning.online import Online
from baselines.pursuit.compiled import Array
from baselines.pursuit.threads import available_cores

N_PATCHES = int(os.environ.get("DDL_BENCH_PATCHES", "50000"))
N_THREADS = available_cores()
IMAGES = os.environ.get("DDL_BENCH_IMAGES")  # an .npz file with `x_train`, or None to generate
LEARNING_ITERATIONS = {512: 200, 2048: 100, 2**20: 10}  # of dictionaries with up to so many atoms


@cache
def patches(n: int = N_PATCHES) -> Array:
    """Return whitened 6x6 patches of colour images, of unit norm: (n, 108), float32."""
    rng = np.random.default_rng(0)
    images = _images(n // 50 + 1, rng)
    drawn = extract(images, 6, 1)
    drawn = drawn[torch.from_numpy(rng.permutation(len(drawn))[:n])]
    X = Whitening.learn(drawn, contrast=0.01, regulariser=0.1)(drawn).numpy()
    return np.ascontiguousarray(X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-6))


def _images(n: int, rng: np.random.Generator) -> Tensor:
    """Return colour images of 32x32, (n, 3, 32, 32), of the file or generated."""
    if IMAGES is not None:
        with np.load(IMAGES) as file:
            return torch.from_numpy(file["x_train"][:n]).permute(0, 3, 1, 2)
    # power falls with frequency as in photographs, and edges come from the sign
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32))) + 1 / 32
    spectrum = np.fft.fft2(rng.standard_normal((n, 3, 32, 32))) / frequency
    edges = np.sign(np.fft.ifft2(spectrum).real)
    return torch.from_numpy(128 + 60 * edges + 5 * rng.standard_normal((1, 3, 32, 32)))


@cache
def dictionary(n_atoms: int, n: int = N_PATCHES) -> Array:
    """Learn (108, n_atoms) from the patches, for fewer iterations where each takes seconds.

    SPAMS learns up to 512 atoms where it is installed.
    """
    if n_atoms <= 512 and importlib.util.find_spec("spams"):
        spams = importlib.import_module("spams")
        D = spams.trainDL(
            np.asfortranarray(patches(n).T),
            K=n_atoms,
            lambda1=0.2,
            posAlpha=True,
            mode=2,
            iter=200,
            batchsize=512,
            numThreads=N_THREADS,
            verbose=False,
        )
        return np.ascontiguousarray(D)
    n_iter = next(n_iter for most, n_iter in LEARNING_ITERATIONS.items() if n_atoms <= most)
    learner = Online(n_atoms=n_atoms, lmbd=0.2, positive=True)
    return learn(learner, patches(n), n_iter=n_iter).D


@cache
def digit_rows() -> Array:
    """Return scikit-learn's digits as rows of unit norm: (1797, 64), float32."""
    rows = load_digits().data.astype(np.float32)
    return np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


@cache
def digit_atoms(n_atoms: int = 256) -> Array:
    """Draw some of the rows of digits as a dictionary, (64, n_atoms)."""
    rows = digit_rows()
    chosen = np.random.default_rng(0).choice(len(rows), n_atoms, replace=False)
    return np.ascontiguousarray(rows[chosen].T)


def objective(X: Array, D: Array, codes: Any, lmbd: float) -> float:
    """Compute 0.5*norm(X - codes @ D.T)**2 + lmbd*norm1(codes), of dense or CSR codes."""
    return 0.5 * squared_error(X, D, codes) + lmbd * float(abs(codes).sum())


def squared_error(X: Array, D: Array, codes: Any) -> float:
    """Compute norm(X - codes @ D.T)**2 in double precision, of dense or CSR codes."""
    R = X.astype(np.float64) - codes @ D.T.astype(np.float64)
    return float(np.square(R).sum())


def spams_lasso(X: Array, D: Array, lmbd: float, positive: bool) -> Callable[[], Any]:
    """Return what solves the lasso by LARS of SPAMS, its copies of the arrays made before."""
    spams = pytest.importorskip("spams", reason="the extra spams is not installed")
    columns = np.asfortranarray(X.T)
    atoms = np.asfortranarray(D)
    return lambda: (
        spams.lasso(columns, D=atoms, lambda1=lmbd, pos=positive, mode=2, numThreads=N_THREADS).T
    )


def spams_omp(X: Array, D: Array, n_nonzero: int) -> Callable[[], Any]:
    """Return what runs OMP of SPAMS, its copies of the arrays made before."""
    spams = pytest.importorskip("spams", reason="the extra spams is not installed")
    columns = np.asfortranarray(X.T)
    atoms = np.asfortranarray(D)
    return lambda: spams.omp(columns, D=atoms, L=n_nonzero, eps=0.0, numThreads=N_THREADS).T


def time_to(learner: Learner, X: Array, reached: Callable[[Learned], bool], most: int) -> float:
    """Return the seconds of learning until `reached`, which is asked off the clock."""
    total = 0.0
    steps = learner.steps(X)
    for _ in range(most):
        begin = time.perf_counter()
        state = next(steps)
        total += time.perf_counter() - begin
        if reached(state):
            return total
    raise AssertionError(f"not reached in {most} iterations")
