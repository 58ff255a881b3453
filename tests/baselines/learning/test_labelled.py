"""D-KSVD and LC-KSVD: one K-SVD of samples beside labels, taken apart again."""

from itertools import islice
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge, orthogonal_mp

from baselines.learning.ksvd import KSVD
from baselines.learning.labelled import RIDGE, Labelled, LabelledKSVD
from baselines.learning.learner import Learned
from baselines.pursuit.encode import encode

N_CLASSES = 3


def labelled_samples(n: int = 240, n_features: int = 20, dtype: Any = np.float64) -> Any:
    """Unit-norm samples of 3 classes: two of 6 atoms of their class and two of 12 for all."""
    rng = np.random.default_rng(5)
    atoms = rng.standard_normal((6 * N_CLASSES + 12, n_features))
    y = rng.integers(0, N_CLASSES, n)
    X = 0.02 * rng.standard_normal((n, n_features))
    for x, label in zip(X, y, strict=True):
        own = 6 * label + rng.choice(6, 2, replace=False)
        shared = 6 * N_CLASSES + rng.choice(12, 2, replace=False)
        x += (0.5 + rng.random(4)) @ atoms[np.concatenate([own, shared])]
    return (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(dtype), y


def run(learner: LabelledKSVD, X: Any, y: Any, n_first: int = 5, n_iter: int = 5) -> list[Labelled]:
    """Return the labelled dictionaries of all steps."""
    *_, first = islice(learner.first_steps(X, y), n_first)
    return list(islice(learner.steps(X, y, first), n_iter + 1))


@pytest.mark.parametrize("beta", [0.0, 0.2])
def test_a_step_is_that_of_ksvd_on_weighted_labels_beside_the_samples(beta: float) -> None:
    X, y = labelled_samples()
    alpha = 0.3
    learner = LabelledKSVD(n_atoms=24, n_nonzero=4, alpha=alpha, beta=beta, seed=1)
    start, *_, last = run(learner, X, y)
    labels = alpha**0.5 * np.eye(N_CLASSES)[y]
    shares = beta**0.5 * np.repeat(np.eye(N_CLASSES), 8, axis=1)[y]
    targets = np.hstack([labels, shares]) if beta else labels
    codes = orthogonal_mp(start.D, X.T, n_nonzero_coefs=4).T
    ridge = Ridge(alpha=RIDGE, fit_intercept=False).fit(codes, targets)
    both = np.vstack([start.D, ridge.coef_])
    ksvd = KSVD(n_atoms=24, n_nonzero=4, seed=1)
    *_, theirs = islice(ksvd.steps(np.hstack([X, targets]), Learned(both)), 5)
    norms = np.linalg.norm(theirs.D[:20], axis=0)
    np.testing.assert_allclose(last.D, theirs.D[:20] / norms, atol=1e-6)
    np.testing.assert_allclose(last.W, theirs.D[20:23] / norms / alpha**0.5, atol=1e-6)


def test_the_first_map_is_the_ridge_of_labels_on_codes() -> None:
    X, y = labelled_samples()
    (start,) = run(LabelledKSVD(n_atoms=24, n_nonzero=4, alpha=0.5), X, y, n_iter=0)
    codes = orthogonal_mp(start.D, X.T, n_nonzero_coefs=4).T
    ridge = Ridge(alpha=RIDGE, fit_intercept=False).fit(codes, np.eye(N_CLASSES)[y])
    np.testing.assert_allclose(start.W, ridge.coef_, atol=1e-6)


def test_labels_lower_the_objective_and_make_a_better_classifier_of_planted_classes() -> None:
    X, y = labelled_samples(n=2400)
    seen, new = slice(0, 1200), slice(1200, None)
    learner = LabelledKSVD(n_atoms=30, n_nonzero=4, alpha=1.0)
    start, *_, last = run(learner, X[seen], y[seen], n_first=20, n_iter=20)
    both = np.hstack([X[seen], np.eye(N_CLASSES)[y[seen]]])

    def objective(learned: Labelled) -> float:
        atoms = np.vstack([learned.D, learned.W])
        atoms = atoms / np.linalg.norm(atoms, axis=0)
        return float(np.square(both - encode(both, atoms, n_nonzero=4).codes @ atoms.T).sum())

    def accuracy(learned: Labelled) -> float:
        codes = encode(X[new], learned.D, n_nonzero=4).codes
        return float(((codes @ learned.W.T).argmax(1) == y[new]).mean())

    assert objective(last) < 0.7 * objective(start)
    assert accuracy(last) > accuracy(start) + 0.005
    assert accuracy(start) > 0.9


def test_a_class_has_a_dictionary_of_its_own_samples_to_begin_with() -> None:
    X, y = labelled_samples()
    learner = LabelledKSVD(n_atoms=8, n_nonzero=3, alpha=1.0, beta=1.0, seed=2)
    *_, first = islice(learner.first_steps(X, y), 3)
    for label, columns in enumerate((slice(0, 2), slice(2, 5), slice(5, 8))):
        n_atoms = columns.stop - columns.start
        ksvd = KSVD(n_atoms=n_atoms, n_nonzero=min(3, n_atoms), seed=2)
        *_, theirs = islice(ksvd.steps(X[y == label]), 3)
        np.testing.assert_array_equal(first[:, columns], theirs.D)


@pytest.mark.parametrize("beta", [0.0, 0.2])
def test_results_do_not_depend_on_what_classes_are_called(beta: float) -> None:
    X, y = labelled_samples(dtype=np.float32)
    before = X.copy()
    learner = LabelledKSVD(n_atoms=12, n_nonzero=3, alpha=0.2, beta=beta)
    last = run(learner, X, y)[-1]
    named = run(learner, X, np.array(["cat", "dog", "owl"])[y])[-1]
    np.testing.assert_array_equal(last.D, named.D)
    np.testing.assert_array_equal(last.W, named.W)
    np.testing.assert_array_equal(X, before)
    assert last.D.dtype == last.W.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(last.D, axis=0), 1, atol=1e-6)
    assert last.W.shape == (N_CLASSES, 12)


def test_a_rare_class_has_fewer_atoms_and_takes_none_of_the_others() -> None:
    X, y = labelled_samples()
    rare = np.concatenate([np.flatnonzero(y != 1), np.flatnonzero(y == 1)[:5]])
    learner = LabelledKSVD(n_atoms=24, n_nonzero=4, alpha=1.0, beta=1.0)
    assert run(learner, X[rare], y[rare])[-1].D.shape == (20, 8 + 2 + 8)


@pytest.mark.parametrize("beta", [0.0, 16.0])
def test_with_large_weights_unused_atoms_are_replaced(beta: float) -> None:
    """There samples of one class are nearly parallel, so that each would double another."""
    X, y = labelled_samples(n=900)
    learner = LabelledKSVD(n_atoms=120, n_nonzero=4, alpha=400.0, beta=beta, seed=3)
    last = run(learner, X, y, n_iter=10)[-1]
    codes = encode(X, last.D, n_nonzero=4).codes
    assert ((codes != 0).sum(0) > 0).all()
    assert ((codes @ last.W.T).argmax(1) == y).mean() > 0.9


def test_equal_samples_have_a_map() -> None:
    """Rounding in single precision, of sums over so many samples, would exceed the ridge."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.standard_normal((1, 12)).astype(np.float32), 20_000, axis=0)
    X /= np.linalg.norm(X[0])
    y = np.arange(len(X)) % 2
    D = rng.standard_normal((12, 4)).astype(np.float32)
    learner = LabelledKSVD(n_atoms=4, n_nonzero=3, alpha=1.0)
    for learned in islice(learner.steps(X, y, D), 3):
        assert np.isfinite(learned.W).all()


def test_what_cannot_be_learned_is_refused() -> None:
    X, y = labelled_samples()
    with pytest.raises(ValueError, match="alpha=0 must be more than 0"):
        LabelledKSVD(n_atoms=4, n_nonzero=2, alpha=0)
    with pytest.raises(ValueError, match="beta=-1 must be a finite number"):
        LabelledKSVD(n_atoms=4, n_nonzero=2, alpha=1, beta=-1)
    with pytest.raises(ValueError, match="n_atoms=0 must be an int"):
        LabelledKSVD(n_atoms=0, n_nonzero=2, alpha=1)
    few = LabelledKSVD(n_atoms=2, n_nonzero=2, alpha=1, beta=1)
    with pytest.raises(ValueError, match="n_atoms=2 must be at least the 3 classes"):
        next(few.first_steps(X, y))
    learner = LabelledKSVD(n_atoms=4, n_nonzero=2, alpha=1)
    for D in (np.eye(19)[:, :4], np.eye(20)[:, :5]):
        with pytest.raises(ValueError, match=r"D has shape \(\d+, \d\); expected \(20, 4\)"):
            next(learner.steps(X, y, D))
    with pytest.raises(ValueError, match="n_nonzero=5 must be at most n_atoms=4"):
        LabelledKSVD(n_atoms=4, n_nonzero=5, alpha=1)
    with pytest.raises(ValueError, match="n_nonzero=30 must be at most the 20 features of X"):
        next(LabelledKSVD(n_atoms=40, n_nonzero=30, alpha=1).first_steps(X, y))
    for steps in (learner.first_steps(X, y[1:]), learner.steps(X, y[1:], np.eye(20)[:, :4])):
        with pytest.raises(ValueError, match=r"y has shape \(239,\); expected \(240,\)"):
            next(steps)
