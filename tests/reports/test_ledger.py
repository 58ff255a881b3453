"""Claims of publications: what each test makes of rows, and the list itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddl_bench.describe import BIBLIOGRAPHY, bibliography
from ddl_bench.errors import UserError
from ddl_bench.results.rows import load_rows
from ddl_bench.results.times import Times, TrainTimes, write_times
from reports.estimates import Estimate, written
from reports.ledger import (
    Claim,
    Judgement,
    commands,
    finding,
    judged,
    ledger,
    read_claims,
    summary,
)
from tests.conftest import make_cell, put

N_IMAGES = 1000
WITHOUT_ROWS = ("missing", "absent")


def rows(folder: Path, label: str, accuracies: list[float], **measured: Any) -> None:
    """Write a row for each accuracy; `measured` are lists as long, of other columns."""
    for seed, accuracy in enumerate(accuracies):
        right = np.arange(N_IMAGES) < round(accuracy / 100 * N_IMAGES)
        values = {name: column[seed] for name, column in measured.items()}
        put(folder, make_cell(label, seed), right, **values)


def claim_of(test: str, **values: Any) -> Claim:
    return Claim(says="x", source="y", theirs="z", protocol="p", rows="run", test=test, **values)


FIVE = [80.0, 80.4, 80.8, 81.2, 81.6]


def shifted(points: float) -> list[float]:
    return [value + points for value in FIVE]


def test_errors_of_curves_are_of_single_networks(tmp_path: Path) -> None:
    curves = {"a": {"4": 0.02, "8": 0.01}, "b": {"4": 0.5, "8": 0.4}}
    (tmp_path / "run.json").write_text(json.dumps(curves))
    claim = claim_of("errors", a="a", b="b", n_steps=4)
    assert finding(claim, tmp_path) == Judgement(
        "25 times as close, single networks", "no verdict: single networks"
    )
    table = ledger([claim], tmp_path)
    assert "[run](run.md)" in table
    with pytest.raises(UserError, match="no error of b after 5 steps"):
        finding(claim_of("errors", a="b", b="a", n_steps=5), tmp_path)


@pytest.mark.parametrize(
    ("a", "amount", "verdict"),
    [
        (shifted(5), None, "holds"),
        (shifted(5), 5.0, "holds"),
        (shifted(5), 40.0, "holds, by less"),
        (shifted(5), 0.1, "holds, by more"),
        (shifted(-5), 5.0, "differs"),
        (shifted(0.2), 0.2, "does not resolve"),
        (shifted(5)[:4], None, "no verdict: 4 and 5 seeds"),
        (shifted(5)[:1], None, "no verdict: 1 and 5 seeds: single networks"),
    ],
)
def test_a_difference(tmp_path: Path, a: list[float], amount: float | None, verdict: str) -> None:
    rows(tmp_path / "run", "a", a)
    rows(tmp_path / "run", "b", FIVE)
    found = finding(claim_of("above", a="a", b="b", amount=amount), tmp_path)
    assert found.verdict == verdict
    assert ("95 %" in found.text) == (len(a) >= 3)


@pytest.mark.parametrize(
    ("a", "amount", "verdict"),
    [  # the interval reaches 0.92 points to each side
        (shifted(0), 1.0, "holds"),
        (shifted(0), 0.8, "does not resolve"),
        (shifted(1.0), 1.0, "does not resolve"),
        (shifted(-1.0), 2.0, "holds"),
        (shifted(5), 1.0, "differs"),
        (shifted(-5), 1.0, "differs"),
        (shifted(0)[:4], 1.0, "no verdict: 4 and 5 seeds"),
    ],
)
def test_two_that_are_about_equal(
    tmp_path: Path, a: list[float], amount: float, verdict: str
) -> None:
    rows(tmp_path / "run", "a", a)
    rows(tmp_path / "run", "b", FIVE)
    assert finding(claim_of("near", a="a", b="b", amount=amount), tmp_path).verdict == verdict


def test_kinds_of_verdicts_are_counted(tmp_path: Path) -> None:
    rows(tmp_path / "run", "a", shifted(5))
    rows(tmp_path / "run", "b", FIVE)
    rows(tmp_path / "run", "c", FIVE[:3])
    claims = [
        claim_of("above", a="a", b="b", amount=40.0),
        claim_of("above", a="b", b="a"),
        claim_of("above", a="a", b="c"),
        claim_of("missing", because="another run"),
    ]
    assert summary(claims, tmp_path) == (
        "4 claims: holds 1, differs 1, does not resolve 0, no verdict 1, no rows yet 1, "
        "cannot be tested here 0."
    )


@pytest.mark.parametrize("test", ["near", "level"])
def test_a_claim_that_needs_an_amount_and_has_none(tmp_path: Path, test: str) -> None:
    rows(tmp_path / "run", "a", FIVE)
    rows(tmp_path / "run", "b", FIVE)
    with pytest.raises(UserError, match=r"claim 'x': .* needs an amount"):
        finding(claim_of(test, a="a", b="b"), tmp_path)


def test_the_text_has_value_interval_and_seeds(tmp_path: Path) -> None:
    rows(tmp_path / "run", "a", shifted(5))
    rows(tmp_path / "run", "b", FIVE)
    found = finding(claim_of("above", a="a", b="b"), tmp_path)
    # Welch by hand: standard deviation 0.6325, error sqrt(2 * 0.4 / 5) = 0.4, t(0.975, 8) = 2.306
    assert found == Judgement("+5.00 points, 95 % +4.08 to +5.92, 5 seeds", "holds")


@pytest.mark.parametrize(
    ("bound", "amount", "verdict"),
    [
        ("", 80.8, "holds"),
        ("", 80.2, "does not resolve"),  # 80.01 to 81.59 contains it, and reaches beyond a point
        ("", 90.0, "differs"),
        ("", 70.0, "differs"),
        ("at least", 70.0, "holds"),
        ("at least", 80.8, "does not resolve"),
        ("at least", 90.0, "differs"),
        ("at most", 90.0, "holds"),
        ("at most", 80.8, "does not resolve"),
        ("at most", 70.0, "differs"),
    ],
)
def test_a_level(tmp_path: Path, bound: str, amount: float, verdict: str) -> None:
    rows(tmp_path / "run", "a", FIVE)
    found = finding(claim_of("level", a="a", bound=bound, amount=amount), tmp_path)
    assert found.verdict == verdict


@pytest.mark.parametrize(
    ("slow", "amount", "verdict"),
    [(3.0, 3.0, "holds"), (3.0, 200.0, "holds, by less"), (0.3, None, "differs")],
)
def test_a_ratio_of_times(tmp_path: Path, slow: float, amount: float | None, verdict: str) -> None:
    times = [1.0, 1.1, 0.9, 1.05, 0.95]
    rows(tmp_path / "run", "a", FIVE, train_s=times)
    rows(tmp_path / "run", "b", FIVE, train_s=[slow * value for value in times])
    claim = claim_of("times", a="a", b="b", column="train_s", amount=amount)
    found = finding(claim, tmp_path)
    assert found.text.startswith(f"{slow:.2f} times as fast, 95 % ")
    assert found.verdict == verdict


def test_a_time_of_zero_has_no_ratio(tmp_path: Path) -> None:
    rows(tmp_path / "run", "a", FIVE, train_s=[0.0, 1.0, 1.0, 1.0, 1.0])
    rows(tmp_path / "run", "b", FIVE, train_s=[2.0] * 5)
    found = finding(claim_of("times", a="a", b="b", column="train_s"), tmp_path)
    assert found == Judgement("", "no verdict: a time of 0")


@pytest.mark.parametrize(("gain", "verdict"), [(9, "holds"), (1, "differs")])
def test_a_larger_gain(tmp_path: Path, gain: float, verdict: str) -> None:
    rows(tmp_path / "run", "a", shifted(gain))
    rows(tmp_path / "run", "b", FIVE)
    rows(tmp_path / "run", "c", shifted(5))
    rows(tmp_path / "run", "d", FIVE)
    claim = claim_of("gains", a="a", b="b", a2="c", b2="d")
    assert finding(claim, tmp_path).verdict == verdict


def test_copies_of_one_training_have_no_verdict(tmp_path: Path) -> None:
    rows(tmp_path / "run", "a", [51.2] * 5, train_s=[3.0] * 5)
    rows(tmp_path / "run", "b", [51.1] * 5, train_s=[6.0] * 5)
    claims = [
        claim_of("above", a="a", b="b"),
        claim_of("near", a="a", b="b", amount=1.0),
        claim_of("level", a="a", amount=51.0),
        claim_of("times", a="a", b="b", column="train_s"),
    ]
    found = [finding(claim, tmp_path) for claim in claims]
    assert {each.verdict for each in found} == {"no verdict: no spread over seeds"}
    assert found[0].text == "+0.10 points, the same for 5 seeds"


def test_a_training_that_was_timed_again_is_one_timing(tmp_path: Path) -> None:
    rows(tmp_path / "run", "a", FIVE, train_s=[1.1, 1.2, 1.3, 1.4, 1.5], passes=[1.0] * 5)
    again = {
        row.cell.id: TrainTimes(
            started=row.started,
            train_s_per_image_pass=1 / 900,
            train_s_per_image_pass_iqr=0.0,
            n_visits=3,
            train_cpu_share=1.0,
        )
        for row in load_rows(tmp_path / "run")
    }
    session = Times(measured="2026-11-27", cpu="x", n_rounds=3, rows={}, training=again)
    write_times(tmp_path / "run", session)
    rows(tmp_path / "run", "b", FIVE, train_s=[2.0, 2.1, 2.2, 2.3, 2.4])
    found = finding(claim_of("times", a="a", b="b", column="train_s"), tmp_path)
    text = "2.20 times as fast, one timing; ‡ a time of the run beside one that was measured again"
    assert found == Judgement(text, "no verdict: one timing")


def test_lines_of_two_data_sets_are_not_compared(tmp_path: Path) -> None:
    rows(tmp_path / "run", "a", FIVE)
    for seed in range(5):
        put(tmp_path / "run", make_cell("b", seed, dataset="letters"))
    with pytest.raises(UserError, match="several data sets or splits, digits and letters"):
        finding(claim_of("above", a="a", b="b"), tmp_path)


def test_times_that_compare_nothing_are_refused(tmp_path: Path) -> None:
    times = [1.0, 1.1, 0.9, 1.05, 0.95]
    for label, cpu in (("a", "one"), ("b", "another")):
        for seed, seconds in enumerate(times):
            values: dict[str, Any] = {"train_s": seconds, "provenance": {"cpu": cpu}}
            put(tmp_path / "run", make_cell(label, seed), **values)
    claim = claim_of("times", a="a", b="b", column="train_s")
    with pytest.raises(UserError, match="several machines, cpu, threads: 1, another and cpu"):
        finding(claim, tmp_path)
    rows(tmp_path / "matched", "a", FIVE, train_s=times)
    rows(tmp_path / "matched", "b", FIVE, train_s=times)
    with pytest.raises(UserError, match="train_s of matched: a run that was made beside other"):
        finding(claim.model_copy(update={"rows": "matched"}), tmp_path)


def test_seeds_that_failed_and_marks_of_times_are_said(tmp_path: Path) -> None:
    unsteady = [0.5] * 5  # interquartile range / median
    rows(tmp_path / "run", "a", FIVE, test_s_per_image=[1.0] * 5, test_s_per_image_iqr=unsteady)
    rows(tmp_path / "run", "b", FIVE[:3], test_s_per_image=[2.0, 2.1, 2.2])
    for seed in (3, 4):
        put(tmp_path / "run", make_cell("b", seed), status="diverged", reason="not a number")
    text = finding(claim_of("above", a="a", b="b"), tmp_path).text
    assert text.endswith(", 5 and 3 seeds; b has 3 of 5 seeds: 2 diverged")
    text = finding(claim_of("times", a="a", b="b", column="test_s_per_image"), tmp_path).text
    assert text.endswith("; b has 3 of 5 seeds: 2 diverged; † unsure times")


def test_a_gain_over_one_rival_counts_its_runs_once(tmp_path: Path) -> None:
    """As b - b is nothing, the gains differ by a - c alone."""
    for label, points in (("a", 9), ("b", 0), ("c", 5)):
        rows(tmp_path / "run", label, shifted(points))
    found = finding(claim_of("gains", a="a", b="b", a2="c", b2="b"), tmp_path)
    assert found == finding(claim_of("above", a="a", b="c"), tmp_path)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.004, 0.104, "+0.054 points, 95 % +0.004 to +0.104, 5 seeds"),
        (-0.004, 0.126, "+0.061 points, 95 % -0.004 to +0.126, 5 seeds"),
        (0.006, 0.106, "+0.06 points, 95 % +0.01 to +0.11, 5 seeds"),
    ],
)
def test_no_limit_is_rounded_to_what_it_is_judged_by(low: float, high: float, text: str) -> None:
    estimate = Estimate((low + high) / 2, low, high, (5, 5))
    found = judged(estimate, null=0.0, unit="points", amount=None, signed=True)
    assert found == Judgement(text, "holds" if low > 0 else "does not resolve")


def test_seeds_that_are_equal_by_chance_have_a_spread(tmp_path: Path) -> None:
    digests = list("abcde")
    rows(tmp_path / "run", "a", [80.0] * 5, predictions_sha256=digests)
    rows(tmp_path / "run", "b", [79.9] * 5, predictions_sha256=digests)
    rows(tmp_path / "run", "c", [79.9] * 5, predictions_sha256=["a", "", "a", "", "a"])
    found = finding(claim_of("above", a="a", b="b"), tmp_path)
    assert found.text == "+0.10 points, 95 % +0.06 to +0.14, 5 seeds"
    assert found.verdict == "holds"
    assert "95 %" in finding(claim_of("level", a="a", amount=80.0), tmp_path).text
    assert "95 %" not in finding(claim_of("level", a="c", amount=80.0), tmp_path).text


def test_nothing_has_no_sign() -> None:
    text = written(Estimate(-0.001, None, None, (1,)), "points", signed=True)
    assert text == "+0.00 points, single networks"


def test_the_official_images_count_where_they_are_apart(tmp_path: Path) -> None:
    rows(tmp_path / "run", "a", shifted(9), official_accuracy=FIVE)
    rows(tmp_path / "run", "b", FIVE, official_accuracy=FIVE)
    assert finding(claim_of("above", a="a", b="b"), tmp_path).verdict == "does not resolve"


def test_what_has_no_rows_says_why(tmp_path: Path) -> None:
    claim = claim_of("above", a="a", b="b")
    assert finding(claim, tmp_path) == Judgement("", "no rows yet: a, b in run")
    rows(tmp_path / "run", "a", FIVE)
    assert finding(claim, tmp_path) == Judgement("", "no rows yet: b in run")
    absent = claim_of("absent", because="no images")
    assert finding(absent, tmp_path).verdict == "cannot be tested here: no images"
    later = claim_of("missing", because="track table1")
    assert finding(later, tmp_path).verdict == "no rows yet: track table1"


def test_the_list_has_sources_and_a_reason_or_a_test() -> None:
    claims = read_claims()
    assert len(claims) >= 20
    assert len({claim.says for claim in claims}) == len(claims)
    sources = bibliography(BIBLIOGRAPHY)
    for claim in claims:
        assert claim.source.startswith("arXiv ") or claim.source in sources
        assert bool(claim.because) == (claim.test in WITHOUT_ROWS)
        assert bool(claim.rows and claim.here and claim.a) == (claim.test not in WITHOUT_ROWS)
    table = ledger(claims)
    assert table.count("\n") == len(claims) + 1


def test_the_commands_of_claims_name_their_lines_and_the_seeds_of_a_verdict() -> None:
    derived = claim_of("above", a="a", b="b[x=1, y=2]")
    given = claim_of("level", a="a", amount=80.0, command="make rows")
    without = Claim(says="w", source="y", theirs="z", protocol="p", test="missing", because="b")
    assert commands([derived, given, without]).splitlines()[2:] == [
        '| x | `ddl-bench run run --methods "a,b[x=1, y=2]" --seeds 0-4` |',
        "| x | `make rows` |",
    ]
