"""Tables 1 and 2 of the paper beside our values, for lines that have a place there."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ddl_bench.results.groups import Group
from ddl_bench.results.stats.replication import (
    REPRODUCED,
    Term,
    chance_of,
    replication,
    share,
)
from ddl_bench.results.stats.welch import Sample
from ddl_bench.results.table import number
from reports.estimates import accuracies
from reports.paper.claims import claims
from reports.paper.places import BY_RECONSTRUCTION, Place, places_of
from reports.paper.protocol import N_SEEDS, REFERENCE

CHANCE = "chance"  # of a perfect replication to be called reproduced
OURS = (
    "ours",
    "ours - paper",
    "95 % interval",
    "verdict",
    "detectable",
    CHANCE,
    "line",
    "note",
)
TABLES = ("table1", "table2")
SEEDS_ASKED = (5, 10, 100)  # for which the chances are listed


def tables(groups: list[Group]) -> dict[str, pd.DataFrame]:
    """Return the paper's tables and claims beside ours, as text, by name.

    Returns
    -------
    dict
        Both tables with every line of the paper, and its claims. Empty where no row of ours
        belongs beside them.
    """
    places = places_of(groups)
    if not places:
        return {}
    beside = {}
    for name in TABLES:
        lines = []
        for paper in lines_of(name):
            here = [place for place in places if is_beside(paper, place)]
            lines += [line_beside(paper, place) for place in here] or [line_of(paper)]
        beside[f"Table {name[-1]}"] = pd.DataFrame(lines)
    beside["Claims"] = claims(places)
    return beside


def lines_of(name: str) -> list[dict[Any, str]]:
    """Return the lines of a table of the paper."""
    table = pd.read_csv(REFERENCE / f"{name}.csv", dtype=str, keep_default_na=False)
    return table.to_dict("records")


def is_beside(paper: Mapping[Any, str], place: Place) -> bool:
    """Whether ours belongs beside a line of the paper; one without a data set is for all."""
    return place.network.key == paper["key"] and paper["dataset"] in (place.dataset, "")


def line_of(paper: Mapping[Any, str]) -> dict[str, str]:
    """Return a line of the paper, with nothing of ours."""
    line = {key: paper[key] for key in ("network", "dataset", "quantity") if key in paper}
    line["paper"] = paper["value"]
    if paper["sd"]:
        line["paper"] += f" ± {paper['sd']} ({paper['n_seeds']})"
    line |= dict.fromkeys(OURS, "")
    if paper["sd"]:
        line[CHANCE] = share(chance_of([published(paper)], [N_SEEDS]))
    return line


def published(paper: Mapping[Any, str]) -> Term:
    """Return an accuracy of the paper; its spread is NaN where none is given."""
    sd = float(paper["sd"] or "nan")
    return Term(1.0, Sample(float(paper["value"]), sd, int(paper["n_seeds"] or 1)))


def line_beside(paper: Mapping[Any, str], place: Place) -> dict[str, str]:
    """Return a line of the paper with ours beside it.

    Ours is mean ± standard deviation (n); ours - paper has a Welch interval and a verdict.
    """
    line = line_of(paper)
    group = place.group
    if not group.ok:
        line["verdict"] = group.missing
        return line
    is_accuracy = paper["column"] == "accuracy"
    measured = accuracies(group) if is_accuracy else group.values(paper["column"])
    if measured.empty:
        line["verdict"] = "not measured"
        return line
    values = measured / float(paper["scale"])
    form = ".2f" if is_accuracy else ""
    line["ours"] = f"{number(values.mean(), values.std(), form)} ({len(values)})"
    line["line"] = group.name
    notes = [group.missing]
    caveats = [paper["caveat"]]
    if is_accuracy:
        line |= compared(paper, Sample.of(values.tolist()))
        caveats = place.departures
        if place.network.reconstruction:
            notes.append(f"a reconstruction: {place.network.reconstruction}")
        notes.append(best_epoch_of(place))
        if line["verdict"] == REPRODUCED and place.network.reconstruction:
            line["verdict"] += BY_RECONSTRUCTION
    reasons = [text for text in caveats if text]
    if reasons:
        line["verdict"] = "not comparable: " + "; ".join(reasons)
    line["note"] = "; ".join(text for text in notes if text)
    return line


def best_epoch_of(place: Place) -> str:
    """Say what the best test epochs had, where they were scored."""
    values = place.group.values("best_epoch_accuracy")
    if not len(values):
        return ""
    return f"best of all epochs on the test images: {number(values.mean(), values.std(), '.2f')}"


def compared(paper: Mapping[Any, str], ours: Sample) -> dict[str, str]:
    """Return the cells that compare our accuracies, in percent, with the paper's."""
    theirs = published(paper)
    result = replication([Term(1.0, ours)], [theirs])
    cells = {"ours - paper": f"{ours.mean - theirs.sample.mean:+.2f}", "verdict": result.verdict}
    if result.difference is not None:
        cells["95 % interval"] = f"{result.difference.low:+.2f} to {result.difference.high:+.2f}"
    if result.detectable is not None:
        cells["detectable"] = f"{result.detectable:.2f}"
    if result.chance is not None:
        cells[CHANCE] = share(result.chance)
    return cells


def chances() -> str:
    """Return how often a perfect replication of each line of Table 1 is called reproduced."""
    lines = []
    for paper in lines_of("table1"):
        line = {"network": paper["network"], "data set": paper["dataset"]}
        line["paper"] = line_of(paper)["paper"]
        for n_seeds in SEEDS_ASKED:
            line[f"{n_seeds} seeds"] = share(chance_of([published(paper)], [n_seeds]))
        lines.append(line)
    return str(pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True))
