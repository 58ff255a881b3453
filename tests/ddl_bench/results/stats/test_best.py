"""Comparisons with the best and with a reference, against printed tables and scipy."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from ddl_bench.results.stats.best import (
    against_reference,
    behind_best,
    best_coverage,
    best_limit,
    coverage,
    critical_value,
    limits,
    pair_limit,
    rivals,
)
from ddl_bench.results.stats.welch import Sample, welch

EQUAL = 0.5**0.5  # loading of comparisons with equal errors


@pytest.mark.parametrize(
    ("n_rivals", "one_sided", "two_sided"),
    [  # the last line of Dunnett's tables for 5 %, as textbooks print them
        (1, 1.64, 1.96),
        (2, 1.92, 2.21),
        (4, 2.16, 2.44),
        (9, 2.42, 2.69),
    ],
)
def test_limits_are_those_of_dunnetts_tables(
    n_rivals: int, one_sided: float, two_sided: float
) -> None:
    loading = np.array(EQUAL)
    v = np.array(1e6)
    assert critical_value(n_rivals, loading, v) == pytest.approx(one_sided, abs=0.0051)
    limit = critical_value(n_rivals, loading, v, two_sided=True)
    assert limit == pytest.approx(two_sided, abs=0.0051)


@pytest.mark.parametrize("freedom", [2.0, 7.5, 40.0])
def test_independent_comparisons_have_students_probability(freedom: float) -> None:
    nothing_shared = np.array(1e-6)
    one = coverage(np.array(2.4), 5, nothing_shared, np.array(freedom))
    assert one == pytest.approx(scipy_stats.t.cdf(2.4, freedom) ** 5, abs=5e-4)
    both = coverage(np.array(2.4), 5, nothing_shared, np.array(freedom), two_sided=True)
    within = 1 - 2 * scipy_stats.t.sf(2.4, freedom)
    assert both == pytest.approx(within**5, abs=5e-4)


@pytest.mark.parametrize("loading", [0.3, EQUAL, 0.97])
def test_coverage_is_that_of_drawn_comparisons(loading: float) -> None:
    rng = np.random.default_rng(0)
    shape = (200_000, 4)
    normal = loading * rng.standard_normal((shape[0], 1))
    normal = normal + (1 - loading**2) ** 0.5 * rng.standard_normal(shape)
    t = normal / np.sqrt(rng.chisquare(6, shape) / 6)
    r = np.array(loading)
    v = np.array(6.0)
    one = coverage(np.array(2.0), 4, r, v)
    assert one == pytest.approx((t <= 2).all(axis=1).mean(), abs=0.002)
    both = coverage(np.array(2.0), 4, r, v, two_sided=True)
    assert both == pytest.approx((np.abs(t) <= 2).all(axis=1).mean(), abs=0.002)


def test_dunnetts_test_of_scipy() -> None:
    """With many runs of equal spread it is the same test."""
    rng = np.random.default_rng(0)
    control, *others = rng.normal([[0.0], [0.1], [0.2], [0.3]], 1, (4, 150))
    reference = scipy_stats.dunnett(*others, control=control, rng=np.random.default_rng(0))
    result = against_reference(Sample.of(control.tolist()), [Sample.of(x.tolist()) for x in others])
    assert result.p == pytest.approx(reference.pvalue, abs=0.025)


@pytest.mark.parametrize(
    ("n_methods", "expected"),  # tables of the studentized range for 5 %
    [(2, 1.96 * 2**0.5), (3, 3.31), (5, 3.86), (10, 4.47), (20, 5.01)],
)
def test_limits_of_known_errors_are_those_of_the_tables_of_the_range(
    n_methods: int, expected: float
) -> None:
    limit = best_limit(n_methods, np.array(1e6))
    assert limit * 2**0.5 == pytest.approx(expected, abs=0.0075)


def test_with_few_runs_the_limit_is_above_that_of_one_pooled_error() -> None:
    v = np.array([4.0, 8.0, 30.0])
    pooled = scipy_stats.studentized_range.ppf(0.95, 10, v) / 2**0.5
    ratios = best_limit(10, v) / pooled
    assert (ratios > 1).all()
    assert (np.diff(ratios) < 0).all()
    assert ratios[-1] == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("n_methods", "freedom"), [(10, 4.0), (34, 8.0)])
def test_the_best_is_told_from_no_equally_good_method(n_methods: int, freedom: float) -> None:
    """As drawn: errors of two methods are independent and have v / 2 degrees of freedom each."""
    rng = np.random.default_rng(0)
    shape = (40_000, n_methods)
    means = rng.standard_normal(shape)
    variances = rng.chisquare(freedom / 2, shape) / (freedom / 2)
    best = means.argmax(axis=1)[:, None]
    errors = np.sqrt(np.take_along_axis(variances, best, 1) + variances)
    t = (np.take_along_axis(means, best, 1) - means) / errors
    v = np.array(freedom)
    limit = best_limit(n_methods, v)
    assert best_coverage(limit, n_methods, v) == pytest.approx(0.95, abs=1e-4)
    assert (t <= limit).all(axis=1).mean() == pytest.approx(0.95, abs=0.004)


def test_all_pairs_have_the_level_of_sidak() -> None:
    v = np.array([2.0, 8.0])
    p = 2 * scipy_stats.t.sf(pair_limit(5, v), v)
    assert 1 - (1 - p) ** 10 == pytest.approx([0.05, 0.05])


@pytest.mark.parametrize("freedom", [2.0, 4.0, 30.0, 1e6])
@pytest.mark.parametrize("t", [2.0, 5.0, 20.0])
def test_a_small_p_of_two_methods_is_that_of_students_test(freedom: float, t: float) -> None:
    expected = 2 * scipy_stats.t.sf(t, freedom)
    p = 1 - best_coverage(np.array(t), 2, np.array(freedom))
    assert p == pytest.approx(expected, rel=2e-3, abs=1e-8)


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
    """Sd 1, 10 runs: v = 18, error = sqrt(0.2)."""
    means = [90.0, 89.5, 89.3, 88.0, 80.0]
    result = behind_best([Sample(mean, 1.0, 10) for mean in means])
    error = 0.2**0.5
    behind = 90 - np.array(means)
    assert result.best == 0
    least = best_limit(5, np.array(18.0))
    assert 4.28 / 2**0.5 < least < 1.02 * 4.28 / 2**0.5  # the table of the range
    assert result.at_least[3] == pytest.approx(2 - least * error, abs=0.005)
    assert result.at_least[:3].tolist() == [0, 0, 0]
    limit = critical_value(4, np.array(EQUAL), np.array(18.0))
    assert 2.32 < limit < 2.45  # Dunnett's table, and Bonferroni's limit
    assert result.at_most[1:] == pytest.approx(behind[1:] + limit * error, abs=0.005)
    assert result.at_most[0] == pytest.approx(-0.5 + limit * error, abs=0.005)
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


@pytest.mark.parametrize("freedom", [1.0, 2.1, 4.0, 30.0, 1000.0])
@pytest.mark.parametrize("loading", [0.3, 0.9, 0.95, 0.987, 0.999])
def test_one_comparison_is_students_however_uneven_the_spreads(
    loading: float, freedom: float
) -> None:
    limit = scipy_stats.t.isf(0.05, freedom)
    p = coverage(np.array(limit), 1, np.array(loading), np.array(freedom))
    assert p == pytest.approx(0.95, abs=1e-6)


@pytest.mark.parametrize("sd", [0.0, 0.001, 0.1, 1.0])
@pytest.mark.parametrize("n", [3, 5, 50])
def test_how_far_the_second_of_two_is_behind_is_students_limit(sd: float, n: int) -> None:
    a = Sample(80.0, 0.6, 3)
    b = Sample(70.0, sd, n)
    pairs = rivals([a, b])
    most = 10 + scipy_stats.t.isf(0.05, pairs.freedom[0, 1]) * pairs.error[0, 1]
    found = behind_best([a, b])
    assert found.at_most == pytest.approx([0, most], rel=1e-3)
    assert found.at_least[1] < found.at_most[1]


@pytest.mark.parametrize("n_rivals", [2, 5, 30])
def test_limits_exist_however_uneven_the_spreads(n_rivals: int) -> None:
    loading, freedom = np.meshgrid([1e-6, 0.5, 0.98, 0.999, 1 - 1e-6], [1, 2.2, 4, 30, 1e3, 1e6])
    for two_sided in (False, True):
        limit = critical_value(n_rivals, loading, freedom, two_sided=two_sided)
        level = coverage(limit, n_rivals, loading, freedom, two_sided=two_sided)
        assert level == pytest.approx(np.full(limit.shape, 0.95), abs=1e-4)


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
