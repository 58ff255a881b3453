"""What the documentation shows is run."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ddl_bench import describe
from ddl_bench.contract import check
from ddl_bench.harness.run import run
from ddl_bench.plan.expansion import Overrides
from reports.documentation import (
    PAGE,
    PAGES,
    RESULTS,
    ROOT,
    TABLE,
    UNROLLING,
    draw_unrolling,
    table,
)

BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def test_the_example_method_keeps_the_contract_and_runs(tmp_path: Path) -> None:
    example = tmp_path / "whitened_means.py"
    example.write_text(BLOCKS[0])
    lines = [line for line in BLOCKS[0].splitlines() if line.strip()]
    assert len(lines) <= 30
    assert [finding.detail for finding in check(str(example)) if finding.status == "broken"] == []
    command = re.search(r'ddl-bench run --plugin whitened_means.py --methods "(.*)"', PAGE)
    assert command
    from ddl_bench.cli.main import words

    overrides = Overrides(methods=words(command[1]), plugins=(example,), seeds=[0])
    rows = {row.cell.label: row for row in run("quick", tmp_path / "out", overrides=overrides)}
    assert [row.status for row in rows.values()] == ["ok"] * 3
    assert (
        (rows["whitened-means"].measured.accuracy or 0)
        > (rows["nearest-mean"].measured.accuracy or 0)
        > 80
    )


def test_the_figure_of_unrolling_is_drawn_from_its_numbers(tmp_path: Path) -> None:
    draw_unrolling(tmp_path)
    drawn, kept = ((folder / "unrolling.svg").read_text() for folder in (tmp_path, RESULTS))
    assert all(
        f"<!-- {name} -->" in text
        for text in (drawn, kept)
        for name in json.loads(UNROLLING.read_text())
    )


def test_the_example_can_tell_of_itself(tmp_path: Path) -> None:
    path, field = tmp_path / "telling_means.py", "    shrink: float"
    path.write_text(
        f"from ddl_bench.api import About\n{BLOCKS[0].replace(field, BLOCKS[1] + field)}"
    )
    record = describe.method("whitened-means", (path,))
    assert (record["family"], record["missing"]) == ("baseline", ["my_solver"])


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


@pytest.mark.filterwarnings("ignore")
def test_a_scikit_learn_classifier_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "forest.py"
    path.write_text(BLOCKS[2])
    findings = list(check(str(path)))
    assert [finding.detail for finding in findings if finding.status == "broken"] == []
    assert any("forest" in finding.rule for finding in findings)
