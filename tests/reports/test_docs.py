"""What the documentation shows is run."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from reports.documentation import (
    PAGES,
    RESULTS,
    ROOT,
    TABLE,
    UNROLLING,
    draw_unrolling,
    table,
)


def test_the_figure_of_unrolling_is_drawn_from_its_numbers(tmp_path: Path) -> None:
    draw_unrolling(tmp_path)
    drawn, kept = ((folder / "unrolling.svg").read_text() for folder in (tmp_path, RESULTS))
    assert all(
        f"<!-- {name} -->" in text
        for text in (drawn, kept)
        for name in json.loads(UNROLLING.read_text())
    )


@pytest.mark.parametrize("page", PAGES)
def test_a_table_is_that_of_its_committed_rows(page: str) -> None:
    found = TABLE.findall((ROOT / page).read_text())
    assert found
    for name, text in found:
        assert text == table(name)


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    found: dict[str, Any] = {}
    exec(block, found)
    assert found["codes"].gap < 1e-5
    assert "8 of 17 activations are Q-metric ReLUs" in capsys.readouterr().out
