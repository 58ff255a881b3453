"""Whether a published difference or accuracy is reproduced, and what the chance of that was."""

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import stats

from ddl_bench.results.stats.power import detectable
from ddl_bench.results.stats.welch import (
    LEVEL,
    MOST_FREEDOM,
    SEEDS_FOR_INTERVAL,
    SEEDS_FOR_VERDICT,
    Difference,
    Sample,
    students,
)

MARGIN = 1.0  # points: "reproduced" means that the whole interval lies within it
N_DRAWS = 5_000  # of the spreads that a replication may have
REPRODUCED = "reproduced"
UNDECIDED = "cannot be decided"


class Term(NamedTuple):
    """A factor and the accuracies that it multiplies, in a sum of means."""

    factor: float
    sample: Sample


def contrast(terms: Sequence[Term], level: float = LEVEL) -> Difference:
    """Compute the interval of a weighted sum of means of runs whose spreads may differ.

    sum(c * mean) ± t((1 + level) / 2, v) * sqrt(sum(e)), with e = c**2 * sd**2 / n and
    v = sum(e)**2 / sum(e**2 / (n - 1)): Welch's interval for the two terms of a difference.

    Parameters
    ----------
    terms
        Factors and accuracies, of at least 2 runs each.
    level
        Coverage of the interval.

    Examples
    --------
    >>> gain = [Term(1.0, Sample(93.5, 0.3, 3)), Term(-1.0, Sample(93.05, 0.46, 5))]
    >>> contrast(gain).high.__round__(2)
    1.11
    """
    value = sum(term.factor * term.sample.mean for term in terms)
    errors2 = np.array([term.factor**2 * term.sample.error2 for term in terms])
    counts = np.array([term.sample.n for term in terms])
    freedom = satterthwaite(errors2, counts - 1)
    return students(value, float(errors2.sum()) ** 0.5, freedom, level)


def median_of(differences: Sequence[Difference]) -> Difference:
    """Return the median of some differences, between the medians of their limits.

    The interval is wide on purpose. Draws around each difference would give a narrower one, which
    errs where one of them is far above the others: their median is then too high on average. There
    is no test: p, error and freedom are NaN.

    Examples
    --------
    >>> parts = [students(value, 0.1, 8) for value in (4.1, 0.0, 0.2, 0.1)]
    >>> result = median_of(parts)
    >>> [round(each, 2) for each in result[:3]]
    [0.15, -0.08, 0.38]
    """
    value = float(np.median([each.value for each in differences]))
    low = float(np.median([each.low for each in differences]))
    high = float(np.median([each.high for each in differences]))
    return Difference(value, low, high, math.nan, math.nan, math.nan)


def subtract(a: Difference, b: Difference) -> Difference:
    """Return a - b for independent a and b, from their intervals alone.

    low = a - b - sqrt((a - low_a)**2 + (high_b - b)**2), and high likewise. There is no test: p,
    error and freedom are NaN.

    References
    ----------
    Zou and Donner, Construction of confidence limits about effect measures, Statistics in Medicine,
    2008.
    """
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    high = value + math.hypot(a.high - a.value, b.value - b.low)
    return Difference(value, low, high, math.nan, math.nan, math.nan)


def satterthwaite(errors2: np.ndarray, freedoms: np.ndarray) -> float:
    """Compute the degrees of freedom of a sum of squared errors that have some each."""
    uncertain = float((errors2**2 / freedoms).sum())
    if not uncertain:
        return MOST_FREEDOM
    return float(errors2.sum()) ** 2 / uncertain


def judge(result: Difference, chance: float | None = None) -> str:
    """Say what the interval of "ours minus published" means.

    Parameters
    ----------
    result
        The difference.
    chance
        Of a perfect replication to be called reproduced, see `chance_of`; None leaves it out.
    """
    is_within = result.low >= -MARGIN and result.high <= MARGIN
    has_zero = result.low <= 0 <= result.high
    if is_within:
        return REPRODUCED if has_zero else f"within {MARGIN:g} point, but different"
    if has_zero and chance is not None:
        odds = share(chance)
        return f"{UNDECIDED}: a perfect replication would be called reproduced in {odds} of cases"
    if has_zero:
        return UNDECIDED
    return "lower" if result.high < 0 else "higher"


def share(chance: float) -> str:
    """Write a chance in percent; "0 %" where it never happens."""
    if 0 < chance < 0.005:
        return "under 1 %"
    return f"{100 * chance:.0f} %"


def chance_of(published: Sequence[Term], n_ours: Sequence[int]) -> float:
    """Compute the chance that a perfect replication is called reproduced.

    Its runs have the published means and standard deviations as their true ones. The published
    values are the mean of a few runs too, so that a perfect replication differs from them by as
    much as runs do. The interval has the half-width h = t * sqrt(e), where the published part of e
    is known and ours varies as chi-squared; it lies within MARGIN and contains 0 where the
    difference is at most min(h, MARGIN - h).

    Parameters
    ----------
    published
        The published accuracies, with factors where they form a difference.
    n_ours
        Number of our runs for each of them, at least 2.

    Examples
    --------
    >>> chance_of([Term(1.0, Sample(35.14, 4.94, 5))], [5])  # a spread of 4.94 points
    0.0
    >>> chance_of([Term(1.0, Sample(92.17, 0.15, 5))], [5]) > 0.9
    True
    """
    return chance_of_terms(tuple(published), tuple(n_ours))


@cache
def chance_of_terms(published: tuple[Term, ...], n_ours: tuple[int, ...]) -> float:
    """Compute `chance_of`, once for the same arguments."""
    theirs = np.array([term.factor**2 * term.sample.error2 for term in published])
    freedoms = np.array([term.sample.n - 1 for term in published])
    counts = np.array(n_ours)
    spreads2 = np.array([(term.factor * term.sample.sd) ** 2 for term in published])
    true_error = float((theirs + spreads2 / counts).sum()) ** 0.5
    if not true_error:
        return 1.0
    rng = np.random.default_rng(0)
    drawn = rng.chisquare(counts - 1, (N_DRAWS, len(counts))) / (counts - 1)
    errors2 = np.hstack([np.broadcast_to(theirs, drawn.shape), drawn * spreads2 / counts])
    known = np.concatenate([freedoms, counts - 1])
    total = errors2.sum(axis=1)
    freedom = total**2 / (errors2**2 / known).sum(axis=1)
    half = stats.t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(total)
    reach = np.minimum(half, MARGIN - half)
    chances = 2 * stats.norm.cdf(np.maximum(reach, 0) / true_error) - 1
    return float(chances.mean())


class Replication(NamedTuple):
    """Ours minus published: the difference, what follows, and what could have.

    Parameters
    ----------
    difference
        With its interval; None where one side has no spread.
    verdict
        What follows, or why nothing does.
    chance
        Of a perfect replication with as many runs to be called reproduced.
    detectable
        Points that a true difference must have to be found with a power of 80 %.
    """

    difference: Difference | None
    verdict: str
    chance: float | None = None
    detectable: float | None = None


def replication(ours: Sequence[Term], published: Sequence[Term]) -> Replication:
    """Compare our runs with published values that are means over runs.

    Parameters
    ----------
    ours, published
        The same terms, with the same factors.
    """
    n_least = min(term.sample.n for term in ours)
    if not all(term.sample.sd >= 0 for term in published):
        return Replication(None, "no verdict: published without a spread")
    if n_least < SEEDS_FOR_INTERVAL:
        return Replication(None, too_few(n_least))
    minus = [Term(-term.factor, term.sample) for term in published]
    result = contrast([*ours, *minus])
    chance = chance_of(published, [term.sample.n for term in ours])
    least = float(detectable(result.error, result.freedom))
    verdict = judge(result, chance) if n_least >= SEEDS_FOR_VERDICT else too_few(n_least)
    return Replication(result, verdict, chance, least)


def too_few(n_seeds: int) -> str:
    """Say that a verdict needs more seeds."""
    seeds = "1 seed" if n_seeds == 1 else f"{n_seeds} seeds"
    return f"no verdict: {seeds}, and a verdict needs {SEEDS_FOR_VERDICT}"


def sign(result: Difference, more: str, less: str) -> str:
    """Say which of two sides a contrast is on: `more` above 0, `less` below, or not separable."""
    if result.low > 0:
        return more
    if result.high < 0:
        return less
    return "not separable"
