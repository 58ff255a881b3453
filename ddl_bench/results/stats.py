"""Intervals and paired tests. Accuracies are in percent, differences in points."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ddl_bench.errors import UserError, nearest
from ddl_bench.results.groups import Group, gather
from ddl_bench.results.rows import arrays, load_rows

N_RESAMPLES = 10_000
MARGIN = 1.0  # points: "reproduced" means that the whole interval lies within it
TAILS = (0.025, 0.975)  # of an interval at 95 %


class Interval(NamedTuple):
    """An interval at 95 %, and what it rests on."""

    low: float
    high: float
    basis: str


def mean_interval(values: "pd.Series[float]", n_images: float) -> Interval:
    """Compute the interval mean ± t(0.975, n - 1) * sd / sqrt(n) of an accuracy over n seeds.

    With one seed, or equal values, it is the percentile bootstrap over test images, which says
    nothing about other seeds: resampled zeros and ones have binomial sums, so its quantiles are
    those of the binomial. NaN where there is no value.

    Parameters
    ----------
    values
        Accuracy of each seed, in percent.
    n_images
        Test images.
    """
    n_seeds = len(values)
    mean = values.mean()
    if values.std() > 0:
        half = float(stats.t.ppf(TAILS[1], n_seeds - 1)) * values.std() / n_seeds**0.5
        low = max(mean - half, 0)
        high = min(mean + half, 100)
        return Interval(low, high, f"t over {n_seeds} seeds")
    low, high = (
        100 * float(stats.binom.ppf(tail, n_images, mean / 100)) / n_images for tail in TAILS
    )
    if not n_seeds:
        return Interval(low, high, "")
    return Interval(low, high, f"bootstrap over {n_images:,.0f} images")


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> float:
    """Compute McNemar's exact two-sided p.

    Of the images that one method alone has right, each method has half by chance.

    Parameters
    ----------
    right_a, right_b
        Which images each method has right, shape (n_images,), boolean.
    """
    n_only_a = int((right_a & ~right_b).sum())
    n_only_b = int((right_b & ~right_a).sum())
    if not n_only_a + n_only_b:
        return 1.0
    return float(stats.binomtest(n_only_a, n_only_a + n_only_b).pvalue)


class Bootstrap(NamedTuple):
    """Interval at 95 % of a mean difference, and the two-sided p of no difference."""

    low: float
    high: float
    p: float


def paired_bootstrap(difference: np.ndarray) -> Bootstrap:
    """Resample images to find how far their mean difference may be from zero.

    The interval is the percentile interval; p = 2 min(P(mean <= 0), P(mean >= 0)), never below
    2 / (N_RESAMPLES + 1).

    Parameters
    ----------
    difference
        Difference of each image, shape (n_images,).
    """
    n_images = len(difference)
    # There are few distinct values, so that a multinomial draw of their counts resamples them.
    values, counts = np.unique(difference, return_counts=True)
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(n_images, counts / n_images, size=N_RESAMPLES)
    # Without rounding a zero might have a sign.
    means = np.round(drawn @ values / n_images, 9)
    low, high = np.quantile(means, TAILS).tolist()
    n_beyond = min((means <= 0).sum(), (means >= 0).sum())
    return Bootstrap(low, high, float(min(1, 2 * (n_beyond + 1) / (N_RESAMPLES + 1))))


def welch(
    mean_a: float, sd_a: float, n_a: int, mean_b: float, sd_b: float, n_b: int
) -> tuple[float, float]:
    """Compute the 95 % interval of a - b, two means of values whose variances may differ.

    a - b ± t(0.975, v) * sqrt(e_a + e_b), with e = sd**2 / n and
    v = (e_a + e_b)**2 / (e_a**2 / (n_a - 1) + e_b**2 / (n_b - 1)).

    Parameters
    ----------
    mean_a, mean_b
        The two means.
    sd_a, sd_b
        Standard deviations of the values.
    n_a, n_b
        Number of values, at least 2.
    """
    e_a = sd_a**2 / n_a
    e_b = sd_b**2 / n_b
    freedom = 1.0
    if e_a + e_b:
        freedom = (e_a + e_b) ** 2 / (e_a**2 / (n_a - 1) + e_b**2 / (n_b - 1))
    half = float(stats.t.ppf(TAILS[1], freedom) * np.sqrt(e_a + e_b))
    return mean_a - mean_b - half, mean_a - mean_b + half


def verdict(low: float, high: float) -> str:
    """Say in a word what the 95 % interval of "ours minus the paper's" means."""
    if low >= -MARGIN and high <= MARGIN:
        return "reproduced"
    if high < 0:
        return "lower"
    if low > 0:
        return "higher"
    return "unresolved"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Compare method a with b on the same test images; None where nothing can be compared.

    Parameters
    ----------
    dataset, a, b
        Names of the data set and of the two lines of its table.
    seeds
        Seeds that both have.
    n_images
        Test images.
    mean_a, mean_b
        Mean accuracies over these seeds, in percent.
    difference, low, high
        a - b in points, and its interval at 95 %.
    basis
        What the interval rests on.
    p
        Of the difference: by bootstrap, or McNemar's with a single seed.
    p_holm
        The same, by Holm's correction for all comparisons made at once.
    p_seeds
        McNemar's, of each seed.
    left_out
        What is not used, and why.
    """

    dataset: str
    a: str
    b: str
    seeds: tuple[int, ...] = ()
    n_images: int = 0
    mean_a: float | None = None
    mean_b: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    basis: str = ""
    p: float | None = None
    p_holm: float | None = None
    p_seeds: tuple[float, ...] = ()
    left_out: tuple[str, ...] = ()


def compare(run: Path, a: str, b: str) -> list[Comparison]:
    """Compare two methods of a run: one record for each data set, or each pair of lines on it.

    Only rows with the same images, splits and device are compared, and only seeds that both have.

    Parameters
    ----------
    run
        The run folder.
    a, b
        Labels of methods, or names of lines of the table.

    Raises
    ------
    UserError
        For a label that the run does not have, and for a method with itself.
    """
    groups = gather(load_rows(run))
    lines_a = lines_of(groups, a, run)
    lines_b = lines_of(groups, b, run)
    if lines_a == lines_b:
        others = sorted({group.name for group in groups} - {group.name for group in lines_a})
        raise UserError(
            f"{run}: {a!r} and {b!r} are the same rows: compare with one of"
            f" {', '.join(others) or 'another method, which this run does not have'}"
        )
    records = []
    for dataset in dict.fromkeys(group.dataset for group in [*lines_a, *lines_b]):
        here_a = [group for group in lines_a if group.dataset == dataset]
        here_b = [group for group in lines_b if group.dataset == dataset]
        for one in here_a:
            rivals = [rival for rival in here_b if rival is not one]
            records += [compare_groups(run, one, rival) for rival in rivals]
        if not (here_a and here_b):
            lacking = b if here_a else a
            reason = f"{lacking}: no row on these images and splits"
            records.append(Comparison(dataset=dataset, a=a, b=b, left_out=(reason,)))
    return corrected(records)


def lines_of(groups: list[Group], name: str, run: Path) -> list[Group]:
    """Find the lines of a table by label or name. Raises UserError where there is none."""
    lines = [group for group in groups if name in (group.name, group.cell.label)]
    if not lines:
        choice = nearest(name, {group.name for group in groups})
        raise UserError(f"{run}: no method {name!r}: {choice}")
    return lines


def compare_groups(run: Path, a: Group, b: Group) -> Comparison:
    """Compare two lines of one data set; `p_holm` is left to `corrected`."""
    left_out = [f"{group.name}: {group.missing}" for group in (a, b) if group.missing]
    right: dict[int, np.ndarray] = {}
    device_a = a.cell.machine.device
    device_b = b.cell.machine.device
    if device_a != device_b:
        left_out.append(f"devices differ: {device_a}, {device_b}")
    else:
        right = right_images(run, a, b)
        shared = {row.cell.seed for row in a.ok} & {row.cell.seed for row in b.ok}
        lacking = sorted(shared - right.keys())
        if lacking:
            seeds = ", ".join(map(str, lacking))
            left_out.append(f"seed {seeds}: predictions were not kept, or differ in their images")
    record = Comparison(
        dataset=a.dataset, a=a.name, b=b.name, seeds=tuple(right), left_out=tuple(left_out)
    )
    if not right:
        return record
    by_image = 100 * np.mean(list(right.values()), axis=0)
    n_images = by_image.shape[1]
    mean_a, mean_b = by_image.mean(axis=1).tolist()
    bootstrap = paired_bootstrap(by_image[0] - by_image[1])
    p_seeds = tuple(mcnemar(*pair) for pair in right.values())
    return replace(
        record,
        n_images=n_images,
        mean_a=mean_a,
        mean_b=mean_b,
        difference=mean_a - mean_b,
        low=bootstrap.low,
        high=bootstrap.high,
        basis=f"bootstrap over {n_images:,} images, averaged over seeds",
        p=bootstrap.p if len(right) > 1 else p_seeds[0],
        p_seeds=p_seeds,
    )


def right_images(run: Path, a: Group, b: Group) -> dict[int, np.ndarray]:
    """Say which images a and b have right, shape (2, n_images), by seed that both have kept."""
    rows_a = {row.cell.seed: row for row in a.ok}
    rows_b = {row.cell.seed: row for row in b.ok}
    right = {}
    for seed in sorted(rows_a.keys() & rows_b.keys()):
        of_a = arrays(run, rows_a[seed].cell.id)
        of_b = arrays(run, rows_b[seed].cell.id)
        if of_a and of_b and np.array_equal(of_a["y_test"], of_b["y_test"]):
            pair = [stored["predictions"] == stored["y_test"] for stored in (of_a, of_b)]
            right[seed] = np.array(pair)
    return right


def corrected(records: list[Comparison]) -> list[Comparison]:
    """Add `p_holm`, over all records that have a p."""
    p_values = [record.p for record in records if record.p is not None]
    if not p_values:
        return records
    _, p_holm, *_ = multipletests(p_values, method="holm")
    remaining = iter(p_holm.tolist())
    return [
        record if record.p is None else replace(record, p_holm=next(remaining))
        for record in records
    ]
