"""Errors by number of steps, for the pages of the documentation."""

from collections.abc import Mapping
from itertools import cycle

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from reports.figures.looks import DASHES, MARKERS
from reports.figures.style import INK, NAME_POINTS, in_style, new_figure, set_caption

COLOURS = ("#0173b2", "#d55e00", "#029e73", "#b04fa0", "#7a7a7a", "#c77f00")


@in_style
def errors_figure(
    curves: Mapping[str, Mapping[str, float]], xlabel: str, ylabel: str, caption: str
) -> Figure:
    """Draw relative errors by number of steps on logarithmic axes.

    Parameters
    ----------
    curves
        By name of a line: error by number of steps.
    xlabel, ylabel
        What the axes show.
    caption
        What the curves are, and of how many trainings.
    """
    wide = pd.DataFrame(curves).rename_axis("x").reset_index()
    data = wide.melt("x", var_name="method", value_name="y").dropna()
    data["x"] = data["x"].astype(int)
    figure = new_figure("double", 3.6)
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel, xscale="log", yscale="log")
    looks = zip(curves, cycle(COLOURS), cycle(MARKERS), cycle(DASHES), strict=False)
    for name, colour, marker, dash in looks:
        line = data[data["method"] == name].sort_values("x")
        axes.plot(line["x"], line["y"], marker, ls=dash, c=colour, ms=5, mec=INK, mew=0.5)
        end = (line["x"].iloc[-1], line["y"].iloc[-1])
        axes.annotate(
            str(name), end, (6, 0), textcoords="offset points", va="center", size=NAME_POINTS
        )
    axes.xaxis.set_major_locator(FixedLocator(sorted(data["x"].unique())))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:.0e}")
    axes.margins(x=0.12)
    sns.despine(figure)
    set_caption(figure, caption)
    return figure
