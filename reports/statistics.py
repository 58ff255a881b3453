"""Tables of docs/statistics.md, the old rule beside the new one and the simulations; features."""

import json

from statsmodels.stats.multitest import multipletests

from ddl_bench.results.groups import gather
from ddl_bench.results.rows import load_rows
from ddl_bench.results.stats.compare import compare
from ddl_bench.results.stats.comparison import Comparison
from ddl_bench.results.stats.families import compare_all
from ddl_bench.results.stats.sentences import digits_beside, points, span
from reports.estimates import RESULTS

RUNS = {"digits": "quick-5-seeds"}  # that have kept their predictions
PATCHES = "patch-features"  # a run of these methods with either kind of features
SIMULATIONS = RESULTS / "simulations.json"
LEVEL = 0.05


def rules() -> str:
    """Return what the old and the new rule say of the same rows, as a table.

    The old rule averaged networks over seeds, resampled test images, and corrected the p of all
    comparisons with the most accurate line by Holm; of a single seed it took McNemar's test.
    """
    lines = [
        "| data | comparison | seeds | difference | old: interval over images | old: p, Holm |"
        " old: conclusion | new: interval over trainings | new: p, family | new: verdict |",
        "|" + " :-- |" * 10,
    ]
    for data, run in RUNS.items():
        records = compare_all(RESULTS / run, gather(load_rows(RESULTS / run)))
        p_old = [old_p(record) for record in records]
        _, p_holm, *_ = multipletests(p_old, method="holm")
        for record, p in zip(records, p_holm, strict=True):
            lines.append(" | ".join(["| " + data, *cells_of(record, float(p))]) + " |")
    return "\n".join(lines)


def features() -> str:
    """Return what pooled codes of patches gain over pixels in four discriminative methods."""
    run = RESULTS / PATCHES
    lines = [
        "| method | patches minus pixels (points) | 95 % interval | seeds |",
        "| :-- | :-- | :-- | :-- |",
    ]
    for name in ("src", "d-ksvd", "lc-ksvd", "dpl"):
        (record,) = compare(run, name, f"{name}[features=pixels]")
        cells = [name, points(record.difference or 0), interval_of(record), str(record.n_seeds)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def old_p(record: Comparison) -> float:
    """Return p of the old rule: the bootstrap over images, or McNemar's for a single seed."""
    networks = record.these_networks
    if networks is None:
        raise ValueError(f"{record.a} and {record.b}: no predictions were kept")
    if len(networks.seeds) == 1:
        return networks.p_mcnemar[0]
    return networks.p


def cells_of(record: Comparison, p_old: float) -> list[str]:
    """Write what both rules say of a comparison."""
    networks = record.these_networks
    if networks is None or record.difference is None:
        raise ValueError(f"{record.a} and {record.b}: no predictions were kept")
    old = "different" if p_old < LEVEL else "not significant"
    return [
        f"{record.a} minus {record.b}",
        str(record.n_seeds),
        points(record.difference),
        span(networks.low, networks.high),
        p_text(p_old),
        old,
        interval_of(record),
        "" if record.p_family is None else p_text(record.p_family),
        record.verdict.partition(":")[0],
    ]


def interval_of(record: Comparison) -> str:
    """Write the interval over trainings, no limit of which is rounded to 0; empty without one."""
    if record.low is None or record.high is None:
        return ""
    return span(record.low, record.high, digits_beside((record.low, record.high), (0.0,)))


def p_text(p: float) -> str:
    """Write a p to two digits."""
    return "< 0.0005" if p < 0.0005 else f"{p:.2g}"


def simulations() -> str:
    """Return the rates of the simulations, as a table: `python -m tests.sim` makes them."""
    rates = json.loads(SIMULATIONS.read_text())
    seeds = sorted({rate["n_seeds"] for rate in rates})
    shares: dict[tuple[str, ...], dict[int, float]] = {}
    for rate in rates:
        spread = f"{rate['spread']:g}" if rate["spread"] else "0.05 to 1"
        key = (rate["kind"], rate["setting"], rate["rule"], spread)
        shares.setdefault(key, {})[rate["n_seeds"]] = rate["rate"]
    heads = [f"{n} seeds" for n in seeds]
    lines = [
        f"| what | methods | rule | sd over seeds | {' | '.join(heads)} |",
        "| :-- | :-- | :-- | :-- |" + " --: |" * len(seeds),
    ]
    for names, by_seeds in sorted(shares.items(), key=lambda item: item[0][0]):
        values = [f"{100 * by_seeds[n]:.1f} %" if n in by_seeds else "" for n in seeds]
        lines.append(f"| {' | '.join([*names, *values])} |")
    return "\n".join(lines)
