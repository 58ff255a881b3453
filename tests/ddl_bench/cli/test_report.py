"""The command `report` on one run folder and on several."""

import json
from pathlib import Path

import numpy as np
import pytest

from ddl_bench.errors import UserError
from tests.conftest import ddl_bench, make_cell, put


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two run folders that share a cell, with different results."""
    put(tmp_path / "ours", make_cell("a"), np.arange(90) < 50)
    put(tmp_path / "theirs", make_cell("a"), np.arange(90) < 51)
    put(tmp_path / "theirs", make_cell("b"), np.arange(90) < 60)
    return [tmp_path / "ours", tmp_path / "theirs"]


@pytest.mark.parametrize("form", ["words", "options", "both"])
def test_several_folders_have_one_report_and_conflicts_are_told(
    form: str, folders: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = folders
    forms: dict[str, list[object]] = {
        "words": [first, second],
        "options": ["--run", first, "--run", second],
        "both": [first, "--run", second],
    }
    out = first.parent / "both"
    text = ddl_bench(["report", *forms[form], "--out", out, "--json"])
    paths, _ = json.JSONDecoder().raw_decode(text[text.index("{") :])
    assert paths["page"] == str(out / "index.html")
    assert "| b " in (out / "table.md").read_text()
    told = capsys.readouterr().err + text
    assert "conflict: a@0 (" in told
    assert "accuracy is 55.5556 in" in told.replace("\n", " ")


REMOVES = """
import shutil

def remove(rows, folder):
    shutil.rmtree(folder)
    {then}

def later(rows, folder):
    (folder / "later.txt").write_text("")

REPORTS = {{"hostile": remove, "later": later}}
"""


@pytest.mark.parametrize(
    ("then", "is_later_left_out"), [("", False), ("1 / 0", False), ("folder.touch()", True)]
)
def test_what_a_report_writer_removes_is_named(
    then: str, is_later_left_out: bool, folders: list[Path], tmp_path: Path
) -> None:
    plugin = tmp_path / "removes.py"
    plugin.write_text(REMOVES.format(then=then))
    text = ddl_bench(["report", folders[0], "--plugin", plugin, "--json"])
    assert "the report 'hostile' has removed page, markdown, csv, cells, columns" in text
    assert text.count("has removed") == 1
    paths, _ = json.JSONDecoder().raw_decode(text[text.index("{") :])
    assert all(Path(path).exists() for path in paths.values())
    assert ("the report 'later' is left out: FileExistsError" in text) is is_later_left_out
    assert ("later" in paths) is not is_later_left_out


def test_serve_follows_one_run(folders: list[Path]) -> None:
    with pytest.raises(UserError, match="--serve follows one run, and these are 2"):
        ddl_bench(["report", *folders, "--serve"])


def test_several_folders_need_a_place_and_a_wrong_name_is_answered_with_those_in_results(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="--out"):
        ddl_bench(["report", *folders])
    put(tmp_path / "results" / "quick", make_cell("a"), np.arange(90) < 50)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"choose a run: .*quick"):
        ddl_bench(["report", "quikc"])
