"""What the documentation shows is run."""

import re
from pathlib import Path

import pytest

from ddl_bench.check import check
from ddl_bench.plan import Overrides
from ddl_bench.results import Row, load_rows
from ddl_bench.run import run
from ddl_bench.table import BRIEF, display

ROOT = Path(__file__).parents[1]
QUOTED = {"README.md": "quick", "docs/cifar10-small.md": "cifar10-small"}  # page: the committed run its table shows
PAGE = (ROOT / "docs" / "add-a-method.md").read_text()


def markdown(rows: list[Row]) -> str:
    """The table of a page; to renew one: `python -c "from tests.test_docs import renew; renew()"`."""
    table = display(rows)
    return str(table[[name for name in BRIEF[1:] if name in table]].to_markdown(index=False, disable_numparse=True))


def renew() -> None:
    for page, name in QUOTED.items():
        path = ROOT / page
        before, _, rest = path.read_text().partition("<!-- table -->\n")
        _, _, after = rest.partition("\n<!-- /table -->")
        table = markdown(load_rows(ROOT / "docs" / "results" / name))
        path.write_text(f"{before}<!-- table -->\n{table}\n<!-- /table -->{after}")


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


@pytest.mark.parametrize("page", QUOTED)
def test_a_table_is_that_of_its_committed_rows(page: str) -> None:
    text = (ROOT / page).read_text()
    quoted = text[text.index("<!-- table -->\n") + len("<!-- table -->\n") : text.index("\n<!-- /table -->")]
    rows = load_rows(ROOT / "docs" / "results" / QUOTED[page])
    assert quoted == markdown(rows)


@pytest.mark.filterwarnings("ignore")
def test_a_scikit_learn_classifier_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "forest.py"
    path.write_text(BLOCKS[1])
    findings = check(str(path))
    assert [finding.detail for finding in findings if not finding.held] == []
    assert any("forest" in finding.rule for finding in findings)
