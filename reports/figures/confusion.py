"""Which classes a method takes for which."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from seaborn.utils import axis_ticklabels_overlap, relative_luminance

from ddl_bench.errors import UserError, nearest
from ddl_bench.results.frame import stored_arrays, well_ended
from ddl_bench.results.rows import SCORED
from reports.figures.lines import Lines
from reports.figures.style import WIDTHS_INCHES, Width, in_style, new_figure, set_caption, short

CLASSES = range(2, 13)  # more would not be legible
MOST_SEEDS = 20  # of a method, whose answers are counted together
MOST_MATRICES = 3  # side by side
LEAST_SHARE = 0.5  # percent; less would be written as 0
LIGHT = 0.408  # luminance of a square above which its text is dark, as in seaborn
DARK_TEXT = ".15"
LABEL_POINTS = 7
TITLE_INCHES = 0.35


class Answers:
    """The answers of a method, counted over its seeds.

    Parameters
    ----------
    class_names
        The names of the classes.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = list(class_names)
        self.counts = np.zeros((len(self.class_names),) * 2)
        self.n_seeds = 0

    def add(self, stored: Mapping[str, np.ndarray]) -> None:
        """Count the answers of one seed."""
        np.add.at(self.counts, (stored["y_test"], stored["predictions"]), 1)
        self.n_seeds += 1

    def shares(self) -> pd.DataFrame:
        """Return the share of each class (a row) that was predicted as each, in percent."""
        totals = np.maximum(self.counts.sum(1, keepdims=True), 1)
        return pd.DataFrame(100 * self.counts / totals, self.class_names, self.class_names)


@in_style
def confusion(
    df: pd.DataFrame, width: Width = "double", lines: Sequence[str] = ()
) -> Figure | None:
    """Draw which share of each class is taken for another, of the best and the worst method.

    Parameters
    ----------
    df
        Rows of `ddl_bench.load` on one data set; predictions are read from their run folders.
    width
        One column of a paper, or two.
    lines
        Further lines of the table, or one that is to be drawn; at most MOST_MATRICES in all.

    Returns
    -------
    Figure or None
        None where no predictions were kept, or there are too many classes to be legible.

    Raises
    ------
    UserError
        For a line that the frame does not have.
    """
    shown = Lines(df)
    names = [str(name) for name in shown.accuracies.index]
    for name in lines:
        if name not in names:
            raise UserError(f"no line {name!r} in this frame: {nearest(name, names)}")
    read = cache(partial(answers_of, shown))
    best = first_with_answers(names, read)
    worst = first_with_answers(names[::-1], read)
    answers: dict[str, Answers] = {}
    for name in (*best, *lines, *worst):
        known = read(name)
        if known is not None and len(answers) < MOST_MATRICES:
            answers[name] = known
    if not answers:
        return None
    n_columns = max(2, len(answers)) if width == "double" else 1
    n_rows = 1 if width == "double" else len(answers)
    side = WIDTHS_INCHES[width] / n_columns
    figure = new_figure(side * min(n_columns, len(answers)), n_rows * (side + TITLE_INCHES))
    for index, (name, known) in enumerate(answers.items(), 1):
        accuracy = shown.accuracies["accuracy"][name]
        title = f"{short(name)}: {accuracy:.2f} %"
        axes = figure.add_subplot(n_rows, -(-len(answers) // n_rows), index, title=title)
        draw_matrix(axes, known.shares())
    set_caption(figure, caption(answers, shown.n_lines, lines))
    return figure


def caption(answers: Mapping[str, Answers], n_lines: int, chosen: Sequence[str]) -> str:
    """Say what the matrices show, and of how many seeds and images."""
    counts = sorted({known.n_seeds for known in answers.values()})
    seeds = " and ".join("1 seed" if n == 1 else f"{n} seeds together" for n in counts)
    first = next(iter(answers.values()))
    n_images = int(first.counts.sum() / first.n_seeds)
    which = "" if n_lines == 1 else f" The most and the least accurate of {n_lines} methods"
    if which and chosen:
        which += ", and chosen ones"
    return (
        "Share of each true class (a row) that is predicted as each class (a column), in percent."
        f" n = {seeds}, {n_images:,} test images.{which and which + '.'} Shares below"
        f" {LEAST_SHARE} % have no number."
    )


def first_with_answers(names: Sequence[str], read: Callable[[str], Answers | None]) -> list[str]:
    """Return the first of some lines whose predictions were kept, alone in a list."""
    for name in names:
        if read(name) is not None:
            return [name]
    return []


def answers_of(lines: Lines, name: str) -> Answers | None:
    """Count the answers of a line over its seeds; None where none are kept, or not legible."""
    answers = None
    rows = lines.rows[lines.rows["line"] == name].head(MOST_SEEDS)
    for row in well_ended(rows):
        stored = stored_arrays(row, (*SCORED, "class_names"))
        class_names = [str(each) for each in stored.get("class_names", ())]
        if len(class_names) not in CLASSES:
            return answers
        if answers is None:
            answers = Answers(class_names)
        if answers.class_names == class_names:
            answers.add(stored)
    return answers


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
