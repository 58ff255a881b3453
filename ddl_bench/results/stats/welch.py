"""Two methods by their trainings: Welch's interval, and the exact permutation of trainings."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from scipy import stats

LEVEL = 0.95  # of every interval
SEEDS_FOR_INTERVAL = 3  # each method needs as many for an interval,
SEEDS_FOR_PERMUTATION = 4  # a permutation,
SEEDS_FOR_VERDICT = 5  # and a verdict
MOST_SPLITS = 4_000  # of the runs, as of 7 + 7; of more, so many are drawn
MOST_PERMUTED = 100  # runs of each method, beyond which Welch's test says the same
MOST_FREEDOM = 1e6  # degrees of freedom where there is no error at all


class Sample(NamedTuple):
    """Mean, standard deviation and number of the accuracies of a method, one for each run."""

    mean: float
    sd: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Summarise values; the standard deviation of one value is NaN, of equal ones exactly 0."""
        n = len(values)
        if n > 1 and np.ptp(values) == 0:  # rounding would leave a spread
            return cls(float(values[0]), 0.0, n)
        sd = float("nan") if n < 2 else float(np.std(values, ddof=1))
        return cls(float(np.mean(values)), sd, n)

    @property
    def error2(self) -> float:
        """The squared standard error of the mean, sd**2 / n."""
        return self.sd**2 / self.n


class Difference(NamedTuple):
    """A difference of two means with its interval at 95 %, and what both follow from.

    Parameters
    ----------
    value, low, high
        The difference a - b, and its interval.
    p
        Two-sided, of no difference.
    error, freedom
        Standard error of the difference, and degrees of freedom of Student's t.
    """

    value: float
    low: float
    high: float
    p: float
    error: float
    freedom: float


def students(value: float, error: float, freedom: float, level: float = LEVEL) -> Difference:
    """Compute the interval value ± t((1 + level) / 2, freedom) * error and its p.

    Without any error the interval is the value itself, and p is 0 or, for no difference, 1.
    """
    if not error:
        return Difference(value, value, value, float(value == 0), 0.0, freedom)
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    p = 2 * float(stats.t.sf(abs(value) / error, freedom))
    return Difference(value, value - half, value + half, p, error, freedom)


def welch(a: Sample, b: Sample, level: float = LEVEL) -> Difference:
    """Compare two means of runs whose spreads may differ.

    a - b ± t((1 + level) / 2, v) * sqrt(e_a + e_b), with e = sd**2 / n and
    v = (e_a + e_b)**2 / (e_a**2 / (n_a - 1) + e_b**2 / (n_b - 1)).

    Parameters
    ----------
    a, b
        The accuracies of the two methods, of at least 2 runs each.
    level
        Coverage of the interval.

    Examples
    --------
    >>> welch(Sample(93.5, 0.3, 3), Sample(93.05, 0.46, 5)).high.__round__(2)
    1.11
    """
    error2 = a.error2 + b.error2
    freedom = float(welch_freedom(a.error2, a.n, b.error2, b.n))
    return students(a.mean - b.mean, error2**0.5, freedom, level)


def welch_freedom(error2_a: Any, n_a: Any, error2_b: Any, n_b: Any) -> Any:
    """Compute Welch's degrees of freedom from squared errors, numbers or arrays.

    Where there is no error they are MOST_FREEDOM.
    """
    total = np.asarray(error2_a + error2_b, dtype=float)
    parts = np.asarray(error2_a**2 / (n_a - 1) + error2_b**2 / (n_b - 1), dtype=float)
    return np.divide(total**2, parts, out=np.full_like(total, MOST_FREEDOM), where=parts > 0)


def permutation(a: Sequence[float], b: Sequence[float]) -> float:
    """Compute the two-sided p of the difference of means when runs swap methods.

    All ways to split the runs are tried, which makes it exact; of more than MOST_SPLITS, so many
    are drawn.

    Parameters
    ----------
    a, b
        The accuracies of the two methods, one for each run.
    """
    samples: Any = (a, b)
    result = stats.permutation_test(
        samples,
        lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis),
        vectorized=True,
        n_resamples=MOST_SPLITS,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)
