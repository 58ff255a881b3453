"""DPL scores as the classifier of dictlearn does, and SRC nearly so."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from baselines.methods.dpl import DPL
from baselines.methods.src import SRC
from ddl_bench.api import Flops, Split
from tests.conftest import DIGITS, HELD_OUT, fit

library: Any = pytest.importorskip(
    "dictlearn.classification", reason="the extra `dictlearn` is not installed"
)


def unit(X: torch.Tensor) -> Any:
    flat = X.flatten(1).double().numpy()
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat / norms, np.float32).astype(np.float64)


def samples(seed: int, n: int | None = None) -> Any:
    """Unit-norm pixels and labels of training images as a method draws them."""
    order = np.random.default_rng(seed).permutation(len(DIGITS.train))[:n]
    return unit(DIGITS.train.X[torch.from_numpy(order)]), DIGITS.train.y.numpy()[order]


def test_dpl_scores_as_the_library() -> None:
    theirs = library.DPLClassifier(n_components=15, max_iter=5, random_state=3).fit(*samples(3))
    scores = fit(DPL(features="pixels", n_iter=5), seed=3)(HELD_OUT.X)
    assert scores.argmax(1).tolist() == theirs.predict(unit(HELD_OUT.X)).tolist()
    np.testing.assert_allclose(
        scores.numpy(), theirs.decision_function(unit(HELD_OUT.X)), atol=1e-9
    )


def test_src_scores_as_the_library_but_for_ties_of_atoms() -> None:
    theirs = library.SRCClassifier(n_nonzero_coefs=5).fit(*samples(3, 700))
    expected = theirs.decision_function(unit(HELD_OUT.X))
    scores = fit(SRC(features="pixels", n_samples=700, n_nonzero=5), seed=3)(HELD_OUT.X).numpy()
    assert (np.abs(scores - expected).max(1) < 1e-4).mean() > 0.98
    assert (scores.argmax(1) == expected.argmax(1)).mean() > 0.99


def test_the_size_of_dpl_counts_what_prediction_uses() -> None:
    """Set all else to nonsense: the scores stay; the arrays counted are all there is beside it."""
    classifier = fit(DPL(features="pixels", n_samples=600))
    before = classifier(HELD_OUT.X)
    model = classifier.model
    counted = 0
    for name, value in list(vars(model).items()):
        if name in ("dictionaries_", "encoders_"):
            counted += sum(map(np.size, value))
        elif isinstance(value, np.ndarray) and name != "classes_":
            setattr(model, name, np.full_like(value, np.nan))
    assert torch.equal(classifier(HELD_OUT.X), before)
    size = classifier.size()
    assert size.n_params == size.n_stored == counted > 0
    assert size.n_buffers == 0
    assert classifier.flops() == Flops(2 * counted, "")


def test_features_of_patches() -> None:
    few = dataclasses.replace(DIGITS, train=Split(X=DIGITS.train.X[:500], y=DIGITS.train.y[:500]))
    classifier = fit(DPL(n_iter=3), few)
    assert float((classifier(HELD_OUT.X).argmax(1) == HELD_OUT.y).float().mean()) > 0.9
    (layer,) = classifier.view.layers
    parts = (layer.whitening.mean, layer.whitening.matrix, layer.D)
    arrays = sum(map(np.size, classifier.arrays()))
    assert classifier.size().n_params == arrays + sum(part.numel() for part in parts)
    products = layer.whitening.matrix.numel() + layer.D.numel()
    n_patches = math.prod(layer.geometry.grid((8, 8)))
    assert classifier.flops() == Flops(2 * (arrays + n_patches * products), "pursuits")


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
