"""Panels: one for each family of methods, where one picture would hold too many."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.style import Width, short

MOST_TOGETHER = 12  # methods in one picture; more have a panel for each family
N_COLUMNS = {"single": 1, "double": 3}
PANEL_INCHES = 1.9
LABEL_INCHES = 0.4  # of the costs, below all panels
GREY = "#8c8c8c"  # methods of other families


def family_panels(
    figure: Figure, families: Sequence[str], width: Width, xlabel: str, ylabel: str
) -> dict[str, Axes]:
    """Divide a figure into a panel for each family, which share their axes.

    Parameters
    ----------
    figure
        The figure, whose height is set.
    families
        The families, in the order of their panels.
    width
        One column of a paper, or two.
    xlabel, ylabel
        What the axes show, written once for all panels.
    """
    n_columns = min(N_COLUMNS[width], len(families))
    n_rows = -(-len(families) // n_columns)
    figure.set_size_inches(figure.get_figwidth(), PANEL_INCHES * n_rows + LABEL_INCHES)
    grid = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    every: list[Axes] = list(grid.ravel())
    used = every[: len(families)]
    for axes in every[len(families) :]:
        axes.set_axis_off()
    for axes in used[-n_columns:]:  # the lowest of each column
        axes.tick_params(labelbottom=True)
    for family, axes in zip(families, used, strict=True):
        axes.set_title(short(family), loc="left")
    figure.supxlabel(xlabel, size=8)
    figure.supylabel(ylabel, size=8)
    return dict(zip(families, used, strict=True))
