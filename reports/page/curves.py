"""Accuracy while training, thinned: a few points a line, each the mean and range over seeds."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

import numpy as np

from ddl_bench.results.groups import Group
from ddl_bench.results.rows import Row
from reports.figures.averages import over_seeds, seed_curve

Read = Callable[[Row], Mapping[str, np.ndarray]]
MOST_READ = 1_000  # rows whose curves are read: a file each
MOST_POINTS = 24  # of a line
LEAST_POINTS = 6
POINTS_IN_ALL = 12_000


class Curve(TypedDict):
    """Hold the curve of a line of the table, a list for each quantity, with one value a point.

    Parameters
    ----------
    split
        Which images the accuracy is of.
    n
        Seeds behind it.
    seconds, passes
        Means over seeds; passes are empty where a method does not count them.
    n_train
        Images of one pass.
    mean, low, high
        Accuracy in percent over seeds: its mean, its least and its highest value.
    """

    split: str
    n: int
    seconds: list[float]
    passes: list[float]
    n_train: int
    mean: list[float]
    low: list[float]
    high: list[float]


def curves_of(groups: Sequence[Group], read: Read) -> list[Curve | None]:
    """Return the curve of each line; None where none was kept, or where the lines are too many."""
    n_lines = max(1, len(groups))
    n_seeds = max(1, MOST_READ // n_lines)
    n_points = int(np.clip(POINTS_IN_ALL // n_lines, LEAST_POINTS, MOST_POINTS))
    with_curve = [curve_of(group.ok[:n_seeds], read, n_points) for group in groups[:MOST_READ]]
    return with_curve + [None] * (len(groups) - len(with_curve))


def curve_of(rows: Sequence[Row], read: Read, n_points: int) -> Curve | None:
    """Average the curves of the seeds of a line, as the figures do."""
    stored = [(row, read(row)) for row in rows]
    kept = [(row, arrays) for row, arrays in stored if len(arrays.get("curve_seconds", ()))]
    if not kept:
        return None
    seeds = []
    for _, arrays in kept:
        seconds, accuracy = arrays["curve_seconds"], arrays["curve_accuracy"]
        seeds.append(seed_curve(seconds, accuracy, arrays.get("curve_step")))
    average = over_seeds(seeds, n_points)
    first, arrays = kept[0]
    passes: list[float] = []
    n_steps = float(seeds[0].steps.max())
    if first.measured.passes and n_steps > 0:
        each = first.measured.passes / n_steps
        passes = short_numbers(average.steps * each)
    return {
        "split": str(arrays["curve_split"]),
        "n": average.n_seeds,
        "seconds": short_numbers(average.x),
        "passes": passes,
        "n_train": first.measured.n_train or 0,
        "mean": short_numbers(average.mean),
        "low": short_numbers(average.low),
        "high": short_numbers(average.high),
    }


def short_numbers(values: np.ndarray) -> list[float]:
    """Return values with five digits, as a short list."""
    return [float(f"{value:.5g}") for value in values]
