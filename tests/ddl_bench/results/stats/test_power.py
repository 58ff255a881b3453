"""Minimum detectable differences, and the seeds and images needed, against textbooks."""

import numpy as np
import pytest
from statsmodels.stats.power import TTestIndPower

from ddl_bench.results.stats.crossed import VarianceComponents, crossed
from ddl_bench.results.stats.power import (
    chance,
    detectable,
    images_needed,
    needed,
    seeds_needed,
    seeds_needed_for_new_images,
    students_limit,
)
from ddl_bench.results.stats.welch import SEEDS_FOR_VERDICT, Sample


def test_cohens_64_in_each_group_find_half_a_standard_deviation() -> None:
    assert detectable((2 / 64) ** 0.5, 126.0) == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize("n", [3, 5, 10, 50])
def test_detectable_is_that_of_statsmodels(n: int) -> None:
    expected = TTestIndPower().solve_power(nobs1=n, power=0.8, alpha=0.05)
    assert detectable((2 / n) ** 0.5, 2.0 * (n - 1)) == pytest.approx(expected, rel=1e-4)


def test_detectable_has_the_power_it_promises() -> None:
    freedom = np.array([2.0, 6.3, 400.0])
    limit = students_limit(freedom) * 1.3  # of a family
    points = detectable(0.2, freedom, limit)
    assert chance(points, 0.2, freedom, limit) == pytest.approx([0.8] * 3, abs=1e-5)
    assert (points > detectable(0.2, freedom)).all()


@pytest.mark.parametrize("difference", [0.05, 0.2, 0.5, 1.0])
def test_seeds_are_those_of_statsmodels(difference: float) -> None:
    exact = TTestIndPower().solve_power(effect_size=difference / 0.35, power=0.8, alpha=0.05)
    sample = Sample(90.0, 0.35, 5)
    assert seeds_needed(difference, sample, sample) == max(SEEDS_FOR_VERDICT, int(np.ceil(exact)))


def test_what_no_number_finds_is_none() -> None:
    sample = Sample(90.0, 0.35, 5)
    assert seeds_needed(0.0, sample, sample) is None
    assert seeds_needed(1e-3, sample, sample) is None


def test_seeds_cannot_make_up_for_images() -> None:
    """Images vary by 300 / 1000 points**2: 0.55 points of error whatever the seeds are."""
    parts = VarianceComponents(1.0, 0.1, 0.1, 50.0, 50.0, 320.0, 5, 5, 1000)
    assert seeds_needed_for_new_images(1.0, parts) is None
    assert seeds_needed_for_new_images(3.0, parts) == SEEDS_FOR_VERDICT  # 2 would find it
    need = needed(1.0, Sample(90.0, 0.3, 5), Sample(89.0, 0.3, 5), parts)
    assert need.seeds == SEEDS_FOR_VERDICT  # 1.0 of 0.3: 3 seeds would find it
    with_5 = need.images[5] or 0
    with_20 = need.images[20] or 0
    assert 1000 < with_20 < with_5


def test_the_images_that_are_needed_give_the_power() -> None:
    """With so many images the error of the crossed comparison is that of the power of 80 %."""
    parts = VarianceComponents(1.0, 0.12, 0.12, 100.0, 100.0, 340.0, 5, 5, 1000)
    n = images_needed(1.0, parts, 10) or 0
    seeds = 0.12 - 100 / 1000 + 100 / n  # of new runs on n images
    later = crossed(VarianceComponents(1.0, seeds, seeds, 100.0, 100.0, 300 + 20.0, 10, 10, n))
    points = detectable(later.error, later.freedom)
    assert points == pytest.approx(1.0, rel=0.01)


def test_steady_methods_need_images_alone() -> None:
    parts = VarianceComponents(0.5, 0.0, 0.0, 0.0, 0.0, 300.0, 5, 5, 5000)
    need = needed(0.5, Sample(90.0, 0.0, 5), Sample(89.5, 0.0, 5), parts)
    assert need.seeds == SEEDS_FOR_VERDICT
    assert need.images[5] == need.images[20] == pytest.approx(300 * (2.8016 / 0.5) ** 2, rel=0.01)
