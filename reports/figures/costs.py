"""Accuracy against a cost: one point for each method, with bars over its seeds."""

from matplotlib.figure import Figure

from reports.figures.outcomes import Outcomes, Point
from reports.figures.scatter import draw_points


def draw_cost(outcomes: Outcomes, *, column: str, label: str) -> Figure | None:
    """Draw the test accuracy of each method against a measured column."""
    points = []
    for name, row, _ in outcomes.rows:
        cost = getattr(row.measured, column)
        points.append(Point(name, row.cell.seed, cost, row.measured.accuracy))
    return draw_points(points, outcomes.looks, label, "test")
