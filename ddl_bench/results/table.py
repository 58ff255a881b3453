"""The result table: one line for each group of rows that differ in the seed alone."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ddl_bench.results.columns import TAKEN
from ddl_bench.results.groups import Group, gather
from ddl_bench.results.marks import (
    MIXED,
    OF_THE_RUN,
    SPREAD_SHARE,
    UNSURE,
    marks,
    marks_of_times,
)
from ddl_bench.results.rows import Row
from ddl_bench.results.stats.families import (
    Standing,
    comparable,
    has_verdicts,
    most_accurate,
    standings,
    with_seeds,
)
from ddl_bench.results.stats.mean import mean_interval
from ddl_bench.results.stats.sentences import digits_beside
from ddl_bench.results.stats.welch import SEEDS_FOR_INTERVAL, SEEDS_FOR_VERDICT


class ResultColumn(NamedTuple):
    """A column of the table.

    Parameters
    ----------
    field
        Name of the measured value, as in `Measured`.
    title
        Heading, with the unit that is shown.
    meaning
        What the value is, for readers of the table.
    unit
        The shown unit in the unit of the measured value.
    format
        How numbers are written; empty for three digits.
    """

    field: str
    title: str
    meaning: str
    unit: float = 1
    format: str = ""


COLUMNS = (
    ResultColumn(
        "accuracy",
        "accuracy (%)",
        "top-1 on the test images, by the last classifier within budget",
        format=".2f",
    ),
    ResultColumn(
        "official_accuracy",
        "official (%)",
        "the same on the data set's own test images, kept apart",
        format=".2f",
    ),
    ResultColumn(
        "best_epoch_accuracy",
        "best epoch (%)",
        "highest accuracy on the test images of all epochs: a choice by test images, too high",
        format=".2f",
    ),
    ResultColumn(
        "recovered",
        "recovered (%)",
        "planted atoms that were found: inner product of 0.99 or more",
        format=".1f",
    ),
    ResultColumn(
        "n_params",
        "parameters",
        "numbers that prediction uses, without structural zeros",
        format=",.0f",
    ),
    ResultColumn(
        "n_views",
        "views",
        "views of a test image whose scores a network adds: 2 with its mirror image, 6 with shifts",
        format=",.0f",
    ),
    ResultColumn(
        "flops_per_image",
        "Mflop/image",
        "operations to classify an image, multiply and add are two; in brackets what is left out",
        unit=1e6,
    ),
    ResultColumn(
        "train_s",
        "train (s)",
        "training alone: import, data, warm-up and evaluation are off the clock",
    ),
    ResultColumn("passes", "passes", "how often the training images were seen"),
    ResultColumn("train_s_per_image", "train (ms/image)", "the same / training images", unit=1e-3),
    ResultColumn(
        "train_s_per_image_pass",
        "train (ms/image/pass)",
        "the same / (training images x passes)",
        unit=1e-3,
    ),
    ResultColumn("search_s", "search (s)", "training of the grid points that were not chosen"),
    ResultColumn(
        "test_s_per_image",
        "test (µs/image)",
        "median time of a full batch / its size (interquartile range of its repetitions), or ± over"
        " seeds where these spread more",
        unit=1e-6,
    ),
    ResultColumn(
        "test_latency_s",
        "latency (ms)",
        "the same for one image alone",
        unit=1e-3,
    ),
    ResultColumn(
        "peak_memory",
        "memory (MB)",
        "peak resident memory of the process",
        unit=1e6,
        format=",.0f",
    ),
    ResultColumn(
        "peak_device_memory",
        "GPU memory (MB)",
        "peak memory allocated on the device",
        unit=1e6,
        format=",.0f",
    ),
    ResultColumn(
        "sparsity", "codes used (%)", "non-zero entries of the codes / all entries", unit=1e-2
    ),
    ResultColumn(
        "reconstruction",
        "residual (%)",
        "squared error of the codes' reconstruction / squared norm; at 100 it is that of zeros",
        unit=1e-2,
    ),
)


def columns_of(groups: Iterable[Group]) -> tuple[ResultColumn, ...]:
    """Return the columns of a table: COLUMNS, and those that plugins have computed of its rows.

    A heading that another column has gets the name of the metric.
    """
    added: dict[str, ResultColumn] = {}
    taken = {column.title for column in COLUMNS} | OTHER_TITLES
    for group in groups:
        for row in group.ok:
            for name, reading in row.metrics.items():
                if name in added or name in TAKEN:
                    continue
                title = reading.heading
                if title in taken:
                    title = f"{title}, {name}"
                taken.add(title)
                form = ".2f" if reading.unit == "%" else ""
                added[name] = ResultColumn(name, title, reading.meaning, format=form)
    return (*COLUMNS, *added.values())


OTHER_TITLES = frozenset(
    {"data set", "method", "seeds", "status", "95 % interval", "behind the best", "note"}
)


# Titles of the short table, which fits into a terminal.
BRIEF = [
    "data set",
    "method",
    "seeds",
    "accuracy (%)",
    "behind the best",
    "recovered (%)",
    "parameters",
    "residual (%)",
    "passes",
    "train (ms/image)",
    "test (µs/image)",
    "latency (ms)",
    "note",
]
TIMES = (
    "train_s",
    "train_s_per_image",
    "train_s_per_image_pass",
    "search_s",
    "test_s_per_image",
    "test_latency_s",
)
REPEATED = ("test_s_per_image", "test_latency_s")  # times with a spread within the run
NOT_SEPARABLE = "≈"
AVERAGED = (
    "n_train",
    "n_val",
    "n_test",
    "n_stored",
    "n_buffers",
    "test_s_per_image_iqr",
    "test_latency_s_iqr",
    "n_test_runs",
    "n_latency_runs",
    "clock_mhz",
)


def number(value: float, sd: float = np.nan, form: str = "") -> str:
    """Write a value and its spread, such as 0.00312 ± 0.0001; empty for NaN.

    Without a format the value has three digits and the spread two, none with an exponent. A spread
    of zero is left out, except beside shares in percent.
    """
    if np.isnan(value):
        return ""
    text = f"{value:{form}}" if form else rounded(value, 3)
    is_share = form in (".1f", ".2f")
    has_spread = sd > 1e-9 * abs(value) or (sd >= 0 and is_share)
    if not has_spread:
        return text
    spread = f"{sd:{form}}" if form else rounded(sd, 2)
    return f"{text} ± {spread}"


def rounded(value: float, n_digits: int) -> str:
    """Write a number with so many significant digits and no exponent."""
    significant = float(f"{value:.{n_digits}g}")
    return f"{significant:,.12f}".rstrip("0").rstrip(".")


def summary(rows: Iterable[Row]) -> pd.DataFrame:
    """Make the table of rows, see `summary_of`."""
    return summary_of(gather(rows))


def summary_of(groups: Sequence[Group]) -> pd.DataFrame:
    """Make the table in the units of `Measured`, a line for each group.

    It has the mean over seeds of each column, its standard deviation under `COLUMN_sd`, the
    interval of the accuracy for new seeds and images, how far the line is behind the best of its
    data set, the number of seeds, and a note on what is missing.
    """
    places = {dataset: standings(lines) for dataset, lines in by_dataset(groups).items()}
    columns = columns_of(groups)
    return pd.DataFrame(
        [summary_line(group, places[group.dataset].get(group.name), columns) for group in groups]
    )


def by_dataset(groups: Iterable[Group]) -> dict[str, list[Group]]:
    """Sort lines by their data sets."""
    lines = defaultdict[str, list[Group]](list)
    for group in groups:
        lines[group.dataset].append(group)
    return dict(lines)


def summary_line(
    group: Group, standing: Standing | None, columns: Iterable[ResultColumn] = COLUMNS
) -> dict[str, str | float]:
    """Make one line of `summary`."""
    line: dict[str, str | float] = {
        "dataset": group.dataset,
        "label": group.name,
        "group": group.cell.group,
        "n_seeds": len(group.ok),
    }
    for field in AVERAGED:
        line[field] = group.values(field).mean()
    for column in columns:
        values = group.values(column.field)
        line[column.field] = values.mean()
        line[f"{column.field}_sd"] = values.std()
    counted = [row for row in group.ok if row.measured.flops_per_image is not None]
    line["flops_left_out"] = "; ".join(unique(row.measured.flops_left_out for row in counted))
    line |= symbols_of(group)
    interval = mean_interval(group.values("accuracy"), group.values("n_test").max())
    line["low"] = interval.low
    line["high"] = interval.high
    line["interval"] = interval.basis
    standing = standing or Standing(np.nan, np.nan, np.nan, "")
    line["behind_low"] = standing.at_least
    line["behind_high"] = standing.at_most
    line["detectable"] = standing.detectable
    line["standing"] = standing.verdict
    line["machine"] = group.machine
    line["note"] = "; ".join(notes(group))
    return line


def symbols_of(group: Group) -> dict[str, str]:
    """Return the symbols beside the times of a line, as `COLUMN_mark`: those of any of its rows.

    Times of several machines have one more, and times of predictions are unsure that spread over
    seeds.
    """
    mixed = MIXED if len(group.machines) > 1 else ""
    symbols = {f"{column.field}_mark": "" for column in COLUMNS}
    symbols |= {f"{field}_mark": mixed for field in TIMES}
    for row in group.ok:
        for field, text in marks_of_times(row).items():
            new = [symbol for symbol in text if symbol not in symbols[f"{field}_mark"]]
            symbols[f"{field}_mark"] += "".join(new)
    for field in REPEATED:
        values = group.values(field)
        is_spread = values.std() > SPREAD_SHARE * values.mean()  # NaN of one seed is not
        if is_spread and UNSURE not in symbols[f"{field}_mark"]:
            symbols[f"{field}_mark"] += UNSURE
    return {name: text for name, text in symbols.items() if text}


def unique(texts: Iterable[str]) -> list[str]:
    """Return texts that say something, each once, in their order."""
    return [text for text in dict.fromkeys(texts) if text]


def notes(group: Group) -> list[str]:
    """List what a reader of a line must know: missing seeds, bent numbers, unknown sizes."""
    texts = [group.missing] if group.has_failed else []
    marked: dict[str, str] = {}
    for row in group.ok:
        marked = marks(row) | marked
    texts += marked.values()
    texts += unique(
        f"conflict: {row.measured.conflict}" for row in group.ok if row.measured.conflict
    )
    texts += sorted({row.measured.model_note for row in group.ok if row.measured.model_note})
    uncounted = {
        row.measured.flops_left_out for row in group.ok if row.measured.flops_per_image is None
    }
    texts += [f"operations unknown: {reason}" for reason in sorted(filter(None, uncounted))]
    reasons = {row.measured.size_reason for row in group.ok if row.measured.size_reason}
    return texts + [f"size unknown: {reason}" for reason in sorted(reasons)]


def display(rows: Iterable[Row]) -> pd.DataFrame:
    """Make the table of rows as text, see `display_of`."""
    return display_of(gather(rows))


def display_of(groups: Sequence[Group], table: pd.DataFrame | None = None) -> pd.DataFrame:
    """Make the table as text: mean ± standard deviation over seeds, without empty columns.

    A time of predictions has its spread within the run in brackets instead, unless that over seeds
    is larger. Accuracies that cannot be told from the best of their data set are marked by
    NOT_SEPARABLE, unless it is the best alone, and times by the symbols of `symbols_of`.

    Parameters
    ----------
    groups
        The lines.
    table
        What `summary_of` says of them; None asks it.
    """
    table = summary_of(groups) if table is None else table.copy()
    shown = table[["dataset", "label", "n_seeds"]].astype(str).set_axis(BRIEF[:3], axis=1)
    lines = table.to_dict("records")
    for column in columns_of(groups):
        shown[column.title] = [cell_text(line, column) for line in lines]
    is_level = table["standing"] == "not separable"
    is_marked = is_level & (is_level.groupby(table["dataset"]).transform("sum") > 1)
    shown.loc[is_marked, "accuracy (%)"] += f" {NOT_SEPARABLE}"
    shown.insert(4, "95 % interval", table.apply(interval_text, axis=1))
    shown.insert(5, "behind the best", table.apply(behind_text, axis=1))
    if len({machine for group in groups for machine in group.machines}) > 1:
        table["note"] = table.apply(note_with_machine, axis=1)
    shown["note"] = table["note"]
    return shown.loc[:, (shown != "").any()]


def cell_text(line: Mapping[Hashable, Any], column: ResultColumn) -> str:
    """Write one value of `summary` as the table shows it, with its spread and its marks."""
    value = line[column.field] / column.unit
    sd = line[f"{column.field}_sd"] / column.unit
    text = number(value, sd, column.format)
    if column.field in REPEATED:
        iqr = line[f"{column.field}_iqr"] / column.unit
        if not sd > np.nan_to_num(iqr):
            text = with_range(value, iqr)
    if column.field == "flops_per_image" and text and line["flops_left_out"]:
        return f"{text} (without {line['flops_left_out']})"
    symbols = line.get(f"{column.field}_mark")
    if not text or not isinstance(symbols, str):
        return text
    first, blank, rest = text.partition(" ")
    return f"{first}{symbols}{blank}{rest}"


def with_range(value: float, iqr: float) -> str:
    """Write a value and the interquartile range of its repetitions, if any: "226 (IQR 19)"."""
    text = number(value)
    if not text or not iqr > 0:
        return text
    return f"{text} (IQR {rounded(iqr, 2)})"


def interval_text(line: "pd.Series[float]") -> str:
    """Write the interval of the accuracy: "97.1 to 98.3", or "97.1 to 98.3 (this network)"."""
    basis = str(line["interval"])
    if not basis:
        return ""
    text = f"{line['low']:.2f} to {line['high']:.2f}"
    if basis.startswith("th"):
        return f"{text} ({basis.partition(',')[0]})"
    return text


def behind_text(line: "pd.Series[float]") -> str:
    """Write how far a line is behind the best, in points: "0.00 to 1.32"."""
    if np.isnan(line["behind_high"]):
        return ""
    low, high = line["behind_low"], line["behind_high"]
    n_digits = digits_beside((low, high), (0.0,))
    return f"{low:.{n_digits}f} to {high:.{n_digits}f}"


def foot(rows: Iterable[Row]) -> str:
    """Say below a table what its lines can tell of methods, and what they cannot."""
    return foot_of(gather(rows))


def foot_of(every: Sequence[Group], *, timed: bool = True) -> str:
    """Say what lines can tell of methods: ranks, and detectable differences.

    Parameters
    ----------
    every
        The lines.
    timed
        Whether the table shows their times, so that these are explained.
    """
    groups = [group for group in every if group.ok]
    compared = compared_in(groups)
    sentences = sentences_on_columns(groups, compared)
    sentences += sentences_of_caution(groups, compared, timed=timed)
    return " ".join(sentences)


def cautions_of(every: Sequence[Group]) -> str:
    """Say what lines cannot tell: what `foot_of` says besides explaining columns."""
    groups = [group for group in every if group.ok]
    compared = compared_in(groups)
    sentences = sentences_of_caution(groups, compared)
    if compared and not is_ranked(compared):
        sentences.insert(0, not_ranked(groups, compared))
    return " ".join(sentences)


def compared_in(groups: Sequence[Group]) -> dict[str, dict[str, Standing]]:
    """Return the standings of the lines of each data set that has any."""
    places = {dataset: standings(lines) for dataset, lines in by_dataset(groups).items()}
    return {dataset: standing for dataset, standing in places.items() if standing}


def is_ranked(compared: Mapping[str, Mapping[str, Standing]]) -> bool:
    """Return whether a line of any data set has a verdict."""
    return any(place.verdict for standing in compared.values() for place in standing.values())


def n_not_separable(standing: Mapping[str, Standing]) -> int:
    """Return how many lines of a data set cannot be told from its best, which is one of them."""
    return sum(place.verdict == "not separable" for place in standing.values())


def not_ranked(groups: Sequence[Group], compared: Mapping[str, Mapping[str, Standing]]) -> str:
    """Say why no line is ranked: a table has verdicts for all lines that it compares, or none."""
    lines = [group for group in groups if group.name in compared.get(group.dataset, {})]
    n_enough = len(with_seeds(lines, SEEDS_FOR_VERDICT))
    text = f"No line is ranked: a verdict needs {SEEDS_FOR_VERDICT} seeds"
    return f"{text}, which {n_enough} of {len(lines)} lines have." if n_enough else f"{text}."


def sentences_on_columns(
    groups: Sequence[Group], compared: Mapping[str, dict[str, Standing]]
) -> list[str]:
    """Explain the columns and signs that compare lines."""
    if not compared:
        return []
    sentences = [
        "“Behind the best” says how many points a line is behind over new trainings, at least and"
        " at most: the lower limits hold at 95 % for all lines of a data set together, and so do"
        " the upper ones."
    ]
    if not is_ranked(compared):
        sentences.append(not_ranked(groups, compared))
    elif any(n_not_separable(standing) > 1 for standing in compared.values()):
        sentences.append(f"{NOT_SEPARABLE} marks what cannot be told from the best.")
    ranges = [detectable_text(dataset, standing) for dataset, standing in compared.items()]
    found = "told from the best" if is_ranked(compared) else "given limits above 0"
    sentences.append(
        f"In nominally 80 of 100 such runs a method is {found} that is truly so many points behind,"
        f" more where its seeds vary more: {'; '.join(ranges)}. Smaller gaps are mostly missed."
    )
    return sentences


def sentences_of_caution(
    groups: Sequence[Group],
    compared: Mapping[str, Mapping[str, Standing]],
    *,
    timed: bool = True,
) -> list[str]:
    """Say what lines cannot tell of methods: too few seeds, bad codes, unsure times."""
    sentences = sentences_on_codes(groups)
    if timed:
        sentences += sentences_on_times(groups)
    return sentences + sentences_on_seeds(by_dataset(groups), compared)


def sentences_on_seeds(
    parts: Mapping[str, Sequence[Group]], compared: Mapping[str, Mapping[str, Standing]]
) -> list[str]:
    """Say which lines have too few seeds, and which are compared with no other.

    Parameters
    ----------
    parts
        Lines that ended well, by data set.
    compared
        Where lines stand, of the data sets on which they are compared with the best.
    """
    sentences = []
    groups = [group for lines in parts.values() for group in lines]
    counts = [len(group.values("accuracy")) for group in groups]
    few = [count for count in counts if count < SEEDS_FOR_INTERVAL]
    if few:
        reason = "nothing follows from them about methods"
        if max(few) == 1:
            reason = "they are single networks, from which nothing follows about methods"
        sentences.append(
            f"{len(few)} of {len(groups)} lines have fewer than {SEEDS_FOR_INTERVAL} seeds:"
            f" {reason}."
        )
    n_not_run = sum(bool(group.missing) and not group.has_failed for group in groups)
    if n_not_run:
        verb = "was" if n_not_run == 1 else "were"
        sentences.append(f"{n_not_run} of {len(groups)} lines {verb} not run with all seeds.")
    alone = []
    n_unjudged = 0
    for dataset, lines in parts.items():
        family = comparable(lines)
        if family and dataset not in compared:
            sentences.append(
                f"No line is compared with the best on {dataset}, as"
                f" {most_accurate(lines).name} has too few seeds."
            )
        names = {group.name for group in family}
        others = [
            group for group in with_seeds(lines, SEEDS_FOR_INTERVAL) if group.name not in names
        ]
        if family and has_verdicts(family):
            n_others = len(others)
            others = with_seeds(others, SEEDS_FOR_VERDICT)
            n_unjudged += n_others - len(others)
        alone += others
    if n_unjudged:
        sentences.append(
            f"{n_unjudged} of {len(groups)} lines have fewer than {SEEDS_FOR_VERDICT} seeds, and"
            " are not compared with the best, as most others are."
        )
    if alone:
        places = Counter((group.dataset, group.cell.machine.device) for group in alone)
        reason = "each is the only one of its data set and device that has enough seeds"
        if max(places.values()) > 1:
            reason = (
                "each is on another device than the most accurate line of its data set that has"
                " enough seeds, or alone there"
            )
        sentences.append(
            f"{len(alone)} of {len(groups)} lines are compared with no other: {reason}."
        )
    return sentences


def sentences_on_codes(groups: Sequence[Group]) -> list[str]:
    """Name the methods whose codes are further from the signals than zeros would be."""
    names = [group.name for group in groups if group.values("reconstruction").mean() > 1]
    if not names:
        return []
    return [
        f"A residual above 100 % is further from the signal than zero is: the codes of"
        f" {', '.join(unique(names))} do not reconstruct it."
    ]


def sentences_on_times(groups: Sequence[Group]) -> list[str]:
    """Explain the symbols beside times, and say which were measured again and on what machines."""
    measured = [row.measured for group in groups for row in group.ok]
    symbols = {symbol for group in groups for text in symbols_of(group).values() for symbol in text}
    sentences = []
    retimed = unique(each.retimed for each in measured)
    if retimed:
        sentences.append(f"Times of predictions were measured again: {'; '.join(retimed)}.")
    if any(each.run_train_s is not None for each in measured):
        sentences.append("Times of training follow from some steps that were trained again.")
    if OF_THE_RUN in symbols:
        sentences.append(
            f"{OF_THE_RUN} marks those that are of the run or were taken apart, and compare worse."
        )
    if UNSURE in symbols:
        sentences.append(
            f"{UNSURE} marks a time whose repetitions or seeds spread by more than 10 %, or that"
            " was taken on a loaded machine."
        )
    machines = {machine for group in groups for machine in group.machines}
    if len(machines) > 1:
        sentences.append(
            f"Times are of {len(machines)} machines, which the notes name: they compare methods on"
            " one machine alone."
        )
    if any(len(group.machines) > 1 for group in groups):
        sentences.append(f"{MIXED} marks a mean over several machines, which says little.")
    return sentences


def detectable_text(dataset: str, standing: dict[str, Standing]) -> str:
    """Write the detectable differences of a data set: "1.03 to 7.10 (planted-4)"."""
    points = [place.detectable for place in standing.values() if not np.isnan(place.detectable)]
    low = f"{min(points):.2f}"
    high = f"{max(points):.2f}"
    span = low if low == high else f"{low} to {high}"
    return f"{span} ({dataset})"


def note_with_machine(line: "pd.Series[float]") -> str:
    """Add to a note what the times of its line were taken on."""
    parts = [str(line["note"])]
    if line["machine"]:
        parts.append(f"timed on {line['machine']}")
    return "; ".join(filter(None, parts))
