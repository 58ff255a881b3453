"""What a method cannot bend unnoticed: its times, its scores, its sizes, its row."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ddl_bench.harness import load, scoring
from ddl_bench.harness.load import Used, n_cores_beyond
from ddl_bench.harness.run import run
from ddl_bench.harness.scoring import as_scores, depends_on_company, scores_of
from ddl_bench.harness.verify import verified
from ddl_bench.plan.cell import Machine
from ddl_bench.results.marks import marks
from ddl_bench.results.rows import Row, digest, load_rows
from tests.conftest import DIGITS, HELD_OUT, PLUGINS, make_cell, make_row

CORES = ("cores", "cores-of-a-thread")
OUTSIDE = ("start", "classifier", "call", "thread", "child", "passes", "alarm", "reading")
BENT = ("place", "company", "cache", "little", "freezes")
FAILED = ("negative", "fraction", "all-excluded", "list", "pair", "nothing", "flags", "accuracy")
HONEST = ("honest", "array", "excluded", "twins", "elsewhere", "looks")
CLOCKS = ("slow-clock", "slower-clock")
IS_TRACED = "COVERAGE_PROCESS_CONFIG" in os.environ


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """The row of each way, by its name, from a folder that is given by a relative path."""
    folder = tmp_path_factory.mktemp("honest")
    ways = (*CORES, *OUTSIDE, *BENT, *FAILED, *HONEST, *CLOCKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(
            "quick",
            "out",
            methods=[f"dishonest[way={way}]" for way in ways],
            plugins=[PLUGINS / "dishonest.py"],
            seeds=[0],
            budget="2e",
            threads=1,
        )
    by_label = {row.cell.params["way"]: row for row in load_rows(folder / "out")}
    assert set(by_label) == set(ways)
    return by_label


def marked(row: Row) -> set[str]:
    """Columns that mark a row, without those of a loaded machine."""
    return set(marks(row)) - {"train_others", "test_others"}


def marks_of(*, threads: int = 1, **measured: Any) -> dict[str, str]:
    cell = make_cell("a", machine=Machine(threads=threads))
    return marks(make_row(cell, status="ok", **measured))


@pytest.mark.parametrize("way", OUTSIDE)
def test_learning_off_the_clock_is_marked(rows: dict[str, Row], way: str) -> None:
    row = rows[way]
    assert row.status == "ok", row.reason
    assert row.measured.train_s is not None
    assert row.measured.train_s < 0.5
    assert row.measured.outside_s is not None
    assert row.measured.outside_s > 0.8
    assert "outside_s" in marked(row)


@pytest.mark.parametrize(("way", "name"), [("thread", "learner"), ("child", "process")])
def test_what_works_on_after_the_training_is_named(
    rows: dict[str, Row], way: str, name: str
) -> None:
    assert name in rows[way].measured.background
    assert "background" in marked(rows[way])


@pytest.mark.parametrize("way", HONEST)
def test_honest_methods_are_not_marked(rows: dict[str, Row], way: str) -> None:
    row = rows[way]
    assert row.status == "ok", row.reason
    # A copy that is traced begins a coverage of its own, and may still be saving it.
    ending = {"background", "outside_s"} if way == "twins" and IS_TRACED else set()
    assert marked(row) <= ending
    assert row.measured.accuracy is not None
    assert row.measured.accuracy > 70


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs a second core")
@pytest.mark.parametrize("way", CORES)
def test_cores_besides_its_own_are_marked(rows: dict[str, Row], way: str) -> None:
    assert rows[way].measured.n_cores_beyond
    assert marked(rows[way]) == {"n_cores_beyond"}


def test_cpu_time_beyond_the_own_cores_is_counted() -> None:
    cores = os.sched_getaffinity(0)
    assert n_cores_beyond(cores, len(cores) * 10.5, 10.0) == 0
    assert n_cores_beyond(cores, len(cores) * 10.0 + 3.0, 10.0) == 1
    assert n_cores_beyond(cores, 100.0, 0.1) == 0


def test_the_cpu_time_of_training_is_recorded(rows: dict[str, Row]) -> None:
    assert rows["honest"].measured.train_cpu_s is not None
    assert rows["honest"].measured.train_cpu_s > 0.3
    assert rows["honest"].measured.train_s == pytest.approx(1.5, rel=0.3)


def test_a_replaced_clock_of_python_slows_nothing(rows: dict[str, Row]) -> None:
    measured = rows["slow-clock"].measured
    assert measured.train_s == pytest.approx(1.5, rel=0.3)


def test_a_slowed_clock_of_the_harness_is_noticed_by_the_runner(rows: dict[str, Row]) -> None:
    measured = rows["slower-clock"].measured
    assert measured.train_s is not None
    assert measured.train_s < 0.5
    assert measured.unaccounted_s == pytest.approx(1.5, rel=0.5)
    assert "unaccounted_s" in marked(rows["slower-clock"])


def test_no_thread_of_the_harness_is_blamed(rows: dict[str, Row]) -> None:
    assert rows["alarm"].measured.background == ""


class Spy(Tensor):
    """Says that it is equal to whatever it is compared with."""

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        ordinary: Any = super().__torch_function__
        result = ordinary(function, types, arguments, options or {})
        return torch.ones_like(result) if function is Tensor.__eq__ else result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_scores_of_a_class_of_their_own_become_plain(dtype: torch.dtype) -> None:
    scores = torch.tensor([[1, 0], [1, 0]], dtype=dtype).as_subclass(Spy)
    labels = torch.tensor([1, 1])
    assert scoring.accuracy(scores, labels) == 100
    plain = as_scores(scores, (2, 2))
    assert type(plain) is Tensor
    assert scoring.accuracy(plain, labels) == 0


def test_a_single_class_depends_on_nothing() -> None:
    scores = torch.tensor([[1.0], [2.0]])
    assert scoring.greatest_difference(scores, scores + 1e-6) == 0


def test_place_and_company_in_a_batch_do_not_help(rows: dict[str, Row]) -> None:
    assert rows["place"].measured.accuracy == pytest.approx(10, abs=6)
    assert marked(rows["place"]) >= {"batch_dependent"}
    assert marked(rows["company"]) >= {"batch_dependent"}
    assert marked(rows["freezes"]) == {"batch_dependent"}


def test_kept_answers_show_no_time(rows: dict[str, Row]) -> None:
    measured = rows["cache"].measured
    assert measured.test_s_per_image is not None
    is_noticed = measured.stale_answers or measured.test_s_per_image > 0.01 / 256
    assert is_noticed


def test_a_classifier_that_holds_more_than_it_says_is_marked(rows: dict[str, Row]) -> None:
    assert rows["little"].measured.n_held == 640
    assert marked(rows["little"]) == {"n_held"}


@pytest.mark.parametrize(
    ("way", "status", "reason"),
    [
        ("negative", "failed", "n_params = -5, expected a whole number"),
        ("fraction", "failed", "n_params = 2.5, expected a whole number"),
        ("all-excluded", "diverged", "not finite"),
        ("list", "failed", "a list of 144 parts (list), expected a tensor"),
        ("pair", "failed", "a tuple of 2 parts (Tensor, float), expected a tensor"),
        ("nothing", "failed", "returned None, expected a tensor"),
        ("flags", "failed", "a tensor of torch.bool, expected a tensor"),
        ("accuracy", "failed", "its accuracy is 99.5 %, but that of its predictions is"),
    ],
)
def test_what_is_wrong_is_one_clear_reason(
    rows: dict[str, Row], way: str, status: str, reason: str
) -> None:
    row = rows[way]
    assert row.status == status
    assert reason in row.reason


@pytest.mark.parametrize("way", ["negative", "fraction", "pair"])
def test_mistakes_are_found_after_the_first_step(rows: dict[str, Row], way: str) -> None:
    assert rows[way].phases["training"] < 0.5


def test_other_predictions_than_those_of_the_row_are_noticed(tmp_path: Path) -> None:
    row = make_row(make_cell("a"), status="ok", accuracy=50.0)
    (tmp_path / "cells").mkdir()
    path = tmp_path / "cells" / f"{row.cell.id}.npz"
    y = np.array([0, 1])
    claimed = replace(row.measured, predictions_sha256=digest(np.array([0, 0])))
    row = row.model_copy(update={"measured": claimed})
    np.savez(path, y_test=y, predictions=np.array([0, 0]))
    assert verified(row, tmp_path, y, 1.0).status == "ok"
    np.savez(path, y_test=y, predictions=np.array([1, 1]))
    assert "not those whose digest is in the row" in verified(row, tmp_path, y, 1.0).reason


class Rowwise:
    """Scores of each image alone: its first pixels."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, X: Tensor) -> Tensor:
        self.batches.append(len(X))
        return X.flatten(1)[:, 20:30].double()


def test_scores_come_back_in_the_order_of_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "BATCH_IMAGES", 100)
    classifier = Rowwise()
    shares: list[float] = []
    scores = scores_of(classifier, HELD_OUT.X, DIGITS, seed=3, tell=shares.append)
    assert shares == [100 / 360, 200 / 360, 300 / 360, 1]
    assert torch.equal(scores, HELD_OUT.X.flatten(1)[:, 20:30].double())
    assert classifier.batches == [100, 100, 100, 60]
    assert not depends_on_company(classifier, HELD_OUT.X, scores, DIGITS)


def test_a_thread_that_waits_for_a_core_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(
        [
            {"asleep": Used(1.0, 0.0), "waiting": Used(1.0, 2.0)},
            {"asleep": Used(1.001, 0.0), "waiting": Used(1.002, 2.04)},
        ]
    )
    monkeypatch.setattr(load, "times_of_workers", lambda ours: next(times))
    assert load.background().names == ("waiting",)


def test_rounding_is_no_dependence_on_company() -> None:
    def rounds(X: Tensor) -> Tensor:
        scores = X.flatten(1)[:, 20:30].double()
        scores[:, 3] = -torch.inf
        return scores * (1 + 1e-5 * len(X))

    scores = scores_of(rounds, HELD_OUT.X, DIGITS)
    assert not depends_on_company(rounds, HELD_OUT.X[:10], scores[:10], DIGITS)


def test_arrays_and_excluded_classes_are_scores() -> None:
    scores = np.array([[0.0, -np.inf], [1.0, 2.0]])
    assert torch.equal(as_scores(scores, (2, 2)), torch.from_numpy(scores))


def test_a_test_accuracy_far_above_validation_is_marked() -> None:
    numbers: dict[str, Any] = {"n_val": 143, "n_test": 360, "val_accuracy": 10.0}
    assert "val_accuracy" in marks_of(accuracy=100.0, **numbers)
    assert not marks_of(accuracy=15.0, **numbers)


def test_a_loaded_machine_is_marked_and_an_idle_or_a_waiting_one_is_not() -> None:
    loaded = marks_of(train_s=5.0, train_cpu_s=3.0, train_others=0.4)
    assert loaded == {"train_others": "loaded machine in training: CPU/wall 0.60"}
    assert not marks_of(train_s=5.0, train_cpu_s=4.9, train_others=0.03)
    assert not marks_of(train_s=5.0, train_cpu_s=0.1, train_others=0.03), "it slept"
    assert marks_of(test_cpu_share=0.5, test_others=0.5).keys() == {"test_others"}


def test_the_load_of_several_threads_is_that_of_all_their_cores() -> None:
    waited = {"train_s": 100.0, "train_cpu_s": 120.0, "train_others": 0.4}
    assert "train_others" in marks_of(threads=2, **waited)
    assert not marks_of(threads=2, **waited | {"train_cpu_s": 190.0}), "it had both cores"
    assert not marks_of(threads=2, **waited | {"train_cpu_s": 60.0}), "it waited for something else"


def test_rows_say_where_the_time_of_a_cell_went(rows: dict[str, Row]) -> None:
    measured = rows["honest"].measured
    for name in ("train_others", "test_others", "test_cpu_share", "load_average"):
        assert getattr(measured, name) is not None, name
