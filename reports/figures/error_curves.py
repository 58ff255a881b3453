"""Errors by number of steps, for the pages of the documentation."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.ticker import FixedLocator, NullLocator

from reports.figures.style import INK, looks, new_figure, save, styled


def draw_errors(
    curves: Mapping[str, Mapping[str, float]], xlabel: str, ylabel: str, path: Path
) -> None:
    """Draw relative errors by number of steps, and save them as SVG with a PNG file beside it.

    Parameters
    ----------
    curves
        By name of a line: error by number of steps.
    xlabel, ylabel
        What the axes show.
    path
        Of the SVG file.
    """
    wide = pd.DataFrame(curves).rename_axis("x").reset_index()
    data = wide.melt("x", var_name="method", value_name="y").dropna()
    data["x"] = data["x"].astype(int)
    methods = data.groupby("method")
    look_of = looks(str(name) for name, _ in methods)
    with styled(path.stem):
        figure = new_figure()
        axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel, xscale="log", yscale="log")
        for name, line in methods:
            look = look_of[str(name)]
            axes.plot(
                line["x"], line["y"], look.marker, ls="-", c=look.colour, ms=6, mec=INK, mew=0.6
            )
            end = (line["x"].iloc[-1], line["y"].iloc[-1])
            axes.annotate(str(name), end, (6, 0), textcoords="offset points", va="center")
        axes.xaxis.set_major_locator(FixedLocator(sorted(data["x"].unique())))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:.0e}")
        axes.margins(x=0.12)
        sns.despine(figure)
        save(figure, path)
