"""Gather the rows that may be averaged into lines of a table, and give each line its own name."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import pandas as pd

from ddl_bench.plan.cell import SETTINGS, Cell
from ddl_bench.results.rows import NUMBERS_MEASURED, Row, code_of

SETTINGS_OF_DATA = frozenset({"data", "splits"})
SETTINGS_OF_METHOD = SETTINGS - SETTINGS_OF_DATA
LONGEST_REASON = 200  # characters


@dataclass(frozen=True)
class Group:
    """One line of a table: rows of one method that differ in the seed alone.

    Parameters
    ----------
    dataset
        Name of the data set, unique in its run.
    name
        Name of the method, unique on its data set.
    cell
        The cell of the newest row.
    rows, ok
        All rows, and those that ended well.
    seeds
        The seeds that any line of the data set has.
    """

    dataset: str
    name: str
    cell: Cell
    rows: list[Row]
    ok: list[Row]
    seeds: list[int]

    def values(self, column: str) -> "pd.Series[float]":
        """Return a measured column, or a metric, of the rows that ended well, where it is known."""
        if column not in NUMBERS_MEASURED:
            numbers = [row.metrics[column].value for row in self.ok if column in row.metrics]
            return pd.Series(numbers, dtype=float)
        values = self._numbers[:, NUMBERS_MEASURED.index(column)]
        return pd.Series(values[~np.isnan(values)])

    @cached_property
    def _numbers(self) -> np.ndarray:
        """All that was measured of the rows that ended well, a line for each, or NaN."""
        of_row = attrgetter(*NUMBERS_MEASURED)
        values = [of_row(row.measured) for row in self.ok]
        return np.array(values, dtype=float).reshape(-1, len(NUMBERS_MEASURED))

    @property
    def machine(self) -> str:
        """What the times were taken on: device, threads, host, processor."""
        return " and ".join(self.machines)

    @cached_property
    def machines(self) -> list[str]:
        """The machines that the rows were measured on; where they are several, times mix them."""
        device = self.cell.machine.device
        processor = "gpu" if device.startswith("cuda") else "cpu"
        known = set()
        for row in self.ok:
            host = row.provenance.get("host")  # public rows have none
            model = row.provenance.get(processor) or "unknown"
            names = filter(None, [host, model])
            known.add(", ".join([device, f"threads: {self.cell.threads}", *names]))
        return sorted(known)

    @property
    def missing(self) -> str:
        """How many seeds ended well and why the others did not; empty where all did."""
        row_of = {row.cell.seed: row for row in self.rows}
        seeds_of = defaultdict[str, list[str]](list)
        for seed in self.seeds:
            reason = reason_of(row_of.get(seed))
            if reason:
                seeds_of[reason].append(str(seed))
        if not seeds_of:
            return ""
        parts = [f"{len(self.ok)} of {len(self.seeds)} seeds"]
        parts += [f"seed {', '.join(seeds)}: {reason}" for reason, seeds in seeds_of.items()]
        return "; ".join(parts)

    @property
    def has_failed(self) -> bool:
        """Whether a seed was run and did not end well."""
        return len(self.ok) < len({row.cell.seed for row in self.rows})

    @property
    def ended(self) -> str:
        """How its seeds ended in few words: "5 seeds", "5 of 8 seeds: 2 diverged, 1 not run"."""
        row_of = {row.cell.seed: row for row in self.rows}
        ends = Counter(row_of[seed].status if seed in row_of else "not run" for seed in self.seeds)
        n_ok = ends.pop("ok", 0)
        others = ", ".join(f"{n} {end.replace('_', ' ')}" for end, n in ends.items())
        return f"{n_ok} of {len(self.seeds)} seeds: {others}" if others else f"{n_ok} seeds"


def reason_of(row: Row | None) -> str:
    """Say why a row does not count; empty where it does."""
    if row is None:
        return "not run"
    if row.status == "ok":
        return ""
    reason = f"{row.status}: {row.reason or 'no reason given'}"
    return shorten(reason, LONGEST_REASON, placeholder=" ...")


def gather(rows: Iterable[Row]) -> list[Group]:
    """Make the lines of a table: data sets as they come, the most accurate line of each first.

    Data sets are the same where images, labels and splits are, whatever path they came from. Rows
    that were measured with different code are never averaged: they are two lines, and their names
    give the hash of the code and the day of its first row. An outdated row stands in the newest
    line of its settings, which then says why its seed is missing; so does one without code, whose
    method could not be imported.

    A line is named by its label alone as long as no other line has it. Otherwise names must differ,
    so each gets the settings in which the lines differ, also the one that was there first: a name
    that did not say so could be taken for both. The label keeps meaning all of them.
    """
    rows = list(rows)
    newest = {row.cell.settings: code_of(row) for row in rows if has_code_of_its_own(row)}
    parts = defaultdict[object, dict[object, list[Row]]](lambda: defaultdict(list))
    for row in rows:
        code = code_of(row)
        if not has_code_of_its_own(row):
            code = newest.get(row.cell.settings, code)
        parts[row.cell.data, row.cell.splits][row.cell.settings, code].append(row)

    since = first_days(rows)
    firsts = [next(iter(lines.values()))[0].cell for lines in parts.values()]
    titles = tell_apart(
        [Path(cell.dataset).name or cell.dataset for cell in firsts],
        [traits(cell, SETTINGS_OF_DATA) for cell in firsts],
    )
    groups = []
    for title, lines in zip(titles, parts.values(), strict=True):
        members = list(lines.values())
        cells = [line[-1].cell for line in members]
        names = tell_apart(
            [cell.label for cell in cells],
            [traits(cell, SETTINGS_OF_METHOD) | {since[cell.source]} for cell in cells],
        )
        seeds = sorted({row.cell.seed for line in members for row in line})
        for name, cell, line in zip(names, cells, members, strict=True):
            ok = [row for row in line if row.status == "ok"]
            groups.append(Group(title, name, cell, line, ok, seeds))

    def rank(group: Group) -> tuple[int, float]:
        accuracy = -group.values("accuracy").mean() if group.ok else 1.0
        return titles.index(group.dataset), accuracy

    return sorted(groups, key=rank)


def has_code_of_its_own(row: Row) -> bool:
    """Whether a row stands for the code that it was measured with.

    Results of unknown code, as of early versions, are never averaged with those of another.
    """
    is_of_none = row.status == "not_installed" and not row.cell.source
    return row.status != "outdated" and not is_of_none


def first_days(rows: Sequence[Row]) -> dict[str, str]:
    """Name each code by its hash and the day of its first row."""
    started = defaultdict[str, list[str]](list)
    for row in rows:
        started[row.cell.source].append(row.started)
    return {code: f"code={code[:8]} of {min(days)[:10]}" for code, days in started.items()}


def traits(cell: Cell, fields: Set[str]) -> set[str]:
    """List settings of a cell as texts like "epochs=30", nested ones side by side with the rest.

    Where two have one name, such as an option `threads` and that of the machine, the second has
    that of its part before it: "machine.threads=1".
    """
    settings: dict[str, Any] = {}
    for field, value in cell.model_dump(mode="json", include={*fields}, exclude_none=True).items():
        parts = value if isinstance(value, dict) else {field: value}
        for key, setting in parts.items():
            name = f"{field}.{key}" if key in settings else key
            settings[name] = setting
    return {f"{key}={value}" for key, value in settings.items()}


def tell_apart(names: Sequence[str], traits_of: Sequence[set[str]]) -> list[str]:
    """Add to equal names the traits that they do not all share: "sdl (epochs=30, n_layers=2)"."""
    namesakes = defaultdict[str, list[set[str]]](list)
    for name, own_traits in zip(names, traits_of, strict=True):
        namesakes[name].append(own_traits)
    unique = []
    for name, own_traits in zip(names, traits_of, strict=True):
        shared = own_traits.intersection(*namesakes[name])
        special = own_traits - shared
        unique.append(f"{name} ({', '.join(sorted(special))})" if special else name)
    return unique
