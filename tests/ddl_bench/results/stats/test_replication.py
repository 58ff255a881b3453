"""Replications of published means: worked examples, and the chance by brute force."""

import numpy as np
import pytest

from ddl_bench.results.stats.replication import (
    REPRODUCED,
    Term,
    chance_of,
    contrast,
    judge,
    replication,
    share,
    sign,
)
from ddl_bench.results.stats.welch import Difference, Sample, welch

PAPER = Sample(93.05, 0.46, 5)


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


@pytest.mark.parametrize("sd", [0.15, 0.3, 0.46, 0.65])
@pytest.mark.parametrize("n_ours", [5, 10])
def test_the_chance_is_that_of_brute_force(sd: float, n_ours: int) -> None:
    """Draw published spreads as given, ours and both means anew, and judge each time."""
    rng = np.random.default_rng(0)
    published = Sample(90.0, sd, 5)
    n_reproduced = 0
    n_experiments = 2_000
    for _ in range(n_experiments):
        runs = rng.normal(90.0, sd, n_ours)
        drift = rng.normal(0, sd / 5**0.5)
        result = welch(Sample.of(runs.tolist()), published._replace(mean=90.0 + drift))
        n_reproduced += judge(result) == REPRODUCED
    expected = chance_of([Term(1.0, published)], [n_ours])
    assert n_reproduced / n_experiments == pytest.approx(expected, abs=0.035)


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
        (-1.1, 0.1, "cannot be decided: a perfect replication is reproduced in 40 % of cases"),
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
