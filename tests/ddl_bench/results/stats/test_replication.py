"""Replications of published means: worked examples, and the chance by brute force."""

import numpy as np
import pytest

from ddl_bench.results.stats.power import detectable
from ddl_bench.results.stats.replication import (
    REPRODUCED,
    UNDECIDED,
    Term,
    chance_of,
    contrast,
    judge,
    median_of,
    replication,
    share,
    sign,
    subtract,
)
from ddl_bench.results.stats.welch import Difference, Sample, welch

PAPER = Sample(93.05, 0.46, 5)
UNDECIDED_40 = (
    "cannot be decided: a perfect replication would be called reproduced in 40 % of cases"
)
N_EXPERIMENTS = 1_000
SLOPE = (-0.3, -0.1, 0.1, 0.3)


def test_a_contrast_of_two_is_welchs_interval() -> None:
    ours = Sample(93.5, 0.3, 3)
    both = contrast([Term(1.0, ours), Term(-1.0, PAPER)])
    assert both == pytest.approx(welch(ours, PAPER))


def test_a_contrast_of_four_has_the_error_of_all() -> None:
    terms = [Term(c, Sample(50.0, 1.0, 5)) for c in (1.0, -1.0, -1.0, 1.0)]
    result = contrast(terms)
    assert result.error == pytest.approx((4 / 5) ** 0.5)
    assert result.freedom == pytest.approx(16), "four times four, as all errors are equal"
    assert result.value == 0


@pytest.mark.parametrize("sd", [0.15, 0.46, 0.65])
@pytest.mark.parametrize("n_ours", [5, 10])
def test_the_chance_is_that_of_brute_force(sd: float, n_ours: int) -> None:
    """Draw published spreads as given, ours and both means anew, and judge each time."""
    rng = np.random.default_rng(0)
    published = Sample(90.0, sd, 5)
    n_reproduced = 0
    for _ in range(N_EXPERIMENTS):
        ours = drawn(rng, Sample(90.0, sd, n_ours))
        drift = rng.normal(0, sd / 5**0.5)
        result = welch(ours, published._replace(mean=90.0 + drift))
        n_reproduced += judge(result) == REPRODUCED
    expected = chance_of([Term(1.0, published)], [n_ours])
    assert n_reproduced / N_EXPERIMENTS == pytest.approx(expected, abs=0.035)


def test_a_spread_that_no_number_of_seeds_makes_up_for() -> None:
    """t(4) * sd / sqrt(5) is the paper's part of the half-width: above 1 from 0.81 points on."""
    wide = [Term(1.0, Sample(22.01, 1.24, 5))]
    assert chance_of(wide, [5]) == chance_of(wide, [1000]) == 0
    assert share(0.0) == "0 %"
    assert share(0.001) == "under 1 %"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.9, 0.9, "reproduced"),
        (0.0, 0.9, "reproduced"),
        (0.1, 0.9, "within 1 point, but different"),
        (-0.9, -0.1, "within 1 point, but different"),
        (0.1, 1.1, "higher"),
        (-1.1, -0.1, "lower"),
        (-1.1, 0.1, UNDECIDED_40),
    ],
)
def test_each_interval_has_one_verdict(low: float, high: float, verdict: str) -> None:
    result = Difference((low + high) / 2, low, high, 0.5, 0.1, 8)
    assert judge(result, 0.4) == verdict


def test_a_replication_needs_seeds_and_a_spread() -> None:
    ours = [Term(1.0, Sample(93.0, 0.2, 4))]
    few = replication(ours, [Term(1.0, PAPER)])
    assert few.difference is not None
    assert few.verdict == "no verdict: 4 seeds, and a verdict needs 5"
    single = replication([Term(1.0, Sample(93.0, float("nan"), 1))], [Term(1.0, PAPER)])
    assert single.verdict == "no verdict: 1 seed, and a verdict needs 5"
    bare = replication(ours, [Term(1.0, Sample(93.04, float("nan"), 1))])
    assert bare.verdict == "no verdict: published without a spread"


def test_the_sign_of_a_contrast() -> None:
    signs = [
        sign(Difference(0.0, low, high, 0.5, 0.1, 8), "more", "less")
        for low, high in ((0.1, 1.0), (-1.0, -0.1), (-0.1, 0.1))
    ]
    assert signs == ["more", "less", "not separable"]


# Simulations: four networks, with true gains and the spread of each of both forms

GAINS = {
    "none, unequal": ((0, 0, 0, 0), (0.9, 0.3, 0.1, 0.05)),
    "one of four, unequal": ((5, 0, 0, 0), (0.3, 0.9, 0.9, 0.05)),
    "ResNets": ((4.12, 0.2, 0.0, 0.06), (0.5, 0.3, 0.4, 0.4)),
    "PlainNets": ((53, 5.5, 2.7, 0.7), (3.5, 0.35, 0.4, 0.45)),
}


def drawn(rng: np.random.Generator, truth: Sample) -> Sample:
    """Draw runs of a method, summarised."""
    return Sample.of(rng.normal(truth.mean, truth.sd, truth.n).tolist())


def drawn_gain(rng: np.random.Generator, gain: float, sd: float, n_seeds: int) -> list[Term]:
    detrame = drawn(rng, Sample(90.0 + gain, sd, n_seeds))
    return [Term(1.0, detrame), Term(-1.0, drawn(rng, Sample(90.0, sd, n_seeds)))]


def covers(result: Difference, truth: float) -> bool:
    return result.low <= truth <= result.high


@pytest.mark.parametrize("setting", GAINS)
def test_intervals_of_claims_hold_what_they_promise(setting: str) -> None:
    """Five published and five seeds of ours: coverage at least 93 %, false words at most 7 %."""
    gains, spreads = GAINS[setting]
    slope = float(np.dot(SLOPE, gains))
    median = float(np.median(gains))
    rng = np.random.default_rng(1)
    right = {"gain": 0, "slope": 0, "slope again": 0, "median": 0, "median again": 0}
    for _ in range(N_EXPERIMENTS):
        theirs = [drawn_gain(rng, *truth, 5) for truth in zip(gains, spreads, strict=True)]
        ours = [drawn_gain(rng, *truth, 5) for truth in zip(gains, spreads, strict=True)]
        both = []
        trends = []
        for side in (theirs, ours):
            both.append(median_of([contrast(terms) for terms in side]))
            terms = [
                Term(factor * term.factor, term.sample)
                for factor, gain in zip(SLOPE, side, strict=True)
                for term in gain
            ]
            trends.append(terms)
        minus = [Term(-term.factor, term.sample) for term in trends[0]]
        right["gain"] += covers(contrast(ours[1]), gains[1])
        right["slope"] += covers(contrast(trends[1]), slope)
        right["slope again"] += covers(contrast([*trends[1], *minus]), 0.0)
        right["median"] += covers(both[1], median)
        right["median again"] += covers(subtract(both[1], both[0]), 0.0)
    shares = {name: count / N_EXPERIMENTS for name, count in right.items()}
    assert min(shares.values()) >= 0.93, shares


@pytest.mark.parametrize("n_ours", [5, 10])
@pytest.mark.parametrize("sd", [0.15, 0.46, 1.24])
def test_a_perfect_replication_is_rarely_called_different(sd: float, n_ours: int) -> None:
    rng = np.random.default_rng(2)
    n_different = 0
    for _ in range(N_EXPERIMENTS):
        ours = drawn(rng, Sample(90.0, sd, n_ours))
        result = welch(ours, drawn(rng, Sample(90.0, sd, 5)))
        n_different += judge(result) not in (REPRODUCED, UNDECIDED)
    assert n_different / N_EXPERIMENTS <= 0.07


def test_a_difference_is_found_as_often_as_detectable_says() -> None:
    """Welch's freedom is estimated from each draw, which costs a little power."""
    rng = np.random.default_rng(3)
    truth = Sample(90.0, 0.3, 5)
    points = float(detectable(truth.sd * (2 / 5) ** 0.5, 8.0))
    n_found = 0
    for _ in range(N_EXPERIMENTS):
        ours = drawn(rng, truth._replace(mean=90.0 + points))
        n_found += welch(ours, drawn(rng, truth)).low > 0
    assert n_found / N_EXPERIMENTS == pytest.approx(0.8, abs=0.05)
