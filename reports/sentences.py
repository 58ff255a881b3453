"""Values in sentences of the documentation, filled in from committed rows.

A page marks a value with `<!-- value RUN: WHAT -->…<!-- /value -->`. RUN is a folder of
docs/results, or RUN/DATASET where it has several data sets. WHAT is about lines, by their labels:

- `A`: the mean accuracy of A, with its interval;
- `A - B`, or `A - B - C + D`: a sum of mean accuracies, each with its sign, with its interval;
- `A - B by seed`: the differences of their accuracies, seed by seed;
- `A / B of COLUMN`: the ratio of the geometric means of a measured column, with its interval;
- `A of COLUMN`: the mean of a measured column in the unit of the table, without an interval.

Accuracies are those on the official test images where these are apart; `A - B of accuracy` has the
others, and `A - B of recovered` another percentage.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from ddl_bench.errors import UserError
from ddl_bench.results.groups import Group
from ddl_bench.results.table import COLUMNS, number
from reports.estimates import (
    RESULTS,
    Estimate,
    differences_by_seed,
    level_of,
    lines_of,
    listed,
    ratio_of,
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
COLUMN_OF = {column.field: column for column in COLUMNS}


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
            return ratio_text(chosen(place, what.split(" / "), results), column)
        first, *others = SIGN.split(what)
        lines = chosen(place, [first, *others[1::2]], results)
        if by_seed:
            return text_by_seed(lines)
        if len(lines) > 1:
            signs = [1.0, *(float(f"{sign}1") for sign in others[::2])]
            refuse_unless_percent(column)
            total = sum_of(lines, signs, column)
            return with_interval(total, "points", "{:+.2f}")
        if column:
            return mean_text(lines[0], column)
        level = level_of(lines[0])
        text = with_interval(level, "%", "{:.2f}")
        return text.replace("(single networks)", "(a single network)")
    except ValueError as error:
        raise UserError(f"value {mark!r}: {error}") from error


def refuse_unless_percent(column: str) -> None:
    """Raise ValueError for a column whose differences are no points."""
    shown = COLUMN_OF[column or "accuracy"]
    if shown.unit != 1 or not shown.title.endswith("(%)"):
        raise ValueError(f"a difference of {column} is not in points; use A / B of {column}")


def chosen(place: str, names: Sequence[str], results: Path) -> list[Group]:
    """Find lines by their labels in a run, or in one data set of a run."""
    run, _, dataset = place.partition("/")
    lines = lines_of(results / run, names, dataset)
    missing = [name for name in names if name not in lines]
    if missing:
        raise ValueError(f"no rows of {', '.join(missing)} in {place}")
    return [lines[name] for name in names]


def text_by_seed(lines: Sequence[Group]) -> str:
    """Write the differences of two lines: "-3.34 and -2.67 points (seeds 0 and 1)"."""
    if len(lines) != 2:
        raise ValueError("expected A - B by seed")
    differences = differences_by_seed(*lines)
    if not differences:
        raise ValueError("the lines have no seed in common")
    values = listed(f"{difference:+.2f}" for difference in differences.values())
    return f"{values} points (seeds {listed(differences)})"


def ratio_text(lines: Sequence[Group], column: str) -> str:
    """Write the ratio of a column of two lines."""
    if len(lines) != 2 or not column:
        raise ValueError("expected A / B of COLUMN")
    slow, fast = lines
    ratio = ratio_of(slow, fast, column)
    if ratio is None:
        raise ValueError("a value of 0 has no ratio")
    return with_interval(ratio, "times", "{:.2f}")


def mean_text(line: Group, column: str) -> str:
    """Write the mean of a measured column as the table does, with its unit."""
    shown = COLUMN_OF[column]
    text = number(level_of(line, column).value / shown.unit, form=shown.format)
    unit = UNIT.search(shown.title)
    return f"{text} {unit[1]}" if unit else text


def with_interval(estimate: Estimate, unit: str, form: str) -> str:
    """Write a value with its interval and seeds: "+3.90 points (95 %: +2.10 to +5.70; 5 seeds)"."""
    text = f"{form.format(estimate.value)} {unit}"
    if estimate.low is None or estimate.high is None:
        return f"{text} ({estimate.seeds})"
    if math.isclose(estimate.low, estimate.high):
        return f"{text} (the same for {estimate.seeds})"
    interval = f"{form.format(estimate.low)} to {form.format(estimate.high)}"
    return f"{text} (95 %: {interval}; {estimate.seeds})"
