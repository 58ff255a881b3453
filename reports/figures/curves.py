"""Accuracy while training: all methods in one figure, or in panels where they are many."""

import ast
from importlib.metadata import EntryPoint

from matplotlib.figure import Figure

from ddl_bench import registry
from ddl_bench.plan import sources
from ddl_bench.plan.normal_form import is_about
from ddl_bench.results.groups import Group
from reports.figures.outcomes import Outcomes, Point
from reports.figures.panels import draw_panels
from reports.figures.scatter import draw_points

MOST_LINES = 12  # that one pair of axes can show
LABEL = "training time"


def draw_curves(outcomes: Outcomes) -> Figure | None:
    """Draw the accuracy of each method by seconds of training; of many seeds, the first ones."""
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
    figure: Figure | None
    if len({point.method for point in points}) > MOST_LINES:
        figure = draw_panels(points, families(outcomes.groups), LABEL, split)
    else:
        figure = draw_points(points, outcomes.looks, LABEL, split)
    n_seeds = max(len(group.ok) for group in outcomes.groups)
    if figure is not None and n_seeds > outcomes.n_curves:
        figure.supxlabel(f"the first {outcomes.n_curves} of {n_seeds:,} seeds")
    return figure


def families(groups: list[Group]) -> dict[str, str]:
    """Return the family of each line; methods of plugins are "other" unless they are installed."""
    known = registry.entries(registry.METHODS)
    used = {group.cell.method for group in groups}
    family_of = {name: written_family(known[name]) for name in used if name in known}
    return {group.name: family_of.get(group.cell.method) or "other" for group in groups}


def written_family(entry: EntryPoint) -> str:
    """Read the family of an installed method in its source; empty where that does not say it.

    To import the method would take seconds and half a gigabyte.
    """
    path = sources.locate(entry.module)
    definitions = sources.read(path).definitions if path else {}
    for definition in definitions.get(entry.attr, []):
        for statement in filter(is_about, getattr(definition, "body", [])):
            for node in ast.walk(statement):
                match node:
                    case ast.keyword(arg="family", value=ast.Constant(value=family)):
                        return str(family)
    return ""
