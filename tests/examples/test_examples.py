"""Every example runs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ddl_bench import load
from ddl_bench.contract.check import check
from ddl_bench.harness.run import run
from ddl_bench.plan.cell import BudgetSpec
from ddl_bench.plan.expansion import Overrides, plan
from tests.conftest import ROOT, ddl_bench

pytestmark = pytest.mark.no_cover  # smaller tests cover it

EXAMPLES = ROOT / "examples"
FILES = sorted(path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".toml"))


def test_all_examples_are_listed() -> None:
    page = (EXAMPLES / "README.md").read_text()
    assert [name for name in FILES if f"({name})" not in page] == []


@pytest.mark.filterwarnings("ignore")  # of scikit-learn, about training on three classes
@pytest.mark.parametrize("name", ["torch_plugin.py", "numpy_plugin.py", "sklearn_plugin.py"])
def test_a_plugin_keeps_the_contract(name: str) -> None:
    findings = check(str(EXAMPLES / name), "digits")
    assert [each.detail for each in findings if each.status == "broken"] == []
    assert any(each.status == "held" and "learns more" in each.rule for each in findings)


def test_the_data_set_runs(tmp_path: Path) -> None:
    overrides = Overrides(
        methods=["logistic"],
        datasets=["bars"],
        seeds=[0],
        budget=BudgetSpec(epochs=1, seconds=None),
        plugins=(EXAMPLES / "dataset_plugin.py",),
    )
    (row,) = run("quick", tmp_path, overrides=overrides)
    assert row.status == "ok"
    assert (row.measured.accuracy or 0) > 90


@pytest.mark.parametrize("name", ["metric_plugin.py", "report_plugin.py"])
def test_a_column_and_a_report_keep_the_contract_and_are_shown(name: str, tmp_path: Path) -> None:
    findings = check(str(EXAMPLES / name))
    assert {each.status for each in findings} == {"held"}
    run = tmp_path / "run"
    shutil.copytree(ROOT / "docs" / "results" / "quick-5-seeds", run)
    text = ddl_bench(["report", run, "--plugin", EXAMPLES / name])
    if name == "metric_plugin.py":
        assert "macro recall (%)" in text
        assert re.search(r"right \(images/s\)", text)
        assert load(run)["macro_recall"].between(80, 100).all()
    else:
        lines = (run / "report" / "leaderboard.txt").read_text().splitlines()
        assert lines[:2] == ["digits:", "1. spams: 99.00 % (5 seeds)"]


def test_the_track_is_planned() -> None:
    plugins = (EXAMPLES / "torch_plugin.py",)
    cells = plan(str(EXAMPLES / "track.toml"), Overrides(plugins=plugins))
    assert [cell.label for cell in cells] == ["sgd", "adamw", "tiny-cnn[width=8]"]


def test_the_tracks_own_method_runs(tmp_path: Path) -> None:
    plugins = (EXAMPLES / "torch_plugin.py",)
    overrides = Overrides(methods=["tiny-cnn"], plugins=plugins, keep_models=True)
    (row,) = run(str(EXAMPLES / "track.toml"), tmp_path, overrides=overrides)
    assert row.status == "ok", row.reason
    assert row.chosen in ({"recipe.lr": 1e-3}, {"recipe.lr": 1e-2})
    assert len(list((tmp_path / "models").iterdir())) == 1


def test_the_package_is_installed_and_found(tmp_path: Path) -> None:
    source = EXAMPLES / "package"
    copy = tmp_path / "source"
    subprocess.run(["cp", "-r", str(source), str(copy)], check=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(tmp_path / "site"), str(copy)], check=True)
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    listed = [sys.executable, "-m", "ddl_bench", "methods", "prototype"]
    environment = os.environ | {"PYTHONPATH": path}
    shown = subprocess.run(
        listed, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert "prototype: Score by the negative distance" in shown
    names = subprocess.run(
        [sys.executable, "-m", "ddl_bench", "datasets"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "checks" in names
