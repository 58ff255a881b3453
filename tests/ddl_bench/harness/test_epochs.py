"""The best test accuracy over the epochs: a column on request, by which nothing is chosen."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from baselines.methods.plainnet import PlainNet
from ddl_bench.api import Budget, Classifier
from ddl_bench.harness.epochs import KeptEpochs, is_asked_for
from ddl_bench.harness.scoring import accuracy, scores_of
from ddl_bench.results.rows import load_rows
from ddl_bench.training.recipe import RecipeOptions
from tests.conftest import DIGITS, HELD_OUT, Clock, ddl_bench

BASE = RecipeOptions(base="wrn-base")
SCORED = RecipeOptions(base="wrn-base", score_epochs=True)


def test_only_the_base_scores_its_epochs() -> None:
    with pytest.raises(ValueError, match="score_epochs=True: has no effect with base='fast'"):
        PlainNet(recipe=RecipeOptions(score_epochs=True))


def test_the_best_of_all_epochs_is_found_and_the_last_weights_stay(tmp_path: Path) -> None:
    def accuracy_of(classifier: Classifier) -> float:
        return accuracy(scores_of(classifier, HELD_OUT.X, DIGITS), HELD_OUT.y)

    budget = Budget(epochs=3)
    assert not is_asked_for(PlainNet(recipe=BASE).start(DIGITS, budget))
    training: Any = PlainNet(recipe=SCORED).start(DIGITS, budget)
    assert is_asked_for(training)
    kept = KeptEpochs(tmp_path / "0123456789ab.checkpoint")
    accuracies = []
    for epoch in (1, 2, 3):
        training.advance(Clock())
        classifier = training.classifier()
        kept.keep(classifier, epoch)
        accuracies.append(accuracy_of(classifier))
    before = {name: value.clone() for name, value in classifier.state().items()}
    best = kept.best(classifier, 3, accuracy_of)
    assert best is not None
    assert best.accuracy == max(accuracies)
    assert accuracies[best.epoch - 1] == best.accuracy
    assert best.n_epochs == 3
    for name, value in classifier.state().items():
        assert torch.equal(value, before[name])
    assert KeptEpochs(tmp_path / "other.checkpoint").best(classifier, 3, accuracy_of) is None


def test_a_worker_that_was_overruled_leaves_the_weights_of_the_other(tmp_path: Path) -> None:
    training: Any = PlainNet(recipe=SCORED).start(DIGITS, Budget(epochs=1))
    training.advance(Clock())
    path = tmp_path / "0123456789ab.epoch-1.checkpoint"
    path.write_bytes(b"of the other")
    overruled = KeptEpochs(tmp_path / "0123456789ab.checkpoint", before_writing=sys.exit)
    with pytest.raises(SystemExit):
        overruled.keep(training.classifier(), 1)
    assert path.read_bytes() == b"of the other"


def test_a_run_has_the_column_and_the_same_accuracy(tmp_path: Path) -> None:
    base = "depth=3,recipe.base=wrn-base"
    methods = f"plainnet[{base}],plainnet[{base},recipe.score_epochs=true]"
    small = ["--seeds", "0", "--budget", "2e", "--limit-train", "200", "--threads", "1"]
    ddl_bench(["run", "--methods", methods, *small, "--no-report", "--out", tmp_path / "run"])
    plain, scored = sorted(load_rows(tmp_path / "run"), key=lambda row: len(str(row.cell.params)))
    assert plain.measured.best_epoch_accuracy is None
    assert scored.measured.accuracy == plain.measured.accuracy
    assert scored.measured.n_epochs_scored == 2
    assert (scored.measured.best_epoch_accuracy or 0) >= (scored.measured.accuracy or 0)
    assert not list((tmp_path / "run" / "work").glob("*epoch-*"))
