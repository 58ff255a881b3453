"""Nearest mean, logistic regression, and scikit-learn's classifiers as methods."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from torch import Tensor

from baselines.methods.logistic import Logistic
from baselines.methods.nearest_mean import NearestMean
from baselines.methods.sdl import SDL
from baselines.methods.stacked import ENCODED_SHARE, LEARNED_SHARE
from ddl_bench.api import Budget, Classifier, Method, Split, Task
from ddl_bench.training.estimator import from_estimator
from tests.conftest import DIGITS, HELD_OUT, Clock

Forest = from_estimator("forest", RandomForestClassifier, n_estimators=20)


def fit(method: Method, task: Task, **budget: Any) -> Any:
    training = method.start(
        task, Budget(**({"epochs": None if "seconds" in budget else 1} | budget))
    )
    deadline = Clock(1.0) if "seconds" in budget else Clock()
    while training.advance(deadline):
        pass
    return training.classifier()


@pytest.mark.parametrize("n_layers", [1, 2])
def test_dictionaries_tell_how_far_they_have_come(n_layers: int) -> None:
    @dataclasses.dataclass
    class Listener(Clock):
        shares: list[float] = dataclasses.field(default_factory=list)

        def report(self, share: float) -> None:
            self.shares.append(share)

    listener = Listener()
    method = SDL(n_layers=n_layers, n_atoms=16, n_samples=500, n_iter=4)
    method.start(DIGITS, Budget(epochs=1)).advance(listener)
    assert listener.shares == sorted(listener.shares)
    assert listener.shares[0] < LEARNED_SHARE / n_layers
    assert LEARNED_SHARE in [round(share, 9) for share in listener.shares]
    encoded = [share for share in listener.shares if share <= ENCODED_SHARE]
    assert encoded[-1] == pytest.approx(ENCODED_SHARE, abs=0.02)
    assert ENCODED_SHARE < listener.shares[-1] < 1  # the search for a penalty tells its share too


def classes(task: Task, *labels: int) -> Task:
    """The task with only some classes left in its images, and all of them in its names."""
    kept = [torch.isin(part.y, torch.tensor(labels)) for part in (task.train, task.val)]
    train, val = (
        Split(X=part.X[k], y=part.y[k])
        for part, k in zip((task.train, task.val), kept, strict=True)
    )
    return dataclasses.replace(task, train=train, val=val)


def rows(X: Tensor) -> NDArray[np.float32]:
    return np.asarray(X.flatten(1).numpy() / np.float32(255))


def accuracy(classifier: Classifier, test: Split = HELD_OUT) -> float:
    return float((classifier(test.X).argmax(1) == test.y).float().mean())


def log_loss(scores: Tensor, y: Tensor) -> float:
    return float(torch.nn.functional.cross_entropy(scores, y))


@pytest.mark.filterwarnings(
    "ignore:self.within_class_std_dev_"
)  # it does not enter the Euclidean distance
def test_nearest_mean_agrees_with_scikit_learn() -> None:
    classifier = fit(NearestMean(), DIGITS)
    peer = NearestCentroid().fit(rows(DIGITS.train.X), DIGITS.train.y.numpy())
    assert classifier(HELD_OUT.X).argmax(1).tolist() == peer.predict(rows(HELD_OUT.X)).tolist()
    X = HELD_OUT.X.flatten(1).double()
    centres = torch.from_numpy(peer.centroids_).double() * 255
    distances = torch.cdist(X, centres).square() - X.square().sum(1, keepdim=True)
    # Some are differences of squares that nearly cancel: 1e5 and more.
    assert torch.allclose(classifier(HELD_OUT.X).double(), -distances, rtol=1e-4, atol=10)


@pytest.mark.parametrize("method", [NearestMean(), Logistic(), Forest()])
def test_a_class_without_images_is_never_predicted(method: Method) -> None:
    scores = fit(method, classes(DIGITS, 1, 3, 4))(HELD_OUT.X)
    assert scores.shape == (360, 10)
    assert torch.isfinite(scores).all()
    assert set(scores.argmax(1).tolist()) <= {1, 3, 4}


@pytest.mark.parametrize("method", [Logistic(), Forest(), from_estimator("svm", LinearSVC)()])
def test_two_classes(method: Method) -> None:
    pair = torch.isin(HELD_OUT.y, torch.tensor([3, 8]))
    assert (
        accuracy(fit(method, classes(DIGITS, 3, 8)), Split(X=HELD_OUT.X[pair], y=HELD_OUT.y[pair]))
        > 0.93
    )


def test_logistic_finds_the_minimum_that_scikit_learn_finds_on_the_same_features() -> None:
    strength = 0.03
    classifier = fit(Logistic(strengths=(strength,)), DIGITS)
    X = rows(DIGITS.train.X) * 255
    mean, variance = X.mean(0), X.var(0)
    deviation = np.sqrt(variance + 0.1 * variance.mean() + 1e-9)
    peer = LogisticRegression(C=strength, max_iter=1000, tol=1e-8).fit(
        (X - mean) / deviation, DIGITS.train.y.numpy()
    )
    theirs = peer.predict_proba((rows(HELD_OUT.X) * 255 - mean) / deviation)
    assert np.abs(classifier(HELD_OUT.X).softmax(1).numpy() - theirs).max() < 0.01


def test_logistic_is_as_good_as_it_gets_on_digits_and_chooses_on_validation() -> None:
    chosen = fit(Logistic(), DIGITS)
    assert accuracy(chosen) > 0.955
    others = [fit(Logistic(strengths=(c,)), DIGITS) for c in (1e-6, 1e-3, 1e-1, 10.0)]
    losses = [log_loss(classifier(DIGITS.val.X), DIGITS.val.y) for classifier in others]
    assert log_loss(chosen(DIGITS.val.X), DIGITS.val.y) <= min(losses)
    nothing = Split(X=DIGITS.val.X[:0], y=DIGITS.val.y[:0])
    assert accuracy(fit(Logistic(), dataclasses.replace(DIGITS, val=nothing))) > 0.955


@pytest.mark.parametrize("width", [7, 8])
def test_tied_weights_score_mirror_images_alike(width: int) -> None:
    task = dataclasses.replace(
        DIGITS,
        train=Split(X=DIGITS.train.X[..., :width], y=DIGITS.train.y),
        val=Split(X=DIGITS.val.X[..., :width], y=DIGITS.val.y),
        mirror=True,
    )
    classifier = fit(Logistic(), task)
    X = HELD_OUT.X[..., :width]
    assert torch.allclose(classifier(X), classifier(X.flip(3)), atol=1e-3)
    free = 8 * ((width + 1) // 2)
    assert classifier.size().n_params == 10 * (free + 1)
    assert classifier.size().n_stored == 10 * (8 * width + 1)
    untied = fit(Logistic(mirror=False), task)
    assert not torch.allclose(untied(X), untied(X.flip(3)), atol=1e-1)
    assert log_loss(untied(X), HELD_OUT.y) < log_loss(classifier(X), HELD_OUT.y) < 2.0


def test_logistic_leaves_off_at_the_deadline() -> None:
    classifier = fit(Logistic(), DIGITS, seconds=1.0)
    assert accuracy(classifier) < accuracy(fit(Logistic(), DIGITS))


@pytest.mark.parametrize("method", [NearestMean(), Logistic()])
def test_kept_arrays_give_the_same_scores_and_the_same_size(method: Any) -> None:
    for task in (DIGITS, dataclasses.replace(DIGITS, mirror=True)):
        classifier = fit(method, task)
        again = method.restore(classifier.state(), classes(task))
        assert torch.equal(again(HELD_OUT.X), classifier(HELD_OUT.X))
        assert again.size() == classifier.size()


@pytest.mark.parametrize(
    "peer",
    [
        RandomForestClassifier(n_estimators=20, random_state=5),
        SVC(),
        SVC(decision_function_shape="ovo"),
        LinearSVC(random_state=5),
    ],
)
def test_an_estimator_predicts_as_it_does_outside(peer: Any) -> None:
    method = from_estimator("peer", type(peer), **(peer.get_params() | {"random_state": None}))()
    few = classes(DIGITS, 0, 1, 2, 5)
    X = HELD_OUT.X[torch.isin(HELD_OUT.y, torch.tensor([0, 1, 2, 5]))]
    theirs = peer.fit(rows(few.train.X), few.train.y.numpy()).predict(rows(X))
    assert fit(method, few, seed=5)(X).argmax(1).tolist() == theirs.tolist()


class Last(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Predicts the largest label, and offers nothing but predictions."""

    def fit(self, X: NDArray[np.float32], y: NDArray[np.int64]) -> "Last":
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.int64]:
        return np.repeat(self.classes_[-1:], len(X))


def test_an_estimator_that_only_predicts() -> None:
    scores = fit(from_estimator("last", Last)(), classes(DIGITS, 2, 7))(HELD_OUT.X)
    assert scores.argmax(1).tolist() == [7] * 360


def scaled(C: float = 1.0) -> Pipeline:
    return make_pipeline(StandardScaler(), SVC(C=C), memory=None)


def test_hyper_parameters_seed_and_threads_reach_the_estimator() -> None:
    forest = fit(Forest(max_depth=3), DIGITS, seed=11, threads=2)
    assert forest.model.get_params() | {
        "max_depth": 3,
        "n_estimators": 20,
        "random_state": 11,
        "n_jobs": 2,
    } == (forest.model.get_params())
    assert fit(Forest(random_state=4), DIGITS, seed=11).model.random_state == 4
    pipeline = fit(from_estimator("scaled", scaled, C=7.0)(), DIGITS, seed=9)
    assert (pipeline.model[-1].C, pipeline.model[-1].random_state) == (7.0, 9)
    assert accuracy(pipeline) > 0.95


def test_a_method_made_of_an_estimator_is_a_frozen_dataclass_of_this_module() -> None:
    assert Forest.__module__ == __name__
    with pytest.raises(dataclasses.FrozenInstanceError):
        Forest().max_depth = 2
    with pytest.raises(ValueError, match="got 'n_trees'"):
        from_estimator("forest", RandomForestClassifier, n_trees=3)
    with pytest.raises(ValueError, match=r"give a value to each of steps, .* got 'steps'"):
        from_estimator("pipe", Pipeline)


def test_the_size_of_a_linear_model_is_counted_and_any_other_is_unknown() -> None:
    assert fit(from_estimator("svm", LinearSVC)(), DIGITS).size().n_params == 650
    assert (
        fit(from_estimator("svm", LinearSVC, fit_intercept=False)(), DIGITS).size().n_params == 640
    )
    for size in (
        fit(Forest(), DIGITS).size(),
        fit(from_estimator("svm", SVC, kernel="linear")(), DIGITS).size(),
    ):
        assert size.n_params is None
        assert "is not known" in size.reason
