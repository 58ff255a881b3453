"""Planted atoms that each method finds."""

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ddl_bench.results.groups import Group
from reports.figures.style import COLOURS, MARKERS, new_figure


def draw_recovery(groups: list[Group]) -> Figure | None:
    """Draw the share of planted atoms that each method finds on each data set of planted atoms."""
    shares = [
        (group.dataset, group.name, row.measured.recovered) for group in groups for row in group.ok
    ]
    data = pd.DataFrame(shares, columns=["data set", "method", "recovered"]).dropna()
    if data.empty:
        return None
    figure = new_figure()
    axes = figure.add_subplot()
    n_methods = data["method"].nunique()
    sns.pointplot(
        data,
        x="data set",
        y="recovered",
        hue="method",
        errorbar="sd",
        dodge=0.5,
        linestyle="none",
        palette=COLOURS[:n_methods],
        markers=list(MARKERS[:n_methods]),
        err_kws={"lw": 1},
        ax=axes,
    )
    lowest = max(0, data["recovered"].min() - 10)
    axes.set(xlabel="", ylabel="recovered atoms (%)", ylim=(lowest, 101))
    axes.tick_params(axis="x", rotation=20)
    sns.despine(figure)
    figure.suptitle("recovery of planted atoms", size=11)
    return figure
