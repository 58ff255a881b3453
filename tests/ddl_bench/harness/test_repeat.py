"""Rows that are run again: a match, a drift, another machine, or no result."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddl_bench.errors import UserError
from ddl_bench.harness import repeat
from ddl_bench.harness.repeat import cell_here, compared, differences, file_here
from ddl_bench.plan.cell import BudgetSpec
from ddl_bench.registry import BrokenPackage
from ddl_bench.results.rows import Row, digest, load_rows, write_row
from tests.conftest import ROOT, ddl_bench, make_cell, make_row

HERE: dict[str, Any] = {"cpu": "a", "versions": {"torch": "2.14.1", "ddl-bench": "0.2"}}


def row_of(folder: Path, predictions: list[int], **changes: Any) -> Row:
    """A row with its arrays in a folder; `changes` are fields of the row or of its cell."""
    labels = np.array(predictions)
    cell = make_cell("a").model_copy(
        update={key: changes.pop(key) for key in ("budget", "source") if key in changes}
    )
    row = make_row(cell, status="ok", accuracy=50.0)
    measured = replace(row.measured, predictions_sha256=digest(labels))
    row = row.model_copy(update={"measured": measured, "provenance": HERE} | changes)
    write_row(folder, row)
    np.savez(folder / "cells" / f"{cell.id}.npz", y_test=labels, predictions=labels)
    return row


def test_equal_predictions_match_on_any_machine(tmp_path: Path) -> None:
    before = row_of(tmp_path / "a", [0, 1, 2])
    again = row_of(tmp_path / "b", [0, 1, 2], provenance={"cpu": "other"}, source="new")
    result = compared(tmp_path / "a", before, again, folder=tmp_path / "b")
    assert (result.verdict, result.reason) == ("match", "the same predictions")


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        ({}, "drift", "2 of 3 predictions differ"),
        ({"source": "new"}, "drift", "predictions differ; the code of the method has changed"),
        (
            {"provenance": {"cpu": "b", "versions": {"torch": "2.15.0", "ddl-bench": "0.3"}}},
            "other machine",
            "predictions differ; cpu a, now b; torch 2.14.1, now 2.15.0",
        ),
        (
            {"provenance": {**HERE, "versions": {**HERE["versions"], "dictlearn": "1.0"}}},
            "drift",
            "2 of 3 predictions differ",
        ),
        ({"status": "failed", "reason": "a mistake"}, "failed", "a mistake"),
    ],
)
def test_other_predictions_are_explained(
    tmp_path: Path, changes: dict[str, Any], verdict: str, reason: str
) -> None:
    before = row_of(tmp_path / "a", [0, 1, 2])
    again = row_of(tmp_path / "b", [0, 2, 1], **changes)
    result = compared(tmp_path / "a", before, again, folder=tmp_path / "b")
    assert result.verdict == verdict
    assert result.reason.endswith(reason)


def test_a_budget_in_seconds_is_not_repeatable(tmp_path: Path) -> None:
    budget = BudgetSpec(seconds=3)
    before = row_of(tmp_path / "a", [0, 1, 2], budget=budget)
    again = row_of(tmp_path / "b", [0, 1, 1], budget=budget)
    result = compared(tmp_path / "a", before, again, folder=tmp_path / "b")
    assert result.verdict == "not repeatable"
    assert "1 of 3 predictions differ; its budget is in seconds" in result.reason


def test_rows_without_a_digest_are_compared_by_what_they_have(tmp_path: Path) -> None:
    again = row_of(tmp_path / "b", [0, 1, 2])
    older = row_of(tmp_path / "a", [0, 1, 2])
    older = older.model_copy(update={"measured": replace(older.measured, predictions_sha256="")})
    result = compared(tmp_path / "a", older, again, folder=tmp_path / "b")
    assert (result.verdict, result.reason) == ("match", "the same predictions")
    (tmp_path / "a/cells" / f"{older.cell.id}.npz").unlink()
    result = compared(tmp_path / "a", older, again, folder=tmp_path / "b")
    assert result.verdict == "match"
    assert "the row has no predictions" in result.reason
    worse = again.model_copy(update={"measured": replace(again.measured, accuracy=49.0)})
    assert compared(tmp_path / "a", older, worse, folder=tmp_path / "b").verdict == "drift"


def test_an_accuracy_that_predictions_do_not_give_is_no_match(tmp_path: Path) -> None:
    before = row_of(tmp_path / "a", [0, 1, 2])
    claimed = before.model_copy(update={"measured": replace(before.measured, accuracy=12.34)})
    again = row_of(tmp_path / "b", [0, 1, 2])
    result = compared(tmp_path / "a", claimed, again, folder=tmp_path / "b")
    assert result.verdict == "drift"
    assert "the row says 12.34 %, which its predictions do not give" in result.reason


def test_a_version_that_is_missing_differs() -> None:
    assert differences({}, HERE) == ["cpu None, now a", "torch None, now 2.14.1"]
    assert differences(HERE, HERE) == []


def test_images_without_a_path_are_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"x.npz: the images of this row are not here"):
        file_here("/elsewhere/x.npz", None)
    (tmp_path / "x.npz").touch()
    assert file_here("/elsewhere/x.npz", None) == tmp_path / "x.npz"
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x.npz").touch()
    assert file_here("x.npz", tmp_path / "data") == tmp_path / "data/x.npz"


def test_a_cell_here_has_the_code_of_today_and_no_plugin_of_the_row() -> None:
    (row,) = (
        row
        for row in load_rows(ROOT / "docs/results/quick")
        if row.cell.label == "lista" and row.cell.seed == 0
    )
    cell = row.cell.model_copy(update={"plugins": ("/tmp/anything.py",), "source": "old"})
    here = cell_here(cell, (), None)
    assert here.plugins == ()
    assert here.source not in ("old", "")
    assert here.settings == cell.settings


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ModuleNotFoundError("No module named 'x'", name="x"),
            "No module named 'x'; pip install x",
        ),
        (BrokenPackage("strange: y cannot be imported"), "strange: y cannot be imported"),
    ],
)
def test_a_method_that_is_not_here_is_one_line(
    error: ImportError, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, plugins: object) -> None:
        raise error

    monkeypatch.setattr(repeat, "load_method", refuse)
    with pytest.raises(UserError) as caught:
        cell_here(make_cell(f"absent-{type(error).__name__}"), (), None)
    assert str(caught.value).endswith(f"cannot be imported here: {message}")


def test_published_rows_are_verified(tmp_path: Path) -> None:
    words = ["--methods", "nearest-mean,logistic", "--seeds", "0", "--out", tmp_path / "run"]
    ddl_bench(["run", *words, "--no-report"])
    ddl_bench(["publish", tmp_path / "public", "--run", tmp_path / "run"])
    files = sorted(path.read_bytes() for path in (tmp_path / "public/cells").iterdir())
    output = ddl_bench(["verify", tmp_path / "public"])
    assert "2 match" in output
    assert sorted(path.read_bytes() for path in (tmp_path / "public/cells").iterdir()) == files
    (row,) = (row for row in load_rows(tmp_path / "public") if row.cell.label == "logistic")
    path = tmp_path / "public/cells" / f"{row.cell.id}.json"
    values = json.loads(path.read_text())
    values["measured"]["predictions_sha256"] = "0" * 64
    path.write_text(json.dumps(values))
    text = ddl_bench(["verify", path, "--json"], code=1)
    (result,) = json.loads(text[text.index("[") :])
    assert result["verdict"] == "drift"
    assert "the kept predictions are not those that the row names" in result["reason"]
    assert result["accuracy"] == result["accuracy_again"]
    with pytest.raises(UserError, match="no row 'sdl'"):
        ddl_bench(["verify", "sdl", "--run", tmp_path / "public"])


def test_another_number_of_predictions_is_a_reason(tmp_path: Path) -> None:
    before = row_of(tmp_path / "a", [0, 1])
    again = row_of(tmp_path / "b", [0, 1, 2])
    result = compared(tmp_path / "a", before, again, folder=tmp_path / "b")
    assert result.verdict == "drift"
    assert result.reason == "2 predictions are kept, and the cell has 3 test images"


def test_a_file_of_images_keeps_its_own_name_where_it_is_a_link(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / "0123456789ab"
    blob.parent.mkdir()
    blob.touch()
    (tmp_path / "photos.npz").symlink_to(blob)
    assert file_here("photos.npz", tmp_path) == tmp_path / "photos.npz"
