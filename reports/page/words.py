"""Words of the page: dates, durations, splits, and what can be said of the methods."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ddl_bench.plan.cell import Cell
from ddl_bench.results.groups import Group
from ddl_bench.results.rows import Row
from ddl_bench.results.stats.families import Standing, standings
from ddl_bench.results.table import (
    NOT_SEPARABLE,
    REPEATED,
    TIMES,
    cautions_of,
    detectable_text,
    foot_of,
    rounded,
)
from reports.figures.captions import counted

MOST_NAMED = 3  # data sets, or machines, in a sentence
CHEAPEST = (  # what is said of those that cannot be told from the best
    ("n_params", "parameters", "smallest"),
    ("train_s", "train (s)", "fastest to train"),
    ("test_s_per_image", "test (µs/image)", "fastest to classify"),
)


class Cost(NamedTuple):
    """Hold a line and what it needs of something."""

    line: str
    text: str


class Cheapest(NamedTuple):
    """Hold which of several lines need least of something: one, or those that tie."""

    what: str
    costs: list[Cost]


class Best(NamedTuple):
    """Hold the most accurate line, its accuracy and the interval of that; empty where none is."""

    line: str
    accuracy: str
    interval: str


class Finding(NamedTuple):
    """Hold what can be said of the methods of one data set.

    Parameters
    ----------
    dataset
        Its name.
    images
        How many it has, and what is to be known of them.
    best
        The most accurate line.
    inseparable, below
        Lines that cannot be told from the best, and lines that are below it.
    cheapest
        The cheapest of the best and those that cannot be told from it.
    detectable
        How far behind the best a method must be to be seen.
    cautions
        What the lines cannot tell.
    foot
        What stands below the table.
    """

    dataset: str
    images: str
    best: Best
    inseparable: list[str]
    below: list[str]
    cheapest: list[Cheapest]
    detectable: str
    cautions: str
    foot: str


def finding(
    groups: Sequence[Group], summary: Sequence[Mapping[Any, Any]], texts: pd.DataFrame
) -> Finding:
    """Say what follows for the lines of one data set.

    Parameters
    ----------
    groups, summary, texts
        The lines, and what `summary_of` and `display_of` say of them, in the same order.
    """
    ok = [group for group in groups if group.ok]
    dataset = groups[0].dataset
    by_verdict: dict[str, list[str]] = {"not separable": [], "below the best": []}
    for line in summary:
        if line["standing"]:
            by_verdict[line["standing"]].append(line["label"])
    best = Best("", "", "")
    standing: dict[str, Standing] = {}
    if ok:
        best = best_of(ok[0].name, texts.iloc[groups.index(ok[0])])
        standing = standings(ok)
    detectable = ""
    if standing:
        detectable = detectable_text(dataset, standing).removesuffix(f" ({dataset})")
    tied = by_verdict["not separable"]
    return Finding(
        dataset=dataset,
        images=images_of(ok or groups),
        best=best,
        inseparable=[name for name in tied if name != best.line],
        below=by_verdict["below the best"],
        cheapest=cheapest_of(tied, summary, texts),
        detectable=detectable,
        cautions=cautions_of(ok),
        foot=foot_of(ok),
    )


def best_of(name: str, texts: "pd.Series[str]") -> Best:
    """Return the most accurate line, of which `texts` are what the table shows."""
    accuracy = texts.get("accuracy (%)", "").removesuffix(f" {NOT_SEPARABLE}")
    return Best(name, accuracy, texts.get("95 % interval", ""))


def cheapest_of(
    names: Sequence[str], summary: Sequence[Mapping[Any, Any]], texts: pd.DataFrame
) -> list[Cheapest]:
    """Say which of several lines are the smallest and the fastest, of two or more.

    Lines tie whose spreads overlap with that of the cheapest. Nothing is said where all tie, and
    of times nothing where some are marked or they are of several machines.
    """
    if len(names) < 2:
        return []
    places = [place for place, line in enumerate(summary) if line["label"] in names]
    cheapest = []
    for field, title, what in CHEAPEST:
        if field in TIMES and not are_times_comparable([summary[place] for place in places], field):
            continue
        spans = {place: span_of(summary[place], field) for place in places}
        if any(np.isnan(low) for low, _ in spans.values()):
            continue
        ordered = sorted(places, key=lambda place: summary[place][field])
        highest = spans[ordered[0]][1]
        tied = [place for place in ordered if spans[place][0] <= highest]
        if len(tied) == len(places):
            continue
        costs = [
            Cost(summary[place]["label"], f"{texts[title].iloc[place]} {unit_of(title)}")
            for place in tied
        ]
        is_unsure = len(tied) > 1 and field != "n_params"
        cheapest.append(Cheapest(f"among the {what}" if is_unsure else what, costs))
    return cheapest


def are_times_comparable(lines: Sequence[Mapping[Any, Any]], field: str) -> bool:
    """Whether times of lines are of one machine, and none is marked as unsure or otherwise."""
    has_mark = any(isinstance(line.get(f"{field}_mark"), str) for line in lines)
    return not has_mark and len({line["machine"] for line in lines}) == 1


def span_of(line: Mapping[Any, Any], field: str) -> tuple[float, float]:
    """Return a mean of a line less and plus its spread; NaN where it has none.

    The spread is the standard deviation over seeds, or half the interquartile range of the
    repetitions of a time where that is larger.
    """
    spreads = [line[f"{field}_sd"]]
    if field in REPEATED:
        spreads.append(line[f"{field}_iqr"] / 2)
    spread = np.nan_to_num(spreads).max()
    return line[field] - spread, line[field] + spread


def unit_of(title: str) -> str:
    """Return the unit in a heading: "s" of "train (s)", or the whole heading."""
    return title.partition("(")[2].rstrip(")") or title


def images_of(groups: Sequence[Group]) -> str:
    """Say how many images there are, and what is to be known of them."""
    rows = [row for group in groups for row in group.rows]
    sentences = []
    measured = next((row.measured for row in rows if row.measured.n_train), None)
    if measured is not None:
        sentences.append(
            f"{measured.n_train or 0:,} images to train on, {measured.n_val or 0:,} to validate,"
            f" {measured.n_test or 0:,} to test."
        )
    notes = dict.fromkeys(row.measured.data_note for row in rows if row.measured.data_note)
    sentences += [f"Note that {note}." for note in notes]
    return " ".join(sentences)


def lead_of(rows: Sequence[Row], groups: Sequence[Group]) -> str:
    """Say what was compared, on what, how often, when, for how long and on which machine."""
    methods = {group.name for group in groups}
    datasets = list(dict.fromkeys(group.dataset for group in groups))
    n_ok = sum(row.status == "ok" for row in rows)
    names = ", ".join(datasets)
    if len(datasets) > MOST_NAMED:
        names = counted(len(datasets), "data set")
    sentences = [f"{counted(len(methods), 'method')} on {names}, in {counted(len(rows), 'run')}"]
    if n_ok < len(rows):
        sentences[0] += f", of which {n_ok:,} ended well"
    seconds = sum(row.wall_s or 0.0 for row in rows)
    if seconds:
        sentences.append(f"{duration(seconds)} of computing{machines(groups)}")
    days = days_of(row.started for row in rows)
    if days:
        sentences.append(days)
    return ". ".join(sentences) + "."


def machines(groups: Iterable[Group]) -> str:
    """Name the processors of the runs: " on AMD EPYC (1 thread each)"."""
    names = []
    for group in groups:
        processor = processor_of(group.cell)
        threads = counted(group.cell.threads, "thread")
        for row in group.ok:
            model = row.provenance.get(processor)
            if model:
                names.append(f"{model} ({threads} a run)")
    unique = list(dict.fromkeys(names))
    if not unique:
        return ""
    if len(unique) > MOST_NAMED:
        return f" on {len(unique)} kinds of machine"
    return f" on {' and '.join(unique)}"


def processor_of(cell: Cell) -> str:
    """Return the entry of the provenance that names what a cell ran on."""
    return "gpu" if cell.machine.device.startswith("cuda") else "cpu"


def days_of(moments: Iterable[str]) -> str:
    """Write the days of the first and the last moment: "27 November 2026"; empty if unknown."""
    known = sorted(filter(None, map(moment, moments)))
    if not known:
        return ""
    first = day(known[0])
    last = day(known[-1])
    if first == last:
        return first
    return f"{first} to {last}"


def moment(text: str) -> datetime | None:
    """Read a moment such as 2026-11-27T10:17:21.082+00:00; None where it is none."""
    if "T" not in text:
        return None
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    if read.tzinfo is None:
        read = read.replace(tzinfo=UTC)
    return read


def day(when: datetime) -> str:
    """Write a day as "27 November 2026"."""
    return f"{when.day} {when:%B %Y}"


def duration(seconds: float) -> str:
    """Write a duration in its natural unit: "45 seconds", "12 minutes", "3.5 hours", "4 days"."""
    for unit, length in (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0)):
        if seconds >= 2 * length:
            amount = seconds / length
            return f"{rounded(amount, 2)} {unit}s"
    return counted(round(seconds), "second")


def splits_text(cell: Cell) -> str:
    """Say how the images of a cell are split: "10 % of the training images to validate"."""
    splits = cell.splits
    parts = [f"{100 * splits.val_fraction:.3g} % of the training images to validate"]
    if splits.test_from_train:
        parts.append(
            f"{splits.test_from_train:,} training images to test on, in place of the official ones"
        )
    if splits.limit_train is not None:
        parts.append(f"at most {splits.limit_train:,} images to train on")
    if splits.limit_test is not None:
        parts.append(f"at most {splits.limit_test:,} images to test on")
    return "; ".join(parts)
