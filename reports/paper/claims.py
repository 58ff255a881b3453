"""What the paper claims, as lines: gains over ReLUs, their medians, and their trend with depth."""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ddl_bench.plan.cell import Cell
from ddl_bench.results.stats.power import detectable
from ddl_bench.results.stats.replication import (
    UNDECIDED,
    Replication,
    Term,
    contrast,
    judge,
    replication,
    sign,
    too_few,
)
from ddl_bench.results.stats.welch import (
    LEVEL,
    MOST_FREEDOM,
    SEEDS_FOR_INTERVAL,
    SEEDS_FOR_VERDICT,
    Difference,
    Sample,
)
from reports.paper.places import Place
from reports.paper.protocol import REFERENCE

DEPTHS = {"PlainNet": (3, 6, 9, 12), "ResNet": (8, 20, 56, 110)}
N_GAINS = 8  # of a data set, judged together
SLOPE = (-0.3, -0.1, 0.1, 0.3)  # least squares: points a step from one depth to the next
N_DRAWS = 20_000
ROUNDING = 1e-9  # points: 4.135 is a little less in binary
PRINTED = {  # median gains in the paper's text, in points
    ("PlainNet", "cifar10"): 3.99,
    ("PlainNet", "cifar100"): 5.11,
    ("PlainNet", "svhn"): 0.45,
    ("ResNet", "cifar10"): 0.05,
    ("ResNet", "cifar100"): 0.13,
}
MORE = "DeTraMe is more accurate"
LESS = "ReLU is more accurate"
FALLS = "falls with depth"
RISES = "rises with depth"
HOLDS = {FALLS: "holds", RISES: "does not hold", "not separable": UNDECIDED}
COLUMNS = (
    "claim",
    "dataset",
    "paper",
    "paper says",
    "ours",
    "ours says",
    "detectable",
    "ours - paper",
    "verdict",
    "line",
)


class Gain(NamedTuple):
    """Hold the accuracies of a network with Q-metrics and with ReLUs; None where there are none."""

    family: str
    depth: int
    detrame: Sample | None
    relu: Sample | None
    lines: str = ""
    departures: tuple[str, ...] = ()

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


def claims(places: Sequence[Place]) -> pd.DataFrame:
    """Return the paper's claims beside ours, as text.

    For each data set of the paper of which there is a line of ours: DeTraMe minus ReLU for each
    network, their medians, and whether the gain falls as networks become deeper.
    """
    lines = []
    for dataset in dict.fromkeys(place.dataset for place in places):
        here = [place for place in places if place.dataset == dataset]
        for family in DEPTHS:
            theirs = published_gains(family, dataset)
            ours = our_gains(family, here)
            lines += [gain_line(*pair, dataset) for pair in zip(theirs, ours, strict=True)]
            lines.append(median_line(theirs, ours, dataset))
            lines.append(trend_line(theirs, ours, dataset))
    return pd.DataFrame(lines, columns=list(COLUMNS))


def published_claims() -> pd.DataFrame:
    """Return what the paper claims, with the interval and the verdict that its own values give."""
    lines = []
    for dataset in ("cifar10", "cifar100"):
        for family in DEPTHS:
            theirs = published_gains(family, dataset)
            nothing = [gain._replace(detrame=None, relu=None) for gain in theirs]
            lines += [gain_line(*pair, dataset) for pair in zip(theirs, nothing, strict=True)]
            lines.append(median_line(theirs, nothing, dataset))
            lines.append(trend_line(theirs, nothing, dataset))
    return pd.DataFrame(lines)[["claim", "dataset", "paper", "paper says"]]


def published_gains(family: str, dataset: str) -> list[Gain]:
    """Return the gains of Table 1, from the shallowest network to the deepest."""
    table = pd.read_csv(REFERENCE / "table1.csv", dtype=str, keep_default_na=False)
    here = table[table["dataset"] == dataset].set_index("key")
    gains = []
    for depth in DEPTHS[family]:
        samples = {}
        for kind in ("detrame", "relu"):
            key = f"{family.lower()}-{depth}-{kind}"
            if key in here.index:
                line = here.loc[key]
                mean = float(line["value"])
                samples[kind] = Sample(mean, float(line["sd"]), int(line["n_seeds"]))
        gains.append(Gain(family, depth, samples.get("detrame"), samples.get("relu")))
    return gains


def our_gains(family: str, places: Sequence[Place]) -> list[Gain]:
    """Return our gains on a data set.

    Both lines of a gain were run alike; of several pairs that nearest to the paper's protocol.
    """
    gains = []
    for depth in DEPTHS[family]:
        detrames = lines_of_network(places, f"{family.lower()}-{depth}-detrame")
        relus = lines_of_network(places, f"{family.lower()}-{depth}-relu")
        pairs = [pair for pair in product(detrames, relus) if are_alike(*pair)]
        if not pairs:
            gains.append(Gain(family, depth, None, None))
            continue
        detrame, relu = min(pairs, key=lambda pair: sum(len(place.departures) for place in pair))
        reasons = dict.fromkeys(detrame.departures + relu.departures)
        lines = f"{detrame.group.name} minus {relu.group.name}"
        samples = (sample_of(detrame), sample_of(relu))
        gains.append(Gain(family, depth, *samples, lines, tuple(reasons)))
    return gains


def lines_of_network(places: Sequence[Place], key: str) -> list[Place]:
    """Return the lines of a network of which a row ended well."""
    return [place for place in places if place.network.key == key and place.group.ok]


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


def sample_of(place: Place) -> Sample:
    """Summarise the accuracies of a line on the official test images."""
    is_moved = bool(place.group.cell.splits.test_from_train)
    values = place.group.values("official_accuracy" if is_moved else "accuracy")
    return Sample.of(values.tolist())


def gain_line(theirs: Gain, ours: Gain, dataset: str) -> dict[str, str]:
    """Write DeTraMe minus ReLU of one network, the paper's and ours."""
    line = empty_line(f"{theirs.name}: DeTraMe minus ReLU", dataset, ours)
    level = LEVEL ** (1 / N_GAINS)
    if theirs.terms:
        line["paper"] = written(contrast(theirs.terms))
        line["paper says"] = sign(contrast(theirs.terms, level), MORE, LESS)
    if not ours.terms:
        return line
    fill_in(line, ours.terms, ours.n_seeds, (MORE, LESS), level)
    if theirs.terms:
        result = replication(ours.terms, theirs.terms)
        line |= beside_paper(result, ours.departures)
    return line


def median_line(theirs: Sequence[Gain], ours: Sequence[Gain], dataset: str) -> dict[str, str]:
    """Write the median gain of a family: as printed, recomputed, and ours.

    Its interval is that of draws of all gains, each mean with Student's t around it.
    """
    family = theirs[0].family
    line = empty_line(f"{family}: median gain", dataset, *ours)
    printed = PRINTED.get((family, dataset))
    texts = [] if printed is None else [f"{printed:+.2f} as printed"]
    drawn_theirs = median_draws(theirs, seed=0)
    drawn_ours = median_draws(ours, seed=1)
    if drawn_theirs is not None:
        texts.append(f"{written(interval_of(drawn_theirs))} recomputed")
        line["paper says"] = sign(interval_of(drawn_theirs), MORE, LESS)
    line["paper"] = "; ".join(texts)
    n_seeds = min(gain.n_seeds for gain in ours)
    if drawn_ours is None:
        line["ours says"] = line["ours says"] or too_few(n_seeds)
        return line
    result = interval_of(drawn_ours)
    line["ours"] = written(result)
    line["ours says"] = sign(result, MORE, LESS)
    if n_seeds < SEEDS_FOR_VERDICT:
        line["ours says"] = too_few(n_seeds)
    if drawn_theirs is not None:
        value = drawn_ours.value - drawn_theirs.value
        difference = interval_of(Draws(value, drawn_ours.drawn - drawn_theirs.drawn))
        verdict = judge(difference)
        if n_seeds < SEEDS_FOR_VERDICT:
            verdict = too_few(n_seeds)
        line |= beside_paper(Replication(difference, verdict), departures_of(ours))
    return line


def trend_line(theirs: Sequence[Gain], ours: Sequence[Gain], dataset: str) -> dict[str, str]:
    """Write whether the gain falls with depth: points a step from one depth to the next.

    The slope of a straight line through the gains in order of depth. The paper says in its words
    that the shallower the network, the more is gained.
    """
    line = empty_line(f"{theirs[0].family}: the shallower, the more", dataset, *ours)
    level = LEVEL ** (1 / len(DEPTHS))
    slope_theirs = slope(theirs)
    if slope_theirs:
        line["paper"] = written(contrast(slope_theirs)) + " a step"
        line["paper says"] = sign(contrast(slope_theirs, level), RISES, FALLS)
    slope_ours = slope(ours)
    if not slope_ours:
        return line
    n_seeds = min(gain.n_seeds for gain in ours)
    fill_in(line, slope_ours, n_seeds, (RISES, FALLS), level)
    line["ours"] += " a step"
    if slope_theirs:
        difference = replication(slope_ours, slope_theirs).difference
        # The paper claims a direction.
        verdict = HOLDS.get(line["ours says"], line["ours says"])
        line |= beside_paper(Replication(difference, verdict), departures_of(ours))
    return line


def slope(gains: Sequence[Gain]) -> list[Term]:
    """Return the terms of the slope of gains over the order of depths; empty where one lacks."""
    terms = []
    for factor, gain in zip(SLOPE, gains, strict=True):
        if not gain.terms:
            return []
        terms += [Term(factor * term.factor, term.sample) for term in gain.terms]
    return terms


def departures_of(gains: Sequence[Gain]) -> tuple[str, ...]:
    """Return all departures of some gains from the paper's protocol, each once."""
    return tuple(dict.fromkeys(text for gain in gains for text in gain.departures))


def empty_line(claim: str, dataset: str, *gains: Gain) -> dict[str, str]:
    """Return a line of a claim with the lines of ours that it is about."""
    line = dict.fromkeys(COLUMNS, "")
    line["claim"] = claim
    line["dataset"] = dataset
    if len(gains) == 1:
        line["line"] = gains[0].lines
    lacking = [gain.name for gain in gains if not gain.terms]
    if lacking:
        line["ours says"] = f"not run alike in both forms: {', '.join(lacking)}"
    return line


def fill_in(
    line: dict[str, str],
    terms: Sequence[Term],
    n_seeds: int,
    words: tuple[str, str],
    level: float,
) -> None:
    """Write our contrast, what it says, and what it could have said.

    Parameters
    ----------
    line
        Is changed.
    terms, n_seeds
        The contrast, and the seeds of the line that has fewest.
    words
        What it says above 0, and below.
    level
        Of the interval that decides, for a family of contrasts.
    """
    more, less = words
    value = sum(term.factor * term.sample.mean for term in terms)
    line["ours"] = f"{value:+.2f}"
    line["ours says"] = too_few(n_seeds)
    if n_seeds < SEEDS_FOR_INTERVAL:
        return
    line["ours"] = written(contrast(terms))
    judged = contrast(terms, level)
    if n_seeds >= SEEDS_FOR_VERDICT:
        line["ours says"] = sign(judged, more, less)
    if judged.error:
        limit = (judged.high - judged.value) / judged.error
        line["detectable"] = f"{float(detectable(judged.error, judged.freedom, limit)):.2f}"


def beside_paper(result: Replication, departures: Sequence[str]) -> dict[str, str]:
    """Write ours minus the paper's."""
    cells = {"verdict": result.verdict}
    if result.difference is not None:
        cells["ours - paper"] = written(result.difference)
    if departures:
        cells["verdict"] = "not comparable: " + "; ".join(departures)
    return cells


def written(result: Difference) -> str:
    """Write a value with its interval; half a hundredth is rounded away from 0, as on paper."""
    value = result.value + math.copysign(ROUNDING, result.value)
    return f"{value:+.2f} ({result.low:+.2f} to {result.high:+.2f})"


class Draws(NamedTuple):
    """Hold a value and draws of what it might have been."""

    value: float
    drawn: np.ndarray


def median_draws(gains: Sequence[Gain], seed: int) -> Draws | None:
    """Draw medians of gains; with the median itself. None where a gain has no spread."""
    rng = np.random.default_rng(seed)
    drawn = []
    values = []
    for gain in gains:
        if gain.n_seeds < SEEDS_FOR_INTERVAL:
            return None
        result = contrast(gain.terms)
        chance = rng.standard_t(result.freedom, N_DRAWS)
        drawn.append(result.value + result.error * chance)
        values.append(result.value)
    return Draws(float(np.median(values)), np.median(drawn, axis=0))


def interval_of(draws: Draws) -> Difference:
    """Return a value with the interval of its draws; without a test, p is NaN."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(draws.drawn, [tail, 1 - tail])
    error = float(np.std(draws.drawn))
    return Difference(draws.value, float(low), float(high), float("nan"), error, MOST_FREEDOM)
