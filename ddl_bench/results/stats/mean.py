"""The interval of one method's accuracy, for new runs and new images."""

from typing import NamedTuple

import pandas as pd
from scipy import stats

from ddl_bench.results.stats.welch import LEVEL, SEEDS_FOR_INTERVAL, Sample

NO_BASIS = ""


class Interval(NamedTuple):
    """An interval at 95 %, and what it rests on."""

    low: float
    high: float
    basis: str


def mean_interval(values: "pd.Series[float]", n_images: float) -> Interval:
    """Compute the interval of an accuracy for new runs and new images.

    mean ± t(0.975, v) * sqrt(s**2 / S + p * (1 - p) / n), with p the mean, s the standard deviation
    over S seeds, n images, and Satterthwaite's v. With fewer than SEEDS_FOR_INTERVAL seeds, or all
    images right or all wrong, it is Wilson's interval over images, which says nothing about other
    runs: its basis begins with "this network" or "these". NaN where there is no value.

    Parameters
    ----------
    values
        Accuracy of each seed, in percent.
    n_images
        Test images; NaN where unknown.
    """
    if not len(values) or not n_images >= 1:  # unknown is NaN
        return Interval(float("nan"), float("nan"), NO_BASIS)
    runs = Sample.of(values.tolist())
    images2 = runs.mean * (100 - runs.mean) / n_images
    if runs.n < SEEDS_FOR_INTERVAL or not images2:
        return interval_over_images(runs, n_images)
    error2 = runs.error2 + images2
    uncertain = runs.error2**2 / (runs.n - 1) + images2**2 / max(n_images - 1, 1)
    half = float(stats.t.ppf((1 + LEVEL) / 2, error2**2 / uncertain)) * error2**0.5
    low = max(runs.mean - half, 0.0)
    high = min(runs.mean + half, 100.0)
    return Interval(low, high, f"{runs.n} seeds, {n_images:,.0f} images")


def interval_over_images(runs: Sample, n_images: float) -> Interval:
    """Compute Wilson's interval of the share of images that these networks have right."""
    n_right = round(runs.mean / 100 * n_images)
    share = stats.binomtest(n_right, int(n_images)).proportion_ci(LEVEL, method="wilson")
    networks = "this network" if runs.n == 1 else f"these {runs.n} networks"
    return Interval(100 * share.low, 100 * share.high, f"{networks}, {n_images:,.0f} images")
