"""Methods as points with names, bars over seeds, and the lines that lead to them."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator

from reports.figures.names import write_names
from reports.figures.outcomes import Point, table_of
from reports.figures.style import INK, Look, new_figure

ACCURACY_TICKS = (0, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 100)  # percent
BAR_POINTS = 9  # places on an error bar that no name may cover


def draw_points(
    points: list[Point], looks: dict[str, Look], label: str, split: str
) -> Figure | None:
    """Draw a line for each seed that has several points, and the mean of their last ones, named.

    Bars show one standard deviation over seeds. Axes are logarithmic where values span much: the
    cost in itself, accuracy in the error, because the best would coincide otherwise.

    Parameters
    ----------
    points
        Cost and accuracy in percent, by method and seed.
    looks
        Colour and marker by method.
    label
        Name of the cost; in seconds if it is a time.
    split
        Which images the accuracy is of.
    """
    data = table_of(points)
    if data.empty:
        return None
    figure = new_figure()
    axes = figure.add_subplot(xlabel=label, ylabel=f"{split} accuracy (%)")
    sns.despine(figure)
    means = {}
    covered = [data[["x", "y"]].to_numpy()]
    for name, lines in data.groupby("method"):
        look = looks[str(name)]
        draw_lines(axes, lines, look.colour, width=0.8, alpha=0.6)
        last = lines.groupby("seed")[["x", "y"]].last()
        mean = last.mean().to_numpy()
        deviation = last.std().fillna(0).to_numpy()
        draw_mean(axes, mean, deviation, look)
        means[str(name)] = mean
        covered.append(bar_points(mean, deviation))
    occupied = np.vstack(covered)
    scale_axes(axes, occupied)
    format_cost(axes, is_time="time" in label)
    axes.margins(0.15)
    figure.draw_without_rendering()
    write_names(axes, means, occupied)
    return figure


def draw_lines(
    axes: Axes, lines: pd.DataFrame, colour: str, *, width: float, alpha: float | None = None
) -> None:
    """Draw the points of one method, a line for each seed that has several."""
    lines = lines[lines.groupby("seed")["x"].transform("size") > 1]
    if lines.empty:
        return
    sns.lineplot(
        lines,
        x="x",
        y="y",
        units="seed",
        estimator=None,
        color=colour,
        lw=width,
        alpha=alpha,
        ax=axes,
    )


def draw_mean(axes: Axes, mean: np.ndarray, deviation: np.ndarray, look: Look) -> None:
    """Draw a marker at the mean (cost, accuracy) with bars of one standard deviation."""
    up = min(deviation[1], 100 - mean[1])  # no accuracy is above 100 %
    axes.errorbar(
        mean[0],
        mean[1],
        [[deviation[1]], [up]],
        deviation[0],
        fmt=look.marker,
        c=look.colour,
        ms=8,
        mec=INK,
        mew=0.6,
        capsize=2,
    )


def bar_points(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return places along the bars of a mean, shape (n, 2)."""
    shares = np.linspace(-1, 1, BAR_POINTS)
    bars = [mean + share * deviation * axis for share in shares for axis in np.eye(2)]
    return np.minimum(bars, [np.inf, 100])


def scale_axes(axes: Axes, occupied: np.ndarray) -> None:
    """Make an axis logarithmic where the occupied places, shape (n, 2), span much of it."""
    x_low, y_low = np.min(occupied, axis=0)
    x_high, y_high = np.max(occupied, axis=0)
    if x_high > 20 * x_low > 0:
        axes.set_xscale("log")
    if 100 - y_low > 10 * max(100 - y_high, 0.1):
        axes.set_yscale("function", functions=(from_accuracy, to_accuracy))
        axes.yaxis.set_major_locator(FixedLocator(ACCURACY_TICKS))
        axes.yaxis.set_major_formatter("{x:g}")


def from_accuracy(accuracy: np.ndarray) -> np.ndarray:
    """Compute -log of the error, in percent, 0.1 added so that 100 % has a place."""
    return np.asarray(-np.log((100.1 - accuracy).clip(1e-3)))


def to_accuracy(height: np.ndarray) -> np.ndarray:
    """Invert `from_accuracy`."""
    return np.asarray(100.1 - np.exp(-height))


def format_cost(axes: Axes, *, is_time: bool) -> None:
    """Write costs with the prefixes of units, but 1,000 s and more as seconds."""
    short = EngFormatter("s" if is_time else "")

    def text(value: float, _: float) -> str:
        if is_time and value >= 1000:
            return f"{value:,.0f} s"
        return short(value)

    axes.xaxis.set_major_formatter(text)
