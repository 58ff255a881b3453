"""Captions: of how many runs a figure is, what its bars are, and on what machine."""

import json
from collections.abc import Iterable, Sequence

import pandas as pd

from reports.figures.lines import Lines


def counted(n: int, noun: str) -> str:
    """Write a number of things: "1 method", "7 methods"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def span_text(counts: Sequence[int]) -> str:
    """Write the span of counts in their order: "3", or "2 to 5"."""
    texts = [f"{count:,}" for count in (counts[0], counts[-1])]
    return " to ".join(dict.fromkeys(texts))


def runs_text(lines: Lines) -> str:
    """Say of how many seeds the means are: "means over 3 seeds (n = 3)", or of each line."""
    counts = sorted(set(lines.accuracies["n_seeds"]))
    n_lines = lines.n_lines
    methods = counted(n_lines, "method")
    if counts == [1]:
        return f"{methods}, one network each (n = 1 seed)"
    return f"{methods}, means over n = {span_text(counts)} seeds"


def bars_text(lines: Lines) -> str:
    """Say what the bars of accuracies are: the interval of the table, and what it speaks of."""
    kinds = {kind_of(basis) for basis in lines.accuracies["basis"] if basis}
    if not kinds:
        return "No bars: the number of test images is not known."
    images = count_text(lines.accuracies["n_images"])
    if kinds == {"runs"}:
        what = f"for new trainings and new images ({images})"
    elif kinds == {"images"}:
        what = f"for new images alone ({images}), and for no other trainings"
    else:
        what = (
            f"for new trainings and new images ({images}); for new images alone where a method has"
            " fewer than 3 seeds, or no error"
        )
    return f"Bars: 95 % intervals of the table, {what}."


def kind_of(basis: str) -> str:
    """Say whether an interval speaks of runs and images, or of images alone.

    The basis of the latter begins with "this network" or "these", as `mean_interval` says.
    """
    return "images" if basis.startswith(("this ", "these ")) else "runs"


def count_text(counts: Iterable[float]) -> str:
    """Write how many test images there are."""
    known = sorted({int(each) for each in counts if each >= 1})
    if not known:
        return "number unknown"
    return f"n = {span_text(known)} test images"


def machines_text(rows: pd.DataFrame) -> str:
    """Say on what machine times were taken; of several, that they do not compare."""
    machines = machines_of(rows)
    if not machines:
        return ""
    if len(machines) == 1:
        return f"Times on {machines[0]}."
    return f"Times are of {len(machines)} machines and do not compare: {'; '.join(machines)}."


def machines_of(rows: pd.DataFrame) -> list[str]:
    """List processor, host where it is told, device and threads of rows, each once."""
    known = rows[["cpu", "gpu", "host", "device", "threads"]].drop_duplicates()
    machines = []
    for row in known.to_dict("records"):
        is_gpu = str(row["device"]).startswith("cuda")
        model = row["gpu"] if is_gpu else row["cpu"]
        name = "an unknown processor" if pd.isna(model) else str(model)
        if not pd.isna(row["host"]):
            name += f" ({row['host']})"
        machines.append(f"{name}, {counted(row['threads'], 'thread')}")
    return sorted(set(machines))


def versions_text(rows: pd.DataFrame) -> str:
    """Name the version of the suite, and the commit if it is one: "ddl-bench 0.1.0 (ab12)"."""
    numbers = set()
    for versions in rows["versions"].dropna().unique():
        numbers.add(json.loads(versions).get("ddl-bench"))
    commits = rows["commit"].dropna().unique()
    number = " and ".join(sorted(filter(None, numbers)))
    text = f"ddl-bench {number}".strip()
    if len(commits) == 1:
        return f"{text} ({commits[0][:8]})"
    return f"{text} ({len(commits)} commits)" if len(commits) else text
