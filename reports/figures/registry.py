"""The figures of a report, by title. To add one, write a function and give it a line here."""

from functools import partial
from pathlib import Path
from typing import Protocol

import pandas as pd
from matplotlib.figure import Figure

from reports.figures.atoms import atoms
from reports.figures.confusion import confusion
from reports.figures.costs import cost
from reports.figures.curves import training_curves
from reports.figures.ranking import ranking
from reports.figures.recovery import recovery
from reports.figures.style import Width, save


class FigureFunction(Protocol):
    """A function that draws rows; it returns None where it has nothing to show."""

    def __call__(self, df: pd.DataFrame, *, width: Width = "double") -> Figure | None:
        """Draw the rows of `ddl_bench.load` on one data set, as wide as one or two columns."""


FIGURES: dict[str, FigureFunction] = {
    "accuracy, ranked": ranking,
    "accuracy against parameters": partial(cost, column="n_params", label="parameters"),
    "accuracy against operations": partial(
        cost, column="flops_per_image", label="operations per image"
    ),
    "accuracy against training time": partial(cost, column="train_s", label="training time"),
    "accuracy against test time per image": partial(
        cost, column="test_s_per_image", label="test time per image"
    ),
    "accuracy while training": training_curves,
    "confusion": confusion,
    "learned atoms": atoms,
    "recovery": recovery,
}
"""By title, in the order of the page. Each takes the rows of one data set, or a part of them."""

OF_RUN = ("recovery",)  # figures that show all data sets of a run together


def draw_data_set(df: pd.DataFrame, folder: Path, prefix: str) -> dict[str, Path]:
    """Draw what the rows on one data set allow.

    Parameters
    ----------
    df
        Rows of `ddl_bench.load` on one data set.
    folder
        Where the files go; it is made where it is missing.
    prefix
        What the names of the files begin with.

    Returns
    -------
    dict
        The SVG files by title, each with a PNG and a PDF file beside it.
    """
    dataset = str(df["dataset"].iloc[0])
    paths = {}
    for title, draw in FIGURES.items():
        figure = None if title in OF_RUN else draw(df)
        if figure is not None:
            stem = f"{prefix}-{title.replace(',', '').replace(' ', '-')}"
            paths[title] = save(figure, folder / f"{stem}.svg", f"{dataset}: {title}")
    return paths


def draw_run(df: pd.DataFrame, folder: Path) -> dict[str, Path]:
    """Draw what all rows of a run allow together; return the SVG files by title."""
    paths = {}
    for title in OF_RUN:
        figure = FIGURES[title](df)
        if figure is not None:
            name = title.replace(" ", "-")
            paths[title] = save(
                figure, folder / f"{name}.svg", f"{title.capitalize()} of planted atoms"
            )
    return paths
