"""Patches, whitening, pooling, and the stacks made of them."""

import dataclasses
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from torch import Tensor

from baselines.features.coders import Coder, Floats, Learner, Pursuit, SynthesisCoder
from baselines.features.patches import Whitening, extract, pool, positions
from baselines.features.readout import Linear, fit_readout
from baselines.features.stack import BLOCK_IMAGES
from baselines.methods import stacked
from baselines.methods.adl import ADL
from baselines.methods.adl_sdl import ADLSDL
from baselines.methods.ddl_greedy import DDLGreedy
from baselines.methods.sdl import SDL
from baselines.methods.spams import Spams
from baselines.methods.stacked import StackedMethod
from baselines.pursuit.encode import encode
from ddl_bench.api import Budget, Flops, Split, Task
from ddl_bench.params import options_of
from tests.conftest import DIGITS, HELD_OUT, Clock, fit


def small(**options: Any) -> SDL:
    return SDL(**({"n_atoms": 24, "n_iter": 10, "n_samples": 5000} | options))


def few(n: int, *, n_val: int = 20, mirror: bool = False, copies: int = 1) -> Task:
    """The first `n` digits, each channel `copies` times."""
    X = DIGITS.train.X.expand(-1, copies, -1, -1)
    train = Split(X=X[:n], y=DIGITS.train.y[:n])
    val = Split(X=X[n : n + n_val], y=DIGITS.train.y[n : n + n_val])
    return dataclasses.replace(DIGITS, train=train, val=val, mirror=mirror)


def accuracy(classifier: Any, test: Split = HELD_OUT) -> float:
    return float((classifier(test.X).argmax(1) == test.y).float().mean())


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30)
@given(
    st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(0, 4), st.integers(0, 4)
)
def test_patches_are_the_windows_of_each_image(
    c: int, size: int, stride: int, more_rows: int, more_columns: int
) -> None:
    maps = draw(0, 2, c, size + more_rows, size + more_columns)
    rows = positions(size + more_rows, size, stride)
    columns = positions(size + more_columns, size, stride)
    wanted = [
        image[:, i * stride : i * stride + size, j * stride : j * stride + size].flatten()
        for image, i, j in product(maps, range(rows), range(columns))
    ]
    assert torch.equal(extract(maps, size, stride), torch.stack(wanted))


def test_whitened_patches_have_unit_covariance_but_for_the_mean_that_contrast_takes_away() -> None:
    patches = draw(1, 4000, 12) @ draw(2, 12, 12) + 3
    whitened = Whitening.learn(patches, contrast=1e-6, regulariser=1e-9)(patches).double()
    variances = torch.linalg.eigvalsh(12 * torch.cov(whitened.T, correction=0))
    assert variances[0] < 1e-3
    assert torch.allclose(variances[1:], torch.ones(11).double(), atol=2e-3)
    assert whitened.mean(0).abs().max() < 1e-4


def test_whitening_keeps_the_largest_directions_and_damps_the_small_ones() -> None:
    patches = draw(1, 4000, 12) * torch.arange(1, 13) + 3
    whole = Whitening.learn(patches, contrast=0.1, regulariser=0.05)
    assert torch.allclose(whole.matrix, whole.matrix.T, atol=1e-6)
    part = Whitening.learn(patches, contrast=0.1, regulariser=0.05, n_components=4)
    variances = 4 * part(patches).double().var(0, correction=0)
    full = torch.linalg.eigvalsh(12 * torch.cov(whole(patches).double().T, correction=0))
    assert torch.allclose(variances.sort().values, full[-4:], atol=1e-4)
    assert (full < 1).all()


def test_whitening_does_not_see_brightness_and_contrast_without_a_floor() -> None:
    patches = draw(3, 500, 9) + 5
    whitening = Whitening.learn(patches, contrast=0.0, regulariser=0.1)
    assert torch.allclose(whitening(7 * patches - 40), whitening(patches), atol=1e-4)


@settings(max_examples=40)
@given(
    st.integers(0, 99),
    st.integers(0, 3),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(1, 4),
    st.data(),
)
def test_pooling_sums_both_signs_over_each_cell(
    seed: int, n: int, rows: int, columns: int, n_atoms: int, data: st.DataObject
) -> None:
    n_cells = data.draw(st.integers(1, min(rows, columns)))
    rng = np.random.default_rng(seed)
    codes = rng.standard_normal((n * rows * columns, n_atoms)) * (
        rng.random((n * rows * columns, n_atoms)) < 0.4
    )
    wanted = np.zeros((n, 2 * n_atoms, n_cells, n_cells))
    for (image, i, j), code in zip(
        product(range(n), range(rows), range(columns)), codes, strict=True
    ):
        wanted[image, :n_atoms, i * n_cells // rows, j * n_cells // columns] += np.maximum(code, 0)
        wanted[image, n_atoms:, i * n_cells // rows, j * n_cells // columns] += np.maximum(-code, 0)
    assert np.allclose(pool(csr_array(codes), (rows, columns), n_cells).numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize("method", [SDL(), Spams()])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_digits(method: SDL | Spams, seed: int) -> None:
    if method.name == "spams":
        pytest.importorskip("spams", reason="the extra `spams` is not installed")
    assert accuracy(fit(method, seed=seed)) >= 0.975


@pytest.mark.parametrize(
    "method", [small(n_layers=2), small(n_layers=3, patch=3), small(learner="ksvd", n_nonzero=3)]
)
def test_other_stacks_learn_digits_and_come_back_from_their_state(method: SDL) -> None:
    classifier = fit(method, few(700, n_val=0))
    assert accuracy(classifier) > 0.9
    again = method.restore(classifier.state(), few(0, n_val=0))
    # On another number of threads the pursuit stops elsewhere within its tolerance.
    torch.testing.assert_close(again(HELD_OUT.X), classifier(HELD_OUT.X), atol=1e-3, rtol=0)
    size = classifier.size()
    counted = (size.n_stored or 0) + (size.n_buffers or 0)
    assert counted == sum(value.numel() for value in classifier.state().values())
    assert classifier(HELD_OUT.X[:0]).shape == (0, 10)


def test_codes_of_the_first_layer_satisfy_the_optimality_conditions_of_the_lasso() -> None:
    method = small(lmbd=0.15)
    classifier = fit(method, few(200))
    signals, codes = classifier.layers[0].codes(HELD_OUT.X[:20])
    D = classifier.layers[0].D.numpy()
    dense = codes.toarray()
    assert np.allclose(np.linalg.norm(D, axis=0), 1, atol=1e-4)
    correlation = (signals - dense @ D.T) @ D
    assert np.abs(correlation).max() < 0.15 + 2e-3
    assert np.abs(correlation - 0.15 * np.sign(dense))[dense != 0].max() < 2e-3
    stats = classifier.code_stats(HELD_OUT.X[:20])
    assert (stats.n_nonzero, stats.n_entries) == (np.count_nonzero(dense), dense.size)
    assert stats.squared_norm == pytest.approx((signals**2).sum(), rel=1e-4)
    assert stats.squared_error == pytest.approx(((signals - dense @ D.T) ** 2).sum(), rel=1e-4)
    assert 0.1 < stats.squared_error / stats.squared_norm < 0.9


@pytest.mark.parametrize("penalty", [{"lmbd": 0.1}, {"n_nonzero": 3}])
def test_spams_encodes_as_we_do(penalty: dict[str, Any]) -> None:
    pytest.importorskip("spams", reason="the extra `spams` is not installed")
    X: Floats = (draw(7, 200, 16) / 4).numpy()
    coders: list[Coder] = [kind(**penalty).layer_coder(0) for kind in (SDL, Spams)]
    D = next(coders[0].learn(X, 40, 0, 1))
    ours, theirs = (coder.encode(X, D, 1).toarray() for coder in coders)

    def objective(codes: Floats) -> float:
        return float(
            0.5 * ((X - codes @ D.T) ** 2).sum() + penalty.get("lmbd", 0) * np.abs(codes).sum()
        )

    assert objective(ours) == pytest.approx(
        objective(theirs), rel=1e-2 if "n_nonzero" in penalty else 1e-3
    )


SIGNALS: Floats = (draw(7, 200, 16) / 4).numpy()


def coded(**options: Any) -> tuple[Floats, Floats]:
    """A dictionary and the codes of `SIGNALS`, as `sdl` with these options has them."""
    coder = SDL(n_iter=2, **options).layer_coder(0)
    D = next(coder.learn(SIGNALS, 40, 0, 1))
    return D, coder.encode(SIGNALS, D, 1).toarray()


@pytest.mark.parametrize("learner", ["online", "ksvd", "ksvd-exact", "mod"])
def test_learner_and_coder_are_chosen_apart(learner: Learner) -> None:
    D, codes = coded(learner=learner, coder="fista")
    expected = encode(SIGNALS, D, lmbd=0.1, method="fista", tol=0, max_iter=40, n_threads=1)
    assert np.array_equal(codes, expected.codes)
    best = encode(SIGNALS, D, lmbd=0.1, tol=1e-8).codes

    def objective(values: Floats) -> float:
        error = np.square(SIGNALS - values @ D.T).sum()
        return float(0.5 * error + 0.1 * np.abs(values).sum())

    assert objective(best) <= objective(codes) <= (1 + 1e-2) * objective(best)
    D_again, others = coded(learner=learner, coder="omp")
    assert np.array_equal(D_again, D)
    assert set(np.count_nonzero(others, 1)) == {5}


@pytest.mark.parametrize(
    ("coder", "options", "default"),
    [
        ("coordinate-descent", {}, {}),
        ("coordinate-descent", {"lmbd": 0.2}, {"lmbd": 0.2}),
        ("omp", {"n_nonzero": 3}, {"n_nonzero": 3}),
        ("omp", {}, {"n_nonzero": 5}),
    ],
)
def test_the_default_coder_follows_from_the_penalty(
    coder: Pursuit, options: dict[str, Any], default: dict[str, Any]
) -> None:
    for ours, theirs in zip(coded(coder=coder, **options), coded(**default), strict=True):
        assert np.array_equal(ours, theirs)


def test_ormp_leaves_less_than_omp() -> None:
    errors = []
    for coder in ("omp", "ormp"):
        D, codes = coded(coder=coder, n_nonzero=4)
        assert np.count_nonzero(codes, 1).max() == 4
        errors.append(float(np.square(SIGNALS - codes @ D.T).sum()))
    assert errors[1] < errors[0]


@pytest.mark.parametrize("coder", ["coordinate-descent", "fista", "omp", "ormp"])
def test_the_code_of_a_sample_does_not_depend_on_the_others(coder: Pursuit) -> None:
    D, codes = coded(coder=coder)
    maker = SDL(coder=coder).layer_coder(0)
    alone = [maker.encode(SIGNALS[row : row + 1], D, 1).toarray()[0] for row in range(20)]
    np.testing.assert_allclose(alone, codes[:20], atol=1e-6)


@pytest.mark.parametrize("learner", ["online", "ksvd", "ksvd-exact", "mod"])
@pytest.mark.parametrize("n_nonzero", [9, 16])
def test_codes_of_many_atoms(learner: Learner, n_nonzero: int) -> None:
    method = small(learner=learner, coder="omp", n_nonzero=n_nonzero, n_iter=1, n_samples=200)
    classifier = fit(method, few(30, n_val=0))
    assert accuracy(classifier) > 0.2


def test_exact_ksvd_and_fista_read_digits() -> None:
    method = small(learner="ksvd-exact", coder="fista", n_iter=3)
    classifier = fit(method, few(700, n_val=0))
    assert accuracy(classifier) > 0.9
    again = method.restore(classifier.state(), few(0, n_val=0))
    torch.testing.assert_close(again(HELD_OUT.X), classifier(HELD_OUT.X), atol=1e-3, rtol=0)


def test_penalty_and_count_are_for_learner_and_coder_together() -> None:
    both = SDL(learner="ksvd-exact", coder="fista", n_nonzero=3, lmbd=0.2).layer_coder(0)
    assert isinstance(both, SynthesisCoder)
    assert both.count(16, 40) == 3
    assert both.penalty == 0.2
    assert not both.counts
    assert SDL(coder="ormp", n_nonzero=3, lmbd=0.2).lmbd == 0.2, "the online learner takes it"


def test_atoms_are_shown_as_filters_of_pixels() -> None:
    classifier = fit(small(), few(100, copies=3))
    atoms = torch.from_numpy(classifier.atoms())
    assert atoms.shape == (24, 3, 4, 4)
    layer = classifier.layers[0]
    patch = extract(HELD_OUT.X[:1].expand(-1, 3, -1, -1), 4, 1)[5:6]
    centred = patch - patch.mean()
    normalised = (
        centred / (centred.square().mean() + layer.whitening.floor).sqrt() - layer.whitening.mean
    )
    assert torch.allclose(
        normalised @ atoms.flatten(1).T, layer.whitening(patch) @ layer.D, atol=1e-4
    )


def test_operations_are_counted_as_products() -> None:
    classifier = fit(small(), few(100))
    products = 2 * (25 * (16 * 16 + 16 * 24) + 2 * 24 * 4 * 10)
    assert classifier.flops() == Flops(products, left_out="pursuits")


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows that each readout was fitted on."""
    rows: list[int] = []

    def spy(features: Tensor, *arguments: Any, **options: Any) -> Linear:
        rows.append(len(features))
        return fit_readout(features, *arguments, **options)

    monkeypatch.setattr(stacked, "fit_readout", spy)
    return rows


def test_time_that_runs_short_cuts_learning_and_encoding(
    encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[Floats] = []
    learn = SynthesisCoder.learn

    def counted(*arguments: Any) -> Iterator[Floats]:
        for D in learn(*arguments):
            steps.append(D)
            yield D

    monkeypatch.setattr(SynthesisCoder, "learn", counted)
    for clock, n_steps, n_rows in ((Clock(0.9), 1, BLOCK_IMAGES), (Clock(0.1), 10, 120)):
        method = small()
        training = method.start(few(100), Budget(epochs=1))
        steps.clear()
        training.advance(clock)
        assert (len(steps), encoded[-1]) == (n_steps, n_rows)
        assert training.classifier()(HELD_OUT.X[:3]).shape == (3, 10)


def test_mirror_images_train_the_readout_where_the_task_allows_them(encoded: list[int]) -> None:
    for method, mirror in ((small(), True), (small(), False), (small(mirror=False), True)):
        fit(method, few(50, mirror=mirror))
    assert encoded == [140, 70, 70]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (SDL(patch=9), r"SDL\(patch=9\): larger than the 8x8 images"),
        (SDL(n_layers=9), r"SDL\(n_layers=9\): at most \d fit the 8x8 images"),
        (Spams(patch=20), r"Spams\(patch=20\): larger than the 8x8 images"),
    ],
)
def test_what_does_not_fit_the_images_is_named(method: StackedMethod, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method.start(DIGITS, Budget(epochs=1))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (SDL, {"patch": 0}, r"SDL\(patch=0\): must be greater than or equal to 1, or None"),
        (SDL, {"lmbd": 0.2, "n_nonzero": 3}, r"SDL\(lmbd=0.2, n_nonzero=3\): give one of them"),
        (Spams, {"lmbd": 0.2, "n_nonzero": 3}, r"Spams\(lmbd=0.2, n_nonzero=3\): give one"),
        (SDL, {"whiten": False, "zca": 0.2}, r"SDL\(zca=0.2\): has no effect with whiten=False"),
        (
            SDL,
            {"coder": "fista", "n_nonzero": 3},
            r"SDL\(n_nonzero=3\): has no effect with learner",
        ),
        (
            SDL,
            {"coder": "omp", "learner": "mod", "lmbd": 0.2},
            r"SDL\(lmbd=0.2\): has no effect with learner='mod' and coder='omp'",
        ),
        (SDL, {"deep_patch": 3}, r"SDL\(deep_patch=3\): has no effect with n_layers=1"),
        (ADL, {"n_components": 9}, r"ADL\(n_components=9\): has no effect with n_layers=1"),
        (
            ADLSDL,
            {"synthesis_lmbd": 0.2, "n_nonzero": 3},
            r"ADLSDL\(synthesis_lmbd=0.2, n_nonzero=3\): give one of them",
        ),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    kind: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_a_method_has_no_options_of_another() -> None:
    """Analysis needs no learner of a synthesis dictionary, and SPAMS has one of its own."""
    assert "learner" not in options_of(ADL)
    assert "n_nonzero" not in options_of(ADL)
    assert "coder" not in {*options_of(ADL), *options_of(Spams)}
    assert "learner" not in options_of(Spams)
    assert DDLGreedy(deep_patch=3).deep_patch == 3
