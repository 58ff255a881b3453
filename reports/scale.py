"""The tables of docs/scale.md, from what `python -m tests.scale` has measured and simulated."""

import json
import math
from typing import Any, NamedTuple

from reports.estimates import RESULTS

SCALE = RESULTS / "scale.json"
# Calls that an operation makes to a file server: a file is opened, read or written, and closed.
CALLS = {"looks": 1, "reads": 3, "creates": 3, "changes": 1, "lists": 1, "syncs": 1}
NAMES_A_CALL = 100  # of a list
SERVER_CALLS_S = 10_000  # that a file server is assumed to answer
LOOKS_ALONE = 2  # at the row of a cell, before and after its claim
PROGRESS_CALLS = CALLS["creates"] + CALLS["changes"]
SIGN_CALLS = 2 * CALLS["looks"] + CALLS["reads"] + CALLS["changes"]
FILES_A_CELL = 2  # in the folder of rows

Results = dict[str, Any]


class Setting(NamedTuple):
    """A run whose load is derived: how many cells and runners, and seconds of a cell."""

    n_cells: int
    n_runners: int
    cell_s: float


SETTINGS = (
    Setting(100_000, 100, 60.0),
    Setting(100_000, 1_000, 600.0),
    Setting(1_000_000, 1_000, 60.0),
    Setting(1_000_000, 1_000, 3_600.0),
)


def measured() -> Results:
    """Return the committed results."""
    results: Results = json.loads(SCALE.read_text(encoding="utf-8"))
    return results


def operations() -> str:
    """Return what commands do to the files of a run folder."""
    heads = [*CALLS, "kB read", "kB written"]
    lines = [f"| command | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads)]
    for costs in measured()["counts"]:
        for part, title in (("fixed", costs["command"]), ("each", "... and for each cell")):
            counts = costs[part]
            texts = [f"{counts[kind]:g}" for kind in CALLS]
            texts += [f"{counts[kind] / 1e3:.1f}" for kind in ("bytes_read", "bytes_written")]
            lines.append(f"| {title} | {' | '.join(texts)} |")
    return "\n".join(lines)


def times() -> str:
    """Return seconds and memory of commands on folders of finished cells."""
    results = measured()
    commands = ("again", "dry run", "status")
    titles = ("`run` again", "`run --dry-run`", "`status`")
    heads = [f"{title} (s) | CPU (s) | MB" for title in titles]
    lines = [
        f"{results['cpu']}, {results['date']}; a claim beside {results['n_claims']:,} others.",
        "",
        f"| cells | {' | '.join(heads)} | claim and release (ms) |",
        "| ---: |" + " ---: |" * (3 * len(titles) + 1),
    ]
    for folder in results["times"]:
        texts = []
        for command in commands:
            taken = folder[command]
            texts += [f"{taken['seconds']:.1f}", f"{taken['cpu_s']:.1f}"]
            texts.append(f"{taken['n_bytes'] / 1e6:,.0f}")
        texts.append(f"{1e3 * folder['claim_s']:.2f}")
        lines.append(f"| {folder['n_cells']:,} | {' | '.join(texts)} |")
    return "\n".join(lines)


def runners() -> str:
    """Return how often simulated runners look at files, for each cell."""
    lines = [
        "| cells | runners | order | looks at a row | claims | lists of rows | lists of claims "
        "| cells run twice |",
        "| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for load in measured()["simulated"]:
        order = "of the plan" if load["in_order"] else "chosen"
        texts = [f"{load['n_cells']:,}", f"{load['n_runners']:,}", order]
        kinds = ("looks", "claims", "lists", "lists_of_claims")
        texts += [f"{load[kind]:.3g}" for kind in kinds]
        texts.append(str(load["n_doubled"]))
        lines.append(f"| {' | '.join(texts)} |")
    return "\n".join(lines)


def loads() -> str:
    """Return the calls a second that a file server gets from many runners."""
    results = measured()
    heads = [
        "cells begun and done",
        "signs of life",
        "progress",
        "all",
        "MB written a second",
        "all runners start again (min)",
        "memory of a runner (GB)",
    ]
    lines = [
        f"| cells | runners | a cell takes (s) | {' | '.join(heads)} |",
        "| ---: | ---: | ---: |" + " ---: |" * len(heads),
    ]
    for setting in SETTINGS:
        texts = [
            f"{setting.n_cells:,}",
            f"{setting.n_runners:,}",
            f"{setting.cell_s:,.0f}",
            *load_of(results, setting),
        ]
        lines.append(f"| {' | '.join(texts)} |")
    return "\n".join(lines)


def load_of(results: Results, setting: Setting) -> list[str]:
    """Derive the load of a setting from what was counted and simulated."""
    n_cells, n_runners, cell_s = setting
    counts = {costs["command"]: costs for costs in results["counts"]}
    new = counts["run, of new cells"]["each"]
    again = counts["run, of finished cells"]
    starts_a_second = n_runners / cell_s
    cells = starts_a_second * (calls_of(new) + calls_of_rivals(results, setting))
    signs = n_runners * SIGN_CALLS / results["sign_of_life_s"]
    progress = starts_a_second * PROGRESS_CALLS * n_writes(results, cell_s)
    written = starts_a_second * new["bytes_written"] / 1e6
    names = FILES_A_CELL * n_cells / NAMES_A_CALL
    start = calls_of(again["fixed"]) + n_cells * calls_of(again["each"]) + names
    start_min = n_runners * start / SERVER_CALLS_S / 60
    texts = [f"{number:,.0f}" for number in (cells, signs, progress, cells + signs + progress)]
    return [*texts, f"{written:.2g}", f"{start_min:,.0f}", f"{memory_of(results, n_cells):.1f}"]


def calls_of(counts: dict[str, float]) -> float:
    """Return the calls to a file server that counted operations make."""
    return sum(calls * counts[kind] for kind, calls in CALLS.items())


def calls_of_rivals(results: Results, setting: Setting) -> float:
    """Return the calls for each cell that a runner makes because it is not alone.

    They are those of the simulation that has the most similar number of cells for each runner.
    """
    wanted = setting.n_cells / setting.n_runners
    chosen = [load for load in results["simulated"] if not load["in_order"]]
    load = min(chosen, key=lambda each: abs(math.log(each["n_cells"] / each["n_runners"] / wanted)))
    claim_lists = 2 * load["claims"] + load["lists_of_claims"]
    calls = load["looks"] - LOOKS_ALONE + (load["claims"] - 1) * CALLS["creates"]
    calls += load["lists"] * FILES_A_CELL * setting.n_cells / NAMES_A_CALL
    return float(calls + claim_lists * setting.n_runners / NAMES_A_CALL)


def n_writes(results: Results, cell_s: float) -> float:
    """Count how often a cell writes its progress: ever less often, as time goes on.

    Two writes are `progress_s` apart, later `progress_share` of the time so far, and
    `progress_most_s` at most.
    """
    least_s = results["progress_s"]
    share = results["progress_share"]
    most_s = results["progress_most_s"]
    first_s = least_s / share
    last_s = most_s / share
    count = min(cell_s, first_s) / least_s
    if cell_s > first_s:
        count += math.log(min(cell_s, last_s) / first_s) / share
    return float(count + max(0.0, cell_s - last_s) / most_s)


def memory_of(results: Results, n_cells: int) -> float:
    """Extend the memory of `run` to more cells, in gigabytes."""
    few, many = results["times"][-2:]
    each = (many["again"]["n_bytes"] - few["again"]["n_bytes"]) / (many["n_cells"] - few["n_cells"])
    return float(few["again"]["n_bytes"] + each * (n_cells - few["n_cells"])) / 1e9
