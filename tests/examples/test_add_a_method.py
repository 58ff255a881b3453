"""The page about adding a method shows code that runs."""

import re
from pathlib import Path

import pytest

from ddl_bench import describe
from ddl_bench.cli.lists import words
from ddl_bench.contract.check import check
from ddl_bench.harness.run import run
from ddl_bench.plan.expansion import Overrides
from ddl_bench.registry import methods_in
from tests.conftest import ROOT

pytestmark = pytest.mark.no_cover  # smaller tests cover it

PAGE = (ROOT / "docs" / "add-a-method.md").read_text()
ESTIMATOR, MODULE, FUNCTION, FULL, ABOUT = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.mark.filterwarnings("ignore")  # of scikit-learn, about training on three classes
@pytest.mark.parametrize(
    ("code", "name", "n_lines"),
    [(ESTIMATOR, "forest", 1), (MODULE, "my-net", 1), (FUNCTION, "ridge", 5)],
)
def test_the_short_roads_are_short_and_keep_the_contract(
    code: str, name: str, n_lines: int, tmp_path: Path
) -> None:
    path = tmp_path / "plugin.py"
    path.write_text(code)
    without_networks = re.sub(r"^class .*\n(?:(?: .*)?\n)*", "", code, flags=re.M)
    glue = [line for line in without_networks.splitlines() if line and "import" not in line]
    assert 1 <= len(glue) <= n_lines
    findings = check(str(path), "digits")
    assert all(each.rule.startswith(f"{name} ") for each in findings)
    assert [each.detail for each in findings if each.status == "broken"] == []
    assert sum(each.status == "held" for each in findings) >= len(findings) - 2


def test_the_full_method_keeps_the_contract_and_runs(tmp_path: Path) -> None:
    path = tmp_path / "whitened_means.py"
    path.write_text(FULL)
    assert len([line for line in FULL.splitlines() if line.strip()]) <= 30
    findings = check(str(path))
    assert [each.detail for each in findings if each.status == "broken"] == []
    command = re.search(r'ddl-bench run --plugin whitened_means.py --methods "(.*)"', PAGE)
    assert command
    overrides = Overrides(methods=words(command[1]), plugins=(path,), seeds=[0])
    rows = run("quick", tmp_path / "out", overrides=overrides)
    assert [row.status for row in rows] == ["ok"] * 3
    accuracies = {row.cell.label: row.measured.accuracy or 0 for row in rows}
    assert accuracies["whitened-means"] > accuracies["nearest-mean"] > 80
    assert rows[0].measured.n_params == 64 * 64 + 10 * 64


def test_the_metadata_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "described_means.py"
    field = "    ridge: float"
    path.write_text(f"from ddl_bench.api import About\n{FULL.replace(field, ABOUT + field)}")
    record = describe.method("whitened-means", (path,))
    assert (record["family"], record["missing"]) == ("baseline", ["my_solver"])


def test_options_have_the_types_of_the_factory(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(MODULE)
    (name,) = methods_in(path)
    record = describe.method(name, (path,))
    assert record["options"]["width"]["type"] == "int"
    assert record["options"]["width"]["default"] == 32
