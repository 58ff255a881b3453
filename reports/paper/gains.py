"""DeTraMe minus ReLU for each network, the paper's and ours: what its claims are about."""

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import pandas as pd

from ddl_bench.plan.cell import Cell
from ddl_bench.results.stats.replication import Term
from ddl_bench.results.stats.welch import Sample
from reports.estimates import sample_of
from reports.paper.places import Place
from reports.paper.protocol import REFERENCE

DEPTHS = {"PlainNet": (3, 6, 9, 12), "ResNet": (8, 20, 56, 110)}
SLOPE = (-0.3, -0.1, 0.1, 0.3)  # least squares: points a step from one depth to the next


class Gain(NamedTuple):
    """Hold the accuracies of a network with Q-metrics and with ReLUs; None where there are none.

    Parameters
    ----------
    family, depth
        The network.
    detrame, relu
        Its accuracies.
    lines
        Of ours: which two lines.
    departures
        Of ours: from the paper's protocol.
    is_reconstruction
        Of ours: whether the paper leaves open what one of the networks is.
    """

    family: str
    depth: int
    detrame: Sample | None = None
    relu: Sample | None = None
    lines: str = ""
    departures: tuple[str, ...] = ()
    is_reconstruction: bool = False

    @property
    def name(self) -> str:
        """The network, as in "PlainNet 3"."""
        return f"{self.family} {self.depth}"

    @property
    def terms(self) -> list[Term]:
        """DeTraMe minus ReLU; empty where one is lacking."""
        if self.detrame is None or self.relu is None:
            return []
        return [Term(1.0, self.detrame), Term(-1.0, self.relu)]

    @property
    def n_seeds(self) -> int:
        """Seeds of the line that has fewer."""
        return min((term.sample.n for term in self.terms), default=0)


def published_gains(family: str, dataset: str) -> list[Gain]:
    """Return the gains of Table 1, from the shallowest network to the deepest."""
    table = pd.read_csv(REFERENCE / "table1.csv")
    samples = {}
    for line in table[table["dataset"] == dataset].to_dict("records"):
        samples[line["key"]] = Sample(line["value"], line["sd"], line["n_seeds"])
    gains = []
    for depth in DEPTHS[family]:
        network = f"{family.lower()}-{depth}"
        detrame = samples.get(f"{network}-detrame")
        gains.append(Gain(family, depth, detrame, samples.get(f"{network}-relu")))
    return gains


def our_gains(family: str, places: Sequence[Place]) -> list[Gain]:
    """Return our gains on the data set of some places, from the shallowest to the deepest.

    Both lines of a gain were run alike. Of several pairs the one that is nearest to the paper's
    protocol counts.
    """
    gains = []
    for depth in DEPTHS[family]:
        network = f"{family.lower()}-{depth}"
        both = product(lines_of(places, f"{network}-detrame"), lines_of(places, f"{network}-relu"))
        pairs = [pair for pair in both if are_alike(*pair)]
        if not pairs:
            gains.append(Gain(family, depth))
            continue
        detrame, relu = min(pairs, key=n_departures)
        gains.append(
            Gain(
                family,
                depth,
                sample_of(detrame.group),
                sample_of(relu.group),
                lines=f"{detrame.group.name} minus {relu.group.name}",
                departures=tuple(dict.fromkeys(detrame.departures + relu.departures)),
                is_reconstruction=any(place.network.reconstruction for place in (detrame, relu)),
            )
        )
    return gains


def lines_of(places: Sequence[Place], key: str) -> list[Place]:
    """Return the lines of a network of which a row ended well."""
    return [place for place in places if place.network.key == key and place.group.ok]


def n_departures(pair: Sequence[Place]) -> int:
    """Count in how much two lines depart from the paper's protocol."""
    return sum(len(place.departures) for place in pair)


def are_alike(one: Place, other: Place) -> bool:
    """Whether two lines were run by the same recipe and budget, on the same images and device."""
    return settings_of(one.group.cell) == settings_of(other.group.cell)


def settings_of(cell: Cell) -> dict[str, Any]:
    """Return the settings that two lines of one gain share."""
    return {
        "recipe": cell.params.get("recipe"),
        "budget": cell.budget,
        "device": cell.machine.device,
        "precision": cell.machine.precision,
        "data": cell.data,
        "splits": cell.splits,
        "mirror": cell.mirror,
    }


def slope(gains: Sequence[Gain]) -> list[Term]:
    """Return the terms of the slope of gains over the order of depths; empty where one lacks."""
    terms = []
    for factor, gain in zip(SLOPE, gains, strict=True):
        if not gain.terms:
            return []
        terms += [Term(factor * term.factor, term.sample) for term in gain.terms]
    return terms
