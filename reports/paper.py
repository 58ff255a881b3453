"""The DeTraMe-Net paper's Tables 1 and 2 with our values beside them, for rows whose cell names its place."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ddl_bench.results.groups import Group
from ddl_bench.results.stats import verdict, welch
from ddl_bench.results.table import number

OURS = ("ours", "ours - paper", "95 % interval", "verdict", "line", "note")


def tables(groups: list[Group]) -> dict[str, pd.DataFrame]:
    """Both tables as text, with every line of the paper; empty where no row of ours belongs beside them."""
    known = [
        (it, re.match("cifar100?", Path(it.cell.dataset).name)) for it in groups if it.cell.paper
    ]
    ours = [(group.cell.paper, dataset[0], group) for group, dataset in known if dataset]
    found = {}
    for path in sorted((Path(__file__).parent / "reference").glob("*.csv")) if ours else ():
        lines = []
        for paper in pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records"):
            beside = [
                it
                for key, dataset, it in ours
                if key == paper["key"] and paper["dataset"] in (dataset, "")
            ]
            lines += [_line(paper, group) for group in beside] or [_line(paper, None)]
        found[f"Table {path.stem[-1]}"] = pd.DataFrame(lines)
    return found


def _line(paper: Mapping[Any, str], group: Group | None) -> dict[str, str]:
    """A value of the paper and ours: means ± standard deviation (n), ours - paper with its Welch interval, verdict."""
    spread = f" ± {paper['sd']} ({paper['n_seeds']})" if paper["sd"] else ""
    line = {key: paper[key] for key in ("network", "dataset", "quantity") if key in paper} | {
        "paper": paper["value"] + spread
    }
    line |= dict.fromkeys(OURS, "")
    if group is None or not group.ok:
        return line | {"verdict": group.missing if group else ""}
    accuracy = paper["column"] == "accuracy"
    form, caveats = (".2f", _unlike(group)) if accuracy else ("", [paper["caveat"]])
    column = (
        "official_accuracy" if accuracy and group.cell.splits.test_from_train else paper["column"]
    )
    values = group.values(column) / float(paper["scale"])
    mean, sd, n = values.mean(), values.std(), len(values)
    line |= {"ours": f"{number(mean, sd, form)} ({n})", "line": group.name, "note": group.missing}
    if accuracy:
        line["ours - paper"], line["verdict"] = (
            f"{mean - float(paper['value']):+.2f}",
            "unresolved: no spread",
        )
        if n > 1 and paper["sd"]:
            low, high = welch(
                mean, sd, n, float(paper["value"]), float(paper["sd"]), int(paper["n_seeds"])
            )
            line |= {"95 % interval": f"{low:+.2f} to {high:+.2f}", "verdict": verdict(low, high)}
    return line | ({"verdict": "not comparable: " + "; ".join(caveats)} if caveats else {})


def _unlike(group: Group) -> list[str]:
    """What differs from the paper's protocol: 50,000 training and the 10,000 official test images, 200 epochs."""
    row, budget = group.ok[0], group.cell.budget
    reasons = (
        [f"{row.measured.n_train or 0:,} training images, not 50,000"]
        if row.measured.n_train != 50_000
        else []
    )
    reasons += [f"{budget}, not 200 epochs"] if budget.epochs != 200 else []
    n_test = row.measured.n_official if group.cell.splits.test_from_train else row.measured.n_test
    return reasons + (["not the 10,000 official test images"] if n_test != 10_000 else [])
