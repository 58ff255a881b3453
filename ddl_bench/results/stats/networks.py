"""Two sets of trained networks on the same images: what holds for these networks alone."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import stats

N_RESAMPLES = 10_000
TAILS = (0.025, 0.975)  # of an interval at 95 %


@dataclass(frozen=True)
class TheseNetworks:
    """Difference of networks on their test images, averaged over the seeds that both have.

    It says what other images would change, and nothing about other trainings: no verdict on
    methods follows from it.

    Parameters
    ----------
    seeds
        Seeds that both methods have, with predictions on the same images.
    n_images
        Test images.
    difference, low, high, p
        a - b in points, its 95 % interval and p by a paired bootstrap over images.
    p_mcnemar
        McNemar's exact p of each seed.
    """

    seeds: tuple[int, ...]
    n_images: int
    difference: float
    low: float
    high: float
    p: float
    p_mcnemar: tuple[float, ...]


class Bootstrap(NamedTuple):
    """Interval at 95 % of a mean difference, and the two-sided p of no difference."""

    low: float
    high: float
    p: float


def these_networks(seeds: tuple[int, ...], right: np.ndarray) -> TheseNetworks:
    """Compare networks by the images that they have right.

    Parameters
    ----------
    seeds
        The seeds of the pairs.
    right
        Which images the pair of each seed has right, shape (n_seeds, 2, n_images).
    """
    difference = 100 * (right[:, 0].mean(axis=0) - right[:, 1].mean(axis=0))
    bootstrap = paired_bootstrap(difference)
    p_mcnemar = tuple(mcnemar(*pair) for pair in right)
    mean = float(difference.mean())
    return TheseNetworks(seeds, right.shape[2], mean, *bootstrap, p_mcnemar)


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> float:
    """Compute McNemar's exact two-sided p.

    Of the images that one network alone has right, each network has half by chance.

    Parameters
    ----------
    right_a, right_b
        Which images each network has right, shape (n_images,), boolean.
    """
    n_only_a = int((right_a & ~right_b).sum())
    n_only_b = int((right_b & ~right_a).sum())
    return sign_test(n_only_a, n_only_a + n_only_b)


@lru_cache(maxsize=10_000)  # pairs of thousands of seeds differ in few counts
def sign_test(n_ahead: int, n: int) -> float:
    """Compute the two-sided p of so many out of n, each by chance as likely as not."""
    return float(stats.binomtest(n_ahead, n).pvalue) if n else 1.0


def paired_bootstrap(difference: np.ndarray) -> Bootstrap:
    """Resample images to find how far their mean difference may be from zero.

    The interval is the percentile interval; p = 2 min(P(mean <= 0), P(mean >= 0)), never below
    2 / (N_RESAMPLES + 1).

    Parameters
    ----------
    difference
        Difference of each image, shape (n_images,).
    """
    n_images = len(difference)
    # There are few distinct values, so that a multinomial draw of their counts resamples them.
    values, counts = np.unique(difference, return_counts=True)
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(n_images, counts / n_images, size=N_RESAMPLES)
    # Without rounding a zero might have a sign.
    means = np.round(drawn @ values / n_images, 9)
    low, high = np.quantile(means, TAILS).tolist()
    n_beyond = min((means <= 0).sum(), (means >= 0).sum())
    return Bootstrap(low, high, float(min(1, 2 * (n_beyond + 1) / (N_RESAMPLES + 1))))
