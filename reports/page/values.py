"""What the page knows: the lines of the table, as compact columns of JSON.

A page of many thousand rows must open at once, so numbers have six digits, a text that stands in
many lines is kept once, and the seeds of a line are lists.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ddl_bench.plan.cell import Cell
from ddl_bench.results.groups import Group, reason_of
from ddl_bench.results.rows import Row
from ddl_bench.results.stats.comparison import Comparison
from ddl_bench.results.stats.power import students_limit
from ddl_bench.results.stats.welch import SEEDS_FOR_INTERVAL
from ddl_bench.results.table import columns_of as table_columns
from ddl_bench.results.table import display_of, number, summary_of
from reports.figures.captions import counted
from reports.page.abouts import abouts
from reports.page.curves import Read, curves_of
from reports.page.looks import look_of
from reports.page.pairs import pairs_of
from reports.page.words import Finding, finding, splits_text

HIGHER_IS_BETTER = ("accuracy", "official_accuracy", "best_epoch_accuracy", "recovered")
NEITHER_IS_BETTER = ("n_views", "passes", "sparsity")
BETTER = {"higher": 1, "lower": -1, "": 0}  # of the metrics of plugins
OTHER = "other"  # family of methods of plugins
PERCENT = 100.0
ROUNDING = 1e-12  # of a mean: a spread below is of the arithmetic alone
BESIDES = ("95 % interval", "behind the best", "note")  # columns of the table that are texts
SEED_IN_COMMAND = re.compile(r"(--seeds )(\d+)\b")
MACHINE_ALONE = ("command", "cores_used")  # entries of the provenance that are shown elsewhere
FACTS = {  # names of the others, where their own is short
    "dirty": "uncommitted changes",
    "os": "system",
    "cpu": "processor",
    "gpu": "GPU",
    "cuda": "CUDA",
    "blas": "BLAS",
}


class Known(NamedTuple):
    """Hold what a page is made of: JSON for its scripts, and findings in words."""

    json: str
    findings: list[Finding]
    families: list[str]


class Texts:
    """Keep each text once; lines refer to it by its place."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._places: dict[str, int] = {}

    def place(self, text: str) -> int:
        """Return the place of a text, which is added where it is new."""
        if text not in self._places:
            self._places[text] = len(self.all)
            self.all.append(text)
        return self._places[text]


def known(groups: Sequence[Group], tests: Mapping[str, Sequence[Comparison]], read: Read) -> Known:
    """Gather what the page shows of the lines of a table.

    Parameters
    ----------
    groups
        The lines.
    tests
        Comparisons of methods by data set.
    read
        Returns the arrays beside a row.
    """
    table = summary_of(groups)
    shown = display_of(groups, table)
    lines = table.to_dict("records")
    texts = Texts()
    datasets = list(dict.fromkeys(group.dataset for group in groups))
    findings = []
    matrices = []
    for dataset in datasets:
        places = [place for place, group in enumerate(groups) if group.dataset == dataset]
        here = [groups[place] for place in places]
        findings.append(finding(here, [lines[place] for place in places], shown.iloc[places]))
        matrices.append(pairs_of(here))
    methods = abouts(group.cell.method for group in groups)
    family_of = {name: about["family"] or OTHER for name, about in methods.items()}
    families = [family_of.get(group.cell.method, OTHER) for group in groups]
    names = sorted(set(families))
    values = {
        "datasets": datasets,
        "families": [{"name": name, "shape": look_of(name).shape} for name in names],
        "columns": columns_of(groups, shown),
        "lines": {
            "name": [group.name for group in groups],
            "dataset": [datasets.index(group.dataset) for group in groups],
            "family": [names.index(family) for family in families],
            "method": [texts.place(group.cell.method) for group in groups],
            "status": [status_of(group) for group in groups],
            "standing": [str(line["standing"]) for line in lines],
            "basis": [texts.place(str(line["interval"])) for line in lines],
            "seeds": [[row.cell.seed for row in group.ok] for group in groups],
            "missing": [missing_of(group, texts) for group in groups],
            "settings": [settings_of(group, texts) for group in groups],
            "commands": [commands_of(group, texts) for group in groups],
            "facts": [facts_of(group, texts) for group in groups],
            **{title: column_of(shown, title, texts) for title in BESIDES},
        },
        "curves": curves_of(groups, read),
        "pairs": matrices,
        "tests": [tests_of(tests.get(dataset, ())) for dataset in datasets],
        "abouts": methods,
        "texts": texts.all,
    }
    values["measured"] = measured_of(groups, lines, shown)
    return Known(script_json(values), findings, names)


def script_json(values: Any) -> str:
    """Return JSON that can stand in a script element, whatever its texts are."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def columns_of(groups: Sequence[Group], shown: pd.DataFrame) -> list[dict[str, Any]]:
    """Describe the columns that have a value, and the error, which mirrors the accuracy."""
    columns = []
    of_metrics = {
        name: BETTER[reading.better]
        for group in groups
        for row in group.ok
        for name, reading in row.metrics.items()
    }
    for column in table_columns(groups):
        if column.title not in shown:
            continue
        better = 1 if column.field in HIGHER_IS_BETTER else -1
        if column.field in NEITHER_IS_BETTER:
            better = 0
        better = of_metrics.get(column.field, better)
        columns.append(
            {
                "field": column.field,
                "title": column.title,
                "meaning": column.meaning,
                "unit": column.unit,
                "better": better,
            }
        )
        if column.field == "accuracy":
            meaning = "100 % - accuracy; on a logarithmic axis the best stand apart"
            columns.append(
                {
                    "field": "error",
                    "title": "error (%)",
                    "meaning": meaning,
                    "unit": 1,
                    "better": -1,
                }
            )
    return columns


def measured_of(
    groups: Sequence[Group], lines: Sequence[Mapping[Any, Any]], shown: pd.DataFrame
) -> dict[str, dict[str, Any]]:
    """Return each column in its shown unit: mean, sd, interval, text, and the values of seeds.

    Operations have what their count leaves out, "" where it is whole.
    """
    measured = {}
    for column in table_columns(groups):
        if column.title not in shown:
            continue
        field = column.field
        mean = np.array([line[field] for line in lines], dtype=float) / column.unit
        sd = np.array([line[f"{field}_sd"] for line in lines], dtype=float) / column.unit
        sd[sd <= ROUNDING * np.abs(mean)] = 0.0
        if field == "accuracy":
            low = np.array([line["low"] for line in lines], dtype=float)
            high = np.array([line["high"] for line in lines], dtype=float)
        else:
            low, high = intervals_of(mean, sd, [len(group.values(field)) for group in groups])
        measured[field] = {
            "mean": numbers(mean),
            "sd": numbers(sd),
            "low": numbers(low),
            "high": numbers(high),
            "text": list(shown[column.title]),
            "each": [each_of(group, field, column.unit) for group in groups],
        }
    if "flops_per_image" in measured:
        left_out = [str(line["flops_left_out"]) for line in lines]
        measured["flops_per_image"]["left_out"] = left_out
    if "accuracy" in measured:
        measured["error"] = mirrored(measured["accuracy"])
    return measured


def intervals_of(
    mean: np.ndarray, sd: np.ndarray, counts: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the limits at 95 % of means over seeds, by Student's t; NaN for too few seeds."""
    n = np.array(counts, dtype=float)
    has_interval = (n >= SEEDS_FOR_INTERVAL) & (sd > 0)
    n[~has_interval] = np.nan
    half = students_limit(n - 1) * sd / np.sqrt(n)
    return mean - half, mean + half


def mirrored(accuracy: Mapping[str, Any]) -> dict[str, Any]:
    """Return the column of errors: 100 - accuracy."""

    def below(values: Any) -> list[float | None]:
        return numbers(PERCENT - np.array(values, dtype=float))  # None becomes NaN

    means = np.array(below(accuracy["mean"]), dtype=float)
    deviations = np.array(accuracy["sd"], dtype=float)
    texts = [number(mean, sd, ".2f") for mean, sd in zip(means, deviations, strict=True)]
    each = [values and below(values) for values in accuracy["each"]]
    return {
        "mean": numbers(means),
        "sd": accuracy["sd"],
        "low": below(accuracy["high"]),
        "high": below(accuracy["low"]),
        "text": texts,
        "each": each,
    }


def each_of(group: Group, field: str, unit: float) -> list[float | None] | None:
    """Return the values of the seeds that ended well; None where they are all the same."""
    values = [
        row.metrics[field].value if field in row.metrics else getattr(row.measured, field, None)
        for row in group.ok
    ]
    present = {value for value in values if value is not None}
    if len(present) < 2:
        return None
    return numbers(np.array(values, dtype=float) / unit)


def numbers(values: np.ndarray) -> list[float | None]:
    """Return numbers as JSON has them, see `compact`."""
    return [compact(float(value)) for value in values]


def compact(value: float) -> float | None:
    """Round a number to six digits; whole numbers are exact and have no point, NaN is None."""
    if np.isnan(value):
        return None
    if float(value).is_integer():
        return int(value)
    return float(f"{value:.6g}")


def column_of(shown: pd.DataFrame, title: str, texts: Texts) -> list[int]:
    """Return a column of texts; empty ones where the table does not have it."""
    if title not in shown:
        return [texts.place("")] * len(shown)
    return [texts.place(str(text)) for text in shown[title]]


def status_of(group: Group) -> str:
    """Say whether all, some or no seeds of a line ended well."""
    if not group.ok:
        return "failed"
    return "incomplete" if group.missing else "complete"


def missing_of(group: Group, texts: Texts) -> list[list[Any]]:
    """List the seeds that have no result, with the reason."""
    row_of = {row.cell.seed: row for row in group.rows}
    missing = []
    for seed in group.seeds:
        reason = reason_of(row_of.get(seed))
        if reason:
            missing.append([seed, texts.place(reason)])
    return missing


def settings_of(group: Group, texts: Texts) -> list[list[int]]:
    """Describe what a line was asked to do, as pairs of a name and a text."""
    cell = group.cell
    pairs = {
        "method": method_text(cell),
        "grid": grid_text(group),
        "data": f"{group.dataset}; {splits_text(cell)}",
        "budget": str(cell.budget),
        "machine": machine_text(cell),
        "limits": f"at most {cell.limits.time_s:g} s and {cell.limits.memory_gb:g} GB",
        "timed on": group.machine,
        "track": cell.track,
    }
    return [[texts.place(name), texts.place(text)] for name, text in pairs.items() if text]


def method_text(cell: Cell) -> str:
    """Write a method with its options: "sdl, n_atoms=64"."""
    options = [f"{key}={value}" for key, value in cell.params.items()]
    return ", ".join([cell.method, *options])


def grid_text(group: Group) -> str:
    """Write the options that were chosen among, and what each seed chose."""
    if not group.cell.grid:
        return ""
    grid = "; ".join(
        f"{key}: {', '.join(map(str, values))}" for key, values in group.cell.grid.items()
    )
    chosen = ", ".join(f"seed {row.cell.seed}: {options_text(row)}" for row in group.ok)
    return f"{grid}; chosen on validation images: {chosen or 'nothing'}"


def options_text(row: Row) -> str:
    """Write the options that a row chose."""
    return " ".join(f"{key}={value}" for key, value in row.chosen.items())


def machine_text(cell: Cell) -> str:
    """Write what a cell was to run on: "cpu, 1 thread, float32"."""
    words = counted(cell.threads, "thread")
    return f"{cell.machine.device}, {words}, {cell.machine.precision}"


def commands_of(group: Group, texts: Texts) -> list[list[Any]]:
    """List the commands that reproduce the rows of a line, and their seeds.

    Where commands differ in the seed alone, one has "{seed}" in its place.
    """
    seeds_of: dict[str, list[int]] = {}
    for row in group.rows:
        command = row.provenance.get("command") or f"ddl-bench run {row.cell.track}"
        seed = str(row.cell.seed)
        pattern = SEED_IN_COMMAND.search(command)
        if pattern is not None and pattern[2] == seed:
            command = SEED_IN_COMMAND.sub(r"\1{seed}", command, count=1)
        seeds_of.setdefault(command, []).append(row.cell.seed)
    return [[texts.place(command), seeds] for command, seeds in seeds_of.items()]


def facts_of(group: Group, texts: Texts) -> list[list[list[int]]]:
    """List each kind of machine and code that a line was measured with, as pairs of texts."""
    distinct = distinct_facts(group.rows)
    return [[[texts.place(name), texts.place(text)] for name, text in facts] for facts in distinct]


def distinct_facts(rows: Sequence[Row]) -> list[tuple[tuple[str, str], ...]]:
    """Return each kind of machine and code that rows were measured with, as names and texts."""
    distinct: dict[tuple[tuple[str, str], ...], None] = {}
    for row in rows:
        facts = tuple(
            (FACTS.get(key, key), fact_text(value))
            for key, value in row.provenance.items()
            if key not in MACHINE_ALONE and value not in (None, "", {})
        )
        if facts:
            distinct[facts] = None
    return list(distinct)


def fact_text(value: Any) -> str:
    """Write an entry of the provenance: versions as "numpy 2.4, scipy 1.17", yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return str(value)


def tests_of(tests: Sequence[Comparison]) -> dict[str, Any]:
    """Return the comparisons of one data set as columns."""
    rows = []
    for test in tests:
        networks = test.these_networks
        rows.append(
            [
                test.a,
                test.b,
                [len(test.seeds_a), len(test.seeds_b)],
                rounded(test.difference),
                [rounded(test.low), rounded(test.high)],
                rounded(test.p),
                rounded(test.p_family),
                test.verdict,
                rounded(test.detectable),
                [rounded(test.new_images_low), rounded(test.new_images_high)],
                [rounded(networks.low), rounded(networks.high)] if networks else [None, None],
                "; ".join(test.left_out),
            ]
        )
    family = next((test.family for test in tests if test.family), "")
    return {"family": family, "rows": rows}


def rounded(value: float | None) -> float | None:
    """Round a number to four digits; None and NaN stay unknown."""
    if value is None or value != value:
        return None
    return float(f"{value:.4g}")
