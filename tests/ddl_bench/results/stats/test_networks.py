"""What holds for trained networks alone: McNemar and the bootstrap over images."""

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar

from ddl_bench.results.stats.networks import mcnemar, paired_bootstrap, these_networks


def mask(n_images: int, *right: int) -> np.ndarray:
    """Which of the images are right."""
    is_right = np.zeros(n_images, dtype=bool)
    is_right[list(right)] = True
    return is_right


def test_mcnemar_by_hand_and_by_statsmodels() -> None:
    a = mask(100, *range(9), *range(50, 60))  # 9 right by a alone
    b = mask(100, 9, *range(50, 60))  # 1 right by b alone
    assert mcnemar(a, b) == pytest.approx(2 * (1 + 10) / 2**10)
    assert mcnemar(a, b) == pytest.approx(reference_mcnemar([[10, 9], [1, 80]], exact=True).pvalue)
    assert mcnemar(a, a) == 1


def test_paired_bootstrap_is_that_of_scipy() -> None:
    difference = np.random.default_rng(0).choice(
        [-100.0, 0.0, 50.0, 100.0], size=300, p=[0.02, 0.85, 0.08, 0.05]
    )
    drawn = scipy_stats.bootstrap(
        (difference,),
        np.mean,
        n_resamples=10_000,
        method="percentile",
        rng=np.random.default_rng(1),
    )
    low, high, p = paired_bootstrap(difference)
    assert (low, high) == pytest.approx(tuple(drawn.confidence_interval), abs=0.5)
    assert p == pytest.approx(2 * (drawn.bootstrap_distribution <= 0).mean(), abs=0.004)


def test_paired_bootstrap_of_equal_methods_and_of_opposite_signs() -> None:
    assert paired_bootstrap(np.zeros(50)) == (0, 0, 1)
    difference = np.repeat([100.0, 0.0, -100.0], [30, 60, 10])
    result = paired_bootstrap(difference)
    mirrored = paired_bootstrap(-difference)
    assert result[:2] == pytest.approx((-mirrored.high, -mirrored.low), abs=1.01)
    assert result.p == pytest.approx(mirrored.p, abs=0.002)
    assert result.p < 0.05


def test_networks_are_compared_over_images() -> None:
    right = np.array(
        [[mask(20, *range(12)), mask(20, *range(10))], [mask(20, *range(11)), mask(20, *range(10))]]
    )
    result = these_networks((0, 1), right)
    assert (result.seeds, result.n_images) == ((0, 1), 20)
    assert result.difference == pytest.approx(7.5)
    assert result.p_mcnemar == pytest.approx((0.5, 1.0))  # two by one alone: 2 / 2^2; one: 1
    each = np.repeat([100.0, 50.0, 0.0], [1, 1, 18])  # both seeds, one seed, none
    assert (result.low, result.high, result.p) == pytest.approx(paired_bootstrap(each))
