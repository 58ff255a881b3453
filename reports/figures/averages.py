"""Learning curves over seeds: the one rule by which figures and page average them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class SeedCurve(NamedTuple):
    """Hold the curve of one seed.

    Parameters
    ----------
    steps
        Shape (n_points,), rising: steps of the training, which all seeds count alike.
    x, accuracy
        Shape (n_points,): what had been spent by each step, and the accuracy there.
    """

    steps: np.ndarray
    x: np.ndarray
    accuracy: np.ndarray


class Curve(NamedTuple):
    """Hold the curve of a method over its seeds.

    Parameters
    ----------
    steps, x
        Shape (n_points,): steps, and the mean of what had been spent by each.
    mean, low, high
        Shape (n_points,): mean, lowest and highest accuracy at each step.
    n_seeds
        Seeds that it is of.
    """

    steps: np.ndarray
    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_seeds: int


def seed_curve(x: np.ndarray, accuracy: np.ndarray, steps: np.ndarray | None = None) -> SeedCurve:
    """Return the curve of a seed; where an older row has no steps, its points are counted."""
    if steps is None or np.isnan(steps).any():
        steps = np.arange(1, len(x) + 1)
    return SeedCurve(np.asarray(steps, float), np.asarray(x, float), np.asarray(accuracy, float))


def over_seeds(curves: Sequence[SeedCurve], n_points: int) -> Curve:
    """Average curves at common steps, between their points linearly, as far as all seeds went.

    A seed that has ended has no part in what comes later, so that the mean ends with the first.

    Parameters
    ----------
    curves
        One of each seed.
    n_points
        Points of the mean at most.
    """
    steps = common_steps([curve.steps for curve in curves], n_points)
    x = np.array([np.interp(steps, curve.steps, curve.x) for curve in curves])
    accuracy = np.array([np.interp(steps, curve.steps, curve.accuracy) for curve in curves])
    return Curve(
        steps, x.mean(0), accuracy.mean(0), accuracy.min(0), accuracy.max(0), len(accuracy)
    )


def common_steps(steps: Sequence[np.ndarray], n_points: int) -> np.ndarray:
    """Choose at most `n_points` steps of the curves: dense at the beginning, where they are steep.

    They begin where all curves have begun and end where the first of them ends.
    """
    first = max(float(each.min()) for each in steps)
    last = max(first, min(float(each.max()) for each in steps))
    inside = np.unique(steps[0][(steps[0] >= first) & (steps[0] <= last)])
    known = np.unique(np.append(inside, [first, last]))
    if len(known) <= n_points:
        return known
    places = np.linspace(0, 1, n_points) ** 1.5 * (len(known) - 1)
    return np.asarray(known[np.unique(places.round().astype(int))])
