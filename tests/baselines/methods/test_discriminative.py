"""SRC, D-KSVD, LC-KSVD and DPL: our adapters score as the library's classifiers do."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from baselines.methods.discriminative import DKSVD, DPL, LCKSVD, SRC, Discriminative
from baselines.pursuit.encode import encode
from ddl_bench.api import Flops, Split, Task
from ddl_bench.errors import UserError
from tests.conftest import DIGITS, HELD_OUT, fit

library: Any = pytest.importorskip(
    "dictlearn.classification", reason="the extra `dictlearn` is not installed"
)
KINDS: list[type[Discriminative]] = [SRC, DKSVD, LCKSVD, DPL]


def unit(X: torch.Tensor) -> Any:
    flat = X.flatten(1).double().numpy()
    return np.asarray(flat / np.linalg.norm(flat, axis=1, keepdims=True))


TRAINED: dict[str, Any] = {
    "n_nonzero_coefs": 6,
    "max_iter": 4,
    "init_method": "trained",
    "random_state": 3,
}


@pytest.mark.parametrize(
    ("method", "name", "options"),
    [
        (SRC(features="pixels", n_samples=700), "SRC", {"n_nonzero_coefs": 5}),
        (
            DKSVD(features="pixels", n_atoms=60, n_iter=4, n_samples=700),
            "DDL",
            TRAINED | {"n_components": 60, "alpha": 1.0},
        ),
        (
            LCKSVD(features="pixels", n_atoms=60, n_iter=4),
            "LCDL",
            TRAINED | {"n_components": 6, "alpha": 0.01, "beta": 0.01},
        ),
        (
            DPL(features="pixels", n_iter=5, n_samples=None),
            "DPL",
            {"n_components": 15, "max_iter": 5, "random_state": 3},
        ),
    ],
)
def test_predictions_and_scores_are_those_of_the_library(
    method: Discriminative, name: str, options: dict[str, Any]
) -> None:
    order = np.random.default_rng(3).permutation(len(DIGITS.train))[: method.n_samples]
    X = unit(DIGITS.train.X[torch.from_numpy(order)])
    y = DIGITS.train.y.numpy()[order]
    theirs = getattr(library, f"{name}Classifier")(**options).fit(X, y)
    scores = fit(method, seed=3)(HELD_OUT.X)
    assert scores.argmax(1).tolist() == theirs.predict(unit(HELD_OUT.X)).tolist()
    np.testing.assert_allclose(
        scores.numpy(), theirs.decision_function(unit(HELD_OUT.X)), atol=1e-9
    )


@pytest.mark.parametrize(("kind", "bar"), list(zip(KINDS, (0.97, 0.95, 0.95, 0.96), strict=True)))
def test_digits(kind: type[Discriminative], bar: float) -> None:
    classifier = fit(kind(features="pixels"))
    assert float((classifier(HELD_OUT.X).argmax(1) == HELD_OUT.y).float().mean()) > bar


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_counts_what_prediction_uses(kind: type[Discriminative]) -> None:
    """Set all else to nonsense: the scores stay; the arrays counted are all there is beside it."""
    classifier = fit(kind(features="pixels", n_samples=600))
    before = classifier(HELD_OUT.X)
    model = classifier.model
    counted = 0
    for name, value in list(vars(model).items()):
        if name in classifier.arrays:
            counted += sum(map(np.size, value))
        elif isinstance(value, np.ndarray) and name not in ("classes_", "atom_classes_"):
            setattr(model, name, np.full_like(value, np.nan))
    assert torch.equal(classifier(HELD_OUT.X), before)
    size = classifier.size()
    assert size.n_params == size.n_stored == counted > 0
    assert size.n_buffers == (600 if kind is SRC else 0)
    has_pursuit = kind is not DPL
    assert classifier.flops() == Flops(2 * counted, "pursuits" if has_pursuit else "")


def test_features_of_patches() -> None:
    few = dataclasses.replace(DIGITS, train=Split(X=DIGITS.train.X[:500], y=DIGITS.train.y[:500]))
    classifier = fit(DPL(n_iter=3), few)
    assert float((classifier(HELD_OUT.X).argmax(1) == HELD_OUT.y).float().mean()) > 0.9
    (layer,) = classifier.layers
    parts = (layer.whitening.mean, layer.whitening.matrix, layer.D)
    arrays = sum(sum(map(np.size, getattr(classifier.model, name))) for name in classifier.arrays)
    assert classifier.size().n_params == arrays + sum(part.numel() for part in parts)
    products = layer.whitening.matrix.numel() + layer.D.numel()
    n_patches = math.prod(layer.geometry.grid((8, 8)))
    assert classifier.flops() == Flops(2 * (arrays + n_patches * products), "pursuits")


def test_codes_are_those_that_the_scores_come_from() -> None:
    classifier = fit(DKSVD(features="pixels", n_atoms=60, n_iter=2, n_samples=500))
    stats = classifier.code_stats(HELD_OUT.X)
    model = classifier.model
    signals = unit(HELD_OUT.X)
    codes = np.asarray(encode(signals, model.dictionary_.T, n_nonzero=6).codes)
    assert np.allclose(codes @ model.classifier_.T, classifier(HELD_OUT.X).numpy(), atol=1e-6)
    assert (stats.n_nonzero, stats.n_entries) == ((codes != 0).sum(), 360 * 60)
    assert stats.squared_error == pytest.approx(
        np.square(signals - codes @ model.dictionary_).sum()
    )
    assert stats.squared_norm == pytest.approx(360)


@pytest.mark.parametrize("n_classes", [2, 10])
def test_an_image_is_made_by_the_dictionary_of_its_class(n_classes: int) -> None:
    kept = DIGITS.train.y < n_classes
    some = dataclasses.replace(DIGITS, train=Split(X=DIGITS.train.X[kept], y=DIGITS.train.y[kept]))
    classifier = fit(DPL(features="pixels", n_atoms=4 * n_classes), some)
    stats = classifier.code_stats(HELD_OUT.X)
    model = classifier.model
    error = 0.0
    for x, label in zip(unit(HELD_OUT.X), classifier(HELD_OUT.X).argmax(1).tolist(), strict=True):
        error += np.square(
            x - model.dictionaries_[label] @ model.encoders_[4 * label :][:4] @ x
        ).sum()
    assert (stats.n_nonzero, stats.n_entries) == (360 * 4, 360 * 4 * n_classes)
    assert (stats.squared_error, stats.squared_norm) == pytest.approx((error, 360))
    assert 0 < error < (0.2 if n_classes == 10 else 0.8) * 360


def test_missing_classes_and_black_images() -> None:
    kept = DIGITS.train.y < 2
    X = DIGITS.train.X[kept].clone()
    X[:3] = 0
    pair = dataclasses.replace(DIGITS, train=Split(X=X, y=DIGITS.train.y[kept]))
    for kind in KINDS:
        scores = fit(kind(features="pixels"), pair)(torch.cat([HELD_OUT.X, X[:1]]))
        assert torch.isfinite(scores).all()
        assert set(scores.argmax(1).tolist()) <= {0, 1}
        right = scores[:-1][HELD_OUT.y < 2].argmax(1) == HELD_OUT.y[HELD_OUT.y < 2]
        assert right.float().mean() > 0.95


def small_task(X: torch.Tensor) -> Task:
    """Images X (n, 1, height, width) in two classes by turns."""
    train = Split(X=X, y=torch.arange(len(X)) % 2)
    return dataclasses.replace(
        DIGITS, class_names=("a", "b"), train=train, val=Split(X=X[:0], y=train.y[:0])
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_images", [2, 4, 10])
@pytest.mark.parametrize("n_different", [1, 10])
def test_few_images_have_fewer_atoms_and_non_zeros(
    kind: type[Discriminative], n_images: int, n_different: int
) -> None:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (n_different, 1, 4, 4), dtype=np.uint8))
    X = images.expand(10, 1, 4, 4)[:n_images]
    classifier = fit(kind(), small_task(X))
    assert torch.isfinite(classifier(X)).all()
    stats = classifier.code_stats(X)
    assert 0 < stats.n_nonzero <= stats.n_entries


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_classes_to_tell_apart_are_one_clear_reason(kind: type[Discriminative]) -> None:
    X = torch.full((10, 1, 4, 4), 7, dtype=torch.uint8)
    with pytest.raises(UserError, match=rf"^{kind.name}: dictlearn needs 2 .*; here 0 of 2"):
        fit(kind(), small_task(X))
    X[::2] = 0
    with pytest.raises(UserError, match=r"dictlearn needs 2 .* not all 0; here 1 of 2 have"):
        fit(kind(features="pixels"), small_task(X))


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_without_training_images_has_the_same_score_in_any_company(
    kind: type[Discriminative],
) -> None:
    few = DIGITS.train.y < 3
    task = dataclasses.replace(DIGITS, train=Split(X=DIGITS.train.X[few], y=DIGITS.train.y[few]))
    classifier = fit(kind(features="pixels"), task)
    together = classifier(HELD_OUT.X[:20])
    assert torch.equal(together[:, 3:], classifier(HELD_OUT.X[:1])[:, 3:].expand(20, -1))
    assert (together.argmax(1) < 3).all()
