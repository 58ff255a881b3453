"""Comparisons with the best and with a reference, against printed tables and scipy."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from ddl_bench.results.stats.best import (
    against_reference,
    behind_best,
    coverage,
    critical_value,
    limits,
    range_coverage,
    range_limit,
    rivals,
)
from ddl_bench.results.stats.welch import Sample, welch

EQUAL = 0.5**0.5  # loading of comparisons with equal errors


@pytest.mark.parametrize(
    ("n_rivals", "freedom", "one_sided", "two_sided"),
    [  # Dunnett's tables for 5 %, as textbooks print them
        (1, 10, 1.81, 2.23),
        (2, 10, 2.15, 2.57),
        (4, 20, 2.30, 2.65),
        (9, 20, 2.60, 2.95),
        (9, 1e6, 2.42, 2.69),
    ],
)
def test_limits_are_those_of_dunnetts_tables(
    n_rivals: int, freedom: float, one_sided: float, two_sided: float
) -> None:
    loading = np.array(EQUAL)
    v = np.array(float(freedom))
    assert critical_value(n_rivals, loading, v) == pytest.approx(one_sided, abs=0.0051)
    limit = critical_value(n_rivals, loading, v, two_sided=True)
    assert limit == pytest.approx(two_sided, abs=0.0051)


@pytest.mark.parametrize("loading", [0.05, 0.5, EQUAL, 0.97])
@pytest.mark.parametrize("freedom", [2, 7, 40])
def test_coverage_is_that_of_the_multivariate_t(loading: float, freedom: int) -> None:
    n_rivals = 5
    shape = (1 - loading**2) * np.eye(n_rivals) + loading**2
    reference = scipy_stats.multivariate_t(shape=shape, df=freedom, seed=0)
    expected = reference.cdf(np.full(n_rivals, 2.4))
    r = np.array(loading)
    v = np.array(float(freedom))
    assert coverage(np.array(2.4), n_rivals, r, v) == pytest.approx(expected, abs=2e-4)
    expected = reference.cdf(np.full(n_rivals, 2.4), lower_limit=np.full(n_rivals, -2.4))
    both = coverage(np.array(2.4), n_rivals, r, v, two_sided=True)
    assert both == pytest.approx(expected, abs=5e-4)


def test_p_of_dunnetts_own_example() -> None:
    """Blood counts of animals with two drugs and without (Dunnett, 1955), as scipy has them."""
    control = [7.40, 8.50, 7.20, 8.24, 9.84, 8.32]
    drugs = [[9.76, 8.80, 7.68, 9.36], [12.80, 9.68, 12.16, 9.20, 10.55]]
    reference = scipy_stats.dunnett(*drugs, control=control, rng=np.random.default_rng(0))
    statistic = np.abs(reference.statistic)
    loading = np.full(2, np.mean([(n / (n + 6)) ** 0.5 for n in (4, 5)]))
    p = 1 - coverage(statistic, 2, loading, np.full(2, 12.0), two_sided=True)
    assert p == pytest.approx([0.620, 0.0059], abs=5e-4)
    assert p == pytest.approx(reference.pvalue, abs=5e-4)


@pytest.mark.parametrize(
    ("n_methods", "freedom", "expected"),  # tables of the studentized range for 5 %
    [(2, 10, 3.15), (3, 8, 4.04), (5, 20, 4.23), (10, 20, 5.01), (10, 60, 4.65), (20, 30, 5.47)],
)
def test_limits_are_those_of_the_tables_of_the_range(
    n_methods: int, freedom: float, expected: float
) -> None:
    limit = range_limit(n_methods, np.array(float(freedom)))
    assert limit * 2**0.5 == pytest.approx(expected, abs=0.0075)


def test_the_range_is_that_of_scipy() -> None:
    q = np.array([3.0, 5.0, 8.0])
    v = np.array([3.0, 8.0, 30.0])
    expected = scipy_stats.studentized_range.cdf(q, 7, v)
    assert range_coverage(q / 2**0.5, 7, v) == pytest.approx(expected, abs=1e-4)


def uneven(k: int) -> list[Sample]:
    """Methods of different spread and number of runs, one of them without any spread."""
    rng = np.random.default_rng(0)
    spreads = [0.0, *rng.uniform(0.1, 1.5, k - 1)]
    return [Sample(90 + i / 5, sd, 3 + i % 4) for i, sd in enumerate(spreads)]


def test_interpolated_limits_are_exact() -> None:
    pairs = rivals(uneven(9))
    others = ~np.eye(9, dtype=bool)
    exact = critical_value(8, pairs.loading, pairs.freedom)
    assert limits(pairs)[others] == pytest.approx(exact[others], rel=1e-4)


def test_behind_the_best_by_hand() -> None:
    """Sd 1, 10 runs: v = 18, error = sqrt(0.2), Dunnett 2.32, range 4.28 / sqrt(2)."""
    means = [90.0, 89.5, 89.3, 88.0, 80.0]
    result = behind_best([Sample(mean, 1.0, 10) for mean in means])
    error = 0.2**0.5
    behind = 90 - np.array(means)
    assert result.best == 0
    assert result.at_least[3] == pytest.approx(2 - 4.28 / 2**0.5 * error, abs=0.005)
    assert result.at_least[:3].tolist() == [0, 0, 0]
    assert result.at_most[1:] == pytest.approx(behind[1:] + 2.32 * error, abs=0.005)
    assert result.at_most[0] == pytest.approx(-0.5 + 2.32 * error, abs=0.005)
    assert (result.p[1:] < 0.05).tolist() == [False, False, True, True]


def test_p_and_limits_agree() -> None:
    result = behind_best(uneven(7))
    others = np.arange(7) != result.best
    assert ((result.p < 0.05) == (result.at_least > 0))[others].all()
    assert (result.at_least <= result.at_most)[others].all()


def test_two_methods_are_compared_as_by_welch() -> None:
    a = Sample(91.0, 0.5, 5)
    b = Sample(90.0, 0.3, 4)
    reference = welch(a, b)
    result = behind_best([b, a])
    assert result.p[0] == pytest.approx(reference.p, abs=2e-4)
    assert result.at_least[0] == pytest.approx(max(0, reference.low), abs=2e-3)
    against = against_reference(a, [b])
    assert (against.low[0], against.high[0]) == pytest.approx(
        (reference.low, reference.high), abs=1e-3
    )
    assert against.p[0] == pytest.approx(reference.p, abs=2e-4)


def test_methods_without_spread() -> None:
    result = behind_best([Sample(90.0, 0.0, 5), Sample(90.0, 0.0, 5), Sample(89.0, 0.0, 5)])
    assert result.at_least == pytest.approx([0, 0, 1])
    assert result.p[2] == pytest.approx(0, abs=1e-6)
    assert result.p[1] == pytest.approx(1)


def test_many_methods_need_larger_differences_than_two() -> None:
    samples = [Sample(90.0, 0.3, 5), Sample(89.4, 0.3, 5)]
    alone = behind_best(samples)
    among = behind_best(samples + [Sample(80.0, 0.3, 5)] * 8)
    assert alone.at_least[1] > 0
    assert among.at_least[1] == 0
