"""The networks of the paper, and how the protocol of a line departs from the paper's.

The paper states 200 epochs, shifts and flips, five seeds, and the steps of each network; a README
of its authors adds the learning rate 0.1. The rest is inferred: either of RECIPES is accepted.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ddl_bench.errors import UserError
from ddl_bench.params import make_method, options_of, parse_spec
from ddl_bench.plan.cell import Cell
from ddl_bench.registry import load_method
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


def method_of(name: str, params: Mapping[str, Any]) -> Any:
    """Return an installed method with options; None where it no longer takes them."""
    return made_method(name, json.dumps(params, sort_keys=True))


@cache
def made_method(name: str, params: str) -> Any:
    """Return `method_of`, made once for the same options: to check them takes milliseconds."""
    try:
        return make_method(load_method(name), json.loads(params))
    except UserError:
        return None


class Counts(NamedTuple):
    """Hold the numbers of training and test images of some cells; empty where not known."""

    n_train: list[int]
    n_test: list[int]


def measured_counts(group: Group) -> Counts:
    """Return the numbers of images that the rows of a line had, 0 for one that is not known."""
    measured = [row.measured for row in group.ok]
    is_moved = bool(group.cell.splits.test_from_train)
    tested = [each.n_official if is_moved else each.n_test for each in measured]
    return Counts(distinct([each.n_train for each in measured]), distinct(tested))


def planned_counts(cell: Cell, dataset: str) -> Counts:
    """Return the numbers of images that a cell will have; a user's own file is not counted."""
    if cell.dataset not in IMAGES:
        return Counts([], [])
    whole = IMAGES[dataset]
    splits = cell.splits
    n_train = max(whole.n_train - splits.test_from_train, 0)
    if splits.limit_train is not None:
        n_train = min(n_train, splits.limit_train)
    n_train -= round(splits.val_fraction * n_train)
    n_test = whole.n_test if splits.limit_test is None else min(whole.n_test, splits.limit_test)
    return Counts([n_train], [n_test])


def distinct(counts: Sequence[int | None]) -> list[int]:
    """Return the different counts, with 0 for one that is not known."""
    return sorted({count or 0 for count in counts})


def departures(cell: Cell, network: Network, dataset: str, counts: Counts) -> list[str]:
    """Return all in which a line departs from the paper's protocol, but for the number of seeds.

    Parameters
    ----------
    cell
        A cell of the line.
    network
        Its place beside the paper.
    dataset
        A key of IMAGES.
    counts
        The numbers of its images.
    """
    reasons = other_network(cell, network, dataset)
    reasons += other_recipe(cell, network)
    reasons += other_images(cell, dataset, counts)
    return reasons + other_run(cell)


def too_few_seeds(n_seeds: int) -> list[str]:
    """Return that a line has fewer seeds than the paper, where it has."""
    return [f"{n_seeds} of {N_SEEDS} seeds"] if n_seeds < N_SEEDS else []


def other_network(cell: Cell, network: Network, dataset: str) -> list[str]:
    """Return in which options the network of a cell departs from one of the paper."""
    if cell.method != network.method or cell.plugins:
        origin = " of a plugin" if cell.plugins else ""
        return [f"{cell.method}{origin}, not {network.method}"]
    theirs = method_of(network.method, network.params)
    ours = method_of(cell.method, cell.params)
    if ours is None:  # a row of older code
        return [f"options that {cell.method} no longer takes"]
    reasons = []
    for name in options_of(type(ours)):
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
    ours = method_of(cell.method, cell.params)
    if ours is None:
        return []
    recipe = ours.training_recipe()
    differing: list[list[str]] = []
    for name in RECIPES:
        reading = method_of(network.method, network.params | {"recipe": name})
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
        wanted = getattr(reading, field.name, None)  # a published recipe has more
        if value != wanted and field.name not in WITHOUT_EFFECT:
            reasons.append(f"{field.name}={value}, not {wanted}")
    return reasons


def other_images(cell: Cell, dataset: str, counts: Counts) -> list[str]:
    """Return what differs in the images that a line is trained and tested on."""
    wanted = IMAGES[dataset]
    reasons = []
    for n_train in counts.n_train:
        if n_train != wanted.n_train:
            reasons.append(f"{n_train:,} training images, not {wanted.n_train:,}")
    if any(n_test != wanted.n_test for n_test in counts.n_test):
        reasons.append(f"not the {wanted.n_test:,} official test images")
    mirror = cell.mirror
    if mirror is None:
        mirror = wanted.mirror and cell.dataset in IMAGES  # a user's own file says so itself
    if mirror != wanted.mirror:
        reasons.append("no mirrored images" if wanted.mirror else "mirrored images")
    return reasons


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
