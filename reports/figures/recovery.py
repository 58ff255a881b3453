"""Planted atoms that each method finds."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from reports.figures.captions import span_text
from reports.figures.lines import Span, at_least
from reports.figures.looks import Named, looks
from reports.figures.style import (
    INK,
    WIDTHS_INCHES,
    Width,
    in_style,
    new_figure,
    set_caption,
    short,
)

HEIGHT_INCHES = {"single": 2.8, "double": 3.2}
DODGE = 0.7  # of the way from a data set to the next, over which its methods stand
PADDING = 0.04  # of the axis
N_COLUMNS = {"single": 3, "double": 6}  # of the legend at most; long names have fewer
LETTERS_PER_INCH = 17
MARKER_LETTERS = 7  # of the legend, which a marker and the gap beside it take
ROW_INCHES = 0.145  # of the legend


@in_style
def recovery(df: pd.DataFrame, width: Width = "double") -> Figure | None:
    """Draw the share of planted atoms that each method finds on each data set of planted atoms.

    Parameters
    ----------
    df
        Rows of `ddl_bench.load`, on one data set or on several.
    width
        One column of a paper, or two.

    Returns
    -------
    Figure or None
        None where no row has such a share.
    """
    rows = df[(df["status"] == "ok") & df["recovered"].notna()]
    if rows.empty:
        return None
    named = rows[["line", "method", "family"]].astype(str).drop_duplicates()
    look_of = looks(Named(*values) for values in named.itertuples(index=False))
    datasets = list(dict.fromkeys(rows["dataset"].astype(str)))
    means = rows.groupby("line", sort=False)["recovered"].mean().sort_values(ascending=False)
    grouped = rows.groupby(["line", "dataset"], sort=False)["recovered"]
    table = pd.DataFrame({"mean": grouped.mean(), "sd": grouped.std(), "n": grouped.size()})
    table = table.astype(float)
    longest = max(len(short(str(name))) for name in means.index)
    fitting = int(LETTERS_PER_INCH * WIDTHS_INCHES[width] / (longest + MARKER_LETTERS))
    n_columns = max(1, min(N_COLUMNS[width], fitting))
    n_further_rows = -(-len(means) // n_columns) - 1
    figure = new_figure(width, HEIGHT_INCHES[width] + ROW_INCHES * n_further_rows)
    axes = figure.add_subplot()
    shifts = np.linspace(-DODGE / 2, DODGE / 2, len(means)) if len(means) > 1 else [0.0]
    for shift, name in zip(shifts, means.index, strict=True):
        look = look_of[str(name)]
        part = table.loc[name]
        x = [datasets.index(str(dataset)) + shift for dataset in part.index]
        sd = part["sd"].fillna(0.0)
        up = np.minimum(sd, 100 - part["mean"])
        axes.errorbar(
            x, part["mean"], [sd, up], fmt=look.marker, c=look.colour, ms=5, mec=INK, mew=0.5,
            elinewidth=1, label=short(str(name)),
        )  # fmt: skip
    sd = table["sd"].fillna(0.0)
    span = Span(float((table["mean"] - sd).min()), float((table["mean"] + sd).max().clip(max=100)))
    low, high = at_least(span, (table["sd"] / table["n"] ** 0.5).tolist(), 100.0)
    gap = PADDING * (high - low or 1.0)
    axes.set(ylabel="recovered atoms (%)", ylim=(max(low, 0) - gap, high + gap))
    axes.set_xticks(range(len(datasets)), [short(name) for name in datasets])
    axes.grid(axis="x", visible=False)
    for place in range(1, len(datasets)):
        axes.axvline(place - 0.5, c="#888888", lw=0.4)
    axes.set_xlim(-0.5, len(datasets) - 0.5)
    if width == "single":
        axes.tick_params(axis="x", rotation=30)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=n_columns,
        frameon=False,
        handlelength=1,
        borderaxespad=0.2,
    )
    sns.despine(figure)
    counts = sorted({int(n) for n in table["n"]})
    set_caption(
        figure,
        f"Share of the planted atoms that were found (inner product of 0.99 or more). Means over"
        f" n = {span_text(counts)} seeds; bars: one standard deviation over seeds, as in the table."
        " Scale: linear.",
    )
    return figure
