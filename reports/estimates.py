"""Values of committed rows with their intervals: of a line, of a difference, of a ratio.

A line is the rows of one label of a run. The unit is the training run: below 3 seeds a value has no
interval.
"""

from collections.abc import Iterable, Sequence
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
    """A value with its interval, which is empty below 3 seeds, and the seeds of each line."""

    value: float
    low: float | None
    high: float | None
    counts: tuple[int, ...]

    @property
    def n_seeds(self) -> int:
        """The seeds of the line that has the fewest."""
        return min(self.counts)

    @property
    def seeds(self) -> str:
        """How many seeds there are: "3 seeds", "4 and 3 seeds" where lines have other numbers."""
        if self.n_seeds == 1:
            return "single networks"
        counts = self.counts if len(set(self.counts)) > 1 else self.counts[:1]
        return f"{listed(counts)} seeds"


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
    values = numbers_of(group, column) if column else accuracies(group)
    return Sample.of(values.tolist())


def accuracies(group: Group) -> "pd.Series[float]":
    """Return the accuracies of a line, on the official test images where these are apart."""
    official = group.values("official_accuracy")
    return numbers_of(group, "accuracy") if official.empty else official


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
        return Estimate(sample.mean, None, None, (sample.n,))
    result = students(sample.mean, sample.error2**0.5, sample.n - 1)
    return Estimate(sample.mean, result.low, result.high, (sample.n,))


def sum_of(lines: Sequence[Group], signs: Sequence[float], column: str = "") -> Estimate:
    """Estimate the sum of the means of a column, each with its sign, by Welch's interval."""
    samples = [sample_of(line, column) for line in lines]
    counts = tuple(sample.n for sample in samples)
    terms = [Term(*pair) for pair in zip(signs, samples, strict=True)]
    value = sum(term.factor * term.sample.mean for term in terms)
    if min(counts) < SEEDS_FOR_INTERVAL:
        return Estimate(value, None, None, counts)
    result = contrast(terms)
    return Estimate(value, result.low, result.high, counts)


def ratio_of(slow: Group, fast: Group, column: str) -> Estimate | None:
    """Estimate the ratio of the geometric means of a column, or None where a value is not above 0.

    The interval is Welch's, of the difference of the logarithms.
    """
    numbers = [numbers_of(line, column) for line in (slow, fast)]
    if any(values.min() <= 0 for values in numbers):
        return None
    above, below = (Sample.of(np.log(values).tolist()) for values in numbers)
    counts = (above.n, below.n)
    value = float(np.exp(above.mean - below.mean))
    if min(counts) < SEEDS_FOR_INTERVAL:
        return Estimate(value, None, None, counts)
    result = welch(above, below)
    return Estimate(value, float(np.exp(result.low)), float(np.exp(result.high)), counts)


def differences_by_seed(a: Group, b: Group) -> dict[int, float]:
    """Subtract the accuracies of two lines seed by seed, for the seeds that both have."""
    of_a, of_b = (
        {row.cell.seed: value for row, value in zip(line.ok, accuracies(line), strict=True)}
        for line in (a, b)
    )
    return {seed: of_a[seed] - of_b[seed] for seed in sorted(of_a.keys() & of_b.keys())}


def written(estimate: Estimate, unit: str, *, signed: bool) -> str:
    """Write a value with its interval and seeds: "+3.9 points, 95 % +2.1 to +5.7, 5 seeds"."""
    form = "{:+.2f}" if signed else "{:.2f}"
    text = f"{form.format(estimate.value)} {unit}"
    if estimate.low is None or estimate.high is None:
        return f"{text}, {estimate.seeds}"
    interval = f"{form.format(estimate.low)} to {form.format(estimate.high)}"
    return f"{text}, 95 % {interval}, {estimate.seeds}"


def listed(values: Iterable[object]) -> str:
    """Join values as in a sentence: "0, 1 and 2"."""
    *others, last = (str(value) for value in values)
    return f"{', '.join(others)} and {last}" if others else last
