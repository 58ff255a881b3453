"""What figures show: the lines of a table with their intervals, computed from a frame of rows."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from ddl_bench.errors import UserError
from ddl_bench.results.stats.mean import mean_interval
from ddl_bench.results.stats.welch import LEVEL, SEEDS_FOR_INTERVAL, Sample
from reports.figures.looks import Look, Named, looks

LEAST_ERRORS = 4.0  # standard errors that an axis spans at least
SHARED = ("line", "method", "family")


class Span(NamedTuple):
    """Hold the lowest and the highest value of an axis."""

    low: float
    high: float


class Lines:
    """The lines of a table on one data set, the most accurate first.

    Parameters
    ----------
    df
        The frame of `ddl_bench.load`, or a part of it, on one data set.

    Raises
    ------
    UserError
        For a frame with several data sets.
    """

    def __init__(self, df: pd.DataFrame) -> None:
        names = [str(name) for name in df["dataset"].unique()]
        if len(names) > 1:
            raise UserError(
                f"this frame has {len(names)} data sets: choose one, as in "
                f'df[df["dataset"] == {names[0]!r}]; they are {", ".join(names)}'
            )
        self.dataset = names[0] if names else ""
        self.rows = df[(df["status"] == "ok") & df["accuracy"].notna()]
        self.finished = df[df["status"] == "ok"]
        named = self.finished[list(SHARED)].astype(str).drop_duplicates()
        self.looks: dict[str, Look] = looks(
            Named(*values) for values in named.itertuples(index=False)
        )
        self.family = dict(zip(named["line"], named["family"], strict=True))

    @cached_property
    def accuracies(self) -> pd.DataFrame:
        """Return mean accuracy and interval of each line, as in the table, the best first.

        Columns: `accuracy`, `low`, `high`, `basis`, `error` (that of `standard_error`),
        `n_seeds`, `n_images`.
        """
        records = []
        for name, rows in self.rows.groupby("line", sort=False):
            values = rows["accuracy"].astype(float)
            n_images = rows["n_test"].astype(float).max()
            interval = mean_interval(values, n_images)
            low = np.nan_to_num(interval.low, nan=values.mean())
            high = np.nan_to_num(interval.high, nan=values.mean())
            records.append(
                {
                    "line": str(name),
                    "family": self.family[str(name)],
                    "accuracy": values.mean(),
                    "low": low,
                    "high": high,
                    "basis": interval.basis,
                    "error": standard_error(values, n_images),
                    "n_seeds": len(values),
                    "n_images": n_images,
                }
            )
        columns = ["line", "family", "accuracy", "low", "high", "basis", "error", "n_seeds"]
        table = pd.DataFrame(records, columns=[*columns, "n_images"]).set_index("line")
        return table.sort_values("accuracy", ascending=False, kind="stable")

    def costs(self, column: str) -> pd.DataFrame:
        """Return mean `x` and standard deviation `sd` over `n` seeds of a column, by line.

        `half` is half of the 95 % interval of the mean for new trainings, by Student's t: 0 for
        fewer than SEEDS_FOR_INTERVAL seeds, which have none. `is_part` says whether a count of
        operations leaves some of them out.
        """
        values = self.rows.dropna(subset=[column])
        grouped = values.groupby("line", sort=False)[column]
        table = pd.DataFrame({"x": grouped.mean(), "sd": grouped.std(), "n": grouped.size()})
        table = table.astype(float).fillna({"sd": 0.0})
        limit = stats.t.ppf((1 + LEVEL) / 2, (table["n"] - 1).clip(lower=1))
        half = limit * table["sd"] / np.sqrt(table["n"])
        is_partial = values["flops_left_out"].fillna("") != ""
        if column != "flops_per_image":
            is_partial = pd.Series(data=False, index=values.index)
        return table.assign(
            half=half.where(table["n"] >= SEEDS_FOR_INTERVAL, 0.0),
            is_part=is_partial.groupby(values["line"], sort=False).any(),
        )

    @property
    def n_lines(self) -> int:
        """Return the number of lines that have an accuracy."""
        return len(self.accuracies)

    def families(self, lines: Sequence[str]) -> list[str]:
        """Return the families of some lines, each once, in the order of the alphabet."""
        return sorted({self.family[name] for name in lines})


def standard_error(values: "pd.Series[float]", n_images: float) -> float:
    """Compute the standard error of a mean accuracy for new trainings and new images, in percent.

    sqrt(s**2 / S + p * (100 - p) / n), with p the mean, s the standard deviation over S seeds, and
    n images. A part that is not known counts as 0: that of a single seed, and that of the images
    where their number is not known.

    Parameters
    ----------
    values
        Accuracy of each seed, in percent.
    n_images
        Images that are scored; 0 or NaN where unknown.
    """
    runs = Sample.of(values.tolist())
    error2 = runs.error2 if runs.n > 1 else 0.0
    if n_images >= 1:
        error2 += runs.mean * (100 - runs.mean) / n_images
    return float(error2**0.5)


def at_least(span: Span, errors: Sequence[float], limit: float = np.inf) -> Span:
    """Widen a span to LEAST_ERRORS of the largest standard error, around its middle.

    Parameters
    ----------
    span
        What an axis would show.
    errors
        Standard errors of what is shown; NaN where unknown.
    limit
        The highest value that there can be.
    """
    known = [error for error in errors if np.isfinite(error)]
    lacking = LEAST_ERRORS * max(known, default=0.0) - (span.high - span.low)
    if lacking <= 0:
        return span
    high = min(span.high + lacking / 2, limit)
    return Span(high - (span.high - span.low) - lacking, high)


def pareto_front(costs: pd.Series, accuracies: pd.Series) -> list[str]:
    """Return the lines that no other line beats in cost and accuracy, the cheapest first."""
    table = pd.DataFrame({"x": costs, "y": accuracies}).dropna()
    table = table.sort_values(["x", "y"], ascending=[True, False], kind="stable")
    front = []
    best = -np.inf
    for name, (_, y) in table.iterrows():
        if y > best:
            front.append(str(name))
            best = y
    return front
