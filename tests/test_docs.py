"""What the documentation shows is run."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from baselines.lista import error_curves
from baselines.pursuit import encode
from ddl_bench.check import check
from ddl_bench.plan import Overrides
from ddl_bench.results import load_rows
from ddl_bench.run import run
from ddl_bench.table import BRIEF, display
from reports.figures import errors

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
SPEED = RESULTS / "speed.json"
UNROLLING = RESULTS / "unrolling.json"
PAGES = ("README.md", "docs/cifar10-small.md", "docs/cifar10.md", "docs/speed.md", "docs/unrolling.md")
TABLE = re.compile(r"<!-- table ([\w-]+) -->\n(.*?)\n<!-- /table -->", re.S)  # of a page: its committed run, its text
PAGE = (ROOT / "docs" / "add-a-method.md").read_text()


def table(name: str) -> str:
    """The text of a table in a page; to renew all: `python -c "from tests.test_docs import renew; renew()"`."""
    if name in MADE:
        return MADE[name]()
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


def keep_unrolling(n_iter: int = 3000) -> None:
    """Measure what docs/unrolling.md shows, draw it, and renew the page; about ten minutes on one core."""
    generator = torch.Generator().manual_seed(0)
    D = F.normalize(torch.randn(64, 128, generator=generator), dim=0)
    planted = torch.randn(22_000, 128, generator=generator) * (torch.rand(22_000, 128, generator=generator) < 0.1)
    train, test = (planted @ D.T).split([20_000, 2_000])
    curves = error_curves(D, 0.1, train, test, depths := [1, 2, 4, 8, 16, 32], n_iter=n_iter)
    iterations = [*depths, 64, 128, 256]
    exact = torch.as_tensor(encode(test, D, lmbd=0.1, tol=1e-7, max_iter=10_000).codes)
    found = {"distilled LISTA": dict(zip(map(str, depths), curves["lista"], strict=True))}
    for name, method in (("ISTA", "ista"), ("FISTA", "fista")):
        codes = (encode(test, D, lmbd=0.1, method=method, tol=0, max_iter=n).codes for n in iterations)
        found[name] = {str(n): float((U - exact).square().sum() / exact.square().sum())
                       for n, U in zip(iterations, codes, strict=True)}  # fmt: skip
    UNROLLING.write_text(json.dumps(found, indent=1) + "\n")
    draw_unrolling(UNROLLING.parent)
    renew()


def draw_unrolling(folder: Path) -> None:
    labels = "layers, or iterations", "squared error of the codes / their squared norm"
    errors(json.loads(UNROLLING.read_text()), *labels, folder / "unrolling.svg")


def unrolled() -> str:
    """The table of docs/unrolling.md."""
    found = json.loads(UNROLLING.read_text())
    steps = sorted({int(n) for curve in found.values() for n in curve})
    lines = [f"| layers or iterations | {' | '.join(found)} |", "| ---: |" + " ---: |" * len(found)]
    for n in steps:
        values = (curve.get(str(n)) for curve in found.values())
        lines.append(f"| {n} | {' | '.join('' if it is None else f'{it:.2g}' for it in values)} |")
    return "\n".join(lines)


MADE = {"speed": speeds, "unrolling": unrolled}  # tables that do not come from rows
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


def test_the_figure_of_unrolling_is_drawn_from_its_numbers(tmp_path: Path) -> None:
    draw_unrolling(tmp_path)
    assert (tmp_path / "unrolling.svg").read_text() == (RESULTS / "unrolling.svg").read_text()


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
