"""What the figures of one data set show: rows that ended well, with the arrays beside them."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ddl_bench.results.groups import Group
from ddl_bench.results.rows import CURVE, Row, arrays
from reports.figures.style import Look, looks

MOST_CURVES = 1_000  # of a data set; the curves of further seeds could not be told apart


class Point(NamedTuple):
    """Hold a point of a figure: the method, the seed, and where it lies; None is not shown."""

    method: str
    seed: int
    x: float | None
    y: float | None


class Outcome(NamedTuple):
    """Hold a row that ended well: the line of the table it belongs to, and its arrays.

    The first row of a line has all arrays, further ones have curves, and those beyond MOST_CURVES
    have none.
    """

    name: str
    row: Row
    arrays: dict[str, np.ndarray]


@dataclass(frozen=True)
class Outcomes:
    """Hold what the figures of one data set are drawn from.

    Parameters
    ----------
    groups
        The lines of the table on this data set.
    rows
        Their rows that ended well.
    looks
        Colour and marker by name of a line.
    n_curves
        Rows of a line whose curves are read.
    """

    groups: list[Group]
    rows: list[Outcome]
    looks: dict[str, Look]
    n_curves: int = MOST_CURVES

    @property
    def dataset(self) -> str:
        """Return the name of the data set."""
        return self.groups[0].dataset

    def first_arrays(self) -> dict[str, dict[str, np.ndarray]]:
        """Return the arrays of one seed, the first, for each line of the table."""
        return {outcome.name: outcome.arrays for outcome in reversed(self.rows)}


def read_outcomes(run: Path, groups: list[Group]) -> Outcomes:
    """Read what the figures of one data set need from a run folder."""
    n_curves = max(1, MOST_CURVES // len(groups))
    rows = []
    for group in groups:
        for index, row in enumerate(group.ok):
            stored: dict[str, np.ndarray] = {}
            if index < n_curves:
                stored = arrays(run, row.cell.id, CURVE if index else None)
            rows.append(Outcome(group.name, row, stored))
    return Outcomes(groups, rows, looks(sorted(group.name for group in groups)), n_curves)


def table_of(points: list[Point]) -> pd.DataFrame:
    """Return points as a table, without those that are not shown."""
    return pd.DataFrame(points, columns=list(Point._fields)).dropna()
