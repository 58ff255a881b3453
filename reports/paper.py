"""The DeTraMe-Net paper's Tables 1 and 2 beside our values, for rows whose cell names its place."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ddl_bench.results.groups import Group
from ddl_bench.results.stats.welch import Sample, welch
from ddl_bench.results.table import number

OURS = ("ours", "ours - paper", "95 % interval", "verdict", "line", "note")
REFERENCE = Path(__file__).parent / "reference"
N_TRAIN = 50_000
N_TEST = 10_000
N_EPOCHS = 200
MARGIN = 1.0  # points: "reproduced" means that the whole interval lies within it


class Place(NamedTuple):
    """Hold a group and its place in the paper's tables: the key of a line, and the data set."""

    key: str
    dataset: str
    group: Group


def tables(groups: list[Group]) -> dict[str, pd.DataFrame]:
    """Return both tables as text, by name, with every line of the paper.

    Returns
    -------
    dict
        Empty where no row of ours belongs beside them.
    """
    places = places_of(groups)
    beside = {}
    for path in sorted(REFERENCE.glob("*.csv")) if places else ():
        lines = []
        for paper in pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records"):
            ours = [
                place.group
                for place in places
                if place.key == paper["key"] and paper["dataset"] in (place.dataset, "")
            ]
            lines += [line_beside(paper, group) for group in ours] or [line_of(paper)]
        beside[f"Table {path.stem[-1]}"] = pd.DataFrame(lines)
    return beside


def places_of(groups: list[Group]) -> list[Place]:
    """Return the groups that belong beside the paper's values: on CIFAR-10 or CIFAR-100."""
    places = []
    for group in groups:
        dataset = re.match("cifar100?", Path(group.cell.dataset).name)
        if group.cell.paper and dataset:
            places.append(Place(group.cell.paper, dataset[0], group))
    return places


def line_of(paper: Mapping[Any, str]) -> dict[str, str]:
    """Return a line of the paper, with nothing of ours."""
    line = {key: paper[key] for key in ("network", "dataset", "quantity") if key in paper}
    line["paper"] = paper["value"]
    if paper["sd"]:
        line["paper"] += f" ± {paper['sd']} ({paper['n_seeds']})"
    return line | dict.fromkeys(OURS, "")


def line_beside(paper: Mapping[Any, str], group: Group) -> dict[str, str]:
    """Return a line of the paper with ours beside it.

    Ours is mean ± standard deviation (n); ours - paper has a Welch interval and a verdict.
    """
    line = line_of(paper)
    if not group.ok:
        line["verdict"] = group.missing
        return line
    is_accuracy = paper["column"] == "accuracy"
    column = paper["column"]
    if is_accuracy and group.cell.splits.test_from_train:
        column = "official_accuracy"
    values = group.values(column) / float(paper["scale"])
    mean = values.mean()
    sd = values.std()
    form = ".2f" if is_accuracy else ""
    line["ours"] = f"{number(mean, sd, form)} ({len(values)})"
    line["line"] = group.name
    line["note"] = group.missing
    caveats = [paper["caveat"]]
    if is_accuracy:
        line |= compared(paper, mean, sd, len(values))
        caveats = differences(group)
    if caveats:
        line["verdict"] = "not comparable: " + "; ".join(caveats)
    return line


def compared(paper: Mapping[Any, str], mean: float, sd: float, n: int) -> dict[str, str]:
    """Return the cells that compare our accuracy, in percent, over n seeds with the paper's."""
    value = float(paper["value"])
    cells = {"ours - paper": f"{mean - value:+.2f}", "verdict": "unresolved: no spread"}
    if n > 1 and paper["sd"]:
        theirs = Sample(value, float(paper["sd"]), int(paper["n_seeds"]))
        result = welch(Sample(mean, sd, n), theirs)
        cells["95 % interval"] = f"{result.low:+.2f} to {result.high:+.2f}"
        cells["verdict"] = verdict(result.low, result.high)
    return cells


def verdict(low: float, high: float) -> str:
    """Say in a word what the 95 % interval of "ours minus the paper's" means."""
    if low >= -MARGIN and high <= MARGIN:
        return "reproduced"
    if high < 0:
        return "lower"
    if low > 0:
        return "higher"
    return "unresolved"


def differences(group: Group) -> list[str]:
    """Return what differs from the paper's protocol.

    The paper has 50,000 training images, the 10,000 official test images, and 200 epochs.
    """
    measured = group.ok[0].measured
    budget = group.cell.budget
    n_test = measured.n_official if group.cell.splits.test_from_train else measured.n_test
    reasons = []
    if measured.n_train != N_TRAIN:
        reasons.append(f"{measured.n_train or 0:,} training images, not {N_TRAIN:,}")
    if budget.epochs != N_EPOCHS:
        reasons.append(f"{budget}, not {N_EPOCHS} epochs")
    if n_test != N_TEST:
        reasons.append(f"not the {N_TEST:,} official test images")
    return reasons
