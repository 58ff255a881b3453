"""Accuracy while training: mean and band over the seeds of each method."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddl_bench.results.frame import curve_parts
from reports.figures.averages import Curve, SeedCurve, over_seeds, seed_curve
from reports.figures.captions import counted, machines_text, span_text
from reports.figures.lines import Lines, Span, at_least, pareto_front, standard_error
from reports.figures.looks import Look
from reports.figures.names import write_names
from reports.figures.panels import GREY, MOST_TOGETHER, family_panels
from reports.figures.ranking import capital
from reports.figures.scales import Accuracy, scale_cost
from reports.figures.style import INK, Width, in_style, lay_out, new_figure, set_caption

Against = Literal["seconds", "passes", "images"]
LABELS = {
    "seconds": "training time",
    "passes": "passes over the training images",
    "images": "training images seen",
}
MOST_CURVES = 1_000  # of a data set; the curves of further seeds could not be told apart
MOST_POINTS = 60  # of a mean
N_MARKERS = 5  # along a curve
HEIGHT_INCHES = {"single": 2.8, "double": 4.2}
NAME_SHARE = 0.28  # of the width, in which names stand on the right


@in_style
def training_curves(
    df: pd.DataFrame, width: Width = "double", against: Against = "seconds"
) -> Figure | None:
    """Draw the accuracy of each method while it trains: the mean of its seeds, and their range.

    More than MOST_TOGETHER methods have a panel for each family, before all others in grey.

    Parameters
    ----------
    df
        Rows of `ddl_bench.load` on one data set; the curves are read from their run folders.
    width
        One column of a paper, or two.
    against
        Training time, passes, or training images seen.

    Returns
    -------
    Figure or None
        None where no row has a curve.
    """
    lines = Lines(df)
    n_curves = max(1, MOST_CURVES // max(1, len(lines.looks)))
    rows = lines.finished.groupby("line", sort=False).head(n_curves)
    parts = [part for part in curve_parts(rows) if np.isfinite(part[against]).all()]
    curves = curves_of(parts, against)
    if not curves:
        return None
    split = " and ".join(sorted({str(part["split"]) for part in parts}))
    n_images = images_of(lines.finished, split)
    span = Span(
        min(float(curve.low.min()) for curve in curves.values()),
        max(float(curve.high.max()) for curve in curves.values()),
    )
    middle = pd.Series([(span.low + span.high) / 2])
    span = at_least(span, [standard_error(middle, n_images)], 100.0)
    y_scale = Accuracy(span, n_images)
    x_span = span_of(curves)
    curves = {name: on_axis(curve, x_span) for name, curve in curves.items()}
    if len(curves) <= MOST_TOGETHER:
        figure = new_figure(width, HEIGHT_INCHES[width])
        axes = figure.add_subplot()
        words = frame_axes(axes, x_span, y_scale, against)
        axes.set(xlabel=LABELS[against], ylabel=f"{split} accuracy (%)")
        sns.despine(figure)
        for name, curve in curves.items():
            draw_curve(axes, curve, lines.looks[name])
        name_curves(figure, axes, curves, list(curves), lines)
        names_text = ""
    else:
        figure = new_figure(width, 1.0)
        families = lines.families(list(curves))
        ylabel = f"{split} accuracy (%)"
        panels = family_panels(figure, families, width, LABELS[against], ylabel)
        for axes in panels.values():
            words = frame_axes(axes, x_span, y_scale, against)
        draw_families(figure, panels, lines, curves)
        names_text = (
            " Panels: families, all others in grey. Named: the best of each family, and methods"
            " that no other beats in both accuracy and cost."
        )
    machines = machines_text(lines.finished) if against == "seconds" else ""
    set_caption(
        figure,
        f"{capital(seeds_text(curves, lines))}.{names_text} Images: {split}"
        f" ({n_images:,.0f}). Scales: accuracy {y_scale.words}, {LABELS[against]} {words}."
        f" {machines}".strip(),
    )
    return figure


def curves_of(parts: Iterable[Mapping[str, Any]], against: Against) -> dict[str, Curve]:
    """Return the curve of each line over its seeds."""
    seeds: dict[str, list[SeedCurve]] = {}
    for part in parts:
        curve = seed_curve(part[against], part["accuracy"], part["step"])
        seeds.setdefault(str(part["line"]), []).append(curve)
    return {name: over_seeds(curves, MOST_POINTS) for name, curves in seeds.items()}


def images_of(rows: pd.DataFrame, split: str) -> float:
    """Return how many images the curves are scored on."""
    column = "n_val" if split == "validation" else "n_test"
    values = rows[column].dropna().astype(float)
    return float(values.max()) if len(values) else 0.0


def span_of(curves: Mapping[str, Curve]) -> Span:
    """Return what the axis of costs shows: every point, also one far below all others.

    Only points of no cost at all may be left out, which a logarithmic axis does not have; where a
    curve ends in one, the span begins at 0, so that the axis is linear.
    """
    costs = np.concatenate([curve.x for curve in curves.values()])
    ends = np.array([curve.x[-1] for curve in curves.values()])
    high = float(costs.max())
    if high <= 0:
        return Span(0.0, 1.0)
    if ends.min() <= 0:
        return Span(0.0, high)
    return Span(float(costs[costs > 0].min()), high)


def on_axis(curve: Curve, x_span: Span) -> Curve:
    """Return the points of a curve that its axis shows: all but those of no cost on some axes."""
    is_shown = curve.x >= x_span.low
    return Curve(
        curve.steps[is_shown],
        curve.x[is_shown],
        curve.mean[is_shown],
        curve.low[is_shown],
        curve.high[is_shown],
        curve.n_seeds,
    )


def frame_axes(axes: Axes, x_span: Span, y_scale: Accuracy, against: Against) -> str:
    """Scale both axes, with room for names on the right; returns how costs are scaled."""
    y_scale.apply(axes, "y")
    words = scale_cost(axes, x_span, is_time=against == "seconds")
    low, high = axes.get_xlim()
    if words == "logarithmic":
        axes.set_xlim(low, high * (high / low) ** NAME_SHARE)
    else:
        axes.set_xlim(low, high + NAME_SHARE * (high - low))
    return words


def draw_curve(axes: Axes, curve: Curve, look: Look) -> None:
    """Draw mean and range of a curve, and a marker at its end."""
    x = curve.x
    every = max(1, len(x) // N_MARKERS)
    axes.plot(
        x, curve.mean, look.marker, ls=look.dash, c=look.colour, lw=1.2, ms=3, markevery=every
    )
    if curve.n_seeds > 1:
        axes.fill_between(x, curve.low, curve.high, color=look.colour, alpha=0.15, lw=0)
    axes.plot(x[-1], curve.mean[-1], look.marker, c=look.colour, ms=5, mec=INK, mew=0.5)


def name_curves(
    figure: Figure,
    axes: Axes,
    curves: Mapping[str, Curve],
    names: Sequence[str],
    lines: Lines,
) -> None:
    """Write names at the ends of curves."""
    ends = {}
    for name in names:
        curve = curves[name]
        ends[name] = np.array([curve.x[-1], curve.mean[-1]])
    points = []
    for curve in curves.values():
        points.append(np.column_stack([curve.x, curve.mean]))
    lay_out(figure)
    write_names(axes, ends, dense(axes, points), lines.looks)


def dense(axes: Axes, curves: Sequence[np.ndarray], n_points: int = 8) -> np.ndarray:
    """Return points along curves (n, 2) so close that no name fits between two of them."""
    parts = []
    inverse = axes.transData.inverted()
    shares = np.linspace(0, 1, n_points, endpoint=False)[:, None, None]
    for curve in curves:
        pixels = axes.transData.transform(curve)
        between = pixels[:-1] + shares * (pixels[1:] - pixels[:-1])
        parts.append(np.concatenate([between.reshape(-1, 2), pixels[-1:]]))
    return np.asarray(inverse.transform(np.concatenate(parts)))


def draw_families(
    figure: Figure, panels: Mapping[str, Axes], lines: Lines, curves: Mapping[str, Curve]
) -> None:
    """Draw each family into its panel, before all others in grey; name the best and the front."""
    ends = pd.Series({name: curve.mean[-1] for name, curve in curves.items()})
    costs = pd.Series({name: curve.x[-1] for name, curve in curves.items()})
    front = pareto_front(costs, ends)
    for family, axes in panels.items():
        members = [name for name in curves if lines.family[name] == family]
        for name, curve in curves.items():
            if name not in members:
                axes.plot(curve.x, curve.mean, c=GREY, lw=0.5, alpha=0.4)
        for name in members:
            draw_curve(axes, curves[name], lines.looks[name])
    sns.despine(figure)
    lay_out(figure)
    for family, axes in panels.items():
        members = [name for name in curves if lines.family[name] == family]
        best = max(members, key=lambda name: float(ends[name]))
        named = [name for name in members if name in front or name == best]
        shown = {name: curves[name] for name in members}
        name_curves(figure, axes, shown, named, lines)


def seeds_text(curves: Mapping[str, Curve], lines: Lines) -> str:
    """Say what lines and bands are, and of how many seeds."""
    counts = sorted({curve.n_seeds for curve in curves.values()})
    methods = counted(len(curves), "method")
    if counts == [1]:
        return f"{methods}, one training each (n = 1 seed), so that there is no band"
    span = span_text(counts)
    text = (
        f"{methods}; lines: means over n = {span} seeds, as far as all of them went, bands: from"
        " the lowest to the highest"
    )
    n_seeds = int(lines.finished.groupby("line").size().max())
    if n_seeds > counts[-1]:
        text += f" of the first {counts[-1]:,} of {n_seeds:,} seeds"
    return text
