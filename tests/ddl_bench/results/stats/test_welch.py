"""Welch's interval and the permutation of runs, against scipy and numbers by hand."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from ddl_bench.results.stats.welch import MOST_PERMUTED, Sample, permutation, welch


@given(
    st.lists(st.floats(1.0, 99.0), min_size=2, max_size=6),
    st.lists(st.floats(1.0, 99.0), min_size=2, max_size=6),
)
@settings(max_examples=50)
def test_welch_is_that_of_scipy(a: list[float], b: list[float]) -> None:
    assume(min(np.std(a), np.std(b)) > 0.01)  # scipy warns of equal values
    test = scipy_stats.ttest_ind(a, b, equal_var=False)
    reference = test.confidence_interval()
    result = welch(Sample.of(a), Sample.of(b))
    assert (result.low, result.high) == pytest.approx((reference.low, reference.high), abs=1e-6)
    assert (result.p, result.freedom) == pytest.approx((test.pvalue, test.df))


def test_welch_by_hand() -> None:
    """0.46^2 / 5 = 0.04232, 0.3^2 / 3 = 0.03; v = 5.83, t = 2.4641, sqrt of the sum = 0.26892."""
    result = welch(Sample(93.5, 0.3, 3), Sample(93.05, 0.46, 5))
    assert result.freedom == pytest.approx(5.83, abs=0.01)
    assert (result.low, result.high) == pytest.approx((0.45 - 0.6623, 0.45 + 0.6623), abs=1e-3)


def test_welch_of_a_textbook() -> None:
    """Two samples of unequal spread, from the article that explains Welch's test on Wikipedia."""
    a = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4]
    b = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 20.5, 24.4]
    result = welch(Sample.of(a), Sample.of(b))
    assert result.p == pytest.approx(0.021, abs=0.0005)
    assert result.freedom == pytest.approx(25.0, abs=0.2)


def test_methods_without_spread_differ_or_do_not() -> None:
    differing = welch(Sample(91.0, 0, 2), Sample(90.0, 0, 2))
    assert (differing.low, differing.high, differing.p) == (1, 1, 0)
    assert welch(Sample(91.0, 0, 2), Sample(91.0, 0, 2)).p == 1


def test_equal_accuracies_have_no_spread_also_after_rounding() -> None:
    sample = Sample.of([51.22] * 5)
    assert sample == (51.22, 0.0, 5)
    result = welch(sample, Sample.of([51.22] * 7))
    assert (result.value, result.low, result.high, result.p) == (0, 0, 0, 1)


def test_permutation_by_hand() -> None:
    """Of the 70 ways to split 4 + 4 runs, two are as far apart as runs that do not overlap."""
    assert permutation([5, 6, 7, 8], [1, 2, 3, 4]) == pytest.approx(2 / 70)
    assert permutation([1, 2, 3, 4], [5, 6, 7, 8]) == pytest.approx(2 / 70)
    assert permutation([1.0] * 4, [1.0] * 4) == 1
    assert permutation([1, 2, 3, 4, 9], [1, 2, 3, 4, 9]) == 1


def test_permutation_of_many_runs_is_drawn() -> None:
    a = np.random.default_rng(0).normal(0.3, 1, 30).tolist()
    b = np.random.default_rng(1).normal(0.0, 1, 30).tolist()
    expected = scipy_stats.ttest_ind(a, b).pvalue
    assert permutation(a, b) == pytest.approx(expected, abs=0.02)


def test_of_many_runs_welch_says_the_same() -> None:
    rng = np.random.default_rng(3)
    for shift in (0.0, 0.2, 0.4):
        a = rng.normal(shift, 1, MOST_PERMUTED)
        b = rng.normal(0, 2, MOST_PERMUTED)
        of_welch = welch(Sample.of(a.tolist()), Sample.of(b.tolist())).p
        assert permutation(a.tolist(), b.tolist()) == pytest.approx(of_welch, abs=0.02)
