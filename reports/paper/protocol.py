"""The networks of the paper, and how the protocol of a line departs from the paper's.

The paper states 200 epochs, shifts and flips, five seeds, and the steps of each network; a README
of its authors adds the learning rate 0.1. The rest is inferred: either of RECIPES is accepted.
"""

import dataclasses
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ddl_bench.errors import UserError
from ddl_bench.plan.cell import Cell
from ddl_bench.registry import fields, load_method, make_method, parse_spec
from ddl_bench.results.groups import Group

REFERENCE = Path(__file__).parents[1] / "reference"
RECIPES = ("wide-resnet", "wrn-base")
N_EPOCHS = 200
N_SEEDS = 5
PRECISION = "float32"
APART = ("recipe", "compile")  # options that do not describe the network
WITHOUT_EFFECT = ("score_epochs",)  # settings of a recipe that change nothing in the training
MOST_SETTINGS = 3  # of a recipe that are named; with more differences it is another recipe


class Images(NamedTuple):
    """Hold what a data set of the paper has, and whether its images are mirrored in training."""

    n_train: int
    n_test: int
    mirror: bool
    n_classes: int


IMAGES = {
    "cifar10": Images(50_000, 10_000, mirror=True, n_classes=10),
    "cifar100": Images(50_000, 10_000, mirror=True, n_classes=100),
    "svhn": Images(73_257, 26_032, mirror=False, n_classes=10),
}


class Network(NamedTuple):
    """Hold a network of the paper as we read it.

    Parameters
    ----------
    key
        Its name in the tables and in tracks.
    method, params
        How the suite makes it.
    reconstruction
        What the paper leaves open; empty where it leaves nothing.
    """

    key: str
    method: str
    params: dict[str, Any]
    reconstruction: str


@cache
def networks(dataset: str) -> dict[str, Network]:
    """Return the networks of the paper by key, with their steps for a data set.

    For SVHN the paper gives no steps, and the README of its authors has 2 for all.
    """
    table = pd.read_csv(REFERENCE / "networks.csv", dtype=str, keep_default_na=False)
    known = {}
    for line in table.to_dict("records"):
        method, params = parse_spec(line["spec"])
        steps = line.get(f"{dataset}_steps", "2")
        if line["cifar10_steps"]:
            params["n_steps"] = int(steps)
        known[line["key"]] = Network(line["key"], method, params, line["reconstruction"])
    return known


def departures(group: Group, network: Network, dataset: str) -> list[str]:
    """Return all in which a line departs from the paper's protocol, but for the number of seeds.

    Parameters
    ----------
    group
        The line; at least one of its rows ended well.
    network
        Its place beside the paper.
    dataset
        A key of IMAGES.
    """
    reasons = other_network(group.cell, network, dataset)
    reasons += other_recipe(group.cell, network)
    reasons += other_images(group, dataset)
    return reasons + other_run(group.cell)


def too_few_seeds(group: Group) -> list[str]:
    """Return that a line has fewer seeds than the paper, where it has."""
    n_seeds = len(group.ok)
    return [f"{n_seeds} of {N_SEEDS} seeds"] if n_seeds < N_SEEDS else []


def other_network(cell: Cell, network: Network, dataset: str) -> list[str]:
    """Return in which options the network of a cell departs from one of the paper."""
    if cell.method != network.method or cell.plugins:
        origin = " of a plugin" if cell.plugins else ""
        return [f"{cell.method}{origin}, not {network.method}"]
    cls: Any = load_method(cell.method)
    theirs: Any = make_method(cls, network.params)
    try:
        ours: Any = make_method(cls, cell.params)
    except UserError:  # a row of older code
        return [f"options that {cell.method} no longer takes"]
    reasons = []
    for name in fields(cls):
        if name in APART:
            continue
        value = getattr(ours, name)
        wanted = getattr(theirs, name)
        if name == "n_steps":
            value = ours.steps(IMAGES[dataset].n_classes)
        if value != wanted:
            reasons.append(f"{name}={value}, not {wanted}")
    return reasons


def other_recipe(cell: Cell, network: Network) -> list[str]:
    """Return which settings of its recipe depart from the nearer of our two readings."""
    if cell.method != network.method or cell.plugins:
        return []
    cls: Any = load_method(cell.method)
    try:
        ours: Any = make_method(cls, cell.params)
    except UserError:
        return []
    recipe = ours.training_recipe()
    differing: list[list[str]] = []
    for name in RECIPES:
        reading: Any = make_method(cls, network.params | {"recipe": name})
        differing.append(other_settings(recipe, reading.training_recipe()))
    fewest = min(differing, key=len)
    if len(fewest) > MOST_SETTINGS:
        return [f"another recipe than {' or '.join(RECIPES)}: {', '.join(fewest)}"]
    return fewest


def other_settings(recipe: Any, reading: Any) -> list[str]:
    """Return which settings of two recipes differ."""
    reasons = []
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        wanted = getattr(reading, field.name)
        if value != wanted and field.name not in WITHOUT_EFFECT:
            reasons.append(f"{field.name}={value}, not {wanted}")
    return reasons


def other_images(group: Group, dataset: str) -> list[str]:
    """Return what differs in the images that a line was trained and tested on."""
    wanted = IMAGES[dataset]
    reasons = []
    cell = group.cell
    measured = [row.measured for row in group.ok]
    for n_train in distinct([each.n_train for each in measured]):
        if n_train != wanted.n_train:
            reasons.append(f"{n_train:,} training images, not {wanted.n_train:,}")
    is_moved = bool(cell.splits.test_from_train)
    tested = [each.n_official if is_moved else each.n_test for each in measured]
    if distinct(tested) != [wanted.n_test]:
        reasons.append(f"not the {wanted.n_test:,} official test images")
    is_own_file = cell.dataset not in IMAGES
    usual = False if is_own_file else wanted.mirror
    mirror = usual if cell.mirror is None else cell.mirror
    if mirror != wanted.mirror:
        reasons.append("no mirrored images" if wanted.mirror else "mirrored images")
    return reasons


def distinct(counts: Sequence[int | None]) -> list[int]:
    """Return the different counts, with 0 for one that is not known."""
    return sorted({count or 0 for count in counts})


def other_run(cell: Cell) -> list[str]:
    """Return what differs in the budget, the precision and the choice of options."""
    reasons = []
    if cell.budget.epochs != N_EPOCHS:
        reasons.append(f"{cell.budget}, not {N_EPOCHS} epochs")
    if cell.machine.precision != PRECISION:
        reasons.append(f"{cell.machine.precision}, not {PRECISION}")
    if cell.grid:
        reasons.append(f"{', '.join(sorted(cell.grid))} chosen from a grid")
    return reasons
