"""The atoms that each method has learned, as pictures."""

import numpy as np
from matplotlib.figure import Figure

from reports.figures.outcomes import Outcomes
from reports.figures.style import best_panels, new_figure, note_panels

MOST_ATOMS = 100  # of a method
N_COLUMNS = 5
DPI = 100


def draw_atoms(outcomes: Outcomes) -> Figure | None:
    """Draw the first atoms of each method that has some, in grey or in colour, of one seed."""
    shown = {}
    for name, arrays in outcomes.first_arrays().items():
        atoms = arrays.get("artefact_atoms")
        if atoms is not None and atoms.shape[1] in (1, 3):
            shown[name] = atoms
    if not shown:
        return None
    n_methods = len(shown)
    shown = best_panels(shown)
    n_columns = min(max(len(shown), 2), N_COLUMNS)
    n_rows = -(-len(shown) // N_COLUMNS)
    figure = new_figure(3 * n_columns, 3.4 * n_rows, DPI)
    for index, (name, atoms) in enumerate(shown.items(), 1):
        side = int(np.ceil(min(len(atoms), MOST_ATOMS) ** 0.5))
        title = f"{name}: {min(len(atoms), side * side)} of {len(atoms)} atoms"
        axes = figure.add_subplot(n_rows, min(n_columns, len(shown)), index, title=title)
        axes.imshow(mosaic(atoms, side), "gray", vmin=0, vmax=1, interpolation="none")
        axes.set_axis_off()
    note_panels(figure, n_methods)
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
