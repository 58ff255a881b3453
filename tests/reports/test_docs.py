"""What the documentation shows is run."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddl_bench.errors import UserError
from ddl_bench.results.groups import gather
from ddl_bench.results.rows import load_rows
from reports import documentation
from reports.documentation import (
    PAGES,
    ROOT,
    TABLE,
    UNROLLING,
    accuracy_text,
    draw_unrolling,
    is_stale_figure,
    main,
    table,
    with_tables,
)
from reports.estimates import RESULTS
from reports.sentences import VALUE
from tests.conftest import make_cell, put


def test_the_figure_of_unrolling_is_drawn_from_its_numbers(tmp_path: Path) -> None:
    draw_unrolling(tmp_path)
    for folder in (tmp_path, RESULTS):
        text = (folder / "unrolling.svg").read_text()
        for name in json.loads(UNROLLING.read_text()):
            assert f"<!-- {name} -->" in text


def test_a_figure_of_other_numbers_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_unrolling(tmp_path)
    assert not is_stale_figure("unrolling", tmp_path)
    errors = json.loads(UNROLLING.read_text())
    next(iter(errors.values()))["1"] *= 2
    later = tmp_path / "unrolling.json"
    later.write_text(json.dumps(errors))
    monkeypatch.setattr(documentation, "UNROLLING", later)
    assert is_stale_figure("unrolling", tmp_path), "the caption has no numbers"


@pytest.mark.parametrize("page", PAGES)
def test_tables_and_values_are_those_of_committed_rows(page: str) -> None:
    text = (ROOT / page).read_text()
    assert TABLE.search(text) or VALUE.search(text)
    assert with_tables(text) == text


def test_a_stale_page_is_named_and_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("Costs:\n<!-- table costs -->\nold\n<!-- /table -->\nThe rest.\n")
    monkeypatch.setattr(documentation, "ROOT", tmp_path)
    monkeypatch.setattr(documentation, "PAGES", ("page.md",))
    monkeypatch.setattr(documentation, "DRAWN", {})
    assert main(["--check"]) == 1
    assert "page.md: its tables or values are stale" in capsys.readouterr().out
    assert "\nold\n" in page.read_text(), "a check changes nothing"
    assert main([]) == 0
    assert page.read_text().startswith("Costs:\n<!-- table costs -->\n")
    assert "\n| what | measured | at most |\n" in page.read_text()
    assert page.read_text().endswith("|\n<!-- /table -->\nThe rest.\n")
    assert main(["--check"]) == 0


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_a_mark_that_cannot_be_filled_in_is_one_line_with_its_page(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "page.md").write_text("It has <!-- value quick: no-such-method --><!-- /value -->.")
    monkeypatch.setattr(documentation, "ROOT", tmp_path)
    monkeypatch.setattr(documentation, "PAGES", ("page.md",))
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("page.md: value 'quick: no-such-method': no rows of no-such-method")


def test_an_accuracy_beside_published_ones_is_on_the_official_images(tmp_path: Path) -> None:
    for seed in range(2):
        right = np.arange(10) < 5 + seed
        put(tmp_path, make_cell("a", seed), right, official_accuracy=40.0 + 2 * seed)
        put(tmp_path, make_cell("b", seed), right)
    texts = {
        group.name: accuracy_text(group, "[run](page)") for group in gather(load_rows(tmp_path))
    }
    budget = "30 epochs, 2 seeds; [run](page)"
    assert texts == {
        "a": f"41.00 ± 1.41 % on digits (900 training images, official test images, {budget})",
        "b": f"55.00 ± 7.07 % on digits (900 training images, {budget})",
    }


@pytest.mark.parametrize(
    "mark",
    ["<!-- table costs -->", "<!-- /table -->", "<!--table costs-->", "<!-- table co sts -->"],
)
def test_a_mark_of_a_table_that_is_not_whole_takes_no_text_with_it(mark: str) -> None:
    whole = "<!-- table costs -->\nold\n<!-- /table -->\n"
    for text in (f"{mark}\nbetween\n{whole}", f"{whole}between\n{mark}\n"):
        with pytest.raises(UserError, match="a mark of a table is not whole"):
            with_tables(text)


def test_a_table_that_is_still_empty_takes_no_text_with_it() -> None:
    empty = "<!-- table costs -->\n<!-- /table -->\n"
    text = f"{empty}between\n<!-- table costs -->\nold\n<!-- /table -->\n"
    renewed = with_tables(text)
    assert "\n<!-- /table -->\nbetween\n<!-- table costs -->\n" in renewed
    assert renewed.count(table("costs")) == 2
    assert "\nold\n" not in renewed
    assert with_tables(renewed) == renewed


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    found: dict[str, Any] = {}
    exec(block, found)
    assert found["codes"].gap < 1e-5
    assert "8 of 17 activations are Q-metric ReLUs" in capsys.readouterr().out
