"""Compare methods of a run by their names, and runs before and after a change."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ddl_bench.errors import UserError, nearest
from ddl_bench.plan.cell import label_meant
from ddl_bench.results.groups import SETTINGS_OF_METHOD, Group, gather, traits
from ddl_bench.results.rows import load_rows
from ddl_bench.results.stats.comparison import (
    NOTHING,
    Archive,
    Comparison,
    compare_groups,
    count_tested,
    declared_pairs,
    judged_together,
)
from ddl_bench.results.stats.families import against, judged_by, reference_of


def compare(run: Path | str, a: str, b: str) -> list[Comparison]:
    """Compare two methods of a run: one record for each data set, or each pair of lines on it.

    Only rows with the same images, splits and device are compared. If the track of the run declares
    pairs and this is one, or a reference that is one of the two, it is judged together with the
    other declared comparisons on its data set; otherwise with all comparisons of this call.

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
    run = Path(run)
    groups = gather(load_rows(run))
    archive = Archive(run)
    records = []
    for pair in pairs_of_lines(groups, a, b, run):
        if isinstance(pair, Comparison):
            records.append(pair)
        else:
            records.append(compare_groups(archive, *pair))
    n_records = sum(record.p is not None for record in records)
    judged = []
    for record in records:
        here = [group for group in groups if group.dataset == record.dataset and group.ok]
        declared = declared_pairs(here)
        label_of = {group.name: group.cell.label for group in here}
        labels = {label_of.get(record.a, a), label_of.get(record.b, b)}
        reference = None if declared else reference_of(here)
        names = {record.a, record.b}
        if labels in [set(pair) for pair in declared]:
            n_tested = count_tested(here, declared)
            judged += judged_together([record], f"{n_tested} pairs of the track", n_tested)
        elif record.p is not None and reference and reference.name in names:
            others = [group for group in here if group is not reference]
            (other,) = names - {reference.name}
            judged.append(judged_by(record, against(reference, others)[other]))
        else:
            family = f"{n_records} comparisons of one call"
            judged += judged_together([record], family, n_records)
    return judged


def changes(run: Path | str, against: Path | str, label: str | None = None) -> list[Comparison]:
    """Compare methods with themselves in another run folder: after a change, and before it.

    Lines of one label are compared where they have the same images and splits, and where a label
    has several of them there, the same settings; `left_out` names settings that differ. The
    difference is that of after minus before.

    Parameters
    ----------
    run, against
        The run folders of after and of before.
    label
        The label of a method; None takes all of `against`. One that `run` lacks has a record that
        says so.

    Raises
    ------
    UserError
        For one folder given twice, a label that `against` lacks, and no label in common.
    """
    run = Path(run)
    against = Path(against)
    if run.resolve() == against.resolve():
        raise UserError(f"{run}: compared with itself; give the run folder of before by --against")
    after = gather(load_rows(run))
    before = gather(load_rows(against))
    labels = {group.cell.label for group in before}
    labels_now = {group.cell.label for group in after}
    if label is not None:
        lines_of(before, label, against)
        wanted = [name_meant(before, label)]
    else:
        wanted = sorted(labels)
        if not labels & labels_now:
            raise UserError(f"{run} and {against} have no method in common")
    renamed = {id(group): replace(group, name=f"{group.name} before") for group in before}
    elsewhere = {group.name: against for group in renamed.values()}
    archive = Archive(run, elsewhere)
    records = []
    for group in before:
        if group.cell.label not in wanted and group.name not in wanted:
            continue
        match = counterpart(group, before, after)
        if match is None:
            reason = f"{group.name}: {run} has no row of it"
            if group.cell.label in labels_now:
                reason += " on these images"
            records.append(
                Comparison(
                    dataset=group.dataset,
                    a=group.name,
                    b=f"{group.name} before",
                    verdict=NOTHING,
                    left_out=(reason,),
                )
            )
            continue
        now = replace(match, name=f"{match.name} now")
        record = compare_groups(archive, now, renamed[id(group)])
        left_out = (*record.left_out, *changed_settings(match, group))
        records.append(replace(record, left_out=left_out))
    n_records = sum(record.p is not None for record in records)
    return judged_together(records, f"{n_records} methods before and after", n_records)


def counterpart(group: Group, before: Sequence[Group], after: Sequence[Group]) -> Group | None:
    """Find the line of after that a line of before is to be compared with."""

    def is_alike(other: Group) -> bool:
        same_images = (other.cell.data, other.cell.splits) == (group.cell.data, group.cell.splits)
        return same_images and other.cell.label == group.cell.label

    candidates = [other for other in after if is_alike(other)]
    n_before = sum(is_alike(other) for other in before)
    if len(candidates) == n_before == 1:
        return candidates[0]
    same = [other for other in candidates if other.cell.settings == group.cell.settings]
    finished = [other for other in same if other.ok]
    return next(reversed(finished or same), None)


def changed_settings(now: Group, before: Group) -> list[str]:
    """Say which settings of a line changed, so that not its code alone made the difference."""
    of_now = traits(now.cell, SETTINGS_OF_METHOD)
    of_before = traits(before.cell, SETTINGS_OF_METHOD)
    if of_now == of_before:
        return []
    new = ", ".join(sorted(of_now - of_before)) or "without"
    old = ", ".join(sorted(of_before - of_now)) or "without"
    return [f"settings differ: now {new}, before {old}"]


def pairs_of_lines(
    groups: list[Group], a: str, b: str, run: Path
) -> list[tuple[Group, Group] | Comparison]:
    """List the lines to compare, and a record with the reason for each that has no counterpart."""
    lines_a = lines_of(groups, a, run)
    lines_b = lines_of(groups, b, run)
    if lines_a == lines_b:
        others = sorted({group.name for group in groups} - {group.name for group in lines_a})
        raise UserError(
            f"{run}: {a!r} and {b!r} are the same rows: compare with one of"
            f" {', '.join(others) or 'another method, which this run does not have'}"
        )
    pairs: list[tuple[Group, Group] | Comparison] = []
    for dataset in dict.fromkeys(group.dataset for group in [*lines_a, *lines_b]):
        here_a = [group for group in lines_a if group.dataset == dataset]
        here_b = [group for group in lines_b if group.dataset == dataset]
        for one in here_a:
            pairs += [(one, rival) for rival in here_b if rival is not one]
        if not (here_a and here_b):
            lacking = b if here_a else a
            reason = f"{lacking}: no row on these images and splits"
            pairs.append(Comparison(dataset=dataset, a=a, b=b, verdict=NOTHING, left_out=(reason,)))
    return pairs


def lines_of(groups: list[Group], name: str, run: Path) -> list[Group]:
    """Find the lines of a table by label or name. Raises UserError where there is none.

    Spaces in either may be left out.
    """
    wanted = name_meant(groups, name)
    lines = [group for group in groups if wanted in (group.name, group.cell.label)]
    if not lines:
        choice = nearest(name, {group.name for group in groups})
        raise UserError(f"{run}: no method {name!r}: {choice}")
    return lines


def name_meant(groups: list[Group], name: str) -> str:
    """Return the name or label of a line that a text means, whose spaces may be left out."""
    names = [text for group in groups for text in (group.name, group.cell.label)]
    return label_meant(name, names)
