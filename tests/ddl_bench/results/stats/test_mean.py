"""The interval of one accuracy."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from ddl_bench.results.stats.mean import mean_interval


def test_the_interval_covers_seeds_and_images_by_hand() -> None:
    """Seeds: 1 / 3; images: 91 * 9 / 1000 = 0.819; v = 1.152^2 / (0.333^2 / 2 + 0.819^2 / 999)."""
    low, high, basis = mean_interval(pd.Series([90.0, 91.0, 92.0]), 1000)
    error2 = 1 / 3 + 0.819
    freedom = error2**2 / ((1 / 3) ** 2 / 2 + 0.819**2 / 999)
    half = scipy_stats.t.ppf(0.975, freedom) * error2**0.5
    assert (low, high) == pytest.approx((91 - half, 91 + half))
    assert basis == "3 seeds, 1,000 images"
    assert mean_interval(pd.Series([99.0, 99.5, 100.0]), 100).high == 100  # none lies above


def test_with_endless_images_it_is_students() -> None:
    values = pd.Series([90.0, 91.0, 93.5])
    expected = scipy_stats.t.interval(0.95, 2, loc=values.mean(), scale=scipy_stats.sem(values))
    assert mean_interval(values, 1e12)[:2] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("n_seeds", "basis"), [(1, "this network"), (2, "these 2 networks")])
def test_few_seeds_are_networks_with_wilsons_interval(n_seeds: int, basis: str) -> None:
    interval = mean_interval(pd.Series([85.0] * n_seeds), 200)
    share = scipy_stats.binomtest(170, 200).proportion_ci(method="wilson")
    assert interval[:2] == pytest.approx((100 * share.low, 100 * share.high))
    assert interval.basis == f"{basis}, 200 images"


def test_no_error_at_all_is_still_no_certainty() -> None:
    assert mean_interval(pd.Series([100.0] * 5), 360).low == pytest.approx(98.9, abs=0.1)


def test_no_value_has_no_interval() -> None:
    low, high, basis = mean_interval(pd.Series([1.0])[:0], float("nan"))
    assert np.isnan([low, high]).all()
    assert basis == ""


def test_an_unknown_number_of_images_has_no_interval_and_one_image_has() -> None:
    assert np.isnan(mean_interval(pd.Series([50.0] * 4), float("nan")).low)
    single = mean_interval(pd.Series([0.0, 100.0, 100.0]), 1)
    assert 0 <= single.low < single.high <= 100
