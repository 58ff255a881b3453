"""The settings of the simulations and what is counted in each."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from ddl_bench.results.stats.best import (
    Rivals,
    against_reference,
    behind_at_most,
    best_limit,
    pair_limit,
    rivals,
)
from ddl_bench.results.stats.crossed import VarianceComponents, crossed
from ddl_bench.results.stats.mean import mean_interval
from ddl_bench.results.stats.networks import paired_bootstrap
from ddl_bench.results.stats.power import detectable
from ddl_bench.results.stats.welch import LEVEL, SEEDS_FOR_VERDICT, Sample, permutation, welch
from tests.sim.population import Population

N_RUNS = 2_000  # of each simulation
SEEDS = (3, 5, 10)
SEEDS_PERMUTED = (4, 5, 6, 7)  # for which a permutation is exact
SPREADS = (0.35, 0.5)  # points, over seeds
N_METHODS = 10
N_MANY = 34
LEAST_SEEDS = min(SEEDS)
STEP = 0.2  # points, between ten that differ
GAP = 0.5  # points, between two methods that differ
UNEVEN = (0.05, 1.0)  # points, the spreads of the steadiest and of the wildest of ten methods
OWN_HARDNESS = 1.0
MOST_FALSE = 0.07
LEAST_COVERAGE = 0.93
FALSE = "false positives"
COVERAGE = "coverage"
POWER = "power"
OLD = "false positives of the old rule"
IDENTICAL = "ten identical methods"
MANY = f"{N_MANY} identical methods"
MIXED = f"{N_MANY} identical methods, two in three with {LEAST_SEEDS} seeds"
OF_UNEVEN_SPREAD = "ten equally good methods of uneven spread"
APART = {IDENTICAL: "ten methods", OF_UNEVEN_SPREAD: "ten methods of uneven spread"}


@dataclass(frozen=True)
class Rate:
    """How often something happened in a setting.

    Parameters
    ----------
    setting, rule
        What was drawn, and what was computed of it.
    kind
        FALSE, COVERAGE, POWER or OLD.
    spread
        Over seeds, in points; 0 for uneven ones.
    n_seeds
        Of each method.
    rate
        Share of the simulated experiments, 0 to 1.
    """

    setting: str
    rule: str
    kind: str
    spread: float
    n_seeds: int
    rate: float

    @property
    def is_bad(self) -> bool:
        """Whether a rule is wrong more often than it may be.

        With 3 seeds beside more, or of uneven spread, Welch's degrees of freedom are a rough guess;
        the rate is shown, and no verdict is given for so few.
        """
        if self.setting == MIXED or (not self.spread and self.n_seeds < SEEDS_FOR_VERDICT):
            return False
        if self.kind == FALSE:
            return self.rate > MOST_FALSE
        return self.kind == COVERAGE and self.rate < LEAST_COVERAGE


Finding = tuple[str, str, str, float]  # setting, rule, kind and rate


def samples_of(accuracies: np.ndarray) -> list[Sample]:
    """Summarise accuracies, shape (n_methods, n_seeds)."""
    return [Sample.of(values.tolist()) for values in accuracies]


def two_methods(n_runs: int, spread: float, n_seeds: int) -> Iterator[Finding]:
    """Two identical methods, and two that differ, by their runs."""
    rng = np.random.default_rng(n_seeds)
    same = Population(sd=spread)
    better = Population(accuracy=same.accuracy + GAP, sd=spread)
    false = 0
    false_permutation = 0
    covered = 0
    powerful = 0
    points = float(detectable(spread * (2 / n_seeds) ** 0.5, 2.0 * (n_seeds - 1)))
    pairs = same.accuracies(rng, (n_runs, 2, n_seeds))
    others = better.accuracies(rng, (n_runs, n_seeds))
    for (a, b), c in zip(pairs, others, strict=True):
        sample_a = Sample.of(a.tolist())
        sample_b = Sample.of(b.tolist())
        false += welch(sample_a, sample_b).p < 1 - LEVEL
        gap = welch(Sample.of(c.tolist()), sample_b)
        covered += gap.low <= GAP <= gap.high
        moved = Sample(sample_a.mean + points, sample_a.sd, sample_a.n)
        powerful += welch(moved, sample_b).p < 1 - LEVEL
        if n_seeds in SEEDS_PERMUTED:
            false_permutation += permutation(a.tolist(), b.tolist()) <= 1 - LEVEL
    yield "two identical methods", "Welch", FALSE, false / n_runs
    if n_seeds in SEEDS_PERMUTED:
        yield "two identical methods", "permutation of runs", FALSE, false_permutation / n_runs
    yield f"two methods, {GAP} points apart", "Welch's interval", COVERAGE, covered / n_runs
    rule = "Welch, at the detectable difference"
    yield "two methods that differ", rule, POWER, powerful / n_runs


def new_images(n_runs: int, spread: float, n_seeds: int) -> Iterator[Finding]:
    """Two methods that are equally good on all images, and not on those at hand."""
    rng = np.random.default_rng(10 + n_seeds)
    method = Population(sd=spread, own_hardness=OWN_HARDNESS)
    same = Population(sd=spread)
    false = 0
    false_old = 0
    for _ in range(n_runs):
        images = rng.standard_normal(method.n_images)
        a = method.right(rng, images, n_seeds)
        b = method.right(rng, images, n_seeds)
        false += crossed(VarianceComponents.of(a, b)).p < 1 - LEVEL
        a = same.right(rng, images, n_seeds)
        b = same.right(rng, images, n_seeds)
        false_old += paired_bootstrap(100 * (a.mean(axis=0) - b.mean(axis=0))).p < 1 - LEVEL
    yield "two methods, equal over all images", "crossed effects, new images", FALSE, false / n_runs
    yield "two identical methods", "bootstrap over images", OLD, false_old / n_runs


def one_method(n_runs: int, spread: float, n_seeds: int) -> Iterator[Finding]:
    """The accuracy of one method for new runs and new images."""
    rng = np.random.default_rng(20 + n_seeds)
    method = Population(sd=spread)
    covered = 0
    for _ in range(n_runs):
        images = rng.standard_normal(method.n_images)
        values = 100 * method.right(rng, images, n_seeds).mean(axis=1)
        low, high, _ = mean_interval(pd.Series(values), method.n_images)
        covered += low <= method.accuracy <= high
    yield "one method", "interval of the mean", COVERAGE, covered / n_runs


def ten_methods(n_runs: int, spread: float, n_seeds: int) -> Iterator[Finding]:
    """Ten identical methods, and ten in steps of a fifth of a point."""
    rng = np.random.default_rng(30 + n_seeds)
    accuracies = Population(sd=spread).accuracies(rng, (n_runs, N_METHODS, n_seeds))
    yield from judged(IDENTICAL, accuracies)


def uneven_methods(n_runs: int, spread: float, n_seeds: int) -> Iterator[Finding]:
    """Ten equally good methods whose spreads differ by a factor of twenty."""
    rng = np.random.default_rng(40 + n_seeds)
    spreads = np.geomspace(*UNEVEN, N_METHODS)[:, None]
    accuracies = 94 + spreads * rng.standard_normal((n_runs, N_METHODS, n_seeds))
    yield from judged(OF_UNEVEN_SPREAD, accuracies)


def judged(setting: str, accuracies: np.ndarray) -> Iterator[Finding]:
    """Compare equally good methods with the best and with the first, and after moving them apart.

    A false positive is any method that is told from the best, or from the reference. Limits are
    right where all ten are.
    """
    false = 0
    false_pairs = 0
    false_reference = 0
    covered = 0
    behind = STEP * np.arange(N_METHODS)
    for values in accuracies:
        samples = samples_of(values)
        pairs = rivals(samples)
        best = int(np.argmax([sample.mean for sample in samples]))
        limit = best_limit(N_METHODS, pairs.freedom[best])
        false += bool((pairs.t[best] > limit).any())
        false_pairs += is_any_pair_told_apart(pairs)
        reference = against_reference(samples[0], samples[1:])
        false_reference += bool((reference.p < 1 - LEVEL).any())
        moved = rivals(samples_of(values - behind[:, None]))
        covered += bool((behind <= behind_at_most(moved) + 1e-9).all())
    n_runs = len(accuracies)
    yield setting, "any told from the best", FALSE, false / n_runs
    yield setting, "any pair told apart", FALSE, false_pairs / n_runs
    yield setting, "any told from the reference", FALSE, false_reference / n_runs
    apart = f"{APART[setting]}, {STEP} points apart"
    yield apart, "all behind the best by at most", COVERAGE, covered / n_runs


def is_any_pair_told_apart(pairs: Rivals) -> bool:
    """Whether the interval of any difference leaves out 0."""
    upper = np.triu_indices(len(pairs.t), 1)
    return bool((np.abs(pairs.t[upper]) > pair_limit(len(pairs.t), pairs.freedom[upper])).any())


def many_methods(n_runs: int, spread: float, n_seeds: int) -> Iterator[Finding]:
    """As many identical methods as the suite has lines, and of one or two numbers of seeds."""
    rng = np.random.default_rng(50 + n_seeds)
    accuracies = Population(sd=spread).accuracies(rng, (n_runs, N_MANY, n_seeds))
    settings: list[tuple[str, Callable[[int], int]]] = [(MANY, lambda line: n_seeds)]
    if n_seeds > LEAST_SEEDS:
        settings.append((MIXED, lambda line: n_seeds if line % 3 == 0 else LEAST_SEEDS))
    for setting, seeds_of in settings:
        false = 0
        false_pairs = 0
        for values in accuracies:
            lines = enumerate(values.tolist())
            samples = [Sample.of(of_line[: seeds_of(line)]) for line, of_line in lines]
            pairs = rivals(samples)
            best = int(np.argmax([sample.mean for sample in samples]))
            limit = best_limit(N_MANY, pairs.freedom[best])
            false += bool((pairs.t[best] > limit).any())
            false_pairs += is_any_pair_told_apart(pairs)
        yield setting, "any told from the best", FALSE, false / n_runs
        yield setting, "any pair told apart", FALSE, false_pairs / n_runs


PARTS: dict[str, Callable[[int, float, int], Iterator[Finding]]] = {
    "two": two_methods,
    "images": new_images,
    "one": one_method,
    "ten": ten_methods,
    "uneven": uneven_methods,
    "many": many_methods,
}


def simulate(part: str, n_runs: int, spread: float, n_seeds: int) -> list[Rate]:
    """Simulate a part of the study with one spread and one number of seeds."""
    return [
        Rate(setting, rule, kind, spread, n_seeds, float(rate))
        for setting, rule, kind, rate in PARTS[part](n_runs, spread, n_seeds)
    ]


def study(parts: list[str], n_runs: int, seeds: Iterable[int] = SEEDS) -> Iterator[Rate]:
    """Simulate parts of the study in all settings."""
    for part in parts:
        spreads = (0.0,) if part == "uneven" else SPREADS
        for spread in spreads:
            for n_seeds in seeds:
                yield from simulate(part, n_runs, spread, n_seeds)


def record(rate: Rate) -> dict[str, Any]:
    """Return a rate as JSON holds it."""
    return asdict(rate) | {"rate": round(rate.rate, 4)}
