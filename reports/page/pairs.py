"""All pairs of methods of a data set, with intervals that hold together."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from ddl_bench.results.groups import Group
from ddl_bench.results.stats.best import pair_limit, rivals
from ddl_bench.results.stats.comparison import sample_of
from ddl_bench.results.stats.families import comparable, has_verdicts

MOST_PAIRED = 24  # methods of a matrix: more can be read by nobody


class Pairs(TypedDict):
    """Hold the differences between all pairs of some lines.

    Parameters
    ----------
    lines
        Names of the lines, the most accurate first.
    means
        Their accuracies in percent.
    halves
        Half the width of the interval of each difference, in points: for the first line with
        each later one, then for the second, and so on.
    left_out
        Lines that have enough seeds and are too many for a matrix.
    is_judged
        Whether all lines have enough seeds for a verdict.
    """

    lines: list[str]
    means: list[float]
    halves: list[float]
    left_out: int
    is_judged: bool


def pairs_of(groups: Sequence[Group]) -> Pairs | None:
    """Compare all pairs of lines of one data set; None where fewer than two have an interval.

    difference ± t(v) * error, with Welch's error and degrees of freedom v, and Student's t at
    Sidak's level for all pairs of k lines: all intervals hold together with a probability of 95 %.
    """
    family = comparable([group for group in groups if group.ok])
    if not family:
        return None
    shown = family[:MOST_PAIRED]
    compared = rivals([sample_of(group) for group in shown])
    upper = np.triu_indices(len(shown), 1)
    limit = pair_limit(len(family), compared.freedom[upper])
    halves = limit * compared.error[upper]
    return {
        "lines": [group.name for group in shown],
        "means": [round(float(group.values("accuracy").mean()), 4) for group in shown],
        "halves": [round(float(half), 4) for half in halves],
        "left_out": len(family) - len(shown),
        "is_judged": has_verdicts(family),
    }
