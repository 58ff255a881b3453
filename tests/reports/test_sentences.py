"""Values in sentences: each mark gives the number of the rows, its interval and its seeds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddl_bench.errors import UserError
from reports.sentences import value, with_values
from tests.conftest import make_cell, put

N_IMAGES = 1000


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A run of lines with 5 seeds, 2 seeds and 1 seed."""
    levels: dict[str, list[float]] = {
        "a": [85.0, 85.4, 85.8, 86.2, 86.6],
        "b": [80.0, 80.4, 80.8, 81.2, 81.6],
    }
    levels |= {"two": [70.0, 72.0], "one": [60.0]}
    for label, accuracies in levels.items():
        for seed, accuracy in enumerate(accuracies):
            right = np.arange(N_IMAGES) < round(accuracy / 100 * N_IMAGES)
            seconds = 4.0 if label == "b" else 2.0
            measured: dict[str, Any] = {
                "train_s": seconds,
                "reconstruction": 0.295,
                "recovered": accuracy / 2,
            }
            put(tmp_path / "run", make_cell(label, seed), right, **measured)
    return tmp_path


@pytest.mark.parametrize(
    ("mark", "text"),
    [
        # by hand: standard deviation 0.6325, error 0.2828, t(0.975, 4) = 2.776
        ("run: a", "85.80 % (95 %: 85.01 to 86.59; 5 seeds)"),
        # error 0.4, t(0.975, 8) = 2.306
        ("run: a - b", "+5.00 points (95 %: +4.08 to +5.92; 5 seeds)"),
        ("run: b - a", "-5.00 points (95 %: -5.92 to -4.08; 5 seeds)"),
        (
            "run: b - a by seed",
            "-5.00, -5.00, -5.00, -5.00 and -5.00 points (seeds 0, 1, 2, 3 and 4)",
        ),
        ("run: a - two by seed", "+15.00 and +13.40 points (seeds 0 and 1)"),
        ("run: a - two", "+14.80 points (5 and 2 seeds)"),
        ("run: two - one", "+11.00 points (2 and 1 seeds: single networks)"),
        ("run: two", "71.00 % (2 seeds)"),
        ("run: one", "60.00 % (a single network)"),
        ("run: a - b - two + one", "-6.00 points (5, 5, 2 and 1 seeds: single networks)"),
        ("run: b / a of train_s", "2.00 times (the same for 5 seeds)"),
        ("run: one / two of train_s", "1.00 times (1 and 2 seeds: single networks)"),
        ("run/digits: a - b of recovered", "+2.50 points (95 %: +2.04 to +2.96; 5 seeds)"),
        (
            "run: a - two by seed of recovered",
            "+7.50 and +6.70 points (seeds 0 and 1)",
        ),
        ("run: a - b - two + b", "+14.80 points (5 and 2 seeds)"),
        ("run: b of train_s", "4 s"),
        ("run: b of reconstruction", "29.5 %"),
    ],
)
def test_a_value(results: Path, mark: str, text: str) -> None:
    assert value(mark, results) == text


@pytest.mark.parametrize(
    "mark",
    [
        "a",
        "run: c",
        "run: a - c",
        "gone: a",
        "run/others: a",
        "run: a of test_latency_s",
        "run: a of nothing",
        "run: a / b",
        "run: a by seed",
        "run: a / b / b of train_s",
        "run: a - b of train_s",
        "run: a - b of reconstruction",
        "run: a - b by seed of train_s",
        "run: a + b by seed",
        "run: a / b by seed of train_s",
        "run: a - a",
    ],
)
def test_a_mark_without_rows_is_refused(results: Path, mark: str) -> None:
    with pytest.raises(
        UserError, match=r"expected|no rows|have no|no column|ratio|not in points|cancel"
    ):
        value(mark, results)


def test_lines_of_two_data_sets_are_refused_unless_one_is_named(results: Path) -> None:
    put(results / "run", make_cell("c", dataset="letters"))
    with pytest.raises(UserError, match="several data sets or splits, digits and letters: expect"):
        value("run: a - c", results)
    assert value("run/letters: c", results) == "50.00 % (a single network)"


def test_missing_seeds_stand_in_brackets(results: Path) -> None:
    for seed, status in ((1, "diverged"), (2, "failed")):
        put(results / "run", make_cell("one", seed), status=status, reason="no luck")
    lost = "one has 1 of 5 seeds: 1 diverged, 1 failed, 2 not run"
    assert value("run: one", results) == f"60.00 % (a single network; {lost})"
    assert value("run: one of train_s", results) == f"2 s ({lost})"
    assert value("run: b - one by seed", results) == f"+20.00 points (seed 0; {lost})"


def test_times_of_a_run_that_was_made_beside_other_work_are_refused(results: Path) -> None:
    (results / "run").rename(results / "matched")
    for mark in ("matched: b / a of train_s", "matched: b of train_s"):
        with pytest.raises(UserError, match="train_s of matched: a run that was made beside"):
            value(mark, results)
    assert value("matched: b of reconstruction", results) == "29.5 %"


def test_a_mark_that_begins_a_line_is_refused(results: Path) -> None:
    with pytest.raises(UserError, match="begins a line"):
        with_values("It is\n  <!-- value run: a --><!-- /value -->.", results)


@pytest.mark.parametrize(
    "text",
    [
        "It has <!-- value run: a -->1.\n\nMore, and <!-- value run: b -->2<!-- /value -->.",
        "It has <!-- value run: a -->1.",
        "It has <!-- value run: a-->1<!-- /value -->.",
        "It has <!--value run: a -->1<!-- /value -->.",
        "It has 1<!-- /value -->.",
    ],
)
def test_a_mark_that_is_not_whole_is_refused(results: Path, text: str) -> None:
    with pytest.raises(UserError, match="expected <!-- value RUN: WHAT -->"):
        with_values(text, results)


def test_marks_of_a_text_are_renewed_and_the_rest_stays(results: Path) -> None:
    old = "A metric gives <!-- value run: a - b -->old<!-- /value --> here."
    new = with_values(old, results)
    assert new.startswith("A metric gives <!-- value run: a - b -->+5.00 points (95 %")
    assert new.endswith("<!-- /value --> here.")
    assert with_values(new, results) == new
