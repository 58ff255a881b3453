"""Tables and page of a report, on runs that are made up here."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ddl_bench.data.splits import Splits
from ddl_bench.errors import UserError
from ddl_bench.plan.cell import BudgetSpec, Machine
from ddl_bench.results.frame import load
from ddl_bench.results.groups import gather
from ddl_bench.results.rows import COLUMNS_MEASURED, load_rows
from ddl_bench.results.stats.families import compare_all
from ddl_bench.results.table import (
    COLUMNS,
    behind_text,
    display,
    foot,
    foot_of,
    number,
    summary,
    with_range,
)
from reports.figures import FIGURES
from reports.figures.style import PAPER, WIDTHS_INCHES, caption_of
from reports.page.render import inline
from reports.report import write
from tests.conftest import make_cell, put

HOSTILE = "<script>alert('x')</script> 100 % | $\\x_{ & #"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make up a run on two data sets.

    On digits there are a dictionary method, one that misses a seed, one that failed, and one whose
    name is hostile to HTML, Markdown and LaTeX.
    """
    folder = tmp_path_factory.mktemp("results") / "made-up"
    rng = np.random.default_rng(0)
    about = {
        "host": "node1",
        "cpu": "Xeon",
        "versions": {"torch": "2.5"},
        "command": "ddl-bench run quick <again>",
    }
    for seed in range(3):
        for label, share, scale in (
            ("sdl", 0.9, 1.0),
            ("plainnet", 0.97, 9.0),
            (HOSTILE, 0.8, 0.01),
        ):
            curve = {
                "curve_seconds": scale * np.arange(1, 6),
                "curve_accuracy": 100 * share - 40 / np.arange(1, 6),
                "curve_split": np.array("validation"),
            }
            arrays: dict[str, Any] = dict(curve)
            if label == "sdl":
                arrays["artefact_atoms"] = rng.normal(size=(30, 1, 5, 5))
            cell = make_cell(label, seed, plugins=())
            if label == "plainnet" and seed == 1:
                put(
                    folder,
                    cell,
                    status="timeout",
                    reason="longer than\n60 s",
                    provenance={"command": "again"},
                )
                continue
            numbers = {
                "n_params": int(1000 * scale),
                "train_s": scale * (5 + seed),
                "test_s_per_image": scale / 1e4,
            }
            put(
                folder,
                cell,
                rng.random(400) < share,
                arrays,
                **numbers,
                test_s_per_image_iqr=1e-6,
                provenance=about,
            )
        put(folder, make_cell("spams", seed), status="not_installed", reason="needs spams")
        put(
            folder,
            make_cell("sdl", seed, dataset="my data/x.npz"),
            rng.random(100) < 0.5,
            {},
            provenance=about,
        )
    return folder


@pytest.fixture(scope="module")
def paths(run: Path) -> dict[str, Path]:
    return write(run)


def test_atoms_of_one_method_fill_their_figure(run: Path) -> None:
    df = load(run)
    figure = FIGURES["learned atoms"](df[df["dataset"] == "digits"])
    assert figure is not None
    assert len(figure.axes) == 1
    assert figure.get_figwidth() == WIDTHS_INCHES["single"]
    assert "one seed of the most accurate method" in caption_of(figure)


def test_a_hostile_label_stays_text(paths: dict[str, Path]) -> None:
    assert "<script>" not in paths["markdown"].read_text()


def test_no_output_shows_nan(paths: dict[str, Path]) -> None:
    for kind in ("markdown", "csv", "cells", "columns", "latex", "bibtex"):
        assert not re.search(r"\b(nan|None|NaT)\b|<NA>", paths[kind].read_text())


def test_csv_round_trip(run: Path, paths: dict[str, Path]) -> None:
    rows = load_rows(run)
    read = pd.read_csv(paths["csv"], keep_default_na=True)
    table = summary(rows)
    assert list(read.columns) == list(table.columns)
    for name in ("accuracy", "accuracy_sd", "train_s", "n_params", "low", "high", "n_seeds"):
        np.testing.assert_allclose(read[name], table[name].astype(float))
    assert list(read["label"]) == list(table["label"])
    accuracies = [
        row.measured.accuracy or 0
        for row in rows
        if row.cell.label == "sdl" and row.cell.dataset == "digits"
    ]
    line = read[(read["label"] == "sdl") & (read["dataset"] == "digits")].iloc[0]
    assert line["accuracy"] == pytest.approx(np.mean(accuracies))
    assert line["accuracy_sd"] == pytest.approx(np.std(accuracies, ddof=1))
    assert line["train_s"] == pytest.approx(6.0)


def test_markdown_has_equal_columns(paths: dict[str, Path]) -> None:
    table, foot = paths["markdown"].read_text().strip().split("\n\n")
    lines = table.splitlines()
    assert "lines have fewer than 3 seeds" in foot
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert len(lines) == 2 + 5


def test_every_figure_is_there_as_well_formed_svg_and_png(paths: dict[str, Path]) -> None:
    costs = ("parameters", "training-time", "test-time-per-image")
    names = {f"digits-accuracy-against-{cost}" for cost in costs} | {
        "digits-accuracy-while-training"
    }
    names |= {"digits-learned-atoms", "x.npz-accuracy-against-training-time"}
    names |= {"digits-accuracy-ranked", "x.npz-accuracy-ranked"}
    svgs = {path.stem: path for path in paths["figures"].glob("*.svg")}
    assert svgs.keys() == names == {path.stem for path in paths["figures"].glob("*.png")}
    for path in svgs.values():
        root = ET.parse(path).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        text = path.read_text()
        assert "nan" not in text.lower().split('"')
        assert text.count(f"fill: {PAPER}") == 1 + str(inline(path)).count(f"fill: {PAPER}")


def test_empty_run_and_new_folder(tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    with pytest.raises(UserError, match="no finished cell to report"):
        write(tmp_path)


def test_all_failed_still_reports(tmp_path: Path) -> None:
    put(tmp_path, make_cell("sdl"), status="crashed", reason="killed by signal 11")
    text = write(tmp_path, tmp_path / "elsewhere")["page"].read_text()
    assert "killed by signal 11" in text
    assert (tmp_path / "elsewhere" / "table.tex").is_file()


def test_unequal_cells_are_never_averaged(tmp_path: Path) -> None:
    for seed, epochs in ((0, 10), (1, 10), (0, 40)):
        right = np.arange(100) < 50 + epochs + seed
        put(tmp_path, make_cell("a", seed, budget=BudgetSpec(epochs=epochs, seconds=None)), right)
    put(tmp_path, make_cell("a", splits=Splits(limit_train=10)), np.arange(100) < 10)
    table = summary(load_rows(tmp_path))
    found = dict(
        zip(zip(table["dataset"], table["label"], strict=True), table["accuracy"], strict=True)
    )
    assert found == {
        ("digits", "a (epochs=40)"): 90,
        ("digits", "a (epochs=10)"): 60.5,
        ("digits (limit_train=10)", "a"): 10,
    }
    assert list(table["note"]) == ["", "", ""]
    assert list(table["interval"]) == [
        "this network, 100 images",
        "these 2 networks, 100 images",
        "this network, 100 images",
    ]


def test_machines_are_named_only_where_they_differ(tmp_path: Path) -> None:
    for label, host in (("a", "node1"), ("b", "node2")):
        put(tmp_path, make_cell(label), np.arange(9) < 5, provenance={"host": host, "cpu": "Xeon"})
    table = display(load_rows(tmp_path))
    assert list(table["note"]) == [
        f"timed on cpu, threads: 1, {host}, Xeon" for host in ("node1", "node2")
    ]
    assert "note" not in display(load_rows(tmp_path)[:1])


def test_views_of_networks_are_a_column(tmp_path: Path) -> None:
    for label, n_views in (("mirrored", 2), ("plain", 1), ("no-network", None)):
        put(tmp_path, make_cell(label), np.arange(9) < 5, n_views=n_views)
    table = display(load_rows(tmp_path)).set_index("method")
    assert dict(table["views"]) == {"mirrored": "2", "plain": "1", "no-network": ""}
    alone = [row for row in load_rows(tmp_path) if row.cell.label == "no-network"]
    assert "views" not in display(alone)


def test_notes_on_budget_and_size(tmp_path: Path) -> None:
    put(
        tmp_path,
        make_cell("a"),
        np.arange(9) < 5,
        over_budget=True,
        size_reason="a foreign estimator",
    )
    assert list(display(load_rows(tmp_path))["note"]) == [
        "over its time budget; size unknown: a foreign estimator"
    ]


@pytest.mark.parametrize(
    ("value", "sd", "form", "expected"),
    [
        (0.0031249, 0.000123, "", "0.00312 ± 0.00012"),
        (8.234e-7, np.nan, "", "0.000000823"),
        (123456.0, 77.7, "", "123,000 ± 78"),
        (100.0, 0.0, ".2f", "100.00 ± 0.00"),
        (50.2, 7e-15, ".2f", "50.20 ± 0.00"),
        (1369738.0, 0.0, ",.0f", "1,369,738"),
        (np.nan, np.nan, ".2f", ""),
    ],
)
def test_number(value: float, sd: float, form: str, expected: str) -> None:
    assert number(value, sd, form) == expected


def test_five_seeds_mark_what_cannot_be_told_from_the_best(tmp_path: Path) -> None:
    for seed in range(5):
        for label, count in (("a", 180), ("b", 179), ("c", 120)):
            right = np.arange(200) < count + seed
            put(tmp_path, make_cell(label, seed), right, test_s_per_image=1e-5)
    put(tmp_path, make_cell("d"), np.arange(200) < 100)
    rows = load_rows(tmp_path)
    table = display(rows).set_index("method")
    assert table["accuracy (%)"].str.endswith(" ≈").to_dict() == {
        "a": True,
        "b": True,
        "c": False,
        "d": False,
    }
    low, high = map(float, table["behind the best"]["c"].split(" to "))
    assert 25 < low < 30.01 < high < 35
    assert table["behind the best"]["d"] == ""
    text = foot(rows)
    assert "≈ marks what cannot be told from the best." in text
    assert "1 of 4 lines have fewer than 3 seeds" in text
    assert "approx" in write(tmp_path)["latex"].read_text()
    assert '"a is more accurate"' in write(tmp_path)["page"].read_text()


def test_a_table_without_times_does_not_explain_them(tmp_path: Path) -> None:
    for label in "ab":
        right = np.arange(200) < 180
        put(tmp_path, make_cell(label), right, test_s_per_image=1e-5, test_s_per_image_iqr=5e-6)
    groups = gather(load_rows(tmp_path))
    assert "† marks a time" in foot_of(groups)
    assert "† marks a time" not in foot_of(groups, timed=False)


def test_a_line_alone_is_not_called_a_single_network(tmp_path: Path) -> None:
    for seed in range(3):
        put(tmp_path, make_cell("a", seed), np.arange(200) < 180 + seed)
    text = foot(load_rows(tmp_path))
    assert "1 of 1 lines are compared with no other" in text
    assert "single networks" not in text


def test_lines_on_another_device_than_the_best_are_not_called_the_only_ones(tmp_path: Path) -> None:
    gpu = Machine(device="cuda", threads=1)
    for seed in range(3):
        put(tmp_path, make_cell("a", seed), np.arange(200) < 180 + seed)
        put(tmp_path, make_cell("b", seed), np.arange(200) < 170 + seed)
        for label in "cd":
            put(tmp_path, make_cell(label, seed, machine=gpu), np.arange(200) < 100 + seed)
    text = foot(load_rows(tmp_path))
    assert "2 of 4 lines are compared with no other: each is on another device than the" in text
    assert "the only one" not in text


def test_a_time_of_predictions_shows_the_larger_spread_and_is_unsure_beyond_a_tenth(
    tmp_path: Path,
) -> None:
    for seed, microseconds in enumerate((100.0, 102.0, 98.0)):
        iqr = 9e-6
        for label, factor in (("steady", 1.0), ("drifting", 1.0 + 0.2 * seed)):
            seconds = factor * microseconds / 1e6
            times: dict[str, Any] = {"test_s_per_image": seconds, "test_s_per_image_iqr": iqr}
            put(tmp_path, make_cell(label, seed), np.arange(200) < 180, **times)
    rows = load_rows(tmp_path)
    shown = display(rows).set_index("method")["test (µs/image)"]
    assert shown["steady"] == "100 (IQR 9)"
    assert shown["drifting"] == "120† ± 19"
    assert "† marks a time whose repetitions or seeds spread by more than 10 %" in foot(rows)
    (steady,) = [group for group in gather(rows) if group.name == "steady"]
    assert "†" not in foot_of([steady])


def test_a_line_below_the_best_is_never_at_least_nothing_behind_it() -> None:
    line = pd.Series({"behind_low": 0.004, "behind_high": 0.2})
    assert behind_text(line) == "0.004 to 0.200"
    assert behind_text(pd.Series({"behind_low": 0.0, "behind_high": 0.2})) == "0.00 to 0.20"


@pytest.mark.parametrize("n_few", [1, 2])
def test_nothing_is_ranked_where_the_best_line_has_too_few_seeds(
    tmp_path: Path, n_few: int
) -> None:
    for seed in range(6):
        put(tmp_path, make_cell("a", seed), np.arange(200) < 150 + seed)
        put(tmp_path, make_cell("b", seed), np.arange(200) < 80 + seed)
    for seed in range(n_few):
        put(tmp_path, make_cell("best", seed), np.arange(200) < 190)
    rows = load_rows(tmp_path)
    table = display(rows).set_index("method")
    assert "behind the best" not in table
    assert not table["accuracy (%)"].str.contains("≈").any()
    text = foot(rows)
    assert "No line is compared with the best on digits, as best has too few seeds." in text
    assert "compared with no other" not in text
    assert ("single networks" in text) == (n_few == 1)
    records = compare_all(tmp_path, gather(rows))
    assert {record.a for record in records} == {"best"}
    assert all(record.verdict.startswith("no verdict") for record in records)


@pytest.mark.parametrize(
    ("value", "iqr", "expected"),
    [(226.4, 18.7, "226 (IQR 19)"), (226.4, 0.0, "226"), (1.0, np.nan, "1"), (np.nan, 1.0, "")],
)
def test_a_spread_within_a_run_is_no_spread_over_seeds(
    value: float, iqr: float, expected: str
) -> None:
    assert with_range(value, iqr) == expected


def test_columns_are_measured_values() -> None:
    assert {column.field for column in COLUMNS} <= COLUMNS_MEASURED
    assert len({column.title for column in COLUMNS}) == len(COLUMNS)
