"""Values in sentences of the documentation, filled in from committed rows.

A page marks a value with `<!-- value RUN: WHAT -->…<!-- /value -->`. RUN is a folder of
docs/results, and WHAT one of

- `A`, the mean accuracy of the line with the label A;
- `A - B`, or `A - B - C + D`, a sum of mean accuracies, each with its sign;
- `A / B of COLUMN`, the ratio of the geometric means of a measured column;
- `A of COLUMN`, the mean of a measured column, without an interval.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from ddl_bench.errors import UserError
from ddl_bench.results.groups import Group
from reports.estimates import RESULTS, Estimate, few, level_of, lines_of, ratio_of, sum_of

VALUE = re.compile(r"<!-- value (.+?) -->(.*?)<!-- /value -->", re.S)  # what, text
SIGN = re.compile(r" ([+-]) ")


def with_values(text: str, results: Path = RESULTS) -> str:
    """Return the text of a page with its values made anew."""
    return VALUE.sub(
        lambda match: f"<!-- value {match[1]} -->{value(match[1], results)}<!-- /value -->", text
    )


def value(mark: str, results: Path = RESULTS) -> str:
    """Return the text of one value.

    Raises
    ------
    UserError
        If the mark cannot be read, or a line or a column of it has no rows.
    """
    run, separator, what = mark.partition(": ")
    if not separator:
        raise UserError(f"{mark!r}: expected RUN: WHAT")
    what, _, column = what.partition(" of ")
    if " / " in what:
        names = what.split(" / ")
        ratio = ratio_of(*chosen(mark, results / run, names), column)
        if ratio is None:
            raise UserError(f"{mark!r}: a value of 0 has no ratio")
        return with_interval(ratio, "times", "{:.2f}")
    first, *others = SIGN.split(what)
    lines = chosen(mark, results / run, [first, *others[1::2]])
    if column:
        return mean_of(mark, lines[0], column)
    if len(lines) == 1:
        return with_interval(level_of(lines[0]), "%", "{:.2f}")
    signs = [1.0, *(float(f"{sign}1") for sign in others[::2])]
    return with_interval(sum_of(lines, signs), "points", "{:+.2f}")


def chosen(mark: str, run: Path, names: Sequence[str]) -> list[Group]:
    """Find the lines of a mark."""
    lines = lines_of(run, names)
    missing = [name for name in names if name not in lines]
    if missing:
        raise UserError(f"{mark!r}: no rows of {', '.join(missing)} in {run}")
    return [lines[name] for name in names]


def mean_of(mark: str, line: Group, column: str) -> str:
    """Write the mean of a measured column to three digits, or whole from 100 on."""
    numbers = line.values(column)
    if numbers.empty:
        raise UserError(f"{mark!r}: the rows have no {column}")
    mean = float(numbers.mean())
    return f"{mean:,.0f}" if abs(mean) >= 100 else f"{mean:.3g}"


def with_interval(estimate: Estimate, unit: str, form: str) -> str:
    """Write a value with its interval and seeds: "+3.90 points (95 %: +2.10 to +5.70; 5 seeds)"."""
    text = f"{form.format(estimate.value)} {unit}"
    if estimate.low is None or estimate.high is None:
        return f"{text} ({few(estimate.n_seeds)})"
    interval = f"{form.format(estimate.low)} to {form.format(estimate.high)}"
    return f"{text} (95 %: {interval}; {estimate.n_seeds} seeds)"
