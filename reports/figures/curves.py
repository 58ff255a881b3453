"""Accuracy while training: all methods in one figure, or in panels where they are many."""

from matplotlib.figure import Figure

from ddl_bench import describe, registry
from ddl_bench.results.groups import Group
from reports.figures.outcomes import Outcomes, Point
from reports.figures.panels import draw_panels
from reports.figures.scatter import draw_points

MOST_LINES = 12  # that one pair of axes can show
LABEL = "training time"


def draw_curves(outcomes: Outcomes) -> Figure | None:
    """Draw the accuracy of each method by seconds of training."""
    points: list[Point] = []
    splits: set[str] = set()
    for name, row, arrays in outcomes.rows:
        seconds = arrays.get("curve_seconds", ())
        accuracies = arrays.get("curve_accuracy", ())
        for x, y in zip(seconds, accuracies, strict=True):
            points.append(Point(name, row.cell.seed, x, y))
        if len(seconds):
            splits.add(str(arrays["curve_split"]))
    split = " and ".join(sorted(splits))
    if len({point.method for point in points}) > MOST_LINES:
        return draw_panels(points, families(outcomes.groups), LABEL, split)
    return draw_points(points, outcomes.looks, LABEL, split)


def families(groups: list[Group]) -> dict[str, str]:
    """Return the family of each line; methods of plugins are "other" unless they are installed."""
    known = registry.methods()
    used = {group.cell.method for group in groups}
    family_of = {name: describe.method(name)["family"] for name in used if name in known}
    return {group.name: family_of.get(group.cell.method) or "other" for group in groups}
