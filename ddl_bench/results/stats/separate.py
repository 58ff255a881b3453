"""What would separate two methods of a run: `ddl-bench power`."""

from dataclasses import dataclass
from pathlib import Path

from ddl_bench.errors import UserError
from ddl_bench.results.groups import Group, gather
from ddl_bench.results.rows import load_rows
from ddl_bench.results.stats.compare import pairs_of_lines
from ddl_bench.results.stats.comparison import (
    ALONE,
    Archive,
    Comparison,
    compare_groups,
    crossed_parts,
    judged_together,
    sample_of,
)
from ddl_bench.results.stats.power import Needed, needed
from ddl_bench.results.stats.welch import SEEDS_FOR_INTERVAL

LARGEST_DIFFERENCE = 100.0  # points


@dataclass(frozen=True, kw_only=True)
class Power:
    """What would separate two methods: see `Needed` for the numbers.

    Parameters
    ----------
    dataset, a, b
        Names of the data set and of the two lines of its table.
    seeds_a, seeds_b, n_images
        What there is now; images are 0 where no predictions were kept.
    sd_a, sd_b
        Standard deviations over seeds, in points.
    observed
        The difference a - b now, in points.
    detectable
        The smallest difference that is found now with a power of 80 %.
    needed
        Seeds and images for the difference asked for; None where a spread is unknown.
    note
        What to know about these numbers.
    """

    dataset: str
    a: str
    b: str
    seeds_a: int
    seeds_b: int
    n_images: int
    sd_a: float | None
    sd_b: float | None
    observed: float | None
    detectable: float | None
    needed: Needed | None
    note: str


def power(run: Path | str, a: str, b: str, difference: float | None = None) -> list[Power]:
    """Say how many seeds and images would separate two methods of a run, for each data set.

    Parameters
    ----------
    run
        The run folder.
    a, b
        Labels of methods, or names of lines of the table.
    difference
        The true difference to be found, in points; None takes the one that was observed, which may
        be larger or smaller than the true one by chance.

    Raises
    ------
    UserError
        For a label that the run does not have, a method with itself, and no difference.
    """
    if difference is not None and not 0 < difference <= LARGEST_DIFFERENCE:
        raise UserError(
            f"--difference {difference:g}: expected points above 0, at most {LARGEST_DIFFERENCE:g}"
        )
    run = Path(run)
    groups = gather(load_rows(run))
    archive = Archive(run)
    records = []
    for pair in pairs_of_lines(groups, a, b, run):
        if not isinstance(pair, Comparison):
            records.append(power_of_groups(archive, *pair, difference))
    return records


def power_of_groups(archive: Archive, a: Group, b: Group, difference: float | None) -> Power:
    """Say what would separate two lines of one data set."""
    comparison = judged_together([compare_groups(archive, a, b)], ALONE, 1)[0]
    parts = crossed_parts(archive, a, b)
    wanted = difference or comparison.difference
    need = None
    note = f"spreads are unknown: each method needs {SEEDS_FOR_INTERVAL} seeds"
    if comparison.p is not None and wanted is not None:
        need = needed(abs(wanted), sample_of(a), sample_of(b), parts)
        note = f"spreads are estimates of {comparison.n_seeds} seeds"
        if difference is None:
            note += ", and the difference is the one observed"
        if not need.difference:
            note = "no difference was observed: give one with --difference"
    return Power(
        dataset=a.dataset,
        a=a.name,
        b=b.name,
        seeds_a=len(comparison.seeds_a),
        seeds_b=len(comparison.seeds_b),
        n_images=parts.n_images if parts else 0,
        sd_a=comparison.sd_a,
        sd_b=comparison.sd_b,
        observed=comparison.difference,
        detectable=comparison.detectable,
        needed=need,
        note=note,
    )
