"""Our pursuits beside further libraries, those of the extra `peers`; one that is absent is skipped.

The encoders of SAELens and Overcomplete are matching pursuits of sparse autoencoders: they multiply
by the whole dictionary in each of their steps, where ours computes the Gram matrix once. A training
step finds codes with at most `N_NONZERO` non-zeros, the gradient of the squared error with respect
to the dictionary, and takes a step of Adam. Ours must have an error that is no larger.

`tox -e peers` runs them.
"""

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from baselines.pursuit import encode
from baselines.pursuit.compiled import Array
from tests.benchmarks.peers import (
    N_PATCHES,
    N_THREADS,
    dictionary,
    objective,
    patches,
    squared_error,
)
from tests.benchmarks.race import race

N_FEATURES = 768
N_ATOMS = 4096
N_NONZERO = 25
BATCH = 1024
N_PLANTED = 34  # atoms in a sample
LR = 3e-4
LMBD = 0.2
N_SIGNALS = 300  # that celer and skglm encode, one by one


class World(NamedTuple):
    """Samples X (BATCH, N_FEATURES) of planted atoms, and the atoms D (N_FEATURES, N_ATOMS)."""

    X: Tensor
    D: Tensor


class Step(NamedTuple):
    """What a training step does, and how well its codes represent the samples before it."""

    take: Callable[[], object]
    squared_error: Callable[[], float]


@cache
def world() -> World:
    """Draw unit-norm atoms, and samples that are positive sums of some of them with noise."""
    generator = torch.Generator().manual_seed(0)
    D = torch.nn.functional.normalize(
        torch.randn(N_FEATURES, N_ATOMS, generator=generator), dim=0
    ).contiguous()
    chosen = torch.rand(BATCH, N_ATOMS, generator=generator).topk(N_PLANTED).indices
    sizes = 0.5 + torch.rand(BATCH, N_PLANTED, generator=generator)
    codes = torch.zeros(BATCH, N_ATOMS).scatter_(1, chosen, sizes)
    noise = torch.randn(BATCH, N_FEATURES, generator=generator) / N_FEATURES**0.5
    return World(codes @ D.T + noise, D)


def our_step() -> Step:
    """Return a step with codes by OMP on the Gram matrix."""
    X = world().X.numpy()
    D = torch.nn.Parameter(world().D.clone())
    adam = torch.optim.Adam([D], lr=LR)

    def residual(codes: Any) -> Array:
        return np.asarray(codes @ D.detach().numpy().T - X)

    def encoded() -> Any:
        atoms = D.detach().numpy()
        return encode(X, atoms, n_nonzero=N_NONZERO, sparse=True, n_threads=N_THREADS).codes

    def take() -> None:
        codes = encoded()
        gradient = (codes.T @ residual(codes)).T / BATCH
        D.grad = torch.from_numpy(np.ascontiguousarray(gradient, np.float32))
        adam.step()
        with torch.no_grad():
            D.div_(D.norm(dim=0))

    return Step(take, lambda: float(np.square(residual(encoded())).sum()))


def step_of_saelens() -> Step:
    """Return a step of `matching_pursuit` of SAELens."""
    saelens = pytest.importorskip("sae_lens", reason="the package sae-lens is not installed")
    inputs = importlib.import_module("sae_lens.saes.sae").TrainStepInput
    config = saelens.MatchingPursuitTrainingSAEConfig(
        d_in=N_FEATURES,
        d_sae=N_ATOMS,
        decoder_init_norm=1.0,
        max_iterations=N_NONZERO,
        residual_threshold=0.0,
        stop_on_duplicate_support=False,
        apply_b_dec_to_input=False,
    )
    model = saelens.MatchingPursuitTrainingSAE(config)
    X = world().X
    with torch.no_grad():
        model.W_dec.copy_(world().D.T)
    adam = torch.optim.Adam(model.parameters(), lr=LR)

    def forward() -> Any:
        given = inputs(
            sae_in=X,
            coefficients={},
            dead_neuron_mask=None,
            n_training_steps=0,
            is_logging_step=False,
        )
        return model.training_forward_pass(given)

    def take() -> None:
        adam.zero_grad()
        forward().loss.backward()
        adam.step()

    return Step(take, lambda: float((forward().sae_out - X).square().sum()))


def step_of_overcomplete() -> Step:
    """Return a step of the OMP encoder of Overcomplete, which has codes >= 0."""
    colours = importlib.import_module("matplotlib.cm")
    if not hasattr(colours, "get_cmap"):  # which Overcomplete 0.3 imports, and matplotlib 3.11 lost
        colours.__dict__["get_cmap"] = importlib.import_module("matplotlib").colormaps.get_cmap
    module = pytest.importorskip(
        "overcomplete.sae.omp_sae", reason="the package overcomplete is not installed"
    )
    model = module.OMPSAE(N_FEATURES, N_ATOMS, k=N_NONZERO)
    X = world().X
    with torch.no_grad():
        model.dictionary._weights.copy_(world().D.T)
    adam = torch.optim.Adam(model.parameters(), lr=LR)

    def take() -> None:
        adam.zero_grad()
        _, codes = model.encode(X)
        (codes @ model.get_dictionary() - X).square().sum(1).mean().backward()
        adam.step()

    return Step(take, lambda: float(model.encode(X)[0].square().sum()))


@pytest.mark.filterwarnings("ignore")  # of the libraries
@pytest.mark.parametrize(
    "theirs", [step_of_saelens, step_of_overcomplete], ids=["saelens", "overcomplete"]
)
def test_a_training_step_beside_an_autoencoder(
    benchmark: BenchmarkFixture, theirs: Callable[[], Step]
) -> None:
    rival = theirs()
    ours = our_step()
    assert ours.squared_error() <= rival.squared_error()
    benchmark.extra_info.update(n_patches=BATCH, images="planted atoms")
    race(benchmark, ours.take, rival.take, 5, n_rounds=3)


@pytest.mark.filterwarnings("ignore")  # of the library
@pytest.mark.parametrize("algorithm", ["v0", "v0_blas"])
def test_omp_beside_omp_gpu(benchmark: BenchmarkFixture, algorithm: str) -> None:
    """The path for CPUs of orthogonal-matching-pursuit-gpu."""
    library = pytest.importorskip(
        "orthogonal_matching_pursuit_gpu",
        reason="the package orthogonal-matching-pursuit-gpu is not installed",
    )
    X = patches()
    D = dictionary(512)
    tenth = torch.from_numpy(X[: N_PATCHES // 10])
    atoms = torch.from_numpy(D)
    if algorithm == "v0_blas":  # which is written for double precision
        tenth = tenth.double()
        atoms = atoms.double()

    def theirs() -> Any:
        return library.run_omp(
            atoms, tenth, 10, normalize=False, fit_intercept=False, alg=algorithm
        )

    def ours() -> Any:
        return encode(X, D, n_nonzero=10, method="omp", sparse=True, n_threads=N_THREADS).codes

    few = X[: len(tenth)]
    error = squared_error(few, D, ours()[: len(few)])
    assert error <= 1.001 * squared_error(few, D, theirs().numpy())
    race(benchmark, ours, theirs, 5, n_rounds=3, share=0.1)


@pytest.mark.filterwarnings("ignore")  # of the libraries
@pytest.mark.parametrize("name", ["celer", "skglm"])
def test_lasso_signal_by_signal(benchmark: BenchmarkFixture, name: str) -> None:
    """Solvers of one problem in a loop over signals, whose time is that of all patches in share."""
    library = pytest.importorskip(name, reason=f"the package {name} is not installed")
    X = patches()
    D = dictionary(512)
    few = X[:N_SIGNALS].astype(np.float64)
    design = np.asfortranarray(D, np.float64)
    # their objective is a mean over features
    lasso = library.Lasso(LMBD / len(D), positive=True, fit_intercept=False, tol=1e-6)

    def theirs() -> Array:
        return np.stack([lasso.fit(design, signal).coef_ for signal in few])

    def ours() -> Any:
        return encode(X, D, lmbd=LMBD, positive=True, sparse=True, n_threads=N_THREADS).codes

    value = objective(X[:N_SIGNALS], D, ours()[:N_SIGNALS], LMBD)
    assert value <= (1 + 1e-5) * objective(X[:N_SIGNALS], D, theirs(), LMBD)
    race(benchmark, ours, theirs, 50, n_rounds=3, share=N_SIGNALS / len(X))
