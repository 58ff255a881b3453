"""Which lines of ours stand beside which lines of the paper."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ddl_bench.plan.cell import Cell
from ddl_bench.results.groups import Group
from reports.paper.protocol import (
    Network,
    departures,
    measured_counts,
    method_of,
    networks,
    other_network,
    planned_counts,
    too_few_seeds,
)

IDENTITY = ("depth", "layout")  # options that tell the networks of a method apart
BY_RECONSTRUCTION = ", by a reconstruction"  # after "reproduced"
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
        reasons = []
        if group.ok:
            reasons = departures(group.cell, network, dataset, measured_counts(group))
        has_protocol = bool(group.ok) and not reasons
        if is_asked_for(group.cell) or has_protocol:
            if group.ok:
                reasons += too_few_seeds(len(group.ok))
            places.append(Place(network, dataset, group, reasons))
    return places


def notes(cells: Sequence[Cell]) -> dict[str, str]:
    """Say of cells that are to stand beside the paper whether they follow its protocol.

    Returns
    -------
    dict
        Notes by the ID of the cell. Other cells have none.
    """
    lines = defaultdict[str, list[Cell]](list)
    for cell in filter(is_asked_for, cells):
        lines[cell.settings].append(cell)
    texts: dict[str, str] = {}
    for line in lines.values():
        text = note(line[0], n_seeds=len({cell.seed for cell in line}))
        texts |= {cell.id: text for cell in line}
    return texts


def note(cell: Cell, n_seeds: int) -> str:
    """Say of a cell that is planned with some seeds whether it follows the paper's protocol."""
    dataset = dataset_of(cell)
    network = network_of(cell, dataset) if dataset else None
    if network is None:
        return "no place beside the paper: not one of its networks and data sets"
    reasons = departures(cell, network, dataset, planned_counts(cell, dataset))
    reasons += too_few_seeds(n_seeds)
    if reasons:
        return "not comparable with the paper: " + "; ".join(reasons)
    return "follows the paper's protocol"


def is_asked_for(cell: Cell) -> bool:
    """Whether a cell is of a track of the paper, or its own track names a place."""
    return bool(cell.paper) or Path(cell.track).stem in TRACKS


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
    ours = method_of(cell.method, cell.params)
    if ours is None:
        return False
    for name in IDENTITY:
        if name in network.params and getattr(ours, name) != network.params[name]:
            return False
    return True
