"""Many lines: a panel for each family of methods."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from reports.figures.names import write_names
from reports.figures.outcomes import Point, table_of
from reports.figures.scatter import draw_lines
from reports.figures.style import FAINT, INK, looks, new_figure

N_COLUMNS = 3
ROW_INCHES = 2.7
LEAST = 1e-6  # cost that has a place on a logarithmic axis


def draw_panels(points: list[Point], families: Mapping[str, str], label: str, split: str) -> Figure:
    """Draw a panel for the lines of each family, named, in front of all others in grey.

    The cost is logarithmic. A line that ends at a cost far below all others stands at the left
    edge, with its cost.

    Parameters
    ----------
    points
        Seconds and accuracy in percent, by method and seed.
    families
        Family by method.
    label
        Name of the cost.
    split
        Which images the accuracy is of.
    """
    data = table_of(points)
    data["family"] = data["method"].map(families)
    ends = data.groupby(["method", "seed"])[["x", "y"]].last().groupby("method").mean()
    names = sorted(data["family"].unique())
    n_rows = -(-len(names) // N_COLUMNS)
    figure = new_figure(10, ROW_INCHES * n_rows)
    grid = figure.subplots(n_rows, N_COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    least = max(float(data["x"].quantile(0.02)), LEAST)
    most = max(float(data["x"].max()), least)
    for family, axes in zip(names, grid, strict=False):
        draw_background(axes, data)
        lines = data[data["family"] == family]
        means = draw_family(axes, lines, ends, least)
        axes.set(title=family, xscale="log", xlabel=label, ylabel=f"{split} accuracy (%)")
        axes.set_xlim(least, most * 8)  # names stand on the right
        axes.xaxis.set_major_formatter(EngFormatter("s", 0))
        sns.despine(ax=axes)
        figure.draw_without_rendering()
        write_names(axes, means, lines[["x", "y"]].to_numpy())
    return figure


def draw_background(axes: Axes, data: pd.DataFrame) -> None:
    """Draw all lines in grey."""
    sns.lineplot(
        data,
        x="x",
        y="y",
        units=data["method"] + data["seed"].astype(str),
        estimator=None,
        color=FAINT,
        lw=0.7,
        ax=axes,
    )


def draw_family(
    axes: Axes, data: pd.DataFrame, ends: pd.DataFrame, least: float
) -> dict[str, np.ndarray]:
    """Draw the lines of one family and their ends; return the ends by the text of their name."""
    means = {}
    methods = data.groupby("method")
    look_of = looks(str(name) for name, _ in methods)
    for name, lines in methods:
        look = look_of[str(name)]
        draw_lines(axes, lines, look.colour, width=1.2)
        x, y = ends.loc[[name]].to_numpy()[0]
        text = str(name)
        if x < least:
            text += f" ({EngFormatter('s', 0)(x)})"
        mean = np.array([max(x, 1.04 * least), y])
        axes.plot(*mean, look.marker, c=look.colour, ms=6, mec=INK, mew=0.6)
        means[text] = mean
    return means
