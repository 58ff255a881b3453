"""Intervals, paired tests and comparisons, against scipy, statsmodels, brute force and numbers worked out by hand."""

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
from ddl_bench.plan.cell import BudgetSpec
from ddl_bench.results.groups import gather
from ddl_bench.results.rows import load_rows
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
from tests.conftest import make_cell, put


def mask(n_images: int, *right: int) -> np.ndarray:
    found = np.zeros(n_images, dtype=bool)
    found[list(right)] = True
    return found


def test_interval_over_seeds_is_students() -> None:
    values = pd.Series([90.0, 91.0, 93.5])
    low, high, how = mean_interval(values, 100)
    expected = scipy_stats.t.interval(0.95, 2, loc=values.mean(), scale=scipy_stats.sem(values))
    assert (low, high) == pytest.approx(expected)
    assert how == "t over 3 seeds"
    assert mean_interval(pd.Series([99.0, 100.0]), 100)[1] == 100  # no accuracy lies above


def test_interval_of_one_seed_is_the_bootstrap_over_images() -> None:
    right = np.arange(200) < 170
    drawn = np.random.default_rng(1).choice(right, size=(20_000, 200)).mean(axis=1)
    low, high, how = mean_interval(pd.Series([85.0]), 200)
    assert (low, high) == pytest.approx(
        100 * np.quantile(drawn, [0.025, 0.975]), abs=0.51
    )  # one image is 0.5 points
    assert how == "bootstrap over 200 images"
    assert mean_interval(pd.Series([85.0, 85.0]), 200) == (
        low,
        high,
        how,
    )  # a method that no seed changes


def test_no_value_has_no_interval() -> None:
    low, high, how = mean_interval(pd.Series([1.0])[:0], float("nan"))
    assert np.isnan([low, high]).all()
    assert how == ""


def test_mcnemar_by_hand_and_by_statsmodels() -> None:
    a, b = (
        mask(100, *range(9), *range(50, 60)),
        mask(100, 9, *range(50, 60)),
    )  # 9 right by a alone, 1 by b alone
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
    (low, high, p), (mirror_low, mirror_high, mirror_p) = (
        paired_bootstrap(difference),
        paired_bootstrap(-difference),
    )
    assert (low, high) == pytest.approx((-mirror_high, -mirror_low), abs=1.01)
    assert p == pytest.approx(mirror_p, abs=0.002)
    assert p < 0.05


def test_holm_textbook_and_what_has_no_p() -> None:
    values = [0.01, None, 0.04, 0.03, 0.005]
    records = corrected([Comparison(dataset="d", a="a", b=str(p), p=p) for p in values])
    assert [record.p_holm for record in records] == [
        pytest.approx(p) if p else p for p in (0.03, None, 0.06, 0.06, 0.02)
    ]
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
    """e = 0.46^2 / 5 = 0.04232 and 0.3^2 / 3 = 0.03, v = 5.84, t(0.975, 5.84) = 2.4628, sqrt(e + e) = 0.26892."""
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
    """Two methods on two data sets; on digits a has two images more than b with seed 0, one with seed 1."""
    for seed, extra in ((0, 2), (1, 1)):
        put(tmp_path, make_cell("a", seed), mask(20, *range(10 + extra)), {})
        put(tmp_path, make_cell("b", seed), mask(20, *range(10)), {})
    put(tmp_path, make_cell("a", 2), status="timeout", reason="longer than 60 s")
    put(tmp_path, make_cell("b", 2), mask(20, *range(10)), {})
    put(tmp_path, make_cell("a", dataset="svhn"), mask(30, *range(9)), {})
    put(
        tmp_path,
        make_cell("b", dataset="svhn", splits=Splits(limit_train=50)),
        mask(30, *range(9)),
        {},
    )
    return tmp_path


def test_compare_uses_shared_seeds_only(run: Path) -> None:
    record = compare(run, "a", "b")[0]
    assert (record.dataset, record.seeds, record.n_images) == ("digits", (0, 1), 20)
    assert (record.mean_a, record.mean_b, record.difference) == pytest.approx((57.5, 50.0, 7.5))
    assert record.p_seeds == pytest.approx(
        (0.5, 1.0)
    )  # two images by one alone: 2 / 2^2; one image: 1
    each = np.repeat([100.0, 50.0, 0.0], [1, 1, 18])  # both seeds, one seed, none
    assert (record.low, record.high, record.p) == pytest.approx(paired_bootstrap(each))
    assert record.p_holm == record.p
    assert "timeout: longer than 60 s" in " ".join(record.left_out)


def test_compare_names_what_cannot_be_compared(run: Path) -> None:
    others = compare(run, "a", "b")[1:]
    assert [(it.dataset, it.left_out) for it in others] == [
        ("svhn", ("b: no row on these images and splits",)),
        ("svhn (limit_train=50)", ("a: no row on these images and splits",)),
    ]
    assert all(it.difference is it.p is it.p_holm is None for it in others)


def test_compare_refuses_other_devices_and_missing_predictions(tmp_path: Path) -> None:
    right = mask(10, 1, 2)
    put(tmp_path, make_cell("a"), right, {})
    put(tmp_path, make_cell("b", device="cuda"), right, {})
    put(tmp_path, make_cell("c"), right)
    assert compare(tmp_path, "a", "b")[0].left_out == ("devices differ: cpu, cuda",)
    assert compare(tmp_path, "a", "c")[0].left_out == ("seed 0: predictions were not kept",)


def test_one_seed_takes_the_p_of_mcnemar(tmp_path: Path) -> None:
    put(tmp_path, make_cell("a"), mask(30, *range(20)), {})
    put(tmp_path, make_cell("b"), mask(30, *range(12)), {})
    record = compare(tmp_path, "a", "b")[0]
    assert record.p == record.p_seeds[0] == pytest.approx(2 / 2**8)


def test_lines_of_one_label_are_compared_one_by_one(tmp_path: Path) -> None:
    put(tmp_path, make_cell("a"), mask(10, 1, 2, 3), {})
    for epochs, n in ((10, 4), (20, 6)):
        put(
            tmp_path,
            make_cell("b", budget=BudgetSpec(epochs=epochs, seconds=None)),
            mask(10, *range(n)),
            {},
        )
    found = {record.b: record.difference for record in compare(tmp_path, "a", "b")}
    assert found == {"b (epochs=20)": pytest.approx(-30), "b (epochs=10)": pytest.approx(-10)}
    assert compare(tmp_path, "a", "b (epochs=10)")[0].b == "b (epochs=10)"


def test_unknown_label_names_the_nearest(run: Path) -> None:
    with pytest.raises(UserError, match="no method 'bb': did you mean 'b'"):
        compare(run, "a", "bb")


def test_groups_are_split_by_what_may_not_be_averaged(tmp_path: Path) -> None:
    put(tmp_path, make_cell("a", params={"n_layers": 1}), mask(10, 1), {})
    put(tmp_path, make_cell("a", 1, params={"n_layers": 2}), mask(10, 1, 2), {})
    put(tmp_path, make_cell("a", 0, params={"n_layers": 2}, threads=2), mask(10, 1, 2, 3), {})
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
