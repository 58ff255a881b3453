"""Comparisons of all methods of a data set, judged as one family."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ddl_bench.results.collect import Collection
from ddl_bench.results.groups import Group
from ddl_bench.results.stats.best import against_reference, behind_best
from ddl_bench.results.stats.compare import (
    Archive,
    Comparison,
    compare_groups,
    count_tested,
    declared_pairs,
    declaring_cell,
    judged_together,
    sample_of,
    with_verdict,
)
from ddl_bench.results.stats.power import detectable
from ddl_bench.results.stats.welch import SEEDS_FOR_INTERVAL, SEEDS_FOR_VERDICT


def compare_all(runs: Collection | Path, groups: Sequence[Group]) -> list[Comparison]:
    """Make the comparisons of a data set that its track declares, judged as one family.

    They are its pairs, or all lines against its reference; by default each line against the best.

    Parameters
    ----------
    runs
        The run folder, or the collection of several.
    groups
        The lines of one data set.
    """
    archive = Archive(runs)
    finished = [group for group in groups if group.ok]
    if len(finished) < 2:
        return []
    pairs = declared_pairs(finished)
    if pairs:
        return compare_pairs(archive, finished, pairs)
    cell = declaring_cell(finished)
    reference = [group for group in finished if cell and group.cell.label == cell.reference]
    if len(reference) == 1:
        return compare_with_reference(archive, finished, reference[0])
    return compare_with_best(archive, finished)


def compare_pairs(
    archive: Archive, groups: Sequence[Group], pairs: Sequence[tuple[str, str]]
) -> list[Comparison]:
    """Compare the lines of each pair of labels."""
    records = []
    for label_a, label_b in pairs:
        lines_b = [group for group in groups if group.cell.label == label_b]
        for a in groups:
            if a.cell.label == label_a:
                records += [compare_groups(archive, a, b) for b in lines_b]
    n_tested = count_tested(groups, pairs)
    return judged_together(records, f"{n_tested} pairs of the track", n_tested)


def compare_with_reference(
    archive: Archive, groups: Sequence[Group], reference: Group
) -> list[Comparison]:
    """Compare the reference with each other line, by Dunnett's test."""
    others = [group for group in groups if group is not reference]
    records = [compare_groups(archive, reference, other) for other in others]
    tested = [index for index, record in enumerate(records) if record.p is not None]
    if not tested:
        return records
    result = against_reference(sample_of(reference), [sample_of(others[index]) for index in tested])
    family = f"{len(tested)} lines against {reference.name}, the reference (Dunnett)"
    for place, index in enumerate(tested):
        least = float(detectable(result.error[place], result.freedom[place], result.limit[place]))
        records[index] = with_verdict(records[index], family, float(result.p[place]), least)
    return records


def compare_with_best(archive: Archive, groups: Sequence[Group]) -> list[Comparison]:
    """Compare the line of the highest accuracy with each other, corrected for its choice."""
    family = best_family(groups)
    if not family:
        best = most_accurate(groups)
        others = [group for group in groups if group is not best]
        return [compare_groups(archive, best, other) for other in others]
    result = behind_best([sample_of(group) for group in family])
    best = family[result.best]
    records = [compare_groups(archive, best, other) for other in groups if other is not best]
    text = f"{len(family)} lines, each against the best (studentized range)"
    place_of = {group.name: place for place, group in enumerate(family)}
    for index, record in enumerate(records):
        place = place_of.get(record.b)
        if place is not None and record.p is not None:
            least = float(
                detectable(result.error[place], result.freedom[place], result.limit[place])
            )
            records[index] = with_verdict(record, text, float(result.p[place]), least)
    return records


def best_family(groups: Sequence[Group]) -> list[Group]:
    """Return the lines of a data set that are compared with the best; none or at least two.

    Where the best one has too few seeds itself nobody knows how far the others are behind it, and
    there are none.
    """
    family = comparable(groups)
    return family if family and most_accurate(groups) in family else []


def comparable(groups: Sequence[Group]) -> list[Group]:
    """Return the lines with enough seeds for an interval, on one device; none or at least two.

    It is the device of the most accurate of them.
    """
    enough = [group for group in groups if len(group.values("accuracy")) >= SEEDS_FOR_INTERVAL]
    if not enough:
        return []
    device = most_accurate(enough).cell.machine.device
    family = [group for group in enough if group.cell.machine.device == device]
    return family if len(family) > 1 else []


def most_accurate(groups: Sequence[Group]) -> Group:
    """Return the line of the highest mean accuracy, of those that have one if any."""
    measured = [group for group in groups if len(group.values("accuracy"))]
    return max(measured, key=lambda group: sample_of(group).mean) if measured else groups[0]


class Standing(NamedTuple):
    """Where a line stands to the best of its data set.

    Parameters
    ----------
    at_least, at_most
        How far it is behind the best, in points.
    detectable
        How far behind it must be to be told from the best with a power of 80 %.
    verdict
        "not separable", "below the best", or empty where there are too few seeds.
    """

    at_least: float
    at_most: float
    detectable: float
    verdict: str


def standings(groups: Sequence[Group]) -> dict[str, Standing]:
    """Say where the lines of one data set stand to the best of them, by their names.

    Lines with too few seeds for an interval are left out; empty where that is the best one.
    """
    family = best_family(groups)
    if not family:
        return {}
    result = behind_best([sample_of(group) for group in family])
    least = detectable(result.error, result.freedom, result.limit)
    n_seeds_best = len(family[result.best].values("accuracy"))
    standing = {}
    for place, group in enumerate(family):
        at_least = float(result.at_least[place])
        verdict = "below the best" if at_least else "not separable"
        if min(n_seeds_best, len(group.values("accuracy"))) < SEEDS_FOR_VERDICT:
            verdict = ""
        points = float(least[place])
        if place == result.best:
            points = float("nan")
        standing[group.name] = Standing(at_least, float(result.at_most[place]), points, verdict)
    return standing
