"""The clock of what a method does outside of its training: it works, it does not compile."""

import time
from typing import Any

import numba
import pytest

from ddl_bench.api import Budget
from ddl_bench.harness.checkpoint import Mark
from ddl_bench.harness.clock import CellDeadline, Stopwatch, Timing, WorkClock
from ddl_bench.harness.evaluate import are_stale, standing_of


def test_compiling_is_no_work() -> None:
    root: Any = numba.njit(lambda x: x**0.5)
    begin = time.perf_counter()
    clock = WorkClock("cpu")
    clock.start()
    root(2.0)
    passed_s = time.perf_counter() - begin
    before_stop_s = clock.seconds
    clock.stop()
    assert passed_s > 0.02, "numba has compiled"
    assert before_stop_s < passed_s / 2
    assert clock.seconds < passed_s / 2


def test_work_beside_compiling_counts() -> None:
    double: Any = numba.njit(lambda x: 2 * x)
    clock = WorkClock("cpu")
    clock.start()
    double(1.0)
    time.sleep(0.3)
    with clock.paused():
        time.sleep(0.3)
    double(2.0)
    clock.stop()
    assert 0.3 <= clock.seconds < 0.6


def test_a_reported_share_only_grows_and_ends_no_training() -> None:
    deadline = CellDeadline(Stopwatch("cpu"), None)
    told: list[Any] = [float("nan"), -1, 0.5, 0.1, "half", None, float("inf")]
    for share in told:
        deadline.report(share)
    assert deadline.reported.share == 0.5
    deadline.report(2)
    assert deadline.reported.share == 1


def remaining_s(
    mark: Mark, budget: Budget, *, n_points: int = 1, earlier_s: float = 0.0, share: float = 0.0
) -> float | None:
    deadline = CellDeadline(Stopwatch("cpu"), budget.seconds)
    deadline.report(share)
    return standing_of(mark, deadline, budget, n_points, earlier_s, mark.train_s).remaining_s


@pytest.mark.parametrize("budget", [Budget(epochs=100), Budget(seconds=600)])
def test_nothing_remains_of_a_training_that_has_ended_early(budget: Budget) -> None:
    ended = Mark(more=False, n_advances=1, train_s=4.0)
    assert remaining_s(ended, budget) == 0


def test_the_points_of_a_grid_that_are_left_have_their_budgets() -> None:
    budget = Budget(seconds=20)
    third = Mark(index=2, train_s=1.0)
    assert remaining_s(third, budget, n_points=4, earlier_s=4.0) == 19 + 20
    third.more = False
    assert remaining_s(third, budget, n_points=4, earlier_s=4.0) == 20


def test_a_rest_that_takes_longer_than_it_should_is_unknown() -> None:
    budget = Budget(epochs=2)
    half = Mark(n_advances=1, train_s=4.0)
    deadline = CellDeadline(Stopwatch("cpu"), None)
    left = [standing_of(half, deadline, budget, 1, 0.0, s).remaining_s for s in (4.0, 7.0, 9.0)]
    assert left == [4.0, 1.0, None]


def test_a_share_that_is_next_to_nothing_says_nothing_about_the_rest() -> None:
    assert remaining_s(Mark(train_s=4.0), Budget(epochs=50), share=2.3e-308) is None


@pytest.mark.parametrize(
    ("in_batches", "alone", "n_alone", "expected"),
    [
        (0.9, 0.4, 5, False),  # two of five images, which noise may do
        (0.9, 0.2, 5, True),
        (1.0, 0.8, 5, False),
        (1.0, 0.2, 5, True),
        (0.9, 0.5, 200, True),
        (0.9, 0.9, 200, False),
        (0.4, 1.0, 5, True),
    ],
)
def test_few_single_images_that_noise_changes_are_no_kept_answers(
    in_batches: float, alone: float, n_alone: int, expected: bool
) -> None:
    timing = Timing(1e-3, 0.0, in_batches, 5)
    assert are_stale(timing, Timing(1e-3, 0.0, alone, n_alone)) is expected
