"""Comparisons of all methods of a data set, judged as one family."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ddl_bench.results.collect import Collection
from ddl_bench.results.groups import Group
from ddl_bench.results.stats.best import against_reference, behind_best
from ddl_bench.results.stats.comparison import (
    Archive,
    Comparison,
    compare_groups,
    count_tested,
    declared_pairs,
    declaring_cell,
    is_tested,
    judged_together,
    sample_of,
    with_verdict,
)
from ddl_bench.results.stats.power import detectable
from ddl_bench.results.stats.welch import SEEDS_FOR_INTERVAL, SEEDS_FOR_VERDICT

NONE = "no verdict"
NOT_ALL = f"{NONE}: not all lines that are compared have {SEEDS_FOR_VERDICT} seeds"


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
    reference = reference_of(finished)
    if reference:
        return compare_with_reference(archive, finished, reference)
    return compare_with_best(archive, finished)


def reference_of(groups: Sequence[Group]) -> Group | None:
    """Return the line of a data set that its track compares with all others; None without one."""
    cell = declaring_cell(groups)
    lines = [group for group in groups if cell and group.cell.label == cell.reference]
    return lines[0] if len(lines) == 1 else None


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
    judgements = against(reference, others)
    records = []
    for other in others:
        record = compare_groups(archive, reference, other)
        if other.name in judgements:
            record = judged_by(record, judgements[other.name])
        records.append(record)
    return records


class Judgement(NamedTuple):
    """Hold what a family says of one of its comparisons.

    Parameters
    ----------
    family
        Its name.
    p
        Corrected for all comparisons of the family.
    detectable
        Points that a true difference must have to be found with a power of 80 %.
    """

    family: str
    p: float
    detectable: float


def against(reference: Group, others: Sequence[Group]) -> dict[str, Judgement]:
    """Judge the comparisons of a reference with other lines of its data set, by their names.

    Lines on another device or with too few seeds for an interval are left out.
    """
    tested = [other for other in others if is_tested(reference, other)]
    if not tested:
        return {}
    result = against_reference(sample_of(reference), [sample_of(other) for other in tested])
    family = f"{len(tested)} lines against {reference.name}, the reference (Dunnett)"
    least = detectable(result.error, result.freedom, result.limit)
    return {
        other.name: Judgement(family, float(result.p[place]), float(least[place]))
        for place, other in enumerate(tested)
    }


def judged_by(record: Comparison, judgement: Judgement) -> Comparison:
    """Add what its family says to a comparison.

    With few seeds of uneven spread the correction is too weak, and is left out: there is no verdict
    either.
    """
    judged = with_verdict(record, *judgement)
    return judged if judged.n_seeds >= SEEDS_FOR_VERDICT else replace(judged, p_family=None)


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
    text = f"{len(family)} lines, each against the best"
    is_judged = has_verdicts(family)
    place_of = {group.name: place for place, group in enumerate(family)}
    for index, record in enumerate(records):
        place = place_of.get(record.b)
        if place is not None and record.p is not None:
            least = float(
                detectable(result.error[place], result.freedom[place], result.limit[place])
            )
            judged = with_verdict(record, text, float(result.p[place]), least)
            if not (is_judged or judged.verdict.startswith(NONE)):
                judged = replace(judged, verdict=NOT_ALL)
            records[index] = judged
    return records


def best_family(groups: Sequence[Group]) -> list[Group]:
    """Return the lines of a data set that are compared with the best; none or at least two.

    Where the best one has too few seeds itself nobody knows how far the others are behind it, and
    there are none.
    """
    family = comparable(groups)
    return family if family and most_accurate(groups) in family else []


def comparable(groups: Sequence[Group]) -> list[Group]:
    """Return the lines of a data set that are compared with each other; none or at least two.

    They have enough seeds for an interval, and are on the device of the most accurate of them.
    Where most of them, and the most accurate, have enough for a verdict, the others are left out.
    A table so has verdicts for all lines that it compares, or for none.
    """
    enough = with_seeds(groups, SEEDS_FOR_INTERVAL)
    if not enough:
        return []
    best = most_accurate(enough)
    family = [group for group in enough if group.cell.machine.device == best.cell.machine.device]
    judged = with_seeds(family, SEEDS_FOR_VERDICT)
    if best in judged and 2 * len(judged) > len(family) > 2:
        family = judged
    return family if len(family) > 1 else []


def with_seeds(groups: Sequence[Group], least: int) -> list[Group]:
    """Return the lines that have at least so many accuracies."""
    return [group for group in groups if len(group.values("accuracy")) >= least]


def has_verdicts(family: Sequence[Group]) -> bool:
    """Whether each of the lines that are compared has enough seeds for a verdict."""
    return len(with_seeds(family, SEEDS_FOR_VERDICT)) == len(family)


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
        "not separable", "below the best", or empty where a line has too few seeds.
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
    is_judged = has_verdicts(family)
    standing = {}
    for place, group in enumerate(family):
        at_least = float(result.at_least[place])
        verdict = ""
        if is_judged:
            verdict = "below the best" if at_least else "not separable"
        points = float(least[place])
        if place == result.best:
            points = float("nan")
        standing[group.name] = Standing(at_least, float(result.at_most[place]), points, verdict)
    return standing
