"""`ddl-bench tune`: what it chooses, shows and leaves, and that it resumes."""

import json
from pathlib import Path

import pytest

from ddl_bench.cli import tune
from ddl_bench.errors import UserError
from ddl_bench.results.rows import load_rows
from tests.conftest import ddl_bench, make_cell, make_row

SEARCH = ["tune", "logistic[mirror=true|false]", "nearest-mean", "--search", "20s"]


def test_a_search_chooses_on_validation_images_and_shows_no_others(tmp_path: Path) -> None:
    text = ddl_bench([*SEARCH, "--out", tmp_path])
    rows = {row.cell.method: row for row in load_rows(tmp_path)}
    searched = rows["logistic"]
    assert searched.cell.budget.seconds == 10
    assert rows["nearest-mean"].cell.budget.seconds == 20
    assert searched.measured.search_s is not None
    assert "3 points in all, at most 20 s of training a search" in text.replace("\n", " ")
    spec = f"logistic[mirror={searched.chosen['mirror']}]"
    assert spec in text.replace("\n", "")
    for row in rows.values():
        assert f"{row.measured.val_accuracy:.2f}" in text
        assert f"{row.measured.accuracy:.2f}" not in text
    printed = ddl_bench([*SEARCH, "--out", tmp_path, "--json"])
    records = json.loads(printed[printed.index("[\n") :])  # behind what goes to standard error
    assert [record["spec"] for record in records] == [spec, "nearest-mean"]
    assert load_rows(tmp_path) == list(rows.values()), "nothing is searched again"


def test_mistakes_are_found_before_anything_is_trained(tmp_path: Path) -> None:
    for method, message in (("nearest-men", "did you mean"), ("sdl[n_atom=1|2]", "n_atoms")):
        with pytest.raises(UserError, match=message):
            ddl_bench(["tune", method, "--out", tmp_path])
    with pytest.raises(UserError, match="--val-fraction 0"):
        ddl_bench(["tune", "nearest-mean", "--val-fraction", "0", "--out", tmp_path])
    with pytest.raises(UserError, match=r"'sdl\[n_atoms=8\|16': brackets do not match"):
        ddl_bench(["tune", "sdl[n_atoms=8|16", "--out", tmp_path])
    with pytest.raises(UserError, match=r"^method 'sdl': ") as raised:
        ddl_bench(["tune", "sdl[n_atoms=8|x]", "--out", tmp_path])
    assert "tune-" not in str(raised.value), "a file that nobody has written"
    assert not list(tmp_path.glob("*.toml"))
    assert not (tmp_path / "cells").exists()


def test_too_few_images_to_validate_are_no_traceback(tmp_path: Path) -> None:
    few = ["--limit-train", "20", "--val-fraction", "0.001"]
    assert "nearest-mean" in ddl_bench(["tune", "nearest-mean", *few, "--out", tmp_path])


@pytest.mark.parametrize(("status", "code"), [("skipped", 0), ("not_installed", 0), ("failed", 1)])
def test_a_search_fails_where_a_run_does(
    status: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = make_row(make_cell("a"), status=status, reason="made for other images")
    monkeypatch.setattr(tune, "run", lambda *_, **__: [row])
    text = ddl_bench(["tune", "nearest-mean", "--out", tmp_path], code)
    assert f"{status}: made for other images" in " ".join(text.split())
