"""Check a worker's word: its accuracy against its predictions, its clock against the runner's.

The labels are read by the runner, before the worker starts: nothing that a method does to its own
process changes them.
"""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ddl_bench.data import fingerprint
from ddl_bench.data.sources import load
from ddl_bench.data.splits import Splits, tests_of
from ddl_bench.errors import UserError
from ddl_bench.files import read_arrays
from ddl_bench.plan.cell import Cell
from ddl_bench.registry import datasets
from ddl_bench.results.paths import arrays_path
from ddl_bench.results.rows import SCORED, Row, digest

CLOCK_GAP_S = 1.0  # between the clocks of runner and worker, which starting and polling stay below
ROUNDING = 1e-9  # of an accuracy in percent


def labels_of(cell: Cell) -> NDArray[np.int64]:
    """Read the labels of a cell's test images; they are kept for the next cell.

    Raises UserError where they cannot be read, or are not those that were planned.
    """
    mirror = cell.mirror
    return _labels(cell.dataset, cell.data, cell.data_dir, mirror, cell.splits, cell.plugins)


@lru_cache(maxsize=16)
def _labels(
    dataset: str,
    data: str,
    data_dir: str,
    mirror: bool | None,
    splits: Splits,
    plugins: tuple[str, ...],
) -> NDArray[np.int64]:
    known = datasets(map(Path, plugins))
    images = load(dataset, data_dir=Path(data_dir), mirror=mirror, datasets=known)
    if fingerprint(images) != data:
        raise UserError(f"{dataset}: the images changed since the run was planned")
    labels: NDArray[np.int64] = tests_of(dataset, images, splits).test.y.numpy()
    return labels


def verified(row: Row, run: Path, labels: NDArray[np.int64], seconds: float) -> Row:
    """Return a row as it is, or with what is wrong with it.

    Parameters
    ----------
    row
        As the worker wrote it.
    run
        The run folder.
    labels
        Of the test images, as the runner read them.
    seconds
        How long the worker ran, by the runner's clock.
    """
    if row.status != "ok":
        return row
    problem = wrong_accuracy(row, run, labels)
    if problem:
        return row.model_copy(update={"status": "failed", "reason": problem})
    gap_s = seconds - sum(row.phases.values())
    if row.resumed or gap_s < CLOCK_GAP_S:
        return row
    return row.model_copy(update={"measured": replace(row.measured, unaccounted_s=gap_s)})


def wrong_accuracy(row: Row, run: Path, labels: NDArray[np.int64]) -> str:
    """Say how the accuracy of a row departs from that of its predictions; empty where it agrees."""
    try:
        arrays = read_arrays(arrays_path(run, row.cell.id), SCORED)
        predictions = arrays["predictions"]
        claimed_labels = arrays["y_test"]
    except (FileNotFoundError, KeyError, UserError) as error:
        return f"the kept predictions cannot be read: {error}"
    if not np.array_equal(claimed_labels, labels):
        return "the kept labels are not those of the test images"
    if predictions.shape != labels.shape:
        return f"{predictions.shape} predictions were kept, expected {labels.shape}"
    accuracy = 100 * float((predictions == labels).mean())
    if row.measured.accuracy is None or abs(accuracy - row.measured.accuracy) > ROUNDING:
        return (
            f"its accuracy is {row.measured.accuracy} %, but that of its predictions is "
            f"{accuracy:.2f} %"
        )
    if row.measured.predictions_sha256 != digest(predictions):
        return "the kept predictions are not those whose digest is in the row"
    return ""
