"""Rows that may be averaged, and names that tell unequal ones apart."""

from collections import defaultdict
from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

import pandas as pd

from ddl_bench.plan.cell import SETTINGS, Cell
from ddl_bench.results.rows import Row

METHOD = SETTINGS - {"data", "splits"}


@dataclass(frozen=True)
class Group:
    """One line of a table: rows of equal cells that differ in the seed alone.

    `name` is unique on its data set, `dataset` in its run; `seeds` are those that any line of the data set has.
    """

    dataset: str
    name: str
    cell: Cell  # of the newest row
    rows: list[Row]
    ok: list[Row]  # those that ended well
    seeds: list[int]

    def values(self, column: str) -> "pd.Series[float]":
        """A column of the rows that ended well, where it was measured."""
        return pd.Series([getattr(row.measured, column) for row in self.ok], dtype=float).dropna()

    @property
    def machine(self) -> str:
        """What the times were taken on: device, threads, host, processor."""
        kind = "gpu" if self.cell.machine.device.startswith("cuda") else "cpu"
        known = {
            ", ".join(str(row.provenance.get(key) or "unknown") for key in ("host", kind))
            for row in self.ok
        }
        return " and ".join(
            f"{self.cell.machine.device}, threads: {self.cell.threads}, {it}"
            for it in sorted(known)
        )

    @property
    def missing(self) -> str:
        """How many seeds ended well and why the others did not; empty where all did."""
        rows, reasons = {row.cell.seed: row for row in self.rows}, defaultdict[str, list[str]](list)
        for seed in self.seeds:
            if (row := rows.get(seed)) is None or row.status != "ok":
                reason = f"{row.status}: {row.reason or 'no reason given'}" if row else "not run"
                reasons[shorten(reason, 200, placeholder=" ...")].append(str(seed))
        parts = [f"seed {', '.join(seeds)}: {reason}" for reason, seeds in reasons.items()]
        return "; ".join([f"{len(self.ok)} of {len(self.seeds)} seeds", *parts]) if parts else ""


def gather(rows: Iterable[Row]) -> list[Group]:
    """The lines of a table: data sets in order of appearance, the most accurate line of each first.

    Data sets are the same where images, labels and splits are, whatever path they came from.
    """
    parts = defaultdict[object, dict[str, list[Row]]](lambda: defaultdict(list))
    for row in rows:
        parts[row.cell.data, row.cell.splits][row.cell.group].append(row)
    firsts = [next(iter(lines.values()))[0].cell for lines in parts.values()]
    titles = _told_apart(
        [Path(cell.dataset).resolve().name for cell in firsts], firsts, {"data", "splits"}
    )
    groups = []
    for title, lines in zip(titles, parts.values(), strict=True):
        cells = [found[-1].cell for found in lines.values()]
        names = _told_apart([cell.label for cell in cells], cells, METHOD)
        seeds = sorted({row.cell.seed for found in lines.values() for row in found})
        for name, cell, found in zip(names, cells, lines.values(), strict=True):
            groups.append(
                Group(title, name, cell, found, [row for row in found if row.status == "ok"], seeds)
            )
    return sorted(
        groups,
        key=lambda it: (titles.index(it.dataset), -it.values("accuracy").mean() if it.ok else 1),
    )


def _told_apart(names: list[str], cells: list[Cell], fields: Set[str]) -> list[str]:
    """The names; equal ones with what their cells do not all have in common: "sdl (epochs=30, n_layers=2)"."""
    parts = []
    for cell in cells:
        dumped = cell.model_dump(mode="json", include={*fields}, exclude_none=True)
        nested = [
            value if isinstance(value, dict) else {field: value} for field, value in dumped.items()
        ]
        parts.append({f"{key}={value}" for inner in nested for key, value in inner.items()})
    told = []
    for name, own in zip(names, parts, strict=True):
        common = set.intersection(
            *(part for other, part in zip(names, parts, strict=True) if other == name)
        )
        told.append(f"{name} ({', '.join(sorted(own - common))})" if own - common else name)
    return told
