"""Which classes each method takes for which."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.outcomes import Outcomes
from reports.figures.style import new_figure

N_COLUMNS = 3
CLASSES = range(2, 13)  # more would not be legible
DPI = 100


def draw_confusion(outcomes: Outcomes) -> Figure | None:
    """Draw, for one seed of each method, the share of each class (a row) taken for another."""
    shown = {}
    for name, arrays in outcomes.first_arrays().items():
        if len(arrays.get("class_names", ())) in CLASSES:
            shown[name] = arrays
    if not shown:
        return None
    n_columns = min(len(shown), N_COLUMNS)
    n_rows = -(-len(shown) // N_COLUMNS)
    figure = new_figure(4 * n_columns, 3.9 * n_rows, DPI)
    for index, (name, arrays) in enumerate(shown.items(), 1):
        axes = figure.add_subplot(n_rows, n_columns, index, title=name)
        draw_matrix(axes, shares_of_classes(arrays))
    return figure


def shares_of_classes(arrays: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return the share of each class (a row) that was predicted as each (a column), in percent."""
    classes = [str(name) for name in arrays["class_names"]]
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, (arrays["y_test"], arrays["predictions"]), 1)
    totals = np.maximum(counts.sum(1, keepdims=True), 1)
    return pd.DataFrame(100 * counts / totals, classes, classes)


def draw_matrix(axes: Axes, shares: pd.DataFrame) -> None:
    """Draw one matrix of shares, in percent; those that round to 0 have no number."""
    texts = shares.map(lambda share: f"{share:.0f}" if share >= 0.5 else "")
    sns.heatmap(
        shares,
        annot=texts,
        fmt="",
        cmap="Greys",
        vmin=0,
        vmax=100,
        cbar=False,
        square=True,
        linewidths=0.3,
        linecolor="#888888",
        annot_kws={"size": 7},
        ax=axes,
    )
    axes.set(xlabel="predicted (%)", ylabel="true")
    axes.tick_params(labelsize=7)
