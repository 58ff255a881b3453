"""Two methods for new runs and new images: crossed random effects of runs and images.

The accuracy of a method varies because runs differ and because images do. Runs and images are
crossed: each run classifies each image. The variance of a difference therefore has one part for
each set of runs, one for the images, and the chance of single runs on single images, which both
of the others contain.
"""

from typing import NamedTuple, Self

import numpy as np

from ddl_bench.results.stats.welch import LEVEL, MOST_FREEDOM, Difference, students


class VarianceComponents(NamedTuple):
    """Variances of the accuracies of two methods, in points**2.

    Parameters
    ----------
    value
        The difference a - b.
    seeds_a, seeds_b
        Variances between runs of each method, of the accuracies over the images at hand.
    within_a, within_b
        Variances of one run on one image, beyond what the run and the image are.
    images
        Variance between images of the difference of the mean over runs.
    n_a, n_b, n_images
        Runs of each method, and images.
    """

    value: float
    seeds_a: float
    seeds_b: float
    within_a: float
    within_b: float
    images: float
    n_a: int
    n_b: int
    n_images: int

    @classmethod
    def of(cls, right_a: np.ndarray, right_b: np.ndarray) -> Self:
        """Take the parts from which images each run has right, shapes (n_runs, n_images)."""
        n_a, n_images = right_a.shape
        share_a = right_a.mean(axis=0)
        share_b = right_b.mean(axis=0)
        seeds_a = float(np.var(100 * right_a.mean(axis=1), ddof=1))
        seeds_b = float(np.var(100 * right_b.mean(axis=1), ddof=1))
        difference = 100 * (share_a - share_b)
        return cls(
            float(difference.mean()),
            seeds_a,
            seeds_b,
            within(share_a, n_a, seeds_a),
            within(share_b, len(right_b), seeds_b),
            float(np.var(difference, ddof=1)),
            n_a,
            len(right_b),
            n_images,
        )


def within(share: np.ndarray, n_runs: int, seeds: float) -> float:
    """Compute the variance of single runs on single images, in points**2.

    It is the residual mean square of the analysis of variance in two ways, runs by images:
    n / (n - 1) * (mean over images of the variance over runs - variance between runs).
    """
    n_images = len(share)
    of_images = 1e4 * n_runs / (n_runs - 1) * float((share * (1 - share)).mean())
    return max(0.0, n_images / (n_images - 1) * (of_images - seeds))


def crossed(parts: VarianceComponents, level: float = LEVEL) -> Difference:
    """Compare two methods for new runs and new images.

    error**2 = s_a**2 / S_a + s_b**2 / S_b + s_img**2 / n - (w_a / S_a + w_b / S_b) / n, where s_a
    and s_b are the spreads over runs, s_img that of the difference over images, and w the variance
    within an image, which the first parts count twice. It is not below the runs' part, nor below
    the images'. Degrees of freedom are those of Satterthwaite.

    Parameters
    ----------
    parts
        Of at least 2 runs of each method.
    level
        Coverage of the interval.
    """
    runs_a = parts.seeds_a / parts.n_a
    runs_b = parts.seeds_b / parts.n_b
    images = parts.images / parts.n_images
    twice = (parts.within_a / parts.n_a + parts.within_b / parts.n_b) / parts.n_images
    error2 = max(runs_a + runs_b + images - twice, runs_a + runs_b, images)
    uncertain = (
        runs_a**2 / (parts.n_a - 1) + runs_b**2 / (parts.n_b - 1) + images**2 / (parts.n_images - 1)
    )
    freedom = error2**2 / uncertain if uncertain else MOST_FREEDOM
    return students(parts.value, error2**0.5, freedom, level)
