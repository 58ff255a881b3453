"""The atoms that methods have learned, as pictures."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ddl_bench.results.frame import stored_arrays, well_ended
from reports.figures.lines import Lines
from reports.figures.style import WIDTHS_INCHES, Width, in_style, new_figure, set_caption, short

MOST_ATOMS = 100  # of a method
MOST_METHODS = 8  # the most accurate ones
N_COLUMNS = {"single": 2, "double": 4}
TITLE_INCHES = 0.35


@in_style
def atoms(df: pd.DataFrame, width: Width = "double") -> Figure | None:
    """Draw the first atoms of the most accurate methods that have some, of one seed each.

    Parameters
    ----------
    df
        Rows of `ddl_bench.load` on one data set; atoms are read from their run folders.
    width
        One column of a paper, or two.

    Returns
    -------
    Figure or None
        None where no method has atoms of images, in grey or in colour.
    """
    lines = Lines(df)
    shown: dict[str, np.ndarray] = {}
    ranked = [str(name) for name in lines.accuracies.index]
    unranked = [name for name in lines.looks if name not in ranked]
    first_rows = lines.finished.groupby("line", sort=False).head(1)
    row_of = {str(row["line"]): row for row in well_ended(first_rows)}
    for name in [*ranked, *unranked]:
        drawn = stored_arrays(row_of[name], None).get("artefact_atoms")
        if drawn is not None and drawn.shape[1] in (1, 3) and len(shown) < MOST_METHODS:
            shown[name] = drawn
    if not shown:
        return None
    if len(shown) == 1:
        width = "single"  # two columns of a paper would be half empty
    n_columns = min(N_COLUMNS[width], len(shown))
    n_rows = -(-len(shown) // n_columns)
    side = WIDTHS_INCHES[width] / n_columns
    figure = new_figure(width, n_rows * (side + TITLE_INCHES))
    for index, (name, drawn) in enumerate(shown.items(), 1):
        n_side = int(np.ceil(min(len(drawn), MOST_ATOMS) ** 0.5))
        n_drawn = min(len(drawn), n_side * n_side)
        title = f"{short(name)}\n{n_drawn} of {len(drawn)} atoms"
        axes = figure.add_subplot(n_rows, n_columns, index, title=title)
        axes.imshow(mosaic(drawn, n_side), "gray", vmin=0, vmax=1, interpolation="none")
        axes.set_axis_off()
    if len(shown) == 1:
        subject = "of the most accurate method that has some"
    else:
        subject = f"of each of the {len(shown)} most accurate methods that have some"
    set_caption(
        figure,
        f"The first atoms of one seed {subject} (n = 1). Zero is grey; each atom is stretched by"
        " its own largest value.",
    )
    return figure


def mosaic(atoms: np.ndarray, side: int) -> np.ndarray:
    """Tile `side` x `side` atoms (n_atoms, channels, height, width) into one picture.

    Each is stretched by its own largest value; zero is mid-grey, lines between atoms are white.
    """
    largest = np.abs(atoms).max(axis=(1, 2, 3), keepdims=True)
    tiles = 0.5 + atoms / np.maximum(2 * largest, 1e-12)
    n_missing = max(0, side * side - len(atoms))
    padding = ((0, n_missing), (0, 0), (0, 1), (0, 1))
    tiles = np.pad(tiles, padding, constant_values=1)[: side * side]
    rows = tiles.reshape(side, side, *tiles.shape[1:])
    return np.block([[*row] for row in rows]).transpose(1, 2, 0)
