"""Rows, curves and predictions as DataFrames, and the plain values that Python functions take."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ddl_bench
from ddl_bench import registry
from ddl_bench.plan.expansion import Overrides
from ddl_bench.results.columns import (
    CURVE_COLUMNS,
    FRAME_COLUMNS,
    MEASURED,
    PHASES,
    PREDICTION_COLUMNS,
    FrameColumn,
)
from ddl_bench.results.frame import frame
from ddl_bench.results.publish import publish
from ddl_bench.results.rows import COLUMNS_MEASURED, arrays, find_rows, load_rows
from ddl_bench.results.stats.compare import compare
from tests.conftest import ROOT, make_cell, make_row, put

QUICK = ROOT / "docs" / "results" / "quick-5-seeds"


@pytest.fixture(scope="module")
def df() -> pd.DataFrame:
    return ddl_bench.load(str(QUICK))


def check_columns(table: pd.DataFrame, columns: tuple[FrameColumn, ...]) -> None:
    """Columns are those that are described, in their order, each of its type, without objects."""
    assert list(table) == [column.name for column in columns]
    assert [str(dtype) for dtype in table.dtypes] == [column.dtype for column in columns]
    for name in table:
        values = table[name].dropna()
        assert not any(isinstance(value, (dict, list, tuple)) for value in values), name


def test_a_frame_has_the_columns_that_are_described(df: pd.DataFrame) -> None:
    check_columns(df, FRAME_COLUMNS)
    assert len(df) == 35
    assert str(df["started"].dt.tz) == "UTC"
    assert {column.name for column in MEASURED} == COLUMNS_MEASURED
    assert len({column.name for column in FRAME_COLUMNS}) == len(FRAME_COLUMNS)
    assert all(column.meaning for column in FRAME_COLUMNS)


def test_a_frame_without_rows_has_the_same_columns() -> None:
    check_columns(frame([]), FRAME_COLUMNS)


def test_the_phases_of_real_rows_are_all_described() -> None:
    assert {phase for row in load_rows(QUICK) for phase in row.phases} <= PHASES.keys()


def test_a_frame_tells_names_families_and_options(tmp_path: Path) -> None:
    put(tmp_path, make_cell("sdl", params={"n_atoms": 3}), np.ones(9, bool))
    put(tmp_path, make_cell("of-a-plugin", mirror=True), status="failed", reason="no memory")
    first, second = ddl_bench.load(tmp_path).to_dict("records")
    assert first["family"] == "dictionaries, layer by layer"
    assert first["params"] == '{"n_atoms": 3}'
    assert first["run"] == str(tmp_path)
    assert second["family"] == "other"
    assert second["reason"] == "no memory"
    assert second["mirror"] is True
    assert pd.isna(second["accuracy"])
    assert pd.isna(first["reason"])


def test_curves_and_predictions_are_tidy(tmp_path: Path) -> None:
    right = np.arange(20) % 4 > 0
    curve = {
        "curve_seconds": np.array([1.0, 2.0]),
        "curve_accuracy": np.array([50.0, 60.0]),
        "curve_step": np.array([3.0, 6.0]),
        "curve_split": np.array("validation"),
    }
    names = np.array([f"class {i}" for i in range(12)])
    put(tmp_path, make_cell("sdl"), right, curve | {"class_names": names}, passes=6.0)
    put(tmp_path, make_cell("bare"), right)
    curves = ddl_bench.curves(str(tmp_path))
    check_columns(curves, CURVE_COLUMNS)
    assert curves["images"].tolist() == [2700, 5400]
    assert curves["accuracy"].tolist() == [50, 60]
    answers = ddl_bench.predictions(str(tmp_path))
    check_columns(answers, PREDICTION_COLUMNS)
    assert answers["is_right"].tolist() == right.tolist()
    assert set(answers["line"]) == {"sdl"}
    assert answers["true_name"][3] == "class 3"
    check_columns(ddl_bench.curves(QUICK), CURVE_COLUMNS)


def test_python_functions_take_texts_and_plain_lists(tmp_path: Path) -> None:
    run = str(QUICK)
    assert compare(run, "sdl", "logistic") == compare(QUICK, "sdl", "logistic")
    rows = load_rows(run)
    assert arrays(run, rows[0].cell.id).keys() == arrays(QUICK, rows[0].cell.id).keys()
    assert len(ddl_bench.load([run])) == 35
    assert find_rows(run, "sdl@0") == find_rows(QUICK, "sdl@0")
    assert publish(run, str(tmp_path / "public"))["rows"] == tmp_path / "public" / "cells"
    example = str(ROOT / "examples" / "numpy_plugin.py")
    assert registry.methods([example]).keys() == registry.methods([Path(example)]).keys()
    findings = [each.status for each in ddl_bench.check(Path(example), "1x8x8")]
    assert "held" in findings
    assert "broken" not in findings


@pytest.mark.parametrize(
    "given",
    [
        {"methods": "sdl", "seeds": 1, "budget": "5s", "plugins": "a.py", "data_dir": "x"},
        {"methods": ["sdl"], "seeds": range(1, 2), "budget": {"seconds": 5}, "plugins": ["a.py"]},
    ],
)  # fmt: skip
def test_overrides_take_plain_values(given: dict[str, Any]) -> None:
    overrides = Overrides(**given)
    assert overrides.methods == ["sdl"]
    assert overrides.seeds == [1]
    assert overrides.budget is not None
    assert overrides.budget.seconds == 5
    assert overrides.plugins == (Path("a.py"),)
    assert dataclasses.replace(overrides) == overrides


def test_a_frame_of_rows_without_a_folder_has_no_arrays() -> None:
    rows = [make_row(make_cell("a"), status="ok")]
    assert frame(rows)["run"].isna().all()
