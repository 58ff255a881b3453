"""Which lines of ours stand beside which lines of the paper."""

import re
from pathlib import Path
from typing import NamedTuple

from ddl_bench.errors import UserError
from ddl_bench.plan.cell import Cell
from ddl_bench.registry import load_method, make_method
from ddl_bench.results.groups import Group
from reports.paper.protocol import Network, departures, networks, other_network, too_few_seeds

IDENTITY = ("depth", "layout")  # options that tell the networks of a method apart
TRACKS = ("table1", "table1-svhn", "table2")  # whose lines all have a place


class Place(NamedTuple):
    """Hold a line of ours and its place beside the paper.

    Parameters
    ----------
    network, dataset
        The network and the data set of the paper.
    group
        The line of ours.
    departures
        From the paper's protocol; empty where a verdict is possible, or nothing was measured.
    """

    network: Network
    dataset: str
    group: Group
    departures: list[str]


def places_of(groups: list[Group]) -> list[Place]:
    """Return the lines that belong beside the paper's values, on a data set of the paper.

    They are those whose track names a place, all lines of the paper's tracks, and every other line
    that follows the paper's protocol but for the number of seeds. The options of a line decide
    which network it is, whatever place its track names.
    """
    places = []
    for group in groups:
        dataset = dataset_of(group.cell)
        network = network_of(group.cell, dataset) if dataset else None
        if network is None:
            continue
        reasons = departures(group, network, dataset) if group.ok else []
        is_asked_for = bool(group.cell.paper) or Path(group.cell.track).stem in TRACKS
        has_protocol = bool(group.ok) and not reasons
        if is_asked_for or has_protocol:
            seeds = too_few_seeds(group) if group.ok else []
            places.append(Place(network, dataset, group, reasons + seeds))
    return places


def dataset_of(cell: Cell) -> str:
    """Return the data set of the paper that a cell names, also as a file; empty for others."""
    match = re.match("cifar100|cifar10|svhn", Path(cell.dataset).name)
    return match[0] if match else ""


def network_of(cell: Cell, dataset: str) -> Network | None:
    """Return the network of the paper that a cell trains, or one that its track names."""
    known = networks(dataset)
    candidates = [network for network in known.values() if is_alike(cell, network)]
    for network in candidates:
        if not other_network(cell, network, dataset):
            return network
    if cell.paper in known:
        return known[cell.paper]
    return candidates[0] if candidates else None


def is_alike(cell: Cell, network: Network) -> bool:
    """Whether a cell trains a network of this method and depth."""
    if cell.method != network.method or cell.plugins:
        return False
    cls = load_method(cell.method)
    try:
        ours = make_method(cls, cell.params)
    except UserError:
        return False
    for name in IDENTITY:
        if name in network.params and getattr(ours, name) != network.params[name]:
            return False
    return True
