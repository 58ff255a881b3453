"""Draw runs of methods whose accuracy is known, and the images that each run has right.

A run r has an image i right if m_i + g * z_r + e_ri > 0: images are easy or hard, runs are good or
bad, and the rest is chance; all three are normal. A method may also find other images hard than its
rival does.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import optimize, special, stats

N_NODES = 40
N_CLASSES = 50  # of images that are equally hard, where only accuracies are drawn
MOST_SPREAD = 3.0


@dataclass(frozen=True)
class Population:
    """All runs of a method on all images.

    Parameters
    ----------
    accuracy
        Mean over runs and images, in percent.
    sd
        Standard deviation over runs of the accuracy on `n_images` images, in points.
    n_images
        Test images.
    hardness
        Standard deviation of m_i over images.
    own_hardness
        The part of it that the method does not share with others.
    """

    accuracy: float = 94.0
    sd: float = 0.35
    n_images: int = 5000
    hardness: float = 2.0
    own_hardness: float = 0.0

    @cached_property
    def spread(self) -> float:
        """g, from the standard deviation over runs, of which chance has its part."""
        if not self.sd:
            return 0.0
        root = optimize.brentq(lambda g: self.sd_of(g) - self.sd, 0, MOST_SPREAD)
        return float(np.asarray(root))

    def centre(self, spread: float) -> float:
        """Mean of m_i, from the accuracy."""
        scale = (1 + self.hardness**2 + spread**2) ** 0.5
        return float(special.ndtri(self.accuracy / 100) * scale)

    def sd_of(self, spread: float) -> float:
        """Standard deviation of a run's accuracy, by Gauss's rule over runs and images."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(N_NODES)
        weights = weights / weights.sum()
        images = self.centre(spread) + self.hardness * nodes
        right = special.ndtr(images[:, None] + spread * nodes)
        of_runs = weights @ right
        mean = of_runs @ weights
        between = (of_runs - mean) ** 2 @ weights
        within = (weights @ (right * (1 - right))) @ weights
        return float(100 * (between + within / self.n_images) ** 0.5)

    def accuracies(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Draw accuracies of runs, in percent, on images that are those of the population."""
        places = (np.arange(N_CLASSES) + 0.5) / N_CLASSES
        images = self.centre(self.spread) + self.hardness * stats.norm.ppf(places)
        good = self.spread * rng.standard_normal((*shape, 1))
        n_each = self.n_images // N_CLASSES
        right = rng.binomial(n_each, special.ndtr(images + good)).sum(axis=-1)
        return np.asarray(100 * right / (n_each * N_CLASSES))

    def right(self, rng: np.random.Generator, images: np.ndarray, n_runs: int) -> np.ndarray:
        """Draw which images each run has right, shape (n_runs, n_images).

        Parameters
        ----------
        images
            How easy each image is to all methods, standard normal, shape (n_images,).
        """
        shared = (self.hardness**2 - self.own_hardness**2) ** 0.5
        easy = self.centre(self.spread) + shared * images
        easy = easy + self.own_hardness * rng.standard_normal(len(images))
        good = self.spread * rng.standard_normal((n_runs, 1))
        chance = rng.standard_normal((n_runs, len(images)), dtype=np.float32)
        return np.asarray(chance > -(easy + good))
