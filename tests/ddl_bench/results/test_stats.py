"""Intervals, paired tests and comparisons, against scipy, statsmodels, and numbers by hand."""

from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar

from ddl_bench.data.splits import Splits
from ddl_bench.errors import UserError
from ddl_bench.plan.cell import BudgetSpec, Machine
from ddl_bench.results.groups import gather
from ddl_bench.results.rows import Row, load_rows
from ddl_bench.results.stats import (
    Comparison,
    compare,
    corrected,
    mcnemar,
    mean_interval,
    paired_bootstrap,
    verdict,
    welch,
)
from tests.conftest import make_cell, make_row, put


def mask(n_images: int, *right: int) -> np.ndarray:
    """Which of the images are right."""
    is_right = np.zeros(n_images, dtype=bool)
    is_right[list(right)] = True
    return is_right


def test_interval_over_seeds_is_students() -> None:
    values = pd.Series([90.0, 91.0, 93.5])
    low, high, basis = mean_interval(values, 100)
    expected = scipy_stats.t.interval(0.95, 2, loc=values.mean(), scale=scipy_stats.sem(values))
    assert (low, high) == pytest.approx(expected)
    assert basis == "t over 3 seeds"
    assert mean_interval(pd.Series([99.0, 100.0]), 100).high == 100  # no accuracy lies above


def test_interval_of_one_seed_is_the_bootstrap_over_images() -> None:
    right = np.arange(200) < 170
    drawn = np.random.default_rng(1).choice(right, size=(20_000, 200)).mean(axis=1)
    interval = mean_interval(pd.Series([85.0]), 200)
    expected = 100 * np.quantile(drawn, [0.025, 0.975])
    assert interval[:2] == pytest.approx(expected, abs=0.51)  # one image is 0.5 points
    assert interval.basis == "bootstrap over 200 images"
    no_seed_changes_it = pd.Series([85.0, 85.0])
    assert mean_interval(no_seed_changes_it, 200) == interval


def test_no_value_has_no_interval() -> None:
    low, high, basis = mean_interval(pd.Series([1.0])[:0], float("nan"))
    assert np.isnan([low, high]).all()
    assert basis == ""


def test_mcnemar_by_hand_and_by_statsmodels() -> None:
    a = mask(100, *range(9), *range(50, 60))  # 9 right by a alone
    b = mask(100, 9, *range(50, 60))  # 1 right by b alone
    assert mcnemar(a, b) == pytest.approx(2 * (1 + 10) / 2**10)
    assert mcnemar(a, b) == pytest.approx(reference_mcnemar([[10, 9], [1, 80]], exact=True).pvalue)
    assert mcnemar(a, a) == 1


def test_paired_bootstrap_is_that_of_scipy() -> None:
    difference = np.random.default_rng(0).choice(
        [-100.0, 0.0, 50.0, 100.0], size=300, p=[0.02, 0.85, 0.08, 0.05]
    )
    drawn = scipy_stats.bootstrap(
        (difference,),
        np.mean,
        n_resamples=10_000,
        method="percentile",
        rng=np.random.default_rng(1),
    )
    low, high, p = paired_bootstrap(difference)
    assert (low, high) == pytest.approx(tuple(drawn.confidence_interval), abs=0.5)
    assert p == pytest.approx(2 * (drawn.bootstrap_distribution <= 0).mean(), abs=0.004)


def test_paired_bootstrap_of_equal_methods_and_of_opposite_signs() -> None:
    assert paired_bootstrap(np.zeros(50)) == (0, 0, 1)
    difference = np.repeat([100.0, 0.0, -100.0], [30, 60, 10])
    result = paired_bootstrap(difference)
    mirrored = paired_bootstrap(-difference)
    assert result[:2] == pytest.approx((-mirrored.high, -mirrored.low), abs=1.01)
    assert result.p == pytest.approx(mirrored.p, abs=0.002)
    assert result.p < 0.05


def test_holm_textbook_and_what_has_no_p() -> None:
    values = [0.01, None, 0.04, 0.03, 0.005]
    records = corrected([Comparison(dataset="d", a="a", b=str(p), p=p) for p in values])
    assert records[1].p_holm is None
    p_holm = [record.p_holm for record in records if record.p is not None]
    assert p_holm == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert corrected([]) == []


@given(
    st.lists(st.floats(1.0, 99.0), min_size=2, max_size=6),
    st.lists(st.floats(1.0, 99.0), min_size=2, max_size=6),
)
@settings(deadline=None, max_examples=50)
def test_welch_is_that_of_scipy(a: list[float], b: list[float]) -> None:
    assume(min(np.std(a), np.std(b)) > 0.01)  # scipy warns of equal values
    reference = scipy_stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    interval = welch(mean(a), stdev(a), len(a), mean(b), stdev(b), len(b))
    assert interval == pytest.approx((reference.low, reference.high), abs=1e-6)


def test_welch_by_hand() -> None:
    """0.46^2 / 5 = 0.04232, 0.3^2 / 3 = 0.03; v = 5.84, t = 2.4628, sqrt of the sum = 0.26892."""
    low, high = welch(93.5, 0.3, 3, 93.05, 0.46, 5)
    assert (low, high) == pytest.approx((0.45 - 0.6623, 0.45 + 0.6623), abs=1e-3)
    assert welch(91.0, 0, 2, 90.0, 0, 2) == (1, 1)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-1.0, 1.0, "reproduced"),
        (0.2, 0.9, "reproduced"),
        (-1.2, 0.4, "unresolved"),
        (-0.5, 1.01, "unresolved"),
        (0.1, 1.5, "higher"),
        (-3.0, -0.1, "lower"),
    ],
)
def test_verdict(low: float, high: float, expected: str) -> None:
    assert verdict(low, high) == expected


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two methods on two data sets; on digits a has one or two images more right than b."""
    for seed, more in ((0, 2), (1, 1)):
        put(tmp_path, make_cell("a", seed), mask(20, *range(10 + more)), {})
        put(tmp_path, make_cell("b", seed), mask(20, *range(10)), {})
    put(tmp_path, make_cell("a", 2), status="timeout", reason="longer than 60 s")
    put(tmp_path, make_cell("b", 2), mask(20, *range(10)), {})
    put(tmp_path, make_cell("a", dataset="svhn"), mask(30, *range(9)), {})
    other = make_cell("b", dataset="svhn", splits=Splits(limit_train=50))
    put(tmp_path, other, mask(30, *range(9)), {})
    return tmp_path


def test_compare_uses_shared_seeds_only(run: Path) -> None:
    record = compare(run, "a", "b")[0]
    assert (record.dataset, record.seeds, record.n_images) == ("digits", (0, 1), 20)
    assert (record.mean_a, record.mean_b, record.difference) == pytest.approx((57.5, 50.0, 7.5))
    assert record.p_seeds == pytest.approx((0.5, 1.0))  # two by one alone: 2 / 2^2; one: 1
    each = np.repeat([100.0, 50.0, 0.0], [1, 1, 18])  # both seeds, one seed, none
    assert (record.low, record.high, record.p) == pytest.approx(paired_bootstrap(each))
    assert record.p_holm == record.p
    assert "timeout: longer than 60 s" in " ".join(record.left_out)


def test_compare_names_what_cannot_be_compared(run: Path) -> None:
    others = compare(run, "a", "b")[1:]
    assert [(record.dataset, record.left_out) for record in others] == [
        ("svhn", ("b: no row on these images and splits",)),
        ("svhn (limit_train=50)", ("a: no row on these images and splits",)),
    ]
    for record in others:
        assert (record.difference, record.p, record.p_holm) == (None, None, None)


def test_compare_refuses_other_devices_and_missing_predictions(tmp_path: Path) -> None:
    right = mask(10, 1, 2)
    put(tmp_path, make_cell("a"), right, {})
    put(tmp_path, make_cell("b", machine=Machine(device="cuda", threads=1)), right, {})
    put(tmp_path, make_cell("c"), right)
    assert compare(tmp_path, "a", "b")[0].left_out == ("devices differ: cpu, cuda",)
    assert compare(tmp_path, "a", "c")[0].left_out == (
        "seed 0: predictions were not kept, or differ in their images",
    )


def test_one_seed_takes_the_p_of_mcnemar(tmp_path: Path) -> None:
    put(tmp_path, make_cell("a"), mask(30, *range(20)), {})
    put(tmp_path, make_cell("b"), mask(30, *range(12)), {})
    record = compare(tmp_path, "a", "b")[0]
    assert record.p == record.p_seeds[0] == pytest.approx(2 / 2**8)


def test_lines_of_one_label_are_compared_one_by_one(tmp_path: Path) -> None:
    put(tmp_path, make_cell("a"), mask(10, 1, 2, 3), {})
    for epochs, n_right in ((10, 4), (20, 6)):
        cell = make_cell("b", budget=BudgetSpec(epochs=epochs, seconds=None))
        put(tmp_path, cell, mask(10, *range(n_right)), {})
    differences = {record.b: record.difference for record in compare(tmp_path, "a", "b")}
    assert differences == {
        "b (epochs=20)": pytest.approx(-30),
        "b (epochs=10)": pytest.approx(-10),
    }
    assert compare(tmp_path, "a", "b (epochs=10)")[0].b == "b (epochs=10)"
    (others,) = compare(tmp_path, "b", "b (epochs=10)")
    assert (others.a, others.b) == ("b (epochs=20)", "b (epochs=10)")


def test_a_method_is_not_compared_with_itself(run: Path) -> None:
    with pytest.raises(UserError, match="'a' and 'a' are the same rows: compare with one of b"):
        compare(run, "a", "a")


def test_unknown_label_names_the_nearest(run: Path) -> None:
    with pytest.raises(UserError, match="no method 'bb': did you mean 'b'"):
        compare(run, "a", "bb")


def test_groups_are_split_by_what_may_not_be_averaged(tmp_path: Path) -> None:
    put(tmp_path, make_cell("a", params={"n_layers": 1}), mask(10, 1), {})
    put(tmp_path, make_cell("a", 1, params={"n_layers": 2}), mask(10, 1, 2), {})
    two_threads = make_cell("a", params={"n_layers": 2}, machine=Machine(threads=2))
    put(tmp_path, two_threads, mask(10, 1, 2, 3), {})
    groups = gather(load_rows(tmp_path))
    names = ["a (n_layers=2, threads=2)", "a (n_layers=2, threads=1)", "a (n_layers=1, threads=1)"]
    assert [group.name for group in groups] == names
    assert [group.missing for group in groups] == [
        "1 of 2 seeds; seed 1: not run",
        "1 of 2 seeds; seed 0: not run",
        "1 of 2 seeds; seed 1: not run",
    ]


def test_same_images_under_two_paths_are_one_data_set(tmp_path: Path) -> None:
    for label, path in (("a", "here/x.npz"), ("b", "there/x.npz")):
        put(tmp_path, make_cell(label, dataset=path, data="same"), mask(10, 1), {})
    put(tmp_path, make_cell("c", dataset="else/x.npz", data="other"), mask(10, 1), {})
    titles = {group.name: group.dataset for group in gather(load_rows(tmp_path))}
    assert titles == {"a": "x.npz (data=same)", "b": "x.npz (data=same)", "c": "x.npz (data=other)"}


def test_rows_of_different_code_are_two_lines_with_hash_and_day() -> None:
    def row(seed: int, code: str, started: str, accuracy: float) -> Row:
        cell = make_cell("a", seed, source=code)
        return make_row(cell, status="ok", started=started, accuracy=accuracy, n_test=100)

    rows = [
        row(0, "0123456789", "2026-01-02T10:00", 80.0),
        row(1, "0123456789", "2026-01-03T10:00", 82.0),
        row(0, "abcdefabcd", "2026-02-01T10:00", 90.0),
    ]
    groups = gather(rows)
    means = {group.name: group.values("accuracy").mean() for group in groups}
    assert means == {
        "a (code=abcdefab of 2026-02-01)": 90,
        "a (code=01234567 of 2026-01-02)": 81,
    }
    assert groups[0].missing == "1 of 2 seeds; seed 1: not run"
    assert [group.name for group in gather(rows[:2])] == ["a"]


def test_an_outdated_row_stands_in_the_line_of_the_newer_code(tmp_path: Path) -> None:
    for seed, code in ((0, "old"), (1, "old"), (1, "new")):
        put(tmp_path, make_cell("a", seed, source=code), mask(10, seed), {})
    (group,) = gather(load_rows(tmp_path))
    assert group.name == "a"
    assert [row.cell.source for row in group.ok] == ["new"]
    assert group.missing.startswith("1 of 2 seeds; seed 0: outdated: measured with older code")
