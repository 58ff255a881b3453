"""The four discriminative dictionaries, and the scores of D-KSVD, LC-KSVD and SRC."""

import dataclasses
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import orthogonal_mp
from torch.nn import functional

from baselines.features.stack import BLOCK_IMAGES
from baselines.methods.discriminative import Discriminative
from baselines.methods.dksvd import DKSVD, LCKSVD
from baselines.methods.dpl import DPL
from baselines.methods.src import SRC
from ddl_bench.api import Budget, Flops, Split, Task
from ddl_bench.errors import UserError
from tests.conftest import DIGITS, HELD_OUT, Clock, fit

needs_library = pytest.mark.skipif(
    find_spec("dictlearn") is None, reason="the extra `dictlearn` is not installed"
)
OURS: list[type[DKSVD]] = [DKSVD, LCKSVD]
KINDS = [*OURS, SRC, pytest.param(DPL, marks=needs_library)]


@pytest.mark.parametrize("kind", KINDS)
def test_digits(kind: type[Discriminative]) -> None:
    scores = fit(kind(features="pixels"))(HELD_OUT.X)
    assert float((scores.argmax(1) == HELD_OUT.y).float().mean()) > 0.92


@pytest.mark.parametrize("kind", OURS)
def test_scores_are_a_linear_map_of_the_codes_that_are_counted(kind: type[DKSVD]) -> None:
    classifier = fit(kind(features="pixels", n_atoms=60, n_iter=2, n_samples=500))
    flat = HELD_OUT.X.flatten(1).double().numpy()
    signals = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    codes = orthogonal_mp(classifier.D.astype(np.float64), signals.T, n_nonzero_coefs=6).T
    expected = codes @ classifier.W.T
    right = np.abs(classifier(HELD_OUT.X).numpy() - expected).max(1) < 1e-3
    assert right.mean() > 0.98  # a tie of two atoms may be broken the other way
    stats = classifier.code_stats(HELD_OUT.X)
    assert (stats.n_nonzero, stats.n_entries) == (360 * 6, 360 * 60)
    error = np.square(signals - codes @ classifier.D.T).sum()
    assert stats.squared_error == pytest.approx(error, rel=0.01)
    assert stats.squared_norm == pytest.approx(360)
    size = classifier.size()
    assert (size.n_params, size.n_stored, size.n_buffers) == (70 * 60 + 4 * 60, 74 * 60, 0)
    assert classifier.flops() == Flops(2 * 74 * 60, "pursuits")


def test_src_scores_what_the_images_of_a_class_leave() -> None:
    classifier = fit(SRC(features="pixels", n_samples=300))
    flat = HELD_OUT.X.flatten(1).double().numpy()
    signals = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    D = classifier.D.astype(np.float64)
    codes = orthogonal_mp(D, signals.T, n_nonzero_coefs=6).T
    firsts = [0, *classifier.ends[:-1]]
    expected = np.empty((360, 10))
    for k, (first, last) in enumerate(zip(firsts, classifier.ends, strict=True)):
        own = codes[:, first:last] @ D[:, first:last].T
        expected[:, k] = -np.square(signals - own).sum(1)
    right = np.abs(classifier(HELD_OUT.X).numpy() - expected).max(1) < 1e-4
    assert right.mean() > 0.98  # a tie of two atoms may be broken the other way
    stats = classifier.code_stats(HELD_OUT.X)
    assert (stats.n_nonzero, stats.n_entries) == (360 * 6, 360 * 300)
    size = classifier.size()
    assert (size.n_params, size.n_stored, size.n_buffers) == (64 * 300, 364 * 300, 10)
    assert classifier.flops() == Flops(2 * 64 * 300, "pursuits")


@pytest.mark.parametrize(
    "method",
    [
        SRC(features="pixels", n_nonzero=60),
        DKSVD(features="pixels", n_nonzero=60, n_atoms=700, n_first=1, n_iter=0),
    ],
)
def test_an_image_has_the_same_scores_in_any_company(method: Discriminative) -> None:
    """Also where atoms are so alike that rounding in single precision would choose among them."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn((1460, 3, 6, 6), generator=generator)
    smooth = functional.interpolate(coarse, size=(32, 32), mode="bilinear")
    noise = torch.randn(smooth.shape, generator=generator)
    X = (128 + 40 * smooth + 2 * noise).clamp(0, 255).to(torch.uint8)
    classifier = fit(method, small_task(X[:1400]))
    together = classifier(X[1400:])
    alone = torch.cat([classifier(image[None]) for image in X[1400:]])
    torch.testing.assert_close(alone, together, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", OURS)
def test_a_budget_in_seconds_ends_learning_early(kind: type[DKSVD]) -> None:
    """Each step ends with a classifier, the first as soon as the atoms to begin with are there."""
    method = kind(features="pixels", n_atoms=60, n_first=3, n_iter=4)
    training = method.start(DIGITS, Budget(epochs=1, threads=1))
    n_steps = 0
    while training.advance(Clock(0.0)):
        n_steps += 1
    assert n_steps == 5
    for used, n_first in ((0.7, 3), (0.8, 1)):
        some = dataclasses.replace(method, n_samples=BLOCK_IMAGES)
        training = some.start(DIGITS, Budget(seconds=1, threads=1))
        assert training.advance(Clock(used))
        assert not training.advance(Clock(1.0))
        early: Any = training.classifier()
        alike = fit(dataclasses.replace(some, n_first=n_first, n_iter=1))
        assert torch.equal(early(HELD_OUT.X), alike(HELD_OUT.X))


class Watched(Clock):
    """A clock that keeps what it is told."""

    def __init__(self) -> None:
        self.shares: list[float] = []

    def report(self, share: float) -> None:
        self.shares.append(share)


@pytest.mark.parametrize("kind", OURS)
def test_learning_tells_how_far_it_is(kind: type[DKSVD]) -> None:
    clock = Watched()
    training = kind(n_first=3, n_iter=2, n_samples=300).start(DIGITS, Budget(epochs=1))
    while training.advance(clock):
        pass
    assert clock.shares == sorted(clock.shares)
    assert clock.shares[-1] == 1
    assert len(clock.shares) > 20


def test_images_are_no_longer_looked_at_after_half_of_the_time() -> None:
    training = DKSVD(features="pixels", n_samples=None).start(DIGITS, Budget(seconds=1))
    assert not training.advance(Clock(1.0))
    early: Any = training.classifier()
    assert early.D.shape == (64, BLOCK_IMAGES // 2)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_classes_and_black_images(kind: type[Discriminative]) -> None:
    kept = DIGITS.train.y < 2
    X = DIGITS.train.X[kept].clone()
    X[:3] = 0
    pair = dataclasses.replace(DIGITS, train=Split(X=X, y=DIGITS.train.y[kept]))
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
    n_atoms = stats.n_entries / n_images
    n_most = {"d-ksvd": max(n_images // 2, 1), "lc-ksvd": 2 * max(n_images // 4, 1)}
    assert n_atoms <= n_most.get(kind.name, 150)


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_classes_to_tell_apart_are_one_clear_reason(kind: type[Discriminative]) -> None:
    X = torch.full((10, 1, 4, 4), 7, dtype=torch.uint8)
    with pytest.raises(UserError, match=rf"^{kind.name}: needs 2 .*; here 0 of 2"):
        fit(kind(), small_task(X))
    X[::2] = 0
    with pytest.raises(UserError, match=r"needs 2 .* not all 0; here 1 of 2 have"):
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
