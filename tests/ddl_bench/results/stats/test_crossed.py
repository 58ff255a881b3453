"""Crossed random effects, against an analysis of variance written out, and in limiting cases."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from ddl_bench.results.stats.crossed import VarianceComponents, crossed
from ddl_bench.results.stats.welch import Sample, welch


def draw(n_runs: int, n_images: int, seed: int, spread: float = 0.3) -> np.ndarray:
    """Draw which images each run has right; images are easy or hard, runs good or bad."""
    rng = np.random.default_rng(seed)
    easy = rng.normal(1.5, 2, n_images)
    good = rng.normal(0, spread, (n_runs, 1))
    return easy + good + rng.normal(size=(n_runs, n_images)) > 0


def residual_mean_square(right: np.ndarray) -> float:
    """Two-way analysis of variance of runs by images, as textbooks write it, in points**2."""
    x = 100.0 * right
    of_runs = x.mean(axis=1, keepdims=True)
    of_images = x.mean(axis=0, keepdims=True)
    rest = x - of_runs - of_images + x.mean()
    return float((rest**2).sum() / ((x.shape[0] - 1) * (x.shape[1] - 1)))


def test_parts_are_those_of_the_analysis_of_variance() -> None:
    a = draw(4, 300, 0)
    b = draw(3, 300, 1)
    parts = VarianceComponents.of(a, b)
    assert parts.within_a == pytest.approx(residual_mean_square(a))
    assert parts.within_b == pytest.approx(residual_mean_square(b))
    assert parts.seeds_a == pytest.approx(np.var(100 * a.mean(axis=1), ddof=1))
    assert (parts.n_a, parts.n_b, parts.n_images) == (4, 3, 300)
    assert parts.value == pytest.approx(100 * (a.mean() - b.mean()))


def test_the_error_by_hand() -> None:
    """0.2 / 4 + 0.3 / 3 + 400 / 1000 - (100 / 4 + 90 / 3) / 1000 = 0.495."""
    parts = VarianceComponents(1.0, 0.2, 0.3, 100.0, 90.0, 400.0, 4, 3, 1000)
    result = crossed(parts)
    assert result.error**2 == pytest.approx(0.495)
    assert result.freedom == pytest.approx(0.495**2 / (0.05**2 / 3 + 0.1**2 / 2 + 0.4**2 / 999))


def test_it_is_not_below_either_part() -> None:
    runs = crossed(VarianceComponents(1.0, 0.2, 0.3, 900.0, 900.0, 400.0, 4, 3, 1000))
    assert runs.error**2 == pytest.approx(0.4)  # the images' part alone
    images = crossed(VarianceComponents(1.0, 2.0, 3.0, 900.0, 900.0, 400.0, 4, 3, 1000))
    assert images.error**2 == pytest.approx(1.5)  # the runs' part alone


def test_with_equal_images_it_is_welch() -> None:
    """Images that all runs see alike add nothing: as many as there are, none is harder."""
    a = draw(5, 400, 2)
    parts = VarianceComponents.of(a, draw(5, 400, 3))._replace(
        images=0.0, within_a=0.0, within_b=0.0
    )
    reference = welch(
        Sample(parts.value, parts.seeds_a**0.5, 5), Sample(0.0, parts.seeds_b**0.5, 5)
    )
    assert crossed(parts) == pytest.approx(reference)


def test_without_spread_over_runs_it_is_the_paired_t_test_over_images() -> None:
    a = np.repeat(draw(1, 500, 4), 5, axis=0)
    b = np.repeat(draw(1, 500, 5), 5, axis=0)
    reference = scipy_stats.ttest_rel(100.0 * a[0], 100.0 * b[0])
    result = crossed(VarianceComponents.of(a, b))
    assert result.p == pytest.approx(reference.pvalue)
    low, high = reference.confidence_interval()
    assert (result.low, result.high) == pytest.approx((low, high))
