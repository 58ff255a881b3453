"""What a comparison can see: the minimum detectable difference, and the seeds and images needed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from ddl_bench.results.stats.crossed import VarianceComponents
from ddl_bench.results.stats.roots import root
from ddl_bench.results.stats.welch import (
    LEVEL,
    MOST_FREEDOM,
    SEEDS_FOR_VERDICT,
    Sample,
    welch_freedom,
)

POWER = 0.8
MOST_SEEDS = 1_000
MOST_IMAGES = 10_000_000
SEEDS_ASKED = (5, 10, 20)  # numbers of seeds for which the images are counted


def chance(difference: Any, error: Any, freedom: Any, limit: Any) -> np.ndarray:
    """Compute the power: the chance that a true difference is found.

    P(abs(T) > limit), with T of the noncentral t distribution, difference / error.

    Parameters
    ----------
    difference, error, freedom
        The true difference, its standard error and degrees of freedom; numbers or arrays.
    limit
        Of abs(T), above which a difference counts.

    Examples
    --------
    >>> error = (2 / 64) ** 0.5  # Cohen: 64 in each group find half a standard deviation
    >>> round(float(chance(0.5, error, 126, 1.979)), 2)
    0.8
    """
    shift = np.asarray(difference / error)
    above = stats.nct.sf(limit, freedom, shift)
    below = stats.nct.sf(limit, freedom, -shift)
    return np.asarray(above + below)


def students_limit(freedom: Any) -> np.ndarray:
    """Return the limit of abs(T) of one comparison on its own."""
    return np.asarray(stats.t.ppf((1 + LEVEL) / 2, freedom))


def detectable(error: Any, freedom: Any, limit: Any = None) -> np.ndarray:
    """Compute the minimum detectable difference: the one that is found with a chance of POWER.

    Parameters
    ----------
    error, freedom
        Standard error of the difference and its degrees of freedom; numbers or arrays.
    limit
        Of abs(T), above which a difference counts; None takes that of one comparison on its own.
    """
    if limit is None:
        limit = students_limit(freedom)
    points, degrees, bound = np.broadcast_arrays(
        np.asarray(error, dtype=float), np.asarray(freedom, dtype=float), np.asarray(limit)
    )
    shift = root(
        lambda x, v, most: chance(x, 1.0, v, most) - POWER,
        np.zeros(points.shape),
        np.asarray(2 * bound + 5),
        degrees,
        bound,
    )
    return np.asarray(shift * points)


def seeds_needed(difference: float, a: Sample, b: Sample) -> int | None:
    """Count the seeds of each method that find a difference on the same images by Welch's test.

    They are at least SEEDS_FOR_VERDICT, as fewer have no verdict; None where MOST_SEEDS are not
    enough.

    Parameters
    ----------
    difference
        The true difference, in points.
    a, b
        Accuracies of the two methods, of at least 2 runs each, whose spreads are taken as true.
    """
    n = np.arange(SEEDS_FOR_VERDICT, MOST_SEEDS + 1)
    return first_enough(difference, n, a.sd**2 / n, b.sd**2 / n)


def seeds_needed_for_new_images(difference: float, parts: VarianceComponents) -> int | None:
    """Count the seeds that find a difference for new images too, with as many images as now.

    They are at least SEEDS_FOR_VERDICT; None where MOST_SEEDS are not enough: then the images are
    too few.
    """
    n = np.arange(SEEDS_FOR_VERDICT, MOST_SEEDS + 1)
    return first_enough(
        difference,
        n,
        parts.seeds_a / n,
        parts.seeds_b / n,
        images_variance(parts) / parts.n_images,
    )


def first_enough(
    difference: float, n: np.ndarray, runs_a: np.ndarray, runs_b: np.ndarray, images: float = 0.0
) -> int | None:
    """Return the first n at which squared errors of runs and images give enough power."""
    total = runs_a + runs_b
    if not difference:
        return None
    if not (total + images).any():
        return int(n[0])
    # The error over images is well known: there are many.
    share = total / (total + images)
    freedom = welch_freedom(runs_a, n, runs_b, n) / np.maximum(share, 1e-6) ** 2
    freedom = np.minimum(freedom, MOST_FREEDOM)
    powers = chance(abs(difference), np.sqrt(total + images), freedom, students_limit(freedom))
    enough = np.flatnonzero(powers >= POWER)
    return int(n[enough[0]]) if len(enough) else None


def images_variance(parts: VarianceComponents) -> float:
    """Return the variance between images of the difference of the methods themselves."""
    chance_part = parts.within_a / parts.n_a + parts.within_b / parts.n_b
    return max(0.0, parts.images - chance_part)


def images_needed(difference: float, parts: VarianceComponents, n_seeds: int) -> int | None:
    """Count the images that, with so many seeds of each method, find a difference for new images.

    None where MOST_IMAGES are not enough: then the seeds are too few.

    Parameters
    ----------
    difference
        The true difference, in points.
    parts
        The variances of the comparison at hand.
    n_seeds
        Seeds of each method.
    """
    # The variance between runs has a part of the images that they were counted on.
    seeds_a = max(0.0, parts.seeds_a - parts.within_a / parts.n_images)
    seeds_b = max(0.0, parts.seeds_b - parts.within_b / parts.n_images)
    n_images = np.unique(np.geomspace(10, MOST_IMAGES, 2_000).round())
    runs_a = (seeds_a + parts.within_a / n_images) / n_seeds
    runs_b = (seeds_b + parts.within_b / n_images) / n_seeds
    images = images_variance(parts) / n_images
    error2 = runs_a + runs_b + images
    if not difference:
        return None
    freedom = error2**2 / np.maximum((runs_a**2 + runs_b**2) / (n_seeds - 1), 1e-30)
    freedom = np.minimum(freedom, MOST_FREEDOM)
    powers = chance(abs(difference), np.sqrt(error2), freedom, students_limit(freedom))
    enough = np.flatnonzero(powers >= POWER)
    return int(n_images[enough[0]]) if len(enough) else None


@dataclass(frozen=True)
class Needed:
    """Seeds and images that would separate two methods with a chance of POWER.

    Parameters
    ----------
    difference
        The difference to be found, in points.
    seeds
        Seeds of each method, on the same test images; at least as many as a verdict needs.
    seeds_new_images
        The same for new images too, with as many images as now; None where no number is enough.
    images
        Images for a conclusion about new images, by the number of seeds; None where no number is
        enough, and empty without kept predictions.
    """

    difference: float
    seeds: int | None
    seeds_new_images: int | None
    images: dict[int, int | None]


def needed(difference: float, a: Sample, b: Sample, parts: VarianceComponents | None) -> Needed:
    """Compute what would separate two methods.

    Parameters
    ----------
    difference
        The true difference, in points.
    a, b
        Accuracies of the two methods, of at least 2 runs each.
    parts
        Variances over runs and images; None without kept predictions.
    """
    seeds = seeds_needed(difference, a, b)
    if parts is None:
        return Needed(difference, seeds, None, {})
    images = {n: images_needed(difference, parts, n) for n in SEEDS_ASKED}
    return Needed(difference, seeds, seeds_needed_for_new_images(difference, parts), images)
