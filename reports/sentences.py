"""Values in sentences of the documentation, filled in from committed rows.

A page marks a value with `<!-- value RUN: WHAT -->…<!-- /value -->`. RUN is a folder of
docs/results, or RUN/DATASET where it has several data sets. WHAT is about lines, by their labels:

- `A`: the mean accuracy of A, with its interval;
- `A - B`, or `A - B - C + D`: a sum of mean accuracies, each with its sign, with its interval;
- `A - B by seed`: the differences of their accuracies, seed by seed;
- `A / B of COLUMN`: the ratio of the geometric means of a measured column, with its interval;
- `A of COLUMN`: the mean of a measured column in the unit of the table, without an interval.

Accuracies are those on the official test images where these are apart; `A - B of accuracy` has the
others, and `A - B of recovered` another percentage. Times of several machines, and those of a run
that was made beside other work, are refused. Seeds that failed are counted in brackets, and so are
the marks of times.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from ddl_bench.errors import UserError
from ddl_bench.results.groups import Group
from ddl_bench.results.stats.sentences import points
from ddl_bench.results.table import COLUMNS, ResultColumn, number
from reports.estimates import (
    RESULTS,
    Estimate,
    differences_by_seed,
    level_of,
    lines_of,
    listed,
    numbers_as_text,
    ratio_of,
    refuse_times,
    remarks_of,
    sum_of,
)

VALUE = re.compile(  # what, text: neither reaches into another mark
    r"<!-- value ((?:(?!-->).)+?) -->((?:(?!<!--).)*)<!-- /value -->", re.S
)
ENDS = re.compile(r"<!--\s*/?\s*value\b")  # of a mark, also of one that is mistyped
FIRST = re.compile(
    r"^\s*<!-- value (.+?) -->", re.M
)  # a line that begins with it is HTML to Markdown
SIGN = re.compile(r" ([+-]) ")
BY_SEED = " by seed"
UNIT = re.compile(r"\((.+?)(?:/image)?\)$")  # in the title of a column
LONGEST_SHOWN = 60  # characters of a mark in a message
# What no table shows: a time that other programs beside a training change little.
CPU_TIME = ResultColumn("train_cpu_s", "train (CPU s)", "CPU time of a training")
COLUMN_OF = {column.field: column for column in (*COLUMNS, CPU_TIME)}


def with_values(text: str, results: Path = RESULTS) -> str:
    """Return the text of a page with its values made anew.

    Raises
    ------
    UserError
        If a line begins with a mark, a mark is not whole, or it has no value.
    """
    first = FIRST.search(text)
    if first:
        raise UserError(f"value {first[1]!r}: begins a line; put a word before it")
    rest = VALUE.sub("", text)
    loose = ENDS.search(rest)
    if loose:
        mark = rest[loose.start() :][:LONGEST_SHOWN].split("\n")[0]
        raise UserError(f"{mark!r}: expected <!-- value RUN: WHAT -->…<!-- /value -->")

    def marked(match: re.Match[str]) -> str:
        return f"<!-- value {match[1]} -->{value(match[1], results)}<!-- /value -->"

    return VALUE.sub(marked, text)


def value(mark: str, results: Path = RESULTS) -> str:
    """Return the text of one value.

    Raises
    ------
    UserError
        If the mark cannot be read, or a line or a column of it has no rows.
    """
    place, separator, what = mark.partition(": ")
    if not separator:
        raise UserError(f"value {mark!r}: expected RUN: WHAT, as in 'quick: lista - spams'")
    what, _, column = what.partition(" of ")
    what, by_seed, _ = what.partition(BY_SEED)
    if column and column not in COLUMN_OF:
        raise UserError(f"value {mark!r}: no column {column!r}; they are {', '.join(COLUMN_OF)}")
    try:
        if " / " in what:
            if by_seed:
                raise ValueError("expected A - B by seed; a ratio has no values by seed")
            lines = chosen(place, what.split(" / "), column, results)
            return ratio_text(lines, column)
        first, *others = SIGN.split(what)
        signs = [1.0, *(float(f"{sign}1") for sign in others[::2])]
        lines = chosen(place, [first, *others[1::2]], column, results)
        if by_seed:
            return text_by_seed(lines, signs, column)
        if len(lines) > 1:
            refuse_unless_percent(column)
            total = sum_of(lines, signs, column)
            return with_interval(total, "points", signed=True, bounds=(0.0,))
        if column:
            return mean_text(lines[0], column)
        text = with_interval(level_of(lines[0]), "%")
        return text.replace("(single networks", "(a single network")
    except ValueError as error:
        raise UserError(f"value {mark!r}: {error}") from error


def refuse_unless_percent(column: str) -> None:
    """Raise ValueError for a column whose differences are no points."""
    shown = COLUMN_OF[column or "accuracy"]
    if shown.unit != 1 or not shown.title.endswith("(%)"):
        raise ValueError(f"a difference of {column} is not in points; use A / B of {column}")


def chosen(place: str, names: Sequence[str], column: str, results: Path) -> list[Group]:
    """Find lines by their labels in a run, or in one data set of a run, for a column of them."""
    run, _, dataset = place.partition("/")
    lines = lines_of(results / run, names, dataset)
    missing = [name for name in names if name not in lines]
    if missing:
        raise ValueError(f"no rows of {', '.join(missing)} in {place}")
    refuse_times(run, lines.values(), column)
    return [lines[name] for name in names]


def text_by_seed(lines: Sequence[Group], signs: Sequence[float], column: str) -> str:
    """Write the differences of two lines: "-3.34 and -2.67 points (seeds 0 and 1)"."""
    if list(signs) != [1.0, -1.0]:
        raise ValueError("expected A - B by seed")
    refuse_unless_percent(column)
    differences = differences_by_seed(lines[0], lines[1], column)
    if not differences:
        raise ValueError("the lines have no seed in common")
    values = listed(map(points, differences.values()))
    noun = "seed" if len(differences) == 1 else "seeds"
    facts = [f"{noun} {listed(differences)}", *remarks_of(lines, column)]
    return f"{values} points ({'; '.join(facts)})"


def ratio_text(lines: Sequence[Group], column: str) -> str:
    """Write the ratio of a column of two lines."""
    if len(lines) != 2 or not column:
        raise ValueError("expected A / B of COLUMN")
    slow, fast = lines
    ratio = ratio_of(slow, fast, column)
    if ratio is None:
        raise ValueError("a value of 0 has no ratio")
    return with_interval(ratio, "times", bounds=(1.0,))


def mean_text(line: Group, column: str) -> str:
    """Write the mean of a measured column as the table does, with its unit."""
    shown = COLUMN_OF[column]
    mean = level_of(line, column)
    text = number(mean.value / shown.unit, form=shown.format)
    unit = UNIT.search(shown.title)
    if unit:
        text = f"{text} {unit[1]}"
    return f"{text} ({'; '.join(mean.remarks)})" if mean.remarks else text


def with_interval(
    estimate: Estimate, unit: str, *, signed: bool = False, bounds: Sequence[float] = ()
) -> str:
    """Write a value with its interval and seeds: "+3.90 points (95 %: +2.10 to +5.70; 5 seeds)".

    Limits have as many digits as keep them apart from the bounds.
    """
    value, *limits = numbers_as_text(estimate, bounds, signed=signed)
    facts = [estimate.basis, *estimate.remarks]
    if limits:
        facts.insert(0, f"95 %: {' to '.join(limits)}")
    return f"{value} {unit} ({'; '.join(facts)})"
