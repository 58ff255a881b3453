"""A small part of the simulations, in seconds; `tox -e sim` runs all of them."""

import json

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.sim.population import Population
from tests.sim.study import COVERAGE, FALSE, POWER, SEEDS, SPREADS, Rate, simulate

N_RUNS = 150
SLACK = 3.0  # standard errors of a rate of 5 % over so many experiments


def test_drawn_accuracies_are_those_of_the_population() -> None:
    population = Population(accuracy=94.0, sd=0.5, n_images=2000)
    rng = np.random.default_rng(0)
    values = population.accuracies(rng, (4000,))
    assert values.mean() == pytest.approx(94, abs=0.04)
    assert values.std() == pytest.approx(0.5, rel=0.05)
    images = rng.standard_normal(2000)
    right = population.right(rng, images, 300)
    assert 100 * right.mean() == pytest.approx(94, abs=1.5)
    assert (100 * right.mean(axis=1)).std() == pytest.approx(0.5, rel=0.15)
    assert np.corrcoef(right.mean(axis=0), images)[0, 1] > 0.5


@pytest.mark.parametrize("part", ["two", "one", "ten", "uneven", "many"])
def test_rules_are_seldom_wrong(part: str) -> None:
    bound = 0.05 + SLACK * (0.05 * 0.95 / N_RUNS) ** 0.5
    rates = simulate(part, N_RUNS, 0.5, 5)
    assert {rate.kind for rate in rates} & {FALSE, COVERAGE}
    for rate in rates:
        if rate.kind == FALSE:
            assert rate.rate <= bound, rate
        elif rate.kind == COVERAGE:
            assert rate.rate >= 1 - bound, rate
        else:
            assert rate.kind == POWER
            assert rate.rate == pytest.approx(0.8, abs=0.12)


def test_the_old_rule_is_often_wrong_and_the_new_one_is_not() -> None:
    """Identical methods: images alone find a difference in a third of the experiments."""
    rates = {rate.rule: rate.rate for rate in simulate("images", 60, 0.5, 3)}
    assert rates["crossed effects, new images"] <= 0.05 + SLACK * (0.05 * 0.95 / 60) ** 0.5
    assert rates["bootstrap over images"] > 0.2


@pytest.mark.parametrize(
    ("kind", "rate", "is_bad"),
    [(FALSE, 0.07, False), (FALSE, 0.071, True), (COVERAGE, 0.93, False), (COVERAGE, 0.929, True)],
)
def test_a_rule_that_is_wrong_too_often_is_bad(kind: str, rate: float, is_bad: bool) -> None:
    assert Rate("setting", "rule", kind, 0.5, 5, rate).is_bad == is_bad
    assert Rate("setting", "rule", kind, 0.0, 5, rate).is_bad == is_bad
    assert not Rate("uneven", "rule", kind, 0.0, 3, rate).is_bad


def test_the_committed_rates_are_those_of_all_settings_and_none_is_bad() -> None:
    stored = json.loads((ROOT / "docs" / "results" / "simulations.json").read_text())
    rates = [Rate(**values) for values in stored]
    assert {(rate.spread, rate.n_seeds) for rate in rates} == {
        (spread, n_seeds) for spread in (0.0, *SPREADS) for n_seeds in SEEDS
    }
    assert [rate for rate in rates if rate.is_bad] == []


def test_tox_runs_the_simulations() -> None:
    assert "python -m tests.sim" in (ROOT / "tox.ini").read_text()
