"""Accuracy against a cost: a point for each method with its intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddl_bench.results.stats.welch import SEEDS_FOR_INTERVAL
from ddl_bench.results.table import TIMES
from reports.figures.captions import bars_text, machines_text, runs_text
from reports.figures.lines import Lines, Span, at_least, pareto_front
from reports.figures.looks import Look
from reports.figures.names import write_names
from reports.figures.panels import GREY, MOST_TOGETHER, family_panels
from reports.figures.ranking import capital
from reports.figures.scales import Accuracy, scale_cost
from reports.figures.style import INK, Width, in_style, lay_out, new_figure, set_caption

HEIGHT_INCHES = {"single": 2.8, "double": 4.0}
NAME_PADDING = 0.14  # of the axis of costs, where names stand beside all points
BAR_POINTS = 9  # places on a bar that no name may cover


@in_style
def cost(df: pd.DataFrame, column: str, label: str, width: Width = "double") -> Figure | None:
    """Draw the test accuracy of each method against a measured column.

    More than MOST_TOGETHER methods have a panel for each family, before all others in grey; there
    the Pareto front and the best of each family are named.

    Parameters
    ----------
    df
        Rows of `ddl_bench.load` on one data set.
    column
        Name of the column.
    label
        Name of the cost.
    width
        One column of a paper, or two.

    Returns
    -------
    Figure or None
        None where no row has the cost and an accuracy.
    """
    lines = Lines(df)
    costs = lines.costs(column)
    table = lines.accuracies.join(costs, how="inner")
    if table.empty:
        return None
    whole = table[~table["is_part"]]
    front = pareto_front(whole["x"], whole["accuracy"])
    is_time = column in TIMES
    y_span = at_least(
        Span(float(table["low"].min()), float(table["high"].max())), table["error"].tolist(), 100.0
    )
    y_scale = Accuracy(y_span, float(table["n_images"].max()))
    x_span = cost_span(table)
    if len(table) <= MOST_TOGETHER:
        figure = new_figure(width, HEIGHT_INCHES[width])
        axes = figure.add_subplot()
        words = frame_axes(axes, x_span, y_scale, is_time=is_time, padding=NAME_PADDING)
        axes.set(xlabel=label, ylabel="test accuracy (%)")
        sns.despine(figure)
        draw_means(axes, table, lines.looks)
        lay_out(figure)
        write_names(axes, places_of(table), covered(table), lines.looks, front)
        names_text = "Bold: on the Pareto front." if front else ""
    else:
        figure = new_figure(width, 1.0)
        families = lines.families(list(table.index))
        panels = family_panels(figure, families, width, label, "test accuracy (%)")
        for axes in panels.values():
            words = frame_axes(axes, x_span, y_scale, is_time=is_time)
        draw_families(figure, panels, lines, table, front)
        names_text = (
            "Panels: families, all others in grey. Named: the Pareto front in bold, and the best of"
            " each family."
        )
    spread = (
        f"Horizontal bars: 95 % intervals of mean costs for new trainings, from"
        f" {SEEDS_FOR_INTERVAL} seeds on. "
    )
    if not (table["half"] > 0).any():
        spread = ""
    machines = machines_text(lines.rows) if is_time else ""
    caption = (
        f"{capital(runs_text(lines))}. {bars_text(lines)} {spread}{names_text}"
        f"{parts_text(lines, table)} Scales: accuracy {y_scale.words}, {label} {words}. {machines}"
    )
    set_caption(figure, " ".join(caption.split()))  # a part may be empty
    return figure


def parts_text(lines: Lines, table: pd.DataFrame) -> str:
    """Say what hollow markers are: counts that leave something out, which is named."""
    partial = table.index[table["is_part"]]
    if partial.empty:
        return ""
    rows = lines.rows[lines.rows["line"].isin(partial)]
    left_out = " or ".join(sorted(set(rows["flops_left_out"].dropna()) - {""}))
    return f" Hollow: a lower limit, without {left_out}, and not on the front."


def cost_span(table: pd.DataFrame) -> Span:
    """Return what the axis of a cost shows: all bars, and at least four standard errors."""
    low = float((table["x"] - table["half"]).min())
    if low <= 0:
        low = float(table["x"].min())
    errors = table["sd"] / np.sqrt(table["n"])
    high = float((table["x"] + table["half"]).max())
    span = at_least(Span(low, high), errors.tolist())
    return Span(low, span.high) if span.low <= 0 < low else span


def frame_axes(
    axes: Axes, x_span: Span, y_scale: Accuracy, *, is_time: bool, padding: float = 0.08
) -> str:
    """Scale both axes; returns in words how the cost is scaled."""
    y_scale.apply(axes, "y", 0.08)
    return scale_cost(axes, x_span, is_time=is_time, padding=padding)


def draw_means(axes: Axes, table: pd.DataFrame, looks: Mapping[str, Look], size: float = 6) -> None:
    """Draw a marker at cost and accuracy of each line, with the intervals of both.

    It is hollow where the cost leaves something out.
    """
    colours = [looks[name].colour for name in table.index]
    axes.vlines(table["x"], table["low"], table["high"], colors=colours, lw=1.1)
    spread = table[table["half"] > 0]
    left = spread["x"] - spread["half"]
    axes.hlines(
        spread["accuracy"],
        left.where(left > 0, spread["x"]),
        spread["x"] + spread["half"],
        colors=[looks[name].colour for name in spread.index],
        lw=1.1,
    )
    for name, x, y, is_part in zip(
        table.index, table["x"], table["accuracy"], table["is_part"], strict=True
    ):
        look = looks[name]
        if is_part:
            axes.plot(x, y, look.marker, c="white", ms=size, mec=look.colour, mew=1.2)
        else:
            axes.plot(x, y, look.marker, c=look.colour, ms=size, mec=INK, mew=0.5)


def places_of(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the point of each line."""
    points = table[["x", "accuracy"]].to_numpy(dtype=float)
    return dict(zip(table.index, points, strict=True))


def covered(table: pd.DataFrame) -> np.ndarray:
    """Return places along the bars of all lines, shape (n, 2), which no name may cover."""
    shares = np.linspace(0, 1, BAR_POINTS)[:, None]
    x = table["x"].to_numpy(dtype=float)
    y = table["accuracy"].to_numpy(dtype=float)
    half = table["half"].to_numpy(dtype=float)
    heights = table["low"].to_numpy() + shares * (table["high"] - table["low"]).to_numpy()
    widths = x - half + shares * 2 * half
    widths = np.where(widths > 0, widths, x)
    upright = np.stack([np.broadcast_to(x, heights.shape), heights], axis=-1)
    level = np.stack([widths, np.broadcast_to(y, widths.shape)], axis=-1)
    return np.concatenate([upright, level]).reshape(-1, 2)


def draw_families(
    figure: Figure,
    panels: Mapping[str, Axes],
    lines: Lines,
    table: pd.DataFrame,
    front: Sequence[str],
) -> None:
    """Draw each family into its panel, before all others in grey; name the best and the front."""
    for family, axes in panels.items():
        axes.plot(table["x"], table["accuracy"], "o", c=GREY, ms=2.5, alpha=0.5, mew=0)
        draw_means(axes, table[table["family"] == family], lines.looks, size=5)
    sns.despine(figure)
    lay_out(figure)
    for family, axes in panels.items():
        members = table[table["family"] == family]
        named = [name for name in members.index if name in front or name == members.index[0]]
        points = places_of(members.loc[named])
        dots = table[["x", "accuracy"]].to_numpy(dtype=float)
        unnamed = members.drop(index=named)[["x", "accuracy"]].to_numpy(dtype=float)
        write_names(axes, points, covered(members), lines.looks, front, dots, unnamed)
