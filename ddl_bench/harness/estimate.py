"""Estimate how long a cell will take, from finished rows or from its track."""

from ddl_bench.plan.cell import Cell
from ddl_bench.results.rows import Row


def estimate(cell: Cell, rows: list[Row]) -> tuple[float, str]:
    """Expected seconds of a cell, and what the number rests on."""
    earlier = [
        row.wall_s
        for row in rows
        if row.cell.group == cell.group and row.status == "ok" and row.wall_s
    ]
    if earlier:
        return sum(earlier) / len(earlier), "measured earlier"
    if cell.expected_s is not None:
        return cell.expected_s, "its budget" if cell.budget.seconds else "the track's figure"
    return cell.limits.time_s, "its hard limit"
