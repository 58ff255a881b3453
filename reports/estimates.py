"""Values of committed rows with their intervals: of a line, of a difference, of a ratio.

A line is the rows of one label of a run. The unit is the training run: below 3 seeds a value has no
interval, and neither has a time of training that was measured again, once for all seeds of a line.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ddl_bench.results.groups import Group, gather
from ddl_bench.results.marks import OF_THE_RUN, TIMES_OF_TRAINING, UNSURE
from ddl_bench.results.rows import load_rows
from ddl_bench.results.stats import comparison
from ddl_bench.results.stats.replication import Term, contrast
from ddl_bench.results.stats.sentences import digits_beside, plain, points
from ddl_bench.results.stats.welch import SEEDS_FOR_INTERVAL, Sample, students, welch
from ddl_bench.results.table import TIMES, symbols_of

RESULTS = Path(__file__).parents[1] / "docs" / "results"
# made beside other work: no times
UNTIMED = (
    "discriminative-search",
    "equal-passes",
    "fast-cifar100",
    "fast-search",
    "lookahead",
    "matched",
    "matched-cifar100",
    "paper-recipe",
    "patch-features",
    "sdl",
    "sdl-search",
)
SIGNS_OF_TIMES = {  # what they mean, where no foot of a table explains them
    UNSURE: "unsure times",
    OF_THE_RUN: "a time of the run beside one that was measured again",
}


class Estimate(NamedTuple):
    """A value with its interval, and what both rest on.

    Parameters
    ----------
    value
        The value.
    low, high
        Its interval at 95 %; None below 3 seeds.
    counts
        The seeds of each line.
    remarks
        What to know about the rows: seeds that are missing, marks of times.
    is_one_timing
        Whether the seeds of a line share one time, so that there is no spread over them.
    """

    value: float
    low: float | None
    high: float | None
    counts: tuple[int, ...]
    remarks: tuple[str, ...] = ()
    is_one_timing: bool = False

    @property
    def n_seeds(self) -> int:
        """The seeds of the line that has the fewest."""
        return min(self.counts)

    @property
    def seeds(self) -> str:
        """How many seeds there are: "3 seeds", "4 and 3 seeds" where lines have other numbers."""
        if self.is_one_timing:
            return "one timing"
        distinct = self.counts if len(set(self.counts)) > 1 else self.counts[:1]
        if distinct == (1,):
            return "single networks"
        text = f"{listed(distinct)} seeds"
        return f"{text}: single networks" if self.n_seeds == 1 else text

    @property
    def has_spread(self) -> bool:
        """Whether it has an interval of some width; copies of one training have none."""
        if self.low is None or self.high is None:
            return False
        return not math.isclose(self.low, self.high)

    @property
    def basis(self) -> str:
        """The seeds, and whether they all have the value: "the same for 5 seeds"."""
        if self.low is None or self.has_spread:
            return self.seeds
        return f"the same for {self.seeds}"


def lines_of(run: Path, names: Sequence[str], dataset: str = "") -> dict[str, Group]:
    """Find the lines of a run that have rows, by their label; of one data set where it is given.

    Raises
    ------
    ValueError
        If a label names several lines, or the lines are of several data sets or splits.
    """
    lines: dict[str, Group] = {}
    for group in gather(load_rows(run)) if run.is_dir() else []:
        label = group.cell.label
        if label not in names or not group.ok or dataset not in ("", group.dataset):
            continue
        if label in lines:
            raise ValueError(f"{run}: {label} names several lines")
        lines[label] = group
    datasets = sorted({group.dataset for group in lines.values()})
    if len(datasets) > 1:
        raise ValueError(
            f"{run}: {listed(lines)} are of several data sets or splits, {listed(datasets)}:"
            " expected lines of one, as in RUN/DATASET"
        )
    return lines


def refuse_times(run: str, lines: Iterable[Group], column: str) -> None:
    """Raise ValueError for times that compare nothing: of a run beside other work, or of machines.

    Other columns than those of times pass.
    """
    if column not in TIMES:
        return
    if run in UNTIMED:
        raise ValueError(f"{column} of {run}: a run that was made beside other work has no times")
    machines = sorted({machine for line in lines for machine in line.machines})
    if len(machines) > 1:
        raise ValueError(f"{column}: times are of several machines, {listed(machines)}")


def remarks_of(lines: Iterable[Group], column: str) -> tuple[str, ...]:
    """Say what to know about the rows of lines: seeds that are missing, marks of their times."""
    distinct = list({line.name: line for line in lines}.values())
    remarks = [f"{line.name} has {line.ended}" for line in distinct if line.has_failed]
    symbols = "".join(symbols_of(line).get(f"{column}_mark", "") for line in distinct)
    remarks += [f"{sign} {text}" for sign, text in SIGNS_OF_TIMES.items() if sign in symbols]
    return tuple(remarks)


def is_timed_once(line: Group, column: str) -> bool:
    """Whether the seeds of a line share one time of training, as it was measured again."""
    if column not in TIMES_OF_TRAINING:
        return False
    return any(row.measured.run_train_s is not None for row in line.ok)


def sample_of(group: Group, column: str = "") -> Sample:
    """Summarise a column of a line; without one, its accuracies as in `accuracies`.

    Raises
    ------
    ValueError
        If the rows do not have the column.
    """
    name = column or accuracy_column(group)
    numbers_of(group, name)
    return comparison.sample_of(group, name)


def accuracies(group: Group) -> "pd.Series[float]":
    """Return the accuracies of a line, on the official test images where these are apart."""
    return numbers_of(group, accuracy_column(group))


def accuracy_column(group: Group) -> str:
    """Return the column of the accuracies on the official test images."""
    return "accuracy" if group.values("official_accuracy").empty else "official_accuracy"


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
    remarks = remarks_of([line], column)
    if is_timed_once(line, column):
        return Estimate(sample.mean, None, None, (1,), remarks, is_one_timing=True)
    if sample.n < SEEDS_FOR_INTERVAL:
        return Estimate(sample.mean, None, None, (sample.n,), remarks)
    result = students(sample.mean, sample.error2**0.5, sample.n - 1)
    return Estimate(sample.mean, result.low, result.high, (sample.n,), remarks)


def sum_of(lines: Sequence[Group], signs: Sequence[float], column: str = "") -> Estimate:
    """Estimate the sum of the means of a column, each with its sign, by Welch's interval.

    A line that stands in it several times counts once, with the sum of its signs.

    Raises
    ------
    ValueError
        If the rows do not have the column, or no line is left.
    """
    factors: dict[str, float] = {}
    for line, sign in zip(lines, signs, strict=True):
        factors[line.name] = factors.get(line.name, 0.0) + sign
    line_of = {line.name: line for line in lines if factors[line.name]}
    if not line_of:
        raise ValueError("the lines of the sum cancel out")
    terms = [Term(factors[name], sample_of(line, column)) for name, line in line_of.items()]
    counts = tuple(term.sample.n for term in terms)
    remarks = remarks_of(line_of.values(), column)
    value = sum(term.factor * term.sample.mean for term in terms)
    if min(counts) < SEEDS_FOR_INTERVAL:
        return Estimate(value, None, None, counts, remarks)
    result = contrast(terms)
    return Estimate(value, result.low, result.high, counts, remarks)


def ratio_of(slow: Group, fast: Group, column: str) -> Estimate | None:
    """Estimate the ratio of the geometric means of a column, or None where a value is not above 0.

    The interval is Welch's, of the difference of the logarithms. There is none for times of
    training that were measured again.
    """
    lines = (slow, fast)
    numbers = [numbers_of(line, column) for line in lines]
    if any(values.min() <= 0 for values in numbers):
        return None
    above, below = (Sample.of(np.log(values).tolist()) for values in numbers)
    value = float(np.exp(above.mean - below.mean))
    remarks = remarks_of(lines, column)
    if any(is_timed_once(line, column) for line in lines):
        return Estimate(value, None, None, (1, 1), remarks, is_one_timing=True)
    counts = (above.n, below.n)
    if min(counts) < SEEDS_FOR_INTERVAL:
        return Estimate(value, None, None, counts, remarks)
    result = welch(above, below)
    low = float(np.exp(result.low))
    high = float(np.exp(result.high))
    return Estimate(value, low, high, counts, remarks)


def differences_by_seed(a: Group, b: Group, column: str = "") -> dict[int, float]:
    """Subtract a column of two lines seed by seed, for the seeds that both have.

    Raises
    ------
    ValueError
        If not all rows have the column.
    """
    of_a = by_seed(a, column)
    of_b = by_seed(b, column)
    return {seed: of_a[seed] - of_b[seed] for seed in sorted(of_a.keys() & of_b.keys())}


def by_seed(line: Group, column: str = "") -> dict[int, float]:
    """Return a column of a line by seed; without one, its accuracies as in `sample_of`."""
    values = (numbers_of(line, column) if column else accuracies(line)).tolist()
    if len(values) != len(line.ok):
        raise ValueError(f"not all seeds of {line.name} have the column")
    return {row.cell.seed: value for row, value in zip(line.ok, values, strict=True)}


def written(estimate: Estimate, unit: str, bounds: Sequence[float] = (), *, signed: bool) -> str:
    """Write a value with its interval and seeds: "+3.90 points, 95 % +2.10 to +5.70, 5 seeds".

    Limits have as many digits as keep them apart from the bounds that they are judged by.
    """
    value, *limits = numbers_as_text(estimate, bounds, signed=signed)
    parts = [f"{value} {unit}"]
    if limits:
        parts.append(f"95 % {' to '.join(limits)}")
    parts.append(estimate.basis)
    return "; ".join([", ".join(parts), *estimate.remarks])


def numbers_as_text(estimate: Estimate, bounds: Sequence[float], *, signed: bool) -> list[str]:
    """Write a value, and its two limits where they differ, with equally many digits."""
    write = points if signed else plain
    if estimate.low is None or estimate.high is None or not estimate.has_spread:
        return [write(estimate.value)]
    limits = (estimate.low, estimate.high)
    n_digits = digits_beside(limits, bounds)
    return [write(number, n_digits) for number in (estimate.value, *limits)]


def listed(values: Iterable[object]) -> str:
    """Join values as in a sentence: "0, 1 and 2"."""
    *others, last = (str(value) for value in values)
    return f"{', '.join(others)} and {last}" if others else last
