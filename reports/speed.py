"""The tables of docs/speed.md, from the committed results of the benchmarks.

A result is what one benchmark recorded, with the machine and the date. Its keys say what it is:

- `grid`: a cell of a grid of problems, ours beside a rival;
- `ours_s` without `grid`: a comparison with another library;
- `step_s`: the times of a method;
- one of `UNITS`: a cost, which has no rival.

There is one table for each machine and date, and none where there are no results.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from scipy.stats import gmean

SPEED = Path(__file__).parents[1] / "docs" / "results" / "speed.json"
UNITS = {"ratio": "", "gigabytes": " GB", "seconds": " s"}  # of benchmarks without a rival
ABSENT = "-"  # stands where there is no result

Result = dict[str, Any]


def benchmarks() -> list[Result]:
    """Return the committed results of the benchmarks."""
    runs: list[Result] = json.loads(SPEED.read_text(encoding="utf-8"))["runs"]
    return runs


def by_machine(results: Iterable[Result], section: Callable[[list[Result]], list[str]]) -> str:
    """Return a section for each machine and date, with a line that names both."""
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        key = (result["cpu"], result.get("threads"), result["date"])
        groups.setdefault(key, []).append(result)
    sections = []
    for (cpu, threads, date), group in groups.items():
        facts = f"{cpu}, {date}"
        if threads is not None:
            facts += f", threads: {threads}"
        kernels = ", ".join(result["blas"] for result in group if "blas" in result)
        if kernels:
            facts += f"; {', '.join(sorted(set(kernels.split(', '))))}"
        sections.append("\n".join([f"{facts}.", "", *section(group)]))
    return "\n\n".join(sections)


def speeds() -> str:
    """Return the comparisons of ours with other libraries."""
    results = (run for run in benchmarks() if "ours_s" in run and "grid" not in run)
    return by_machine(results, _comparisons)


def _comparisons(results: list[Result]) -> list[str]:
    lines = [
        "| comparison | data | samples | ours (s) | theirs (s) | theirs / ours | bar |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for run in results:
        ratio = marked(f"{run['ratio']:.2f}", run["ratio"] < run["bar"])
        cells = [
            title_of(run),
            run["images"],
            f"{run['n_patches']:,}",
            f"{run['ours_s']:.3g}",
            f"{run['theirs_s']:.3g}",
            ratio,
            f"{run['bar']:.3g}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def grids() -> str:
    """Return the ratios of times, theirs / ours, over the grids of problems."""
    results = [run for run in benchmarks() if "grid" in run and "ours_s" in run]
    sections = []
    for grid in dict.fromkeys(run["grid"] for run in results):
        sections.append(by_machine([run for run in results if run["grid"] == grid], _grid))
    return "\n\n".join(sections)


def _grid(cells: list[Result]) -> list[str]:
    """Return a summary of a grid, and its table: atoms in rows, penalties in columns."""
    first = cells[0]
    samples = sorted({cell["n_patches"] for cell in cells})
    counts = " to ".join(f"{n:,}" for n in dict.fromkeys([samples[0], samples[-1]]))
    ratios = counted_ratios(cells)
    least = marked(f"{min(ratios):.2f}", min(ratios) < first["bar"])
    summary = f"{counts} samples of {first['images']}: least ratio {least}, bar {first['bar']:.3g}"
    if "mean_bar" in first:
        mean = float(gmean(ratios))
        text = marked(f"{mean:.2f}", mean < first["mean_bar"])
        summary += f"; geometric mean {text}, bar {first['mean_bar']:.3g}"
    penalties = list(dict.fromkeys(cell["lmbd"] for cell in cells))
    lines = [
        f"{summary}.",
        "",
        f"| atoms | {' | '.join(f'lmbd {lmbd:g}' for lmbd in penalties)} |",
        "| ---: |" + " ---: |" * len(penalties),
    ]
    by_problem = {(cell["n_atoms"], cell["lmbd"], cell["positive"]): cell for cell in cells}
    for n_atoms in dict.fromkeys(cell["n_atoms"] for cell in cells):
        texts = []
        for lmbd in penalties:
            pair = [by_problem.get((n_atoms, lmbd, positive)) for positive in (True, False)]
            texts.append(" / ".join(map(_ratio, pair)))
        lines.append(f"| {n_atoms:,} | {' | '.join(texts)} |")
    return lines


def counted_ratios(cells: list[Result]) -> list[float]:
    """Return the ratio of each cell of a grid, 0 where our objective is worse or none was timed."""
    return [cell["ratio"] if cell.get("equal") and "ratio" in cell else 0.0 for cell in cells]


def _ratio(cell: Result | None) -> str:
    if cell is None:
        return ABSENT
    if not cell["equal"]:
        return "worse objective"
    ratio = marked(f"{cell['ratio']:.1f}", cell["ratio"] < cell["bar"])
    return f"{ratio} (codes of SPAMS: not a number)" if cell.get("rival_failed") else ratio


def costs() -> str:
    """Return what networks, memory and harness cost."""
    results = (
        run
        for run in benchmarks()
        if "ours_s" not in run and "grid" not in run and UNITS.keys() & run.keys()
    )
    return by_machine(results, _costs)


def _costs(results: list[Result]) -> list[str]:
    lines = ["| what | measured | at most |", "| --- | ---: | ---: |"]
    for run in results:
        kind = next(kind for kind in UNITS if kind in run)
        unit = UNITS[kind]
        measured = marked(f"{run[kind]:.3g}{unit}", run[kind] > run["bar"])
        lines.append(f"| {title_of(run)} | {measured} | {run['bar']:.3g}{unit} |")
    return lines


def steps() -> str:
    """Return the times of each method: of a training step, and of a prediction."""
    return by_machine((run for run in benchmarks() if "step_s" in run), _steps)


def _steps(results: list[Result]) -> list[str]:
    shapes = list(dict.fromkeys(run["shape"] for run in results))
    heads = [f"{shape}: step (ms) | {shape}: image (µs)" for shape in shapes]
    lines = [f"| method | {' | '.join(heads)} |", "| --- |" + " ---: |" * (2 * len(shapes))]
    by_name = {(run["method"], run["shape"]): run for run in results}
    for method in sorted({run["method"] for run in results}):
        texts = []
        for shape in shapes:
            run = by_name.get((method, shape))
            if run is None:
                texts += [ABSENT, ABSENT]
            else:
                texts += [three_digits(1e3 * run["step_s"]), three_digits(1e6 * run["image_s"])]
        lines.append(f"| {method} | {' | '.join(texts)} |")
    return lines


def three_digits(number: float) -> str:
    """Return a number with three digits, or as a whole number where it has more."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def marked(number: str, is_missed: bool) -> str:
    """Return a number, marked as missed where it is beyond its bar."""
    return f"{number} (missed)" if is_missed else number


def title_of(run: Result) -> str:
    """Return the name of a benchmark in words: "test_a_b[c]" is "a b: c"."""
    name = str(run["name"]).removeprefix("test_").replace("_", " ")
    return name.replace("[", ": ").replace("]", "")
