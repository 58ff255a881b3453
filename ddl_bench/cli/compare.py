"""Print what separates two methods, or a method before and after a change."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.markup import escape

from ddl_bench.cli.output import emit, print_line, print_paragraph
from ddl_bench.errors import UserError
from ddl_bench.files import name_of

if TYPE_CHECKING:  # they import numpy and pandas
    from ddl_bench.results.stats.comparison import Comparison
    from ddl_bench.results.stats.separate import Power

LEAST_P = 0.0001  # below, a p is written as a bound


class Pair(NamedTuple):
    """Two labels, and the run folder if it was given."""

    a: str
    b: str
    run: Path | None


class Selection(NamedTuple):
    """A label or None for all, and the run folder if it was given."""

    label: str | None
    run: Path | None


def two_methods(words: Sequence[str]) -> Pair:
    """Read the words of `compare A B [RUN]`."""
    if len(words) not in (2, 3):
        raise UserError(
            f"compare: expected two labels and perhaps a run folder, got {len(words)} words;"
            " --against compares one method in two run folders"
        )
    a, b, *rest = words
    if not rest and (Path(b) / "cells").is_dir():
        raise UserError(f"compare: expected two labels before the run folder {b}, got {a!r} alone")
    return Pair(a, b, next(map(Path, rest), None))


def one_method(words: Sequence[str], *, names_run: bool) -> Selection:
    """Read the words of `compare [LABEL] [RUN] --against RUN`.

    A single word is a label beside `--run` (`names_run`), and else a run where there is such a
    folder. Of two words the second is the run, unless only the first can be one.
    """
    if not words:
        return Selection(None, None)
    if len(words) == 1:
        (word,) = words
        if names_run or not is_run(word):
            return Selection(word, None)
        return Selection(None, Path(word))
    label, run, *more = words
    if ("/" in label and "/" not in run) or not is_run(run):
        label, run = run, label
    if more or "/" in label or not is_run(run):
        raise UserError(
            f"compare --against: expected one label at most and one run folder, got"
            f" {', '.join(map(name_of, words))}"
        )
    return Selection(label, Path(run))


def is_run(word: str) -> bool:
    """Whether a word names a run folder, or the one of its name in results/."""
    from ddl_bench.cli.commands.shared import known_run

    return (known_run(Path(word)) / "cells").is_dir() or "/" in word


def print_comparison(console: Console, run: Path, a: str, b: str, *, as_json: bool) -> None:
    """Print the comparison of two methods of a run, one for each data set."""
    from ddl_bench.results.stats.compare import compare as compare_methods

    print_all(console, compare_methods(run, a, b), as_json=as_json)


def print_changes(
    console: Console,
    run: Path,
    against: Path,
    label: str | None,
    *,
    fail_below: float | None,
    as_json: bool,
) -> bool:
    """Print how methods have changed since another run.

    Returns whether the observed mean of one of them has fallen by more than is allowed, or one has
    nothing to compare any more.
    """
    from ddl_bench.results.stats.compare import changes

    if fail_below is not None and not math.isfinite(fail_below):
        raise UserError(f"--fail-below {fail_below:g}: expected a number of points, as in -0.5")
    records = changes(run, against, label)
    print_all(console, records, as_json=as_json)
    if fail_below is None:
        return False
    losses = list(losses_of(records, fail_below))
    if not as_json:
        for loss in losses:
            print_line(console, f"[red]failed[/]: {escape(loss)}")
    return bool(losses)


def losses_of(records: "Sequence[Comparison]", limit: float) -> Iterator[str]:
    """Yield which methods fell below a limit, and for each without a difference the reason."""
    names = [
        record.b.removesuffix(" before")
        for record in records
        if record.difference is not None and record.difference < limit
    ]
    if names:
        yield f"observed difference of means below {limit:+g} points: {', '.join(names)}"
    for record in records:
        if record.difference is None:
            reason = "; ".join(record.left_out) or f"{record.a}: no accuracy"
            yield f"nothing to compare on {record.dataset}: {reason}"


def print_all(console: Console, records: "Sequence[Comparison]", *, as_json: bool) -> None:
    """Print comparisons, each with what can be said of it as its last line."""
    from ddl_bench.results.stats.sentences import sentence_of

    if as_json:
        emit([dataclasses.asdict(each) | {"sentence": sentence_of(each)} for each in records])
        return
    for record in records:
        print_line(console, f"[bold]{escape(record.dataset)}[/]")
        for line in facts_of(record):
            print_paragraph(console, line)
        print_paragraph(console, sentence_of(record), indent=0)
        console.print()


def facts_of(record: "Comparison") -> Iterator[str]:
    """Yield what a comparison rests on, a line each."""
    from ddl_bench.results.stats.sentences import points

    methods = (
        (record.a, record.mean_a, record.sd_a, record.seeds_a),
        (record.b, record.mean_b, record.sd_b, record.seeds_b),
    )
    width = max(len(record.a), len(record.b))
    for name, mean, sd, seeds in methods:
        if mean is not None:
            accuracy = f"{mean:.2f}"
            if sd is not None:
                accuracy += f" ± {sd:.2f}"
            yield f"{name:<{width}}  {accuracy} %  (seeds: {len(seeds)})"
    if record.identical_seeds:
        yield f"the same predictions in both: {seeds_in_words(record)}"
    if record.new_images_low is not None and not record.is_without_spread:
        span = f"{points(record.new_images_low)} to {points(record.new_images_high or 0.0)}"
        yield f"for new trainings and new images, 95 %: {span} points ({record.a} minus {record.b})"
    networks = record.these_networks
    if networks is not None:
        span = f"{points(networks.low)} to {points(networks.high)}"
        yield (
            f"these networks on other images, 95 %: {span} points ({record.a} minus {record.b};"
            f" {networks.n_images:,} images); it says nothing about other trainings"
        )
    if record.p_family is not None and record.family.endswith(")") and not record.is_without_spread:
        yield f"judged with {record.family}: p = {p_text(record.p_family)}"
    if record.difference is not None:
        yield from (f"note: {text}" for text in record.left_out)


def seeds_in_words(record: "Comparison") -> str:
    """Write the seeds with identical predictions: "all 3 seeds", "seed 1", "seeds 0 and 2"."""
    seeds = record.identical_seeds
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if set(seeds) == {*record.seeds_a, *record.seeds_b}:
        return f"all {len(seeds)} seeds"
    *first, last = map(str, seeds)
    return f"seeds {', '.join(first)} and {last}"


def p_text(p: float) -> str:
    """Write a p with two digits, and a tiny one as a bound."""
    if p < LEAST_P:
        return f"< {LEAST_P}"
    return f"{p:.2g}"


def print_power(
    console: Console, run: Path, a: str, b: str, difference: float | None, *, as_json: bool
) -> None:
    """Print the seeds and images that would separate two methods, for each data set."""
    from ddl_bench.results.stats.separate import power as power_of

    records = power_of(run, a, b, difference)
    if as_json:
        emit([dataclasses.asdict(record) for record in records])
        return
    for record in records:
        print_line(console, f"[bold]{escape(record.dataset)}[/]")
        for line in lines_of_power(record):
            print_paragraph(console, line)
        console.print()


def lines_of_power(record: "Power") -> Iterator[str]:
    """Yield what would separate two methods, in sentences."""
    from ddl_bench.results.stats.sentences import points

    if record.observed is not None:
        yield f"observed, {record.a} - {record.b}: {points(record.observed)} points"
    yield f"now: {record.seeds_a} and {record.seeds_b} seeds"
    if record.detectable is not None:
        yield f"a difference of {record.detectable:.2f} points would be found now (80 % power)"
    need = record.needed
    if need is not None and need.difference:
        yield f"for a true difference of {need.difference:.2f} points:"
        yield f"  {needed_text(need.seeds, 'seeds')} of each method, on the same images"
        if record.n_images:
            enough = needed_text(need.seeds_new_images, "seeds")
            yield f"  {enough} of each method, for new images too (with {record.n_images:,})"
        for n_seeds, n_images in need.images.items():
            yield f"  {needed_text(n_images, 'images')} with {n_seeds} seeds, for new images too"
    yield f"note: {record.note}"


def needed_text(number: Any, noun: str) -> str:
    """Write a number that is needed; None means that no number is enough."""
    if number is None:
        return f"no number of {noun}"
    return f"{number:,} {noun}"
