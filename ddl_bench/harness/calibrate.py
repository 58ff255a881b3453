"""Measure on this machine how long cells will take, by two short trainings of each method.

A few passes over at most a thousand images are timed by a worker as in a run. The difference of the
two gives the time of a pass, without what is done once, such as compiling; it is scaled to all
images and passes.
"""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ddl_bench.harness.run import RunSettings, run_cells
from ddl_bench.plan.cell import BudgetSpec, Cell, Limits
from ddl_bench.plan.track import grid_points, n_points
from ddl_bench.results.rows import Row

N_IMAGES = 1000
N_EPOCHS = (2, 6)  # of the two trainings
LIMIT_S = 120.0  # of each short training, beyond which it says nothing


def calibrate(cells: Sequence[Cell], slots: int) -> dict[str, float]:
    """Return the expected wall time of cells in seconds, by their `settings`.

    Cells with a budget in seconds are left out, as theirs is known, and so are those whose short
    training fails.
    """
    kinds = {cell.settings: cell for cell in cells if cell.budget.epochs}
    pairs = {settings: shortened(cell) for settings, cell in kinds.items()}
    short = {each.id: each for pair in pairs.values() for each in pair}
    with tempfile.TemporaryDirectory(prefix="ddl-bench-") as folder:
        rows = run_cells(list(short.values()), RunSettings(folder=Path(folder), slots=slots))
    row_of = {row.cell.id: row for row in rows if row.status == "ok"}
    sizes: dict[tuple[object, ...], int] = {}
    expected = {}
    for settings, cell in kinds.items():
        rows_of_pair = [row_of[each.id] for each in pairs[settings] if each.id in row_of]
        if len(rows_of_pair) < len(N_EPOCHS):
            continue
        key = (cell.dataset, cell.data, cell.splits)
        if key not in sizes:
            sizes[key] = n_train(cell)
        expected[settings] = scaled(cell, rows_of_pair, sizes[key])
    return expected


def shortened(cell: Cell) -> list[Cell]:
    """Return two cells that train the first point of the grid for few passes, on few images."""
    limit = min(cell.splits.limit_train or N_IMAGES, N_IMAGES)
    point = next(grid_points(cell.grid))
    changes = {
        "params": cell.params | point,
        "grid": {},
        "splits": dataclasses.replace(cell.splits, limit_train=limit),
        "limits": Limits(time_s=LIMIT_S, memory_gb=cell.limits.memory_gb),
        "keep_model": False,
    }
    budgets = [BudgetSpec(epochs=n_epochs, seconds=None) for n_epochs in N_EPOCHS]
    return [cell.model_copy(update=changes | {"budget": budget}) for budget in budgets]


def scaled(cell: Cell, rows: Sequence[Row], n_images: int) -> float:
    """Scale two short trainings of a cell to all images, passes and points of its grid.

    A method that does not count its passes trains as long whatever the number of epochs is.
    """
    shorter, longer = rows
    few, many = N_EPOCHS
    few_s = shorter.measured.train_s or 0.0
    many_s = longer.measured.train_s or 0.0
    share = n_images / (longer.measured.n_train or n_images)
    pass_s = max(0.0, many_s - few_s) / (many - few)
    once_s = max(0.0, few_s - few * pass_s)
    if longer.measured.passes:
        train_s = once_s + share * pass_s * (cell.budget.epochs or 1)
    else:
        train_s = share * many_s
    other_s = (longer.wall_s or many_s) - many_s
    return other_s + n_points(cell.grid) * train_s


def n_train(cell: Cell) -> int:
    """Count the images that a cell trains on."""
    from ddl_bench.data.splits import training_places
    from ddl_bench.harness.evaluate import read_images

    plugins = [Path(path) for path in cell.plugins]
    images = read_images(cell, Path(cell.data_dir), plugins)
    return len(training_places(cell.dataset, images, cell.splits).train)
