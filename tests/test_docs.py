"""What the documentation shows is run."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ddl_bench.check import check
from ddl_bench.plan import Overrides
from ddl_bench.results import load_rows
from ddl_bench.run import run
from ddl_bench.table import BRIEF, display

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
SPEED = RESULTS / "speed.json"
PAGES = ("README.md", "docs/cifar10-small.md", "docs/cifar10.md", "docs/speed.md")
TABLE = re.compile(r"<!-- table ([\w-]+) -->\n(.*?)\n<!-- /table -->", re.S)  # of a page: its committed run, its text
PAGE = (ROOT / "docs" / "add-a-method.md").read_text()


def table(name: str) -> str:
    """The text of a table in a page; to renew all: `python -c "from tests.test_docs import renew; renew()"`."""
    if name == "speed":
        return speeds()
    shown = display(load_rows(RESULTS / name))
    names = [*BRIEF[1:4], "official (%)", *BRIEF[4:]]
    return str(shown[[it for it in names if it in shown]].to_markdown(index=False, disable_numparse=True))


def renew() -> None:
    for page in PAGES:
        text = (ROOT / page).read_text()
        text = TABLE.sub(lambda it: f"<!-- table {it[1]} -->\n{table(it[1])}\n<!-- /table -->", text)
        (ROOT / page).write_text(text)


def keep_speed(report: str) -> None:
    """Keep what docs/speed.md shows of what `tox -e bench -- --benchmark-json=FILE` wrote, and renew the page."""
    found = json.loads(Path(report).read_text())
    machine = {"cpu": found["machine_info"]["cpu"]["brand_raw"], "date": found["datetime"][:10]}
    runs = [{"name": it["name"], **it["extra_info"]} for it in found["benchmarks"] if "bar" in it["extra_info"]]
    commit = {"commit": found["commit_info"]["id"], "dirty": found["commit_info"]["dirty"]}
    SPEED.write_text(json.dumps(machine | commit | {"runs": runs}, indent=1) + "\n")
    renew()


def speeds() -> str:
    """The table of docs/speed.md."""
    lines = ["| comparison | ours (s) | theirs (s) | theirs / ours |", "| --- | ---: | ---: | ---: |"]
    for it in json.loads(SPEED.read_text())["runs"]:
        name = it["name"].removeprefix("test_").replace("_", " ").replace("[", ": ").replace("]", "")
        lines.append(f"| {name} | {it['ours_s']:.3g} | {it['theirs_s']:.3g} | {it['ratio']:.2f} |")
    return "\n".join(lines)


BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def test_the_example_method_keeps_the_contract_and_runs(tmp_path: Path) -> None:
    example = tmp_path / "whitened_means.py"
    example.write_text(BLOCKS[0])
    lines = [line for line in BLOCKS[0].splitlines() if line.strip()]
    assert len(lines) <= 30
    assert [finding.detail for finding in check(str(example)) if not finding.held] == []
    command = re.search(r'ddl-bench run --plugin whitened_means.py --methods "(.*)"', PAGE)
    assert command
    from ddl_bench.cli import words

    overrides = Overrides(methods=words(command[1]), plugins=(example,), seeds=[0])
    rows = {row.cell.label: row for row in run("quick", tmp_path / "out", overrides=overrides)}
    assert [row.status for row in rows.values()] == ["ok"] * 3
    assert (rows["whitened-means"].accuracy or 0) > (rows["nearest-mean"].accuracy or 0) > 80


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
    path.write_text(BLOCKS[1])
    findings = check(str(path))
    assert [finding.detail for finding in findings if not finding.held] == []
    assert any("forest" in finding.rule for finding in findings)
