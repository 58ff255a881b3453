"""What the paper claims, as lines: gains over ReLUs, their medians, and their trend with depth.

Each line is about the paper's values and ours. A claim is a sum of means with factors, a contrast:
DeTraMe minus ReLU has two of them, the slope over four networks eight. The median has none.
"""

import math
from collections.abc import Sequence

import pandas as pd

from ddl_bench.results.stats.power import detectable
from ddl_bench.results.stats.replication import (
    REPRODUCED,
    UNDECIDED,
    Replication,
    Term,
    contrast,
    judge,
    median_of,
    replication,
    sign,
    subtract,
    too_few,
)
from ddl_bench.results.stats.welch import (
    LEVEL,
    SEEDS_FOR_INTERVAL,
    SEEDS_FOR_VERDICT,
    Difference,
)
from reports.paper.gains import DEPTHS, Gain, our_gains, published_gains, slope
from reports.paper.places import BY_RECONSTRUCTION, Place

LEVEL_OF_GAIN = LEVEL ** (1 / 8)  # Sidak: the 8 networks of a data set are one family
LEVEL_OF_SLOPE = LEVEL ** (1 / 2)  # PlainNets and ResNets
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
            lines += lines_of_family(theirs, our_gains(family, here), dataset)
    return pd.DataFrame(lines, columns=list(COLUMNS))


def published_claims() -> pd.DataFrame:
    """Return what the paper claims, with the interval and the words that its own values give."""
    lines = []
    for dataset in ("cifar10", "cifar100"):
        for family in DEPTHS:
            theirs = published_gains(family, dataset)
            nothing = [Gain(gain.family, gain.depth) for gain in theirs]
            lines += lines_of_family(theirs, nothing, dataset)
    return pd.DataFrame(lines)[["claim", "dataset", "paper", "paper says"]]


def lines_of_family(
    theirs: Sequence[Gain], ours: Sequence[Gain], dataset: str
) -> list[dict[str, str]]:
    """Return all lines on the networks of a family: each gain, their median, their trend."""
    lines = [gain_line(*pair, dataset) for pair in zip(theirs, ours, strict=True)]
    lines.append(median_line(theirs, ours, dataset))
    lines.append(trend_line(theirs, ours, dataset))
    return lines


def gain_line(theirs: Gain, ours: Gain, dataset: str) -> dict[str, str]:
    """Write DeTraMe minus ReLU of one network, the paper's and ours."""
    line = empty_line(f"{theirs.name}: DeTraMe minus ReLU", dataset, [ours])
    line["line"] = ours.lines
    if theirs.terms:
        line["paper"] = written(contrast(theirs.terms))
        line["paper says"] = sign(contrast(theirs.terms, LEVEL_OF_GAIN), MORE, LESS)
    if ours.terms:
        line |= our_cells(ours.terms, ours.n_seeds, MORE, LESS, LEVEL_OF_GAIN)
    if theirs.terms and ours.terms:
        line |= beside_paper(replication(ours.terms, theirs.terms), [ours])
    return line


def median_line(theirs: Sequence[Gain], ours: Sequence[Gain], dataset: str) -> dict[str, str]:
    """Write the median gain of a family: as printed, recomputed, and ours."""
    family = theirs[0].family
    line = empty_line(f"{family}: median gain", dataset, ours)
    printed = PRINTED.get((family, dataset))
    texts = [] if printed is None else [f"{printed:+.2f} as printed"]
    median_theirs = median_gain(theirs)
    if median_theirs is not None:
        texts.append(f"{written(median_theirs)} recomputed")
        line["paper says"] = sign(median_theirs, MORE, LESS)
    line["paper"] = "; ".join(texts)
    n_seeds = min(gain.n_seeds for gain in ours)
    if n_seeds == 0:
        return line
    is_enough = n_seeds >= SEEDS_FOR_VERDICT
    line["ours says"] = too_few(n_seeds)
    median_ours = median_gain(ours)
    if median_ours is None:
        return line
    line["ours"] = written(median_ours)
    if is_enough:
        line["ours says"] = sign(median_ours, MORE, LESS)
    if median_theirs is not None:
        difference = subtract(median_ours, median_theirs)
        verdict = judge(difference) if is_enough else too_few(n_seeds)
        line |= beside_paper(Replication(difference, verdict), ours)
    return line


def median_gain(gains: Sequence[Gain]) -> Difference | None:
    """Return the median of gains with its interval; None where one has too few seeds for one."""
    if min(gain.n_seeds for gain in gains) < SEEDS_FOR_INTERVAL:
        return None
    return median_of([contrast(gain.terms) for gain in gains])


def trend_line(theirs: Sequence[Gain], ours: Sequence[Gain], dataset: str) -> dict[str, str]:
    """Write whether the gain falls with depth: points a step from one depth to the next.

    The slope of a straight line through the gains in order of depth. The paper says in its words
    that the shallower the network, the more is gained: it claims a direction, and so the verdict is
    on the direction of ours.
    """
    line = empty_line(f"{theirs[0].family}: the shallower, the more", dataset, ours)
    slope_theirs = slope(theirs)
    slope_ours = slope(ours)
    if slope_theirs:
        line["paper"] = written(contrast(slope_theirs)) + " a step"
        line["paper says"] = sign(contrast(slope_theirs, LEVEL_OF_SLOPE), RISES, FALLS)
    if slope_ours:
        n_seeds = min(gain.n_seeds for gain in ours)
        line |= our_cells(slope_ours, n_seeds, RISES, FALLS, LEVEL_OF_SLOPE)
        line["ours"] += " a step"
    if slope_theirs and slope_ours:
        difference = replication(slope_ours, slope_theirs).difference
        verdict = HOLDS.get(line["ours says"], line["ours says"])
        line |= beside_paper(Replication(difference, verdict), ours)
    return line


def empty_line(claim: str, dataset: str, ours: Sequence[Gain]) -> dict[str, str]:
    """Return a line of a claim that says which gains of ours are lacking."""
    line = dict.fromkeys(COLUMNS, "")
    line["claim"] = claim
    line["dataset"] = dataset
    lacking = [gain.name for gain in ours if not gain.terms]
    if lacking:
        line["ours says"] = f"not run alike in both forms: {', '.join(lacking)}"
    return line


def our_cells(
    terms: Sequence[Term], n_seeds: int, more: str, less: str, level: float
) -> dict[str, str]:
    """Write our contrast, what it says, and what it could have said.

    Parameters
    ----------
    terms, n_seeds
        The contrast, and the seeds of the line that has fewest.
    more, less
        What it says where it is above 0, and below.
    level
        Of the interval that decides, for a family of contrasts.
    """
    value = sum(term.factor * term.sample.mean for term in terms)
    cells = {"ours": f"{value:+.2f}", "ours says": too_few(n_seeds)}
    if n_seeds < SEEDS_FOR_INTERVAL:
        return cells
    judged = contrast(terms, level)
    cells["ours"] = written(contrast(terms))
    if n_seeds >= SEEDS_FOR_VERDICT:
        cells["ours says"] = sign(judged, more, less)
    if judged.error:
        limit = (judged.high - judged.value) / judged.error
        cells["detectable"] = f"{float(detectable(judged.error, judged.freedom, limit)):.2f}"
    return cells


def beside_paper(result: Replication, ours: Sequence[Gain]) -> dict[str, str]:
    """Write ours minus the paper's, with a verdict where ours follow the paper's protocol."""
    cells = {"verdict": result.verdict}
    if result.difference is not None:
        cells["ours - paper"] = written(result.difference)
    if result.verdict == REPRODUCED and any(gain.is_reconstruction for gain in ours):
        cells["verdict"] += BY_RECONSTRUCTION
    departures = dict.fromkeys(text for gain in ours for text in gain.departures)
    if departures:
        cells["verdict"] = "not comparable: " + "; ".join(departures)
    return cells


def written(result: Difference) -> str:
    """Write a value with its interval; half a hundredth is rounded away from 0, as on paper."""
    value = result.value + math.copysign(ROUNDING, result.value)
    return f"{value:+.2f} ({result.low:+.2f} to {result.high:+.2f})"
