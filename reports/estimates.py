"""Values of committed rows with their intervals: of a line, of a difference, of a ratio.

A line is the rows of one label of a run. The unit is the training run: below 3 seeds a value has no
interval.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ddl_bench.results.groups import Group, gather
from ddl_bench.results.rows import load_rows
from ddl_bench.results.stats.replication import Term, contrast
from ddl_bench.results.stats.welch import SEEDS_FOR_INTERVAL, Sample, students, welch

RESULTS = Path(__file__).parents[1] / "docs" / "results"


class Estimate(NamedTuple):
    """A value with its interval, which is empty below 3 seeds, and the number of seeds."""

    value: float
    low: float | None
    high: float | None
    n_seeds: int


def lines_of(run: Path, names: Sequence[str], dataset: str = "") -> dict[str, Group]:
    """Find the lines of a run that have rows, by their label; of one data set where it is given."""
    lines: dict[str, Group] = {}
    for group in gather(load_rows(run)) if run.is_dir() else []:
        label = group.cell.label
        if label not in names or not group.ok or dataset not in ("", group.dataset):
            continue
        if label in lines:
            raise ValueError(f"{run}: {label} names several lines")
        lines[label] = group
    return lines


def sample_of(group: Group, column: str = "") -> Sample:
    """Summarise a column of a line.

    Without one: its accuracies, on the official test images where these are apart.

    Raises
    ------
    ValueError
        If the rows do not have the column.
    """
    if not column:
        official = group.values("official_accuracy")
        column = "accuracy" if official.empty else "official_accuracy"
    return Sample.of(numbers_of(group, column).tolist())


def numbers_of(group: Group, column: str) -> "pd.Series[float]":
    """Return a measured column of a line, at least one number.

    Raises
    ------
    ValueError
        If the rows do not have the column.
    """
    values = group.values(column)
    if values.empty:
        raise ValueError(f"the rows of {group.cell.label} have no column {column!r}")
    return values


def level_of(line: Group, column: str = "") -> Estimate:
    """Estimate the mean of a column of a line."""
    sample = sample_of(line, column)
    if sample.n < SEEDS_FOR_INTERVAL:
        return Estimate(sample.mean, None, None, sample.n)
    result = students(sample.mean, sample.error2**0.5, sample.n - 1)
    return Estimate(sample.mean, result.low, result.high, sample.n)


def sum_of(lines: Sequence[Group], signs: Sequence[float], column: str = "") -> Estimate:
    """Estimate the sum of the means of a column, each with its sign, by Welch's interval."""
    samples = [sample_of(line, column) for line in lines]
    n_seeds = min(sample.n for sample in samples)
    terms = [Term(*pair) for pair in zip(signs, samples, strict=True)]
    value = sum(term.factor * term.sample.mean for term in terms)
    if n_seeds < SEEDS_FOR_INTERVAL:
        return Estimate(value, None, None, n_seeds)
    result = contrast(terms)
    return Estimate(value, result.low, result.high, n_seeds)


def ratio_of(slow: Group, fast: Group, column: str) -> Estimate | None:
    """Estimate the ratio of the geometric means of a column, or None where a value is not above 0.

    The interval is Welch's, of the difference of the logarithms.
    """
    numbers = [numbers_of(line, column) for line in (slow, fast)]
    if any(values.min() <= 0 for values in numbers):
        return None
    above, below = (Sample.of(np.log(values).tolist()) for values in numbers)
    n_seeds = min(above.n, below.n)
    value = float(np.exp(above.mean - below.mean))
    if n_seeds < SEEDS_FOR_INTERVAL:
        return Estimate(value, None, None, n_seeds)
    result = welch(above, below)
    return Estimate(value, float(np.exp(result.low)), float(np.exp(result.high)), n_seeds)


def written(estimate: Estimate, unit: str, *, signed: bool) -> str:
    """Write a value with its interval and seeds: "+3.9 points, 95 % +2.1 to +5.7, 5 seeds"."""
    form = "{:+.2f}" if signed else "{:.2f}"
    text = f"{form.format(estimate.value)} {unit}"
    if estimate.low is None or estimate.high is None:
        return f"{text}, {few(estimate.n_seeds)}"
    interval = f"{form.format(estimate.low)} to {form.format(estimate.high)}"
    return f"{text}, 95 % {interval}, {estimate.n_seeds} seeds"


def few(n_seeds: int) -> str:
    """Say how many seeds there are, where they are too few for an interval or a verdict."""
    return "single networks" if n_seeds == 1 else f"{n_seeds} seeds"
