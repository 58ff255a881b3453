"""Estimate how long a cell will take, from finished rows or from its track."""

from typing import NamedTuple

from ddl_bench.plan.cell import Cell
from ddl_bench.results.rows import Row


class Estimate(NamedTuple):
    """Expected seconds of a cell, and what the number rests on."""

    seconds: float
    basis: str


def estimate(cell: Cell, rows: list[Row]) -> Estimate:
    """Estimate the wall time of a cell, from earlier rows of the same kind, else from the track."""
    measured_s = [
        row.wall_s
        for row in rows
        if row.cell.settings == cell.settings and row.status == "ok" and row.wall_s
    ]
    if measured_s:
        return Estimate(sum(measured_s) / len(measured_s), "measured")
    if cell.expected_s is None:
        return Estimate(cell.limits.time_s, "time limit")
    if cell.budget.seconds:
        return Estimate(cell.expected_s, "budget")
    return Estimate(cell.expected_s, "track file")
