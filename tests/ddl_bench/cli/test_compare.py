"""Comparisons end in one plain sentence; a change of a method is compared with what was before."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ddl_bench.cli.main import app
from ddl_bench.errors import UserError
from ddl_bench.files import DamagedFile
from ddl_bench.plan.cell import BudgetSpec, Machine
from ddl_bench.results.groups import gather
from ddl_bench.results.rows import find_rows, load_rows
from ddl_bench.results.stats.compare import changes, compare
from ddl_bench.results.stats.comparison import ALONE, Comparison, with_verdict
from ddl_bench.results.stats.families import compare_all
from ddl_bench.results.stats.sentences import sentence_of
from ddl_bench.results.stats.separate import power
from tests.conftest import ddl_bench, make_cell, put

N_IMAGES = 200


def method(run: Path, label: str, n_wrong: list[int], **changes: object) -> None:
    """Write the rows of a method that has so many of 200 images wrong, a row for each seed."""
    for seed, wrong in enumerate(n_wrong):
        right = np.arange(N_IMAGES) >= wrong
        put(run, make_cell(label, seed, **changes), right, {})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    method(folder, "best", [10, 11, 12, 10, 11])
    method(folder, "close", [10, 12, 11, 12, 11])
    method(folder, "poor", [40, 44, 47, 42, 41])
    method(folder, "fixed", [20] * 5)
    method(folder, "steady", [30] * 5)
    method(folder, "few", [10, 12, 11])
    method(folder, "single", [10])
    return folder


@pytest.mark.parametrize(
    ("a", "b", "sentence"),
    [
        ("best", "poor", r"best is above poor by 16\.00 points \(95 %: .*, 5 seeds each\)\."),
        ("poor", "best", r"best is above poor by 16\.00 points \(95 %: \+1\d.*, 5 seeds each\)\."),
        (
            "steady",
            "fixed",
            r"fixed is above steady by 5\.00 points .* new images: \+1\.9.* to \+8",
        ),
        (
            "best",
            "close",
            r"No difference resolved: \+0\.20 points \(.*\); differences below \d\.\d\d points"
            r" cannot be seen with 80 % power\.",
        ),
        (
            "fixed",
            "steady",
            r"fixed is above steady by 5\.00 points \(no spread over seeds: .*new images: \+1\.9",
        ),
        ("best", "few", r"No verdict: .*5 and 3 seeds\), and a verdict needs 5 seeds; differences"),
        ("single", "best", r"No conclusion about methods: 95\.00 % and .* in 1 and 5 seeds, and"),
    ],
)
def test_a_comparison_ends_in_one_plain_sentence(run: Path, a: str, b: str, sentence: str) -> None:
    text = ddl_bench(["compare", a, b, run])
    assert re.match(sentence, text.strip().splitlines()[-1])
    assert not re.search("_|None|nan", text)
    (record,) = json.loads(ddl_bench(["compare", a, b, "--run", run, "--json"]))
    assert re.match(sentence, record["sentence"])
    assert record["difference"] is not None


@pytest.mark.parametrize(
    ("digests", "words"),
    [
        (["x", "y", "z"], "all 3 seeds"),
        (["x", "y", "other"], "seeds 0 and 1"),
        (["other", "y", ""], "seed 1"),
        (["", "", ""], ""),
    ],
)
def test_networks_with_the_same_predictions_are_named(
    tmp_path: Path, digests: list[str], words: str
) -> None:
    for folder, of_seeds in (("now", digests), ("before", ["x", "y", "z" if any(digests) else ""])):
        for seed, digest in enumerate(of_seeds):
            cell = make_cell("sdl", seed)
            put(tmp_path / folder, cell, predictions_sha256=digest)
    text = ddl_bench(["compare", tmp_path / "now", "--against", tmp_path / "before"])
    found = re.findall(r"the same predictions in both: (.*)", text)
    assert found == ([words] if words else [])


def test_numbers_of_a_comparison_are_valid_json(run: Path) -> None:
    text = ddl_bench(["compare", "fixed", "steady", run, "--json"])
    assert "NaN" not in text
    assert json.loads(text)[0]["detectable"] is None


def test_a_declared_pair_is_judged_as_the_report_judges_it(tmp_path: Path) -> None:
    """Of three pairs one has too few seeds; on the other data set there is one pair alone."""
    pairs = (("a", "b"), ("a", "c"), ("a", "d"))
    for dataset, others in (("digits", "bcd"), ("letters", "b")):
        for label in f"a{others}":
            n_wrong = [ord(label) - 70 + extra for extra in (0, 2, 5, 1, 3)]
            n_seeds = 2 if label == "d" else 5
            method(tmp_path, label, n_wrong[:n_seeds], dataset=dataset, pairs=pairs)
    groups = gather(load_rows(tmp_path))
    records = {record.dataset: record for record in compare(tmp_path, "a", "b")}
    for dataset, family in (("digits", "2 pairs of the track (Sidak)"), ("letters", ALONE)):
        here = [group for group in groups if group.dataset == dataset]
        assert records[dataset] == compare_all(tmp_path, here)[0]
        assert records[dataset].family == family


def test_a_declared_pair_is_one_under_the_names_of_its_lines_too(tmp_path: Path) -> None:
    pairs = (("a", "b"), ("a", "c"))
    for label in "abc":
        method(tmp_path, label, [ord(label) - 70 + extra for extra in (0, 2, 5, 1, 3)], pairs=pairs)
    n_wrong = [40, 41, 45, 43, 42]
    method(tmp_path, "a", n_wrong, pairs=pairs, machine=Machine(threads=2))
    by_label = {record.a: record for record in compare(tmp_path, "a", "b")}
    assert len(by_label) == 2
    for name, record in by_label.items():
        assert compare(tmp_path, name, "b") == [record]
        assert record.family == "4 pairs of the track (Sidak)"


def test_predictions_of_another_training_are_not_compared(tmp_path: Path) -> None:
    method(tmp_path, "a", [10, 12, 14])
    method(tmp_path, "b", [20, 23, 21])
    right = np.arange(N_IMAGES) >= 10
    put(tmp_path, make_cell("a", 0), right, {}, predictions_sha256="0" * 64)
    with pytest.warns(DamagedFile, match="predictions are those of another training"):
        (record,) = compare(tmp_path, "a", "b")
    assert any("predictions" in part for part in record.left_out)


def test_what_the_oldest_row_declares_counts(tmp_path: Path) -> None:
    """Rows of a part of the methods, or of a track that was changed afterwards, judge as before."""
    for label, reference in (("a", "a"), ("b", ""), ("c", "b")):
        n_wrong = [ord(label) - 70 + extra for extra in (0, 2, 5, 1, 3)]
        method(tmp_path, label, n_wrong, reference=reference)
    records = compare_all(tmp_path, gather(load_rows(tmp_path)))
    assert [record.a for record in records] == ["a", "a"]
    assert {record.family for record in records} == {"2 lines against a, the reference (Dunnett)"}


def test_equal_seconds_on_two_machines_are_named(tmp_path: Path) -> None:
    budget = BudgetSpec(seconds=60)
    for label, cpu in (("a", "fast"), ("b", "slow")):
        for seed in range(3):
            put(tmp_path, make_cell(label, seed, budget=budget), provenance={"cpu": cpu})
    (record,) = compare(tmp_path, "a", "b")
    assert record.left_out[0] == (
        "seconds of training on 2 machines: cpu, threads: 1, fast; cpu, threads: 1, slow"
    )


def test_a_p_that_is_corrected_is_never_smaller_than_before() -> None:
    record = Comparison(dataset="d", a="a", b="b", p=4e-5)
    assert with_verdict(record, "2 lines", 3e-7, 0.5).p_family == 4e-5


def test_a_small_difference_that_is_resolved_is_not_written_as_nothing() -> None:
    resolved = Comparison(
        dataset="d",
        a="a",
        b="b",
        seeds_a=(0, 1, 2, 3, 4),
        seeds_b=(0, 1, 2, 3, 4),
        mean_a=90.054,
        mean_b=90.0,
        difference=0.054,
        low=0.004,
        high=0.104,
        verdict="a is more accurate",
    )
    expected = "a is above b by 0.054 points (95 %: +0.004 to +0.104, 5 seeds each)."
    assert sentence_of(resolved) == expected


def test_a_method_without_an_accuracy_is_said(tmp_path: Path) -> None:
    method(tmp_path, "good", [1, 2, 3])
    put(tmp_path, make_cell("bad"), status="failed", reason="no luck")
    (record,) = compare(tmp_path, "good", "bad")
    assert sentence_of(record).startswith("Nothing to compare: ")
    assert "failed: no luck" in sentence_of(record)


def test_equal_accuracies_are_said(tmp_path: Path) -> None:
    method(tmp_path, "one", [20] * 5)
    method(tmp_path, "other", [20] * 5)
    (record,) = compare(tmp_path, "one", "other")
    assert sentence_of(record).startswith("Equal accuracies, 90.00 % (no spread over seeds")


def test_power_speaks_in_sentences(run: Path) -> None:
    text = ddl_bench(["power", "best", "close", run])
    assert "observed, best - close: +0.20 points" in text
    assert re.search(r"  \d+ seeds of each method, on the same images", text)
    assert not re.search("_|None|nan", text)
    with pytest.raises(UserError, match="run"):
        ddl_bench(["power", "best", "poor", run, "--run", run])
    for difference in (np.nan, np.inf, 0.0, 101.0):
        with pytest.raises(UserError, match=rf"--difference {difference:g}: expected points above"):
            power(run, "best", "poor", difference)


@pytest.fixture
def before(tmp_path: Path) -> Path:
    folder = tmp_path / "before"
    method(folder, "best", [10, 11, 12, 10, 11], source="1")
    method(folder, "poor", [20, 22, 23, 21, 20], source="1")
    method(folder, "gone", [20, 22, 23], source="1")
    method(folder, "few", [10, 12, 11], dataset="letters")
    return folder


def test_methods_are_compared_with_what_they_were_before(run: Path, before: Path) -> None:
    records = {record.b.removesuffix(" before"): record for record in changes(run, before)}
    assert records.keys() == {"best", "poor", "few", "gone"}
    assert records["best"].difference == 0
    assert records["poor"].difference == pytest.approx(-10.8)
    assert records["poor"].these_networks is not None
    assert records["poor"].a == "poor now"
    assert "no row of it on these images" in records["few"].left_out[0]
    (one,) = changes(run, before, "poor")
    assert one.verdict == "poor before is more accurate"
    text = ddl_bench(["compare", "poor", run, "--against", before])
    assert "poor before is above poor now by 10.80 points" in text


@pytest.mark.parametrize(
    ("label", "limit", "code"),
    [("best", "-0.5", 0), ("best", "0.5", 1), ("poor", "-0.5", 1), ("poor", "-11", 0)],
)
def test_a_loss_ends_with_1(run: Path, before: Path, label: str, limit: str, code: int) -> None:
    words = ["compare", label, run, "--against", before, "--fail-below", limit]
    text = ddl_bench(words, code=code)
    assert (
        f"failed: observed difference of means below {float(limit):+g} points: {label}" in text
    ) == bool(code)


def test_a_method_that_has_no_accuracy_any_more_is_a_loss(run: Path, before: Path) -> None:
    for seed in range(5):
        put(run, make_cell("poor", seed), status="crashed", reason="killed", started="9")
    ddl_bench(["compare", "poor", run, "--against", before], code=0)
    ddl_bench(["compare", "poor", run, "--against", before, "--fail-below", "-50"], code=1)


def test_a_label_may_have_the_name_of_a_run(
    run: Path, before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    method(tmp_path / "results" / "poor", "other", [1, 2, 3])
    wanted = ddl_bench(["compare", "poor", run, "--against", before])
    assert "poor now" in wanted
    assert ddl_bench(["compare", run, "poor", "--against", before]) == wanted
    assert ddl_bench(["compare", "poor", "--run", run, "--against", before]) == wanted
    with pytest.raises(UserError, match="no method in common"):
        ddl_bench(["compare", "poor", "--against", before])


def test_methods_that_are_missing_now_are_named_and_fail(run: Path, before: Path) -> None:
    text = ddl_bench(["compare", run, "--against", before], code=0)
    assert "has no row of it" in " ".join(text.split())
    for label in ([], ["gone"]):
        words = ["compare", *label, run, "--against", before, "--fail-below", "-50"]
        text = " ".join(ddl_bench(words, code=1).split())
        assert "failed: nothing to compare on digits: gone: " in text
        assert "failed: observed" not in text


def test_lines_without_predictions_say_which_cause(tmp_path: Path) -> None:
    right = np.arange(N_IMAGES) >= 10
    for seed in range(4):
        put(tmp_path, make_cell("a", seed), right, {})
        put(tmp_path, make_cell("b", seed), right, None if seed < 2 else {})
    put(tmp_path, make_cell("b", 3), right[:100], {})
    (record,) = compare(tmp_path, "a", "b")
    assert record.left_out == (
        "seeds 0, 1: no predictions were kept of b",
        "seed 3: predictions are of other test images",
    )


def test_lines_of_several_settings_are_compared_with_the_same_settings(tmp_path: Path) -> None:
    for folder, n_wrong in (("now", 10), ("old", 30)):
        for depth in (1, 2):
            method(tmp_path / folder, "net", [n_wrong * depth] * 3, params={"depth": depth})
    records = changes(tmp_path / "now", tmp_path / "old")
    assert [record.difference for record in records] == [pytest.approx(10), pytest.approx(20)]


def test_settings_that_changed_are_named(tmp_path: Path) -> None:
    method(tmp_path / "now", "net", [10, 11, 12], params={"depth": 2, "dropout": 0.1})
    short = BudgetSpec(epochs=10)
    method(tmp_path / "old", "net", [30, 31, 32], params={"depth": 2}, budget=short)
    (record,) = changes(tmp_path / "now", tmp_path / "old")
    assert record.difference == pytest.approx(10)
    assert record.left_out == ("settings differ: now dropout=0.1, epochs=30, before epochs=10",)


def test_spaces_in_a_label_may_be_left_out(tmp_path: Path) -> None:
    now, old = tmp_path / "now", tmp_path / "old"
    for folder, n_wrong in ((now, 10), (old, 20)):
        method(folder, "net[a=1, b=2]", [n_wrong] * 3)
        method(folder, "other", [30] * 3)
    text = "net[a=1,b=2]"
    assert compare(now, text, "other") == compare(now, "net[a=1, b=2]", "other")
    assert changes(now, old, text) == changes(now, old, "net[a=1, b=2]")
    assert find_rows(now, text) == find_rows(now, "net[a=1, b=2]")
    assert find_rows(now, f"{text}@1") == find_rows(now, "net[a=1, b=2]@1")
    method(now, text, [40] * 3, params={"a": 1})
    assert {row.cell.label for row in find_rows(now, text)} == {text}, (
        "the label itself comes first"
    )


def test_mistakes_about_runs_are_one_line(run: Path, before: Path, tmp_path: Path) -> None:
    for words, message in (
        (["best", "poor", run, "--against", before], "one label at most"),
        (["best", run, before, "--against", run], "one label at most and one run folder"),
        (["best", run, "--against", run], "compared with itself"),
        (["wrong", run, "--against", before], "no method 'wrong'"),
        (["best", "poor", run, "--fail-below", "1"], "only with --against"),
        ([run, "--against", before, "--fail-below", "nan"], "--fail-below nan: expected a number"),
        (["best"], "expected two labels"),
        (["best", run], "two labels before the run folder .*, got 'best' alone"),
        ([run, "--against", tmp_path / "none"], "no results in"),
    ):
        with pytest.raises(UserError, match=message):
            ddl_bench(["compare", *words])
    method(tmp_path / "other", "else", [1])
    with pytest.raises(UserError, match="no method in common"):
        changes(run, tmp_path / "other")


def test_the_help_documents_the_exit_codes() -> None:
    text = " ".join(CliRunner().invoke(app, ["compare", "--help"]).output.split())
    assert (
        "Exit codes: 0, 1 where --fail-below finds a loss or a missing method, 2 for a mistake."
        in text
    )


def test_one_test_image_is_no_comparison_of_images(tmp_path: Path) -> None:
    for label, is_right in (("a", [1, 1, 0]), ("b", [0, 1, 0])):
        for seed, right in enumerate(is_right):
            put(tmp_path, make_cell(label, seed), np.array([bool(right)]), {})
    assert "points" in ddl_bench(["compare", "a", "b", tmp_path])
    assert "seed" in ddl_bench(["power", "a", "b", tmp_path])
    ddl_bench(["report", tmp_path])
