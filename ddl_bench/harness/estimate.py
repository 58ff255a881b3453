"""Estimate how long a cell will take, from finished rows or from its track."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ddl_bench.plan.cell import Cell
from ddl_bench.results.rows import Row


class TimeEstimate(NamedTuple):
    """Expected seconds of a cell, and what the number rests on."""

    seconds: float
    basis: str


def wall_times(rows: Iterable[Row]) -> dict[str, list[float]]:
    """List the wall times of rows that ended well, in seconds, by the settings of their cell."""
    times = defaultdict[str, list[float]](list)
    for row in rows:
        if row.status == "ok" and row.wall_s:
            times[row.cell.settings].append(row.wall_s)
    return times


def estimate(cell: Cell, wall_times_s: Mapping[str, Sequence[float]]) -> TimeEstimate:
    """Estimate the wall time of a cell, from earlier rows of its settings, else from the track.

    Parameters
    ----------
    cell
        The cell.
    wall_times_s
        Wall times of finished rows by settings, as `wall_times` lists them.
    """
    measured_s = wall_times_s.get(cell.settings)
    if measured_s:
        return TimeEstimate(sum(measured_s) / len(measured_s), "measured")
    if cell.expected_s is None:
        return TimeEstimate(cell.limits.time_s, "time limit")
    if cell.budget.seconds:
        return TimeEstimate(cell.expected_s, "budget")
    return TimeEstimate(cell.expected_s, "track file")
