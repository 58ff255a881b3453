"""What two lines of a table show of their methods.

The unit is the training: a method is the accuracies of its seeds. Intervals need
SEEDS_FOR_INTERVAL of each method, verdicts SEEDS_FOR_VERDICT.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ddl_bench.plan.cell import Cell
from ddl_bench.results.collect import Collection
from ddl_bench.results.groups import Group
from ddl_bench.results.rows import SCORED, arrays
from ddl_bench.results.stats.crossed import VarianceComponents, crossed
from ddl_bench.results.stats.networks import TheseNetworks, these_networks
from ddl_bench.results.stats.power import detectable
from ddl_bench.results.stats.welch import (
    LEVEL,
    MOST_PERMUTED,
    SEEDS_FOR_INTERVAL,
    SEEDS_FOR_PERMUTATION,
    SEEDS_FOR_VERDICT,
    Sample,
    permutation,
    welch,
)

ALONE = "this comparison alone"
NOTHING = "no verdict: nothing to compare"
IMAGES_OF = {"accuracy": "n_test", "official_accuracy": "n_official"}  # that an accuracy counts


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Compare method a with b on the same test images; None where there is too little for it.

    Parameters
    ----------
    dataset, a, b
        Names of the data set and of the two lines of its table.
    seeds_a, seeds_b
        Seeds, each a training, of the two methods.
    identical_seeds
        Seeds of both whose networks predict the same class for each test image.
    mean_a, mean_b, sd_a, sd_b
        Mean accuracies in percent and their standard deviations over seeds, at least that of
        counting whole images where seeds differ in their predictions.
    difference, low, high
        a - b in points, and its 95 % interval for new trainings on the same images (Welch).
    p
        Of no difference, by the same test.
    p_permutation
        The same by the permutation of runs: from 4 + 4 runs on, up to 100 of each.
    family, p_family
        The comparisons that are judged together, and p corrected for their number.
    detectable
        Points that a true difference must have to be found in this family with a power of 80 %.
    verdict
        What follows about the two methods, or why nothing does.
    new_images_low, new_images_high, new_images_p
        Interval and p of the difference for new trainings and new images; a comparison alone.
    these_networks
        What the trained networks show on their images; no verdict follows from it.
    left_out
        What is not used, and why; also settings that differ before and after a change, and the
        machines of trainings of so many seconds where they are several.
    """

    dataset: str
    a: str
    b: str
    seeds_a: tuple[int, ...] = ()
    seeds_b: tuple[int, ...] = ()
    identical_seeds: tuple[int, ...] = ()
    mean_a: float | None = None
    mean_b: float | None = None
    sd_a: float | None = None
    sd_b: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_permutation: float | None = None
    family: str = ""
    p_family: float | None = None
    detectable: float | None = None
    verdict: str = ""
    new_images_low: float | None = None
    new_images_high: float | None = None
    new_images_p: float | None = None
    these_networks: TheseNetworks | None = None
    left_out: tuple[str, ...] = ()

    @property
    def n_seeds(self) -> int:
        """Seeds of the method that has fewer."""
        return min(len(self.seeds_a), len(self.seeds_b))

    @property
    def is_without_spread(self) -> bool:
        """Whether no seed changes the accuracy of either, so that the interval has no width."""
        return self.sd_a == 0 and self.sd_b == 0


class Answers(NamedTuple):
    """Which test images the runs of a line have right, by seed, and the labels of the images.

    Seeds whose predictions are of other images than those of the first are `on_others`.
    """

    labels: np.ndarray
    right: dict[int, np.ndarray]
    on_others: frozenset[int]


class Archive:
    """The kept predictions of one or several run folders; those of a line are read once.

    Parameters
    ----------
    runs
        What the rows of the lines were read from.
    elsewhere
        Run folders of lines, by their names, that are kept in others.
    """

    def __init__(
        self, runs: Collection | Path, elsewhere: Mapping[str, Path] | None = None
    ) -> None:
        self.runs = runs
        self.elsewhere = elsewhere or {}
        self._known: dict[tuple[str, str], Answers] = {}

    def answers(self, group: Group) -> Answers:
        """Return what is kept of a line; without seeds where nothing is."""
        key = (group.dataset, group.name)
        if key not in self._known:
            self._known[key] = self._read(group)
        return self._known[key]

    def _read(self, group: Group) -> Answers:
        labels = np.empty(0)
        right: dict[int, np.ndarray] = {}
        on_others = set()
        run: Collection | Path = self.elsewhere.get(group.name) or self.runs
        for row in group.ok:
            home = run.homes[row.cell.id] if isinstance(run, Collection) else run
            stored = arrays(home, row.cell.id, SCORED, row.measured.predictions_sha256)
            if not stored:
                continue
            if not right:
                labels = stored["y_test"]
            if np.array_equal(labels, stored["y_test"]):
                right[row.cell.seed] = stored["predictions"] == stored["y_test"]
            else:
                on_others.add(row.cell.seed)
        return Answers(labels, right, frozenset(on_others))


def compare_groups(archive: Archive, a: Group, b: Group) -> Comparison:
    """Compare two lines of one data set; the judgement is left to a family."""
    left_out = [f"{group.name}: {group.missing}" for group in (a, b) if group.missing]
    device_a = a.cell.machine.device
    device_b = b.cell.machine.device
    record = Comparison(
        dataset=a.dataset,
        a=a.name,
        b=b.name,
        seeds_a=tuple(row.cell.seed for row in a.ok),
        seeds_b=tuple(row.cell.seed for row in b.ok),
        identical_seeds=identical_seeds(a, b),
    )
    if device_a != device_b:
        left_out.append(f"devices differ: {device_a}, {device_b}")
    if device_a != device_b or not record.n_seeds:
        return replace(record, verdict=NOTHING, left_out=tuple(left_out))
    left_out += uneven_seconds(a, b)
    right = right_images(archive, a, b)
    shared = set(record.seeds_a) & set(record.seeds_b)
    left_out += unpaired_seeds(archive, a, b, shared - right.keys())
    networks = None
    if right:
        networks = these_networks(tuple(right), np.array(list(right.values())))
    record = replace(
        with_runs(record, a, b),
        verdict=without_verdict(record),
        these_networks=networks,
        left_out=tuple(left_out),
    )
    parts = crossed_parts(archive, a, b)
    if parts:
        new_images = crossed(parts)
        record = replace(
            record,
            new_images_low=new_images.low,
            new_images_high=new_images.high,
            new_images_p=new_images.p,
        )
    return record


def identical_seeds(a: Group, b: Group) -> tuple[int, ...]:
    """List the seeds whose predictions are the same in two lines, by the digests in their rows."""
    digest_of_b = {row.cell.seed: row.measured.predictions_sha256 for row in b.ok}
    seeds = []
    for row in a.ok:
        digest = row.measured.predictions_sha256
        if digest and digest == digest_of_b.get(row.cell.seed):
            seeds.append(row.cell.seed)
    return tuple(seeds)


def uneven_seconds(a: Group, b: Group) -> list[str]:
    """Say that trainings of so many seconds ran on several machines, whose speed then counts."""
    machines = sorted({*a.machines, *b.machines})
    if len(machines) == 1 or not (a.cell.budget.seconds or b.cell.budget.seconds):
        return []
    return [f"seconds of training on {len(machines)} machines: {'; '.join(machines)}"]


def unpaired_seeds(archive: Archive, a: Group, b: Group, seeds: Iterable[int]) -> list[str]:
    """Say why the predictions of seeds of both lines are not compared: one text for each cause."""
    kept_a = archive.answers(a)
    kept_b = archive.answers(b)
    causes: dict[str, list[int]] = {}
    for seed in sorted(seeds):
        has_a = seed in kept_a.right or seed in kept_a.on_others
        has_b = seed in kept_b.right or seed in kept_b.on_others
        lacking = [name for name, has in ((a.name, has_a), (b.name, has_b)) if not has]
        cause = "predictions are of other test images"
        if lacking:
            cause = f"no predictions were kept of {' and '.join(lacking)}"
        causes.setdefault(cause, []).append(seed)
    texts = []
    for cause, lost in causes.items():
        noun = "seed" if len(lost) == 1 else "seeds"
        texts.append(f"{noun} {', '.join(map(str, lost))}: {cause}")
    return texts


def with_runs(record: Comparison, a: Group, b: Group) -> Comparison:
    """Add what follows from the accuracies of the runs."""
    values_a = a.values("accuracy").tolist()
    values_b = b.values("accuracy").tolist()
    sample_a = sample_of(a)
    sample_b = sample_of(b)
    record = replace(
        record,
        mean_a=sample_a.mean,
        mean_b=sample_b.mean,
        sd_a=sample_a.sd if sample_a.n > 1 else None,
        sd_b=sample_b.sd if sample_b.n > 1 else None,
        difference=sample_a.mean - sample_b.mean,
    )
    if record.n_seeds < SEEDS_FOR_INTERVAL:
        return record
    result = welch(sample_a, sample_b)
    record = replace(record, low=result.low, high=result.high, p=result.p)
    few = record.n_seeds < SEEDS_FOR_PERMUTATION
    if few or max(sample_a.n, sample_b.n) > MOST_PERMUTED:
        return record
    return replace(record, p_permutation=permutation(values_a, values_b))


def right_images(archive: Archive, a: Group, b: Group) -> dict[int, list[np.ndarray]]:
    """Return which images a and b have right, by seed that both have kept."""
    answers_a = archive.answers(a)
    answers_b = archive.answers(b)
    if not np.array_equal(answers_a.labels, answers_b.labels):
        return {}
    seeds = sorted(answers_a.right.keys() & answers_b.right.keys())
    return {seed: [answers_a.right[seed], answers_b.right[seed]] for seed in seeds}


def crossed_parts(archive: Archive, a: Group, b: Group) -> VarianceComponents | None:
    """Return variances over runs and images; None without enough kept predictions."""
    answers_a = archive.answers(a)
    answers_b = archive.answers(b)
    if len(answers_a.labels) < 2 or not np.array_equal(answers_a.labels, answers_b.labels):
        return None
    for group, answers in ((a, answers_a), (b, answers_b)):
        if len(answers.right) < max(SEEDS_FOR_INTERVAL, len(group.ok)):
            return None
    right_a = np.array(list(answers_a.right.values()))
    return VarianceComponents.of(right_a, np.array(list(answers_b.right.values())))


def judged_together(
    records: Sequence[Comparison], family: str, n_comparisons: int
) -> list[Comparison]:
    """Judge comparisons as a family, by Sidak: p = 1 - (1 - p)**m for m comparisons."""
    family = f"{family} (Sidak)" if n_comparisons > 1 else ALONE
    judged = []
    for record in records:
        p = record.p
        if p is None or record.sd_a is None or record.sd_b is None:
            judged.append(record)
            continue
        p_family = 1 - (1 - p) ** n_comparisons
        result = welch(
            Sample(0.0, record.sd_a, len(record.seeds_a)),
            Sample(0.0, record.sd_b, len(record.seeds_b)),
            LEVEL ** (1 / n_comparisons),
        )
        limit = result.high / result.error if result.error else 0.0
        least = float(detectable(result.error, result.freedom, limit))
        judged.append(with_verdict(record, family, p_family, least))
    return judged


def with_verdict(record: Comparison, family: str, p_family: float, least: float) -> Comparison:
    """Add the judgement of a family to a comparison of it; `least` is NaN without any error."""
    known_least = None if math.isnan(least) else least
    p_family = max(p_family, record.p or 0.0)  # what an integral rounds off corrects nothing
    record = replace(record, family=family, p_family=p_family, detectable=known_least)
    if record.n_seeds < SEEDS_FOR_VERDICT:
        return record
    if p_family > 1 - LEVEL or not record.difference:
        verdict = "not separable"
    elif record.difference > 0:
        verdict = f"{record.a} is more accurate"
    else:
        verdict = f"{record.b} is more accurate"
    return replace(record, verdict=verdict)


def without_verdict(record: Comparison) -> str:
    """Say why a comparison has no verdict; empty where it may have one."""
    if record.n_seeds >= SEEDS_FOR_VERDICT:
        return ""
    if record.n_seeds == 1:
        return "no verdict: with one seed these are two networks, which do not speak of methods"
    return f"no verdict: {record.n_seeds} seeds, and a verdict needs {SEEDS_FOR_VERDICT}"


def declared_pairs(groups: Iterable[Group]) -> list[tuple[str, str]]:
    """Return the pairs that the track of these lines declares and they have."""
    lines = list(groups)
    labels = {group.cell.label for group in lines}
    cell = declaring_cell(lines)
    return [pair for pair in cell.pairs if labels.issuperset(pair)] if cell else []


def count_tested(groups: Sequence[Group], pairs: Iterable[tuple[str, str]]) -> int:
    """Count the comparisons of pairs of labels, on one data set, that have an interval and a p."""
    count = 0
    for label_a, label_b in pairs:
        lines_a = [group for group in groups if group.cell.label == label_a]
        lines_b = [group for group in groups if group.cell.label == label_b]
        count += sum(is_tested(a, b) for a in lines_a for b in lines_b)
    return count


def is_tested(a: Group, b: Group) -> bool:
    """Whether two lines have one device and enough seeds for an interval."""
    same_device = a.cell.machine.device == b.cell.machine.device
    return same_device and min(len(a.ok), len(b.ok)) >= SEEDS_FOR_INTERVAL


def declaring_cell(groups: Iterable[Group]) -> Cell | None:
    """Return the cell of the oldest row whose track declares what is compared, if any does.

    A track that is changed when results are known changes nothing of how these are judged.
    """
    rows = [row for group in groups for row in group.rows]
    declaring = [row for row in rows if row.cell.reference or row.cell.pairs]
    return min(declaring, key=lambda row: row.started).cell if declaring else None


def sample_of(group: Group, column: str = "accuracy") -> Sample:
    """Summarise a column of a line, its accuracies where none is named.

    Seeds that differ in their predictions and by chance not in their accuracy have the standard
    deviation that comes from counting whole images, 100 / (n * sqrt(12)) for n images: none at all
    would tell them from everything.
    """
    sample = Sample.of(group.values(column).tolist())
    digests = {row.measured.predictions_sha256 for row in group.ok} - {""}
    if sample.sd != 0 or len(digests) < 2 or column not in IMAGES_OF:
        return sample
    n_images = group.values(IMAGES_OF[column])
    if n_images.empty:
        return sample
    return sample._replace(sd=100 / (float(n_images.max()) * 12**0.5))
