"""Which classes each method takes for which."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from seaborn.utils import axis_ticklabels_overlap, relative_luminance

from reports.figures.outcomes import Outcomes
from reports.figures.style import best_panels, new_figure, note_panels

N_COLUMNS = 3
CLASSES = range(2, 13)  # more would not be legible
DPI = 100
LEAST_SHARE = 0.5  # percent; less would be written as 0
LIGHT = 0.408  # luminance of a square above which its text is dark, as in seaborn
DARK_TEXT = ".15"
LABEL_POINTS = 7


def draw_confusion(outcomes: Outcomes) -> Figure | None:
    """Draw, for one seed of each method, the share of each class (a row) taken for another."""
    shown = {}
    for name, arrays in outcomes.first_arrays().items():
        if len(arrays.get("class_names", ())) in CLASSES:
            shown[name] = arrays
    if not shown:
        return None
    n_methods = len(shown)
    shown = best_panels(shown)
    n_columns = min(len(shown), N_COLUMNS)
    n_rows = -(-len(shown) // N_COLUMNS)
    figure = new_figure(4 * n_columns, 3.9 * n_rows, DPI)
    for index, (name, arrays) in enumerate(shown.items(), 1):
        axes = figure.add_subplot(n_rows, n_columns, index, title=name)
        draw_matrix(axes, shares_of_classes(arrays))
    note_panels(figure, n_methods)
    return figure


def shares_of_classes(arrays: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return the share of each class (a row) that was predicted as each (a column), in percent."""
    classes = [str(name) for name in arrays["class_names"]]
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, (arrays["y_test"], arrays["predictions"]), 1)
    totals = np.maximum(counts.sum(1, keepdims=True), 1)
    return pd.DataFrame(100 * counts / totals, classes, classes)


def draw_matrix(axes: Axes, shares: pd.DataFrame) -> None:
    """Draw one matrix of shares, in percent; those that round to 0 have no number.

    seaborn's heatmap would draw the whole figure anew for each matrix, minutes for 40 methods.
    """
    classes = list(shares.columns)
    n_classes = len(classes)
    centres = np.arange(n_classes) + 0.5
    colours = colormaps["Greys"]
    axes.set_aspect("equal")
    sns.despine(ax=axes, left=True, bottom=True)
    axes.pcolormesh(
        shares.to_numpy(),
        cmap=colours,
        vmin=0,
        vmax=100,
        linewidths=0.3,
        edgecolor="#888888",
    )
    axes.set(xlim=(0, n_classes), ylim=(n_classes, 0), xticks=centres, yticks=centres)
    columns = axes.set_xticklabels(classes)
    rows = axes.set_yticklabels(classes, rotation="vertical", va="center")
    if axis_ticklabels_overlap(columns):
        axes.set_xticklabels(classes, rotation="vertical")
    if axis_ticklabels_overlap(rows):
        axes.set_yticklabels(classes, rotation="horizontal")
    for (row, column), share in np.ndenumerate(shares.to_numpy()):
        if share >= LEAST_SHARE:
            is_light = relative_luminance(colours(share / 100)) > LIGHT
            colour = DARK_TEXT if is_light else "w"
            axes.text(
                column + 0.5,
                row + 0.5,
                f"{share:.0f}",
                color=colour,
                ha="center",
                va="center",
                size=LABEL_POINTS,
            )
    axes.set(xlabel="predicted (%)", ylabel="true")
    axes.tick_params(labelsize=LABEL_POINTS)
