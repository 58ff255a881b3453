"""The figures of a report. To add one, write a function and give it a line here."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from ddl_bench.results.groups import Group
from reports.figures.atoms import draw_atoms
from reports.figures.confusion import draw_confusion
from reports.figures.costs import draw_cost
from reports.figures.curves import draw_curves
from reports.figures.outcomes import Outcomes, read_outcomes
from reports.figures.recovery import draw_recovery
from reports.figures.style import save, styled

OF_DATA_SET: dict[str, Callable[[Outcomes], Figure | None]] = {
    "accuracy against parameters": partial(draw_cost, column="n_params", label="parameters"),
    "accuracy against training time": partial(draw_cost, column="train_s", label="training time"),
    "accuracy against test time per image": partial(
        draw_cost, column="test_s_per_image", label="test time per image"
    ),
    "accuracy while training": draw_curves,
    "confusion": draw_confusion,
    "learned atoms": draw_atoms,
}
"""By title, in the order of the page; a function returns None where it has nothing to show."""

OF_RUN: dict[str, Callable[[list[Group]], Figure | None]] = {"recovery": draw_recovery}
"""Figures of all data sets of a run together, by the name of their file."""

TITLE_POINTS = 11


def draw_data_set(run: Path, groups: list[Group], folder: Path, prefix: str) -> dict[str, Path]:
    """Draw what the lines of a table on one data set allow.

    Parameters
    ----------
    run
        The run folder.
    groups
        The lines of the table on one data set.
    folder
        Where the files go; it is made where it is missing.
    prefix
        What the names of the files begin with.

    Returns
    -------
    dict
        The SVG files by title, each with a PNG file beside it.
    """
    outcomes = read_outcomes(run, groups)
    paths = {}
    with styled(prefix):
        for title, draw in OF_DATA_SET.items():
            figure = draw(outcomes)
            if figure is not None:
                figure.suptitle(f"{outcomes.dataset}: {title}", size=TITLE_POINTS)
                paths[title] = save(figure, folder / f"{prefix}-{title.replace(' ', '-')}.svg")
    return paths


def draw_run(groups: list[Group], folder: Path) -> dict[str, Path]:
    """Draw what all lines of a run's table allow together; return the SVG files by name."""
    paths = {}
    for name, draw in OF_RUN.items():
        with styled(name):
            figure = draw(groups)
            if figure is not None:
                paths[name] = save(figure, folder / f"{name}.svg")
    return paths
