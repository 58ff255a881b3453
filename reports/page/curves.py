"""Accuracy while training, thinned: a few points a line, each the mean and range over seeds."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

import numpy as np

from ddl_bench.results.groups import Group
from ddl_bench.results.rows import Row

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
    """Average the curves of the seeds of a line at common steps, as far as all seeds went."""
    stored = [(row, with_steps(read(row))) for row in rows]
    kept = [(row, arrays) for row, arrays in stored if len(arrays["curve_step"])]
    if not kept:
        return None
    steps = common_steps([arrays["curve_step"] for _, arrays in kept], n_points)
    seconds = at_steps(steps, [arrays for _, arrays in kept], "curve_seconds")
    accuracy = at_steps(steps, [arrays for _, arrays in kept], "curve_accuracy")
    first, arrays = kept[0]
    passes: list[float] = []
    if first.measured.passes:
        each = first.measured.passes / float(arrays["curve_step"].max())
        passes = compact(steps * each)
    return {
        "split": str(arrays["curve_split"]),
        "n": len(kept),
        "seconds": compact(seconds.mean(axis=0)),
        "passes": passes,
        "n_train": first.measured.n_train or 0,
        "mean": compact(accuracy.mean(axis=0)),
        "low": compact(accuracy.min(axis=0)),
        "high": compact(accuracy.max(axis=0)),
    }


def with_steps(arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Return the arrays of a curve; where an older row has no steps, its points are counted."""
    n_points = len(arrays.get("curve_seconds", ()))
    return {"curve_step": np.arange(1, n_points + 1)} | dict(arrays)


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


def at_steps(steps: np.ndarray, kept: Sequence[Mapping[str, np.ndarray]], name: str) -> np.ndarray:
    """Return an array of each curve at some steps, shape (n_seeds, n_steps)."""
    return np.array([np.interp(steps, arrays["curve_step"], arrays[name]) for arrays in kept])


def compact(values: np.ndarray) -> list[float]:
    """Return values with five digits, as a short list."""
    return [float(f"{value:.5g}") for value in values]
