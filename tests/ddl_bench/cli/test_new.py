"""The beginnings of plugins that `ddl-bench new` writes pass `check`, and run."""

import json
from pathlib import Path

import numpy as np
import pytest

from ddl_bench.api import API_VERSION
from ddl_bench.contract.check import check
from ddl_bench.errors import UserError
from ddl_bench.registry import load_entry, plugin
from ddl_bench.results.rows import load_rows
from tests.conftest import ddl_bench, make_cell, put

KINDS = ["method", "dataset", "metric", "report"]


def new(kind: str, name: str, folder: Path) -> Path:
    """Write a beginning and return its file."""
    written = json.loads(ddl_bench(["new", kind, name, "--out", folder, "--json"]))
    return Path(written["file"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_beginning_passes_check(kind: str, tmp_path: Path) -> None:
    path = new(kind, "my-own", tmp_path)
    assert path.name == "my_own.py"
    assert f"DDL_BENCH_API = {API_VERSION} " in path.read_text()
    assert max(map(len, path.read_text().splitlines())) <= 100
    findings = list(check(str(path), "1x8x8"))
    assert {finding.status for finding in findings} <= {"held", "skipped"}
    assert "held" in {finding.status for finding in findings}


def test_the_beginnings_run_together(tmp_path: Path) -> None:
    words = [f"--plugin={new(kind, f'my-{kind}', tmp_path)}" for kind in KINDS]
    words += ["--methods", "my-method,nearest-mean", "--datasets", "my-dataset", "--seeds", "0"]
    text = ddl_bench(["run", *words, "--out", tmp_path / "run"])
    assert "my metric (%)" in text
    assert [row.status for row in load_rows(tmp_path / "run")] == ["ok", "ok"]
    table = (tmp_path / "run" / "report" / "my_report.csv").read_text()
    assert table.startswith("label,accuracy\n")


def test_what_to_do_next_is_said(tmp_path: Path) -> None:
    text = ddl_bench(["new", "method", "means", "--out", tmp_path])
    assert f"ddl-bench check {tmp_path / 'means.py'}" in text
    assert "--methods means,nearest-mean" in text


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("method", "sdl", "the name is taken"),
        ("dataset", "digits", "the name is taken"),
        ("metric", "accuracy", "the name is taken"),
        ("metric", "label", "the name is taken"),
        ("metric", "gpu", "the name is taken"),
        ("report", "Table", "the name is taken"),
        ("report", "report", "the name is taken"),
        ("method", "a b", "expected a letter"),
        ("method", "../x", "expected a letter"),
        ("metric", "x" * 100, "expected a letter"),
        ("method", "None", "not a name of one's own in Python; give another name, as in my-None"),
        ("dataset", "class", "not a name of one's own"),
        ("metric", "m\u00b2", "not a name of one's own"),
        ("method", "value-error", "not a name of one's own"),
        (
            "method",
            "torch",
            r"torch\.py would be imported in place of the module torch; .*my-torch",
        ),
        ("report", "Json", r"json\.py would be imported in place of the module json"),
        ("metric", "ddl-bench", r"ddl_bench\.py would be imported in place"),
        ("metod", "x", "'metod' is not one of|Invalid value for"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(
    kind: str, name: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        ddl_bench(["new", kind, name, "--out", tmp_path])
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    path = new("method", "mine", tmp_path)
    path.write_text("# work of weeks")
    with pytest.raises(UserError, match=r"mine\.py: exists already"):
        ddl_bench(["new", "method", "mine", "--out", tmp_path])
    assert path.read_text() == "# work of weeks"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"DDL_BENCH_API = {API_VERSION + 1}", "made for version 2 .* has 1; install a newer one"),
        ("DDL_BENCH_API = 'one'", "DDL_BENCH_API = 'one': expected a number such as 1"),
        ("DDL_BENCH_API = True", "expected a number"),
        ("DDL_BENCH_API = 0", "expected a number"),
    ],
)
def test_a_plugin_of_another_version_is_one_clear_line(
    line: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "later.py"
    path.write_text(line)
    with pytest.raises(UserError, match=message):
        plugin(path)


@pytest.mark.parametrize(("version", "is_refused"), [(API_VERSION, False), (7, True)])
def test_a_package_of_another_version_is_refused(
    version: int, is_refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.metadata import EntryPoint

    name = f"later_package_{version}"
    (tmp_path / f"{name}.py").write_text(f"DDL_BENCH_API = {version}\nclass Later: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("later", f"{name}:Later", "ddl_bench.methods")
    if is_refused:
        with pytest.raises(ImportError, match="made for version 7 of the interface"):
            load_entry(entry)
    else:
        assert load_entry(entry).__name__ == "Later"


BAD = {
    "METRICS": "from ddl_bench.api import Metric\nMETRICS = {'bad': Metric(lambda each: 1 / 0)}",
    "DATASETS": "DATASETS = {'bad': lambda data_dir, download: 3}",
    "REPORTS": "REPORTS = {'bad': lambda rows, folder: None}",
}


@pytest.mark.parametrize("kind", BAD)
def test_check_says_what_is_wrong_with_a_part(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text(BAD[kind])
    broken = [finding for finding in check(str(path)) if finding.status == "broken"]
    details = {
        "METRICS": ["raised ZeroDivisionError: division by zero", "its function has no docstring"],
        "DATASETS": ["returned int, expected ddl_bench.data.ImageSet"],
        "REPORTS": ["wrote no file into the folder"],
    }
    assert len(broken) == len(details[kind])
    for finding, detail in zip(broken, details[kind], strict=True):
        assert finding.detail.startswith(detail)


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("METRICS", "gpu", "the metric 'gpu' has the name of a column of ours"),
        ("METRICS", "a-b", "the metric 'a-b' is no name of a column"),
        ("DATASETS", "digits", "'digits' is taken"),
    ],
)
def test_check_refuses_parts_that_have_the_names_of_others(
    kind: str, name: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "hidden.py"
    path.write_text(BAD[kind].replace("bad", name))
    with pytest.raises(UserError, match=message):
        check(str(path))


def test_the_default_report_is_there_beside_those_of_plugins(tmp_path: Path) -> None:
    put(tmp_path, make_cell("a"), np.arange(20) > 2, {})
    path = new("report", "mine", tmp_path)
    paths = json.loads(ddl_bench(["report", tmp_path, "--plugin", path, "--json"]))
    assert {"page", "csv", "mine"} <= paths.keys()
