"""Intervals and paired tests. Accuracies are in percent, differences in points."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ddl_bench.errors import UserError, nearest
from ddl_bench.results.groups import Group, gather
from ddl_bench.results.rows import arrays, load_rows

N_RESAMPLES = 10_000
MARGIN = 1.0  # points: "reproduced" means that the whole interval lies within it


def mean_interval(values: "pd.Series[float]", n_images: float) -> tuple[float, float, str]:
    """(low, high, how) at 95 % of a mean accuracy: mean +- t(0.975, n - 1) * sd / sqrt(n) over n seeds, in [0, 100].

    With one seed or equal ones, the percentile bootstrap over test images, which says nothing about other seeds:
    resampled zeros and ones have binomial sums, so its quantiles are the binomial's. NaN where there is no value.
    """
    n, mean = len(values), values.mean()
    if values.std() > 0:
        half = float(stats.t.ppf(0.975, n - 1)) * values.std() / n**0.5
        return max(mean - half, 0), min(mean + half, 100), f"t over {n} seeds"
    low, high = (
        100 * float(stats.binom.ppf(q, n_images, mean / 100)) / n_images for q in (0.025, 0.975)
    )
    return low, high, f"bootstrap over {n_images:,.0f} images" if n else ""


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> float:
    """McNemar's exact two-sided p: of the images that one alone has right, each has half by chance."""
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def paired_bootstrap(difference: np.ndarray) -> tuple[float, float, float]:
    """(low, high, p) of the mean of a difference per image, shape (n_images,), by resampling images.

    Percentile interval at 95 %; p = 2 min(P(mean <= 0), P(mean >= 0)), two-sided, never below 2 / (N_RESAMPLES + 1).
    """
    values, counts = np.unique(
        difference, return_counts=True
    )  # few distinct ones: a multinomial draw resamples them
    drawn = np.random.default_rng(0).multinomial(
        len(difference), counts / len(difference), size=N_RESAMPLES
    )
    means = np.round(drawn @ values / len(difference), 9)  # or a zero might have a sign
    tail = min((means <= 0).sum(), (means >= 0).sum())
    return *np.quantile(means, [0.025, 0.975]).tolist(), float(
        min(1, 2 * (tail + 1) / (N_RESAMPLES + 1))
    )


def welch(
    mean_a: float, sd_a: float, n_a: int, mean_b: float, sd_b: float, n_b: int
) -> tuple[float, float]:
    """95 % interval of a - b, means of n >= 2 values whose variances may differ.

    a - b +- t(0.975, v) * sqrt(e_a + e_b), with e = sd^2 / n and v = (e_a + e_b)^2 / (e_a^2 / (n_a - 1) + ...).
    """
    e_a, e_b = sd_a**2 / n_a, sd_b**2 / n_b
    freedom = (e_a + e_b) ** 2 / (e_a**2 / (n_a - 1) + e_b**2 / (n_b - 1)) if e_a + e_b else 1.0
    half = float(stats.t.ppf(0.975, freedom) * np.sqrt(e_a + e_b))
    return mean_a - mean_b - half, mean_a - mean_b + half


def verdict(low: float, high: float) -> str:
    """What the 95 % interval of "ours minus the paper's" says."""
    if low >= -MARGIN and high <= MARGIN:
        return "reproduced"
    return "lower" if high < 0 else "higher" if low > 0 else "unresolved"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Method a against b on the same test images with the same seeds; None where nothing can be compared.

    `difference` is a - b in points, from `low` to `high` at 95 %; `p` belongs to it (McNemar's with a single seed),
    `p_holm` is Holm's for all comparisons made at once, `p_seeds` are McNemar's. `left_out` names what is not used.
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
    how: str = ""
    p: float | None = None
    p_holm: float | None = None
    p_seeds: tuple[float, ...] = ()
    left_out: tuple[str, ...] = ()


def compare(run: Path, a: str, b: str) -> list[Comparison]:
    """Two labels of a run against each other: one record for each data set, or for each pair of lines they have there.

    Only rows of equal images, splits and device, and seeds that both have. Raises UserError for an unknown label.
    """
    groups, records = gather(load_rows(run)), []
    chosen = {
        name: [group for group in groups if name in (group.name, group.cell.label)]
        for name in (a, b)
    }
    for name in (a, b):
        if not chosen[name]:
            raise UserError(
                f"{run}: no method {name!r}: {nearest(name, {group.name for group in groups})}"
            )
    for dataset in dict.fromkeys(group.dataset for group in (*chosen[a], *chosen[b])):
        mine, theirs = (
            [group for group in chosen[name] if group.dataset == dataset] for name in (a, b)
        )
        records += [compare_groups(run, one, other) for one in mine for other in theirs]
        if not (mine and theirs):
            reason = f"{b if mine else a}: no row on these images and splits"
            records.append(Comparison(dataset=dataset, a=a, b=b, left_out=(reason,)))
    return corrected(records)


def compare_groups(run: Path, a: Group, b: Group) -> Comparison:
    """One line of a table against another of its data set; `p_holm` is left to `corrected`."""
    left_out = [f"{group.name}: {group.missing}" for group in (a, b) if group.missing]
    left_out += (
        [f"devices differ: {a.cell.machine.device}, {b.cell.machine.device}"]
        if a.cell.machine.device != b.cell.machine.device
        else []
    )
    ids_a, ids_b = ({row.cell.seed: row.cell.id for row in group.ok} for group in (a, b))
    right: dict[int, np.ndarray] = {}  # by seed: which images a and b have right
    for seed in (
        sorted(ids_a.keys() & ids_b.keys())
        if a.cell.machine.device == b.cell.machine.device
        else ()
    ):
        kept = [arrays(run, ids[seed]) for ids in (ids_a, ids_b)]
        if all(kept):
            right[seed] = np.array([it["predictions"] == it["y_test"] for it in kept])
        else:
            left_out.append(f"seed {seed}: predictions were not kept")
    record = Comparison(
        dataset=a.dataset, a=a.name, b=b.name, seeds=tuple(right), left_out=tuple(left_out)
    )
    if not right:
        return record
    each = 100 * np.mean(list(right.values()), axis=0)
    low, high, p = paired_bootstrap(each[0] - each[1])
    p_seeds = tuple(mcnemar(*pair) for pair in right.values())
    (mean_a, mean_b), n = each.mean(axis=1).tolist(), each.shape[1]
    record = replace(
        record,
        mean_a=mean_a,
        mean_b=mean_b,
        difference=mean_a - mean_b,
        low=low,
        high=high,
        n_images=n,
    )
    how = f"bootstrap over {n:,} images of the mean over {len(right)} seeds"
    return replace(record, how=how, p=p if len(right) > 1 else p_seeds[0], p_seeds=p_seeds)


def corrected(records: list[Comparison]) -> list[Comparison]:
    """The same records with `p_holm`, over all of them that have a p."""
    p_holm = iter(
        multipletests([record.p for record in records if record.p is not None], method="holm")[
            1
        ].tolist()
    )
    return [
        record if record.p is None else replace(record, p_holm=next(p_holm)) for record in records
    ]
