"""All methods of a data set, ranked: a dot and an interval each."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figures.captions import bars_text, runs_text
from reports.figures.lines import Lines, Span, at_least
from reports.figures.looks import COLOURS, OTHER_COLOUR
from reports.figures.scales import Accuracy
from reports.figures.style import INK, Width, in_style, new_figure, set_caption, short

ROW_INCHES = 0.17
FRAME_INCHES = 0.55  # axis and its label
LEGEND_INCHES = 0.2  # a row of the families
MOST_ROWS = 400  # the most accurate ones


@in_style
def ranking(df: pd.DataFrame, width: Width = "double") -> Figure | None:
    """Draw the accuracy of each method with its interval, the best on top.

    Parameters
    ----------
    df
        Rows of `ddl_bench.load` on one data set.
    width
        One column of a paper, or two.

    Returns
    -------
    Figure or None
        None where no row has an accuracy.

    Examples
    --------
    >>> from ddl_bench import load
    >>> ranking(load("docs/results/quick"), width="single").savefig("a.pdf")  # doctest: +SKIP
    """
    lines = Lines(df)
    table = lines.accuracies.head(MOST_ROWS)
    if table.empty:
        return None
    shown = lines.families(list(table.index))
    n_columns = 3 if width == "double" else 1
    legend_rows = -(-len(shown) // n_columns) if len(shown) > 1 else 0
    height = FRAME_INCHES + ROW_INCHES * len(table) + LEGEND_INCHES * legend_rows
    figure = new_figure(width, height)
    axes = figure.add_subplot()
    colours = [lines.looks[str(name)].colour for name in table.index]
    axes.hlines(np.arange(len(table)), table["low"], table["high"], colors=colours, lw=1.4)
    for place, (name, accuracy) in enumerate(table["accuracy"].items()):
        look = lines.looks[str(name)]
        axes.plot(accuracy, place, look.marker, c=look.colour, ms=5, mec=INK, mew=0.5)
    errors = table["error"].tolist()
    span = at_least(Span(float(table["low"].min()), float(table["high"].max())), errors, 100.0)
    scale = Accuracy(span, float(table["n_images"].max()))
    scale.apply(axes, "x", 0.03)
    names = [short(str(name)) for name in table.index]
    axes.set_yticks(np.arange(len(table)), names)
    axes.set(ylim=(len(table) - 0.5, -0.5), xlabel="test accuracy (%)")
    axes.grid(axis="y", alpha=0.5)
    sns.despine(figure, left=True)
    if legend_rows:
        write_families(axes, shown, n_columns)
    scope = ""
    if lines.n_lines > MOST_ROWS:
        scope = f" The {MOST_ROWS} most accurate of {lines.n_lines} are shown."
    set_caption(
        figure,
        f"{capital(runs_text(lines))}. {bars_text(lines)} Scale: {scale.words}. Intervals that"
        f" overlap are no test; the table says what can be told from the best.{scope}",
    )
    return figure


def capital(text: str) -> str:
    """Begin a sentence."""
    return text[:1].upper() + text[1:]


def write_families(axes: Axes, families: list[str], n_columns: int) -> None:
    """Write above the axes which colour a family has."""
    handles = []
    for family in families:
        colour = COLOURS.get(family, OTHER_COLOUR)
        handles.append(Line2D([], [], marker="o", ls="-", c=colour, ms=4, label=short(family)))
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=n_columns,
        frameon=False,
        handlelength=1.6,
        columnspacing=1.2,
        borderaxespad=0.2,
    )
