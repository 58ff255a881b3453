"""Many methods at once: comparisons with the best (Hsu) and with a reference (Dunnett).

Every method is compared with all others as its rivals. The differences between one method and its
rivals share that method's error, so they are correlated, and the largest of them has a distribution
of its own, Dunnett's. Here spreads may differ between methods, so each pair has Welch's error and
degrees of freedom, as Hasler and Hothorn (2008) do for contrasts. scipy.stats.dunnett pools
the spreads: a method that does the same in each run, such as a closed form, would then lend its
steadiness to networks that do not have it.

References
----------
J. C. Hsu, "Multiple Comparisons: Theory and Methods", 1996, chapters 3 to 5.
A. C. Tamhane, "A comparison of procedures for multiple comparisons of means with unequal
variances", Journal of the American Statistical Association 74, 1979.
M. Hasler and L. A. Hothorn, "Multiple contrast tests in the presence of heteroscedasticity",
Biometrical Journal 50, 2008.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import special, stats

from ddl_bench.results.stats.roots import root
from ddl_bench.results.stats.welch import LEVEL, Sample, welch_freedom

# Nodes and weights of the integrals over the common error, over the estimated standard deviation,
# and over the highest of several values, which lies within REACH standard deviations.
COMMON, COMMON_WEIGHTS = np.polynomial.hermite_e.hermegauss(32)
COMMON_WEIGHTS = COMMON_WEIGHTS / np.sqrt(2 * np.pi)
STEEP = 0.9  # loading above which the integrand has steps: more nodes, evenly spaced
STEEP_COMMON = np.linspace(-8, 8, 513)
STEEP_WEIGHTS = np.exp(-(STEEP_COMMON**2) / 2)
STEEP_WEIGHTS = STEEP_WEIGHTS / STEEP_WEIGHTS.sum()
SCALE, SCALE_WEIGHTS = np.polynomial.legendre.leggauss(64)
STEEP_SCALE, STEEP_SCALE_WEIGHTS = np.polynomial.legendre.leggauss(256)
STEEP_AT_ONCE = 16  # integrals, of a megabyte each
SCALE_TAIL = 1e-9  # probability on either side of the estimates that are integrated over
RANGE, RANGE_WEIGHTS = np.polynomial.legendre.leggauss(48)
REACH = 6.0
SLACK = 0.05  # of a limit, on either side of those between which it is sought
N_INVERSES = 9  # values of 1 / v at which the limit of the best is computed
N_FREEDOMS = 5  # at which limits are computed; between them they are interpolated
LEAST_LOADING = 1e-6


def coverage(
    limit: np.ndarray,
    n_rivals: int,
    loading: np.ndarray,
    freedom: np.ndarray,
    *,
    two_sided: bool = False,
) -> np.ndarray:
    """Compute the probability that no comparison of one method with its rivals is beyond a limit.

    P(T_j <= limit for all j), with T_j = (r Z + sqrt(1 - r**2) Z_j) / S_j: Z and Z_j are standard
    normal, S_j**2 is chi-squared with v degrees of freedom, divided by v. Given Z comparisons are
    independent, so the probability is the integral of a power. Gauss's rules take it, and where r
    is near 1, because spreads differ much, a sum over many nodes. Dunnett's
    table has one pooled S instead of the S_j, which would be too small a limit where spreads are
    not pooled; for many degrees of freedom both are the same.

    Parameters
    ----------
    limit
        Of the t statistics; all arrays have one shape.
    n_rivals
        Number of comparisons.
    loading
        r, whose square is the correlation between comparisons: sqrt(0.5) for equal errors.
    freedom
        v, the degrees of freedom.
    two_sided
        Whether |T_j| is compared.

    Examples
    --------
    >>> p = coverage(np.array(2.42), 9, np.array(0.5**0.5), np.array(1e6))  # of Dunnett's table
    >>> round(float(p), 3)
    0.95
    """
    limit, loading, freedom = np.broadcast_arrays(limit, loading, freedom)
    is_steep = loading.ravel() > STEEP
    steep = np.flatnonzero(is_steep)
    parts = [(np.flatnonzero(~is_steep), False)]
    for first in range(0, len(steep), STEEP_AT_ONCE):
        parts.append((steep[first : first + STEEP_AT_ONCE], True))
    result = np.empty(loading.size)
    for part, part_is_steep in parts:
        each = _below(
            limit.ravel()[part],
            loading.ravel()[part],
            freedom.ravel()[part],
            steep=part_is_steep,
            two_sided=two_sided,
        )
        result[part] = each**n_rivals @ (STEEP_WEIGHTS if part_is_steep else COMMON_WEIGHTS)
    return result.reshape(loading.shape)


def _below(
    limit: np.ndarray, loading: np.ndarray, freedom: np.ndarray, *, steep: bool, two_sided: bool
) -> np.ndarray:
    """P(T_j <= limit) of `coverage` at each node of Z, shape (..., n_nodes)."""
    common = STEEP_COMMON if steep else COMMON
    scale, scale_weights = scales(freedom, steep=steep)
    shared = loading[..., None, None]
    rest = np.sqrt(1 - shared**2)
    reach = limit[..., None, None] * scale
    inside = special.ndtr((reach - shared * common) / rest)
    if two_sided:
        inside = inside - special.ndtr((-reach - shared * common) / rest)
    return np.asarray((scale_weights[..., None, :] @ inside)[..., 0, :])


def scales(freedom: np.ndarray, *, steep: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return S of `coverage` at the nodes of a rule, shape (..., n_nodes, 1), and their weights.

    The rule is Gauss's over log(S**2), whose density is smooth for any v and falls off on both
    sides. Nodes at quantiles of S**2 would be too few where S is small, and a small p comes from
    there.
    """
    half = np.asarray(freedom, dtype=float)[..., None] / 2
    low = np.log(special.gammaincinv(half, SCALE_TAIL) / half)
    high = np.log(special.gammainccinv(half, SCALE_TAIL) / half)
    nodes = STEEP_SCALE if steep else SCALE
    log_squared = low + (high - low) * (nodes + 1) / 2
    # Of log(chi2(v) / v); the factor that does not depend on it follows from the sum.
    log_density = half * (log_squared - np.expm1(log_squared))
    weights = (STEEP_SCALE_WEIGHTS if steep else SCALE_WEIGHTS) * np.exp(log_density)
    weights = weights / weights.sum(axis=-1, keepdims=True)
    return np.exp(log_squared / 2)[..., None], weights


def critical_value(
    n_rivals: int, loading: np.ndarray, freedom: np.ndarray, *, two_sided: bool = False
) -> np.ndarray:
    """Compute the limit that no comparison passes with a probability of LEVEL.

    Parameters
    ----------
    n_rivals, loading, freedom, two_sided
        As in `coverage`.
    """
    tail = (1 - LEVEL) / (1 + two_sided)
    # With one rival the limit is Student's, and Bonferroni's is never too small.
    least = np.asarray(stats.t.isf(tail, freedom))
    if n_rivals == 1:
        return least
    most = np.asarray(stats.t.isf(tail / n_rivals, freedom))
    return root(
        lambda limit, r, v: coverage(limit, n_rivals, r, v, two_sided=two_sided) - LEVEL,
        least * (1 - SLACK),
        most * (1 + SLACK),
        loading,
        freedom,
    )


class Rivals(NamedTuple):
    """Each of k methods against each other, as arrays of shape (k, k).

    Parameters
    ----------
    difference
        Mean of a line's method minus that of a column's.
    error, freedom
        Welch's, of the difference.
    loading
        Of the comparisons of a line's method with all others. Its rivals have loadings of
        their own, sqrt(e / (e + e_j)); their mean stands for them, which is exact for equal errors.
    """

    difference: np.ndarray
    error: np.ndarray
    freedom: np.ndarray
    loading: np.ndarray

    @property
    def t(self) -> np.ndarray:
        """The difference / its error: 0 or infinite where there is no error."""
        exact = np.where(self.difference == 0, 0.0, np.copysign(np.inf, self.difference))
        t = np.divide(self.difference, self.error, out=exact, where=self.error > 0)
        return np.asarray(t)


def rivals(samples: Sequence[Sample]) -> Rivals:
    """Compare each method with each other."""
    means = np.array([sample.mean for sample in samples])
    counts = np.array([sample.n for sample in samples])
    error2 = np.array([sample.error2 for sample in samples])
    total = error2[:, None] + error2
    freedom = welch_freedom(error2[:, None], counts[:, None], error2, counts)
    squared = np.divide(error2[:, None], total, out=np.full_like(total, 0.5), where=total > 0)
    loadings = np.sqrt(squared)
    k = len(samples)
    loading = (loadings.sum(axis=1) - np.diag(loadings)) / max(1, k - 1)
    loading = np.clip(loading, LEAST_LOADING, 1 - LEAST_LOADING)
    return Rivals(
        means[:, None] - means,
        np.sqrt(total),
        freedom,
        np.broadcast_to(loading[:, None], (k, k)),
    )


def limits(pairs: Rivals) -> np.ndarray:
    """Compute the limit of each pair, one-sided, for all comparisons of a line's method.

    A line has one loading, and its limits follow from the degrees of freedom v. Divided by
    Bonferroni's they are a smooth function of 1 / v, so a polynomial through a few is exact to
    four digits.
    """
    n_rivals = len(pairs.freedom) - 1
    others = ~np.eye(n_rivals + 1, dtype=bool)
    inverse = 1 / pairs.freedom
    most = np.where(others, inverse, 0).max(axis=1, keepdims=True)
    least = np.where(others, inverse, np.inf).min(axis=1, keepdims=True)
    nodes = np.cos(np.pi * (np.arange(N_FREEDOMS) + 0.5) / N_FREEDOMS)
    known = 1 / (least + (most - least) * (nodes + 1) / 2)  # degrees of freedom
    loading = np.broadcast_to(pairs.loading[:, :1], known.shape)
    ratios = critical_value(n_rivals, loading, known) / bonferroni(n_rivals, known)
    spread = np.where(most > least, most - least, 1)
    places = np.clip(2 * (inverse - least) / spread - 1, -1, 1)
    result = bonferroni(n_rivals, pairs.freedom)
    for line, ratio in enumerate(ratios):
        polynomial = np.polynomial.Chebyshev.fit(nodes, ratio, N_FREEDOMS - 1, domain=[-1, 1])
        result[line] *= polynomial(places[line])
    return result


def bonferroni(n_rivals: int, freedom: np.ndarray) -> np.ndarray:
    """Compute the one-sided limit of Bonferroni, which needs no correlation."""
    return np.asarray(stats.t.isf((1 - LEVEL) / n_rivals, freedom))


def best_coverage(limit: np.ndarray, n_methods: int, freedom: np.ndarray) -> np.ndarray:
    """Compute the probability that the best of k equally good methods is above none by a limit.

    The best is the one that happens to have the highest mean: a standard normal value z that all
    others stay below. Each difference is divided by an error of its own, S**2 = (U + V_j) / 2, in
    which the best has the same U: U and V_j are chi-squared with v / 2 degrees of freedom, divided
    by v / 2, so that S**2 has v. Given z and U comparisons are independent, and the probability is

        k E_U integral phi(z) (E_V[Phi(z) - Phi(z - sqrt(2) * limit * S)])**(k - 1) dz

    by Gauss's rules. With one S for all it would be that of the studentized range, whose limits are
    too small where spreads are not pooled. For 2 methods it is Student's, exactly.

    Parameters
    ----------
    limit
        Of t statistics, each the difference of two means / its standard error.
    n_methods
        k.
    freedom
        Degrees of freedom v, of the shape of `limit`.

    Examples
    --------
    >>> p = best_coverage(np.array(3.1637), 10, np.array(1e6))  # 4.474 / sqrt(2) of the range
    >>> round(float(p), 3)
    0.95
    """
    highest = REACH * RANGE
    density = REACH * RANGE_WEIGHTS * np.exp(-(highest**2) / 2) / np.sqrt(2 * np.pi)
    scale, weights = scales(np.asarray(freedom, dtype=float) / 2)
    squared = scale[..., 0] ** 2
    own = squared[..., :, None]
    others = squared[..., None, :]
    width = np.asarray(limit)[..., None, None] * np.sqrt(own + others)
    inside = special.ndtr(highest) - special.ndtr(highest - width[..., None])
    each = np.einsum("...v,...uvz->...uz", weights, inside)
    all_others = each ** (n_methods - 1) @ density
    return np.asarray(n_methods * (weights * all_others).sum(axis=-1))


def best_limit(n_methods: int, freedom: np.ndarray) -> np.ndarray:
    """Compute the limit that the best of k equally good methods keeps with a chance of LEVEL.

    Parameters
    ----------
    n_methods, freedom
        As in `best_coverage`.
    """
    excess = best_excess(n_methods)
    return np.asarray(bonferroni_of_best(n_methods, freedom) * np.exp(excess(1 / freedom)))


@lru_cache
def best_excess(n_methods: int) -> np.polynomial.Chebyshev:
    """Return the logarithm of the limit / Bonferroni's, a polynomial in 1 / v from 0 to 1.

    It is smooth, so that a few values give it to four digits.
    """
    nodes = (1 + np.cos(np.pi * (np.arange(N_INVERSES) + 0.5) / N_INVERSES)) / 2
    freedom = 1 / nodes
    bonferroni = bonferroni_of_best(n_methods, freedom)
    n_pairs = n_methods * (n_methods - 1) / 2
    limit = root(
        lambda limit, v: best_coverage(limit, n_methods, v) - LEVEL,
        np.asarray(stats.t.isf((1 - LEVEL) / 2, freedom) * (1 - 1e-3)),
        np.asarray(stats.t.isf((1 - LEVEL) / 2 / n_pairs, freedom) * (1 + 1e-3)),
        freedom,
    )
    return np.polynomial.Chebyshev.fit(
        nodes, np.log(limit / bonferroni), N_INVERSES - 1, domain=[0, 1]
    )


def bonferroni_of_best(n_methods: int, freedom: np.ndarray) -> np.ndarray:
    """Compute the two-sided limit of Bonferroni for one method and its rivals."""
    return np.asarray(stats.t.isf((1 - LEVEL) / 2 / (n_methods - 1), freedom))


def pair_limit(n_methods: int, freedom: np.ndarray) -> np.ndarray:
    """Compute the limit that all pairs of k equally good methods keep with a chance of LEVEL.

    That of Sidak, which is never too small (Tamhane's T2).

    Parameters
    ----------
    n_methods
        k.
    freedom
        Degrees of freedom of each pair.
    """
    n_pairs = n_methods * (n_methods - 1) / 2
    return np.asarray(stats.t.isf((1 - LEVEL ** (1 / n_pairs)) / 2, freedom))


class BehindBest(NamedTuple):
    """How far each of k methods is behind the best of them, as arrays of shape (k,).

    Parameters
    ----------
    best
        Place of the method with the highest mean.
    at_least, at_most
        Limits in points. `at_least` is above 0 for a method that is told from the best; `at_most`
        is Hsu's.
    p
        Of no difference to the method with the highest mean, corrected for its choice.
    error, freedom, limit
        Standard error and degrees of freedom of that difference, and the t statistic above which it
        counts; those of the best itself mean nothing.
    """

    best: int
    at_least: np.ndarray
    at_most: np.ndarray
    p: np.ndarray
    error: np.ndarray
    freedom: np.ndarray
    limit: np.ndarray


def behind_best(samples: Sequence[Sample]) -> BehindBest:
    """Compare methods with the best of them, which nobody has to know.

    `at_most` is Hsu's. Hsu's "not the best" includes "as good as the best". For `at_least`, which
    says that a method is worse, the limits are therefore those of `best_limit` with Welch's degrees
    of freedom: with several equally good methods, the one that happens to have the highest mean is
    told from none of them with a probability of 95 %.

    Parameters
    ----------
    samples
        Accuracies of at least 2 methods, of at least 2 runs each.
    """
    return behind_best_of(tuple(samples))


@lru_cache(maxsize=1_000)
def behind_best_of(samples: tuple[Sample, ...]) -> BehindBest:
    """Compute `behind_best`, once for the same samples: tables, foot and page of a report ask."""
    pairs = rivals(samples)
    best = int(np.argmax([sample.mean for sample in samples]))
    freedom = pairs.freedom[best]
    limit = best_limit(len(samples), freedom)
    least = pairs.difference[best] - limit * pairs.error[best]
    p = [
        1 - float(best_coverage(t, len(samples), v))
        for t, v in zip(pairs.t[best], freedom, strict=True)
    ]
    return BehindBest(
        best,
        np.maximum(0, least),
        behind_at_most(pairs),
        np.clip(p, 0, 1),
        pairs.error[best],
        freedom,
        limit,
    )


def behind_at_most(pairs: Rivals) -> np.ndarray:
    """Compute how far behind the best each method is at most, by Hsu's comparisons.

    The candidates, which are not significantly below another method, contain the best with a
    probability of 95 %, and then no method is further behind than these limits say.
    """
    others = ~np.eye(len(pairs.difference), dtype=bool)
    upper = pairs.difference + limits(pairs) * pairs.error  # of a line's method minus a column's
    candidates = np.where(others, upper, np.inf).min(axis=1) >= 0
    behind = np.where(others & candidates[:, None], upper, -np.inf).max(axis=0)
    return np.asarray(np.maximum(0, behind))


class Against(NamedTuple):
    """Differences of a reference to other methods with simultaneous limits, as arrays.

    Parameters
    ----------
    low, high, p
        Of reference - method.
    error, freedom, limit
        Standard error and degrees of freedom of each difference, and the limit of abs(t).
    """

    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    error: np.ndarray
    freedom: np.ndarray
    limit: np.ndarray


def against_reference(reference: Sample, samples: Sequence[Sample]) -> Against:
    """Compare a reference that was chosen beforehand with other methods (Dunnett, two-sided).

    The intervals hold together with a probability of 95 %.

    Parameters
    ----------
    reference
        Accuracies of the reference.
    samples
        Accuracies of the other methods, of at least 2 runs each.
    """
    pairs = rivals([reference, *samples])
    n_rivals = len(samples)
    difference = pairs.difference[0, 1:]
    error = pairs.error[0, 1:]
    loading = pairs.loading[0, 1:]
    freedom = pairs.freedom[0, 1:]
    limit = critical_value(n_rivals, loading, freedom, two_sided=True)
    p = 1 - coverage(np.abs(pairs.t[0, 1:]), n_rivals, loading, freedom, two_sided=True)
    return Against(
        difference - limit * error,
        difference + limit * error,
        np.clip(p, 0, 1),
        error,
        freedom,
        limit,
    )
