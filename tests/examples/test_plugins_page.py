"""The page about plugins shows code that runs."""

import re
from pathlib import Path

import numpy as np

from ddl_bench.api import API_VERSION
from ddl_bench.contract.check import check
from tests.conftest import ROOT, ddl_bench, make_cell, put

PAGE = (ROOT / "docs" / "plugins.md").read_text()
METRIC, REPORT, VERSION = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def test_the_column_and_the_report_of_the_page_are_written(tmp_path: Path) -> None:
    path = tmp_path / "brings.py"
    path.write_text(f"{METRIC}\n\n{REPORT}\n{VERSION}")
    assert {finding.status for finding in check(str(path))} == {"held"}
    put(tmp_path / "run", make_cell("a"), np.arange(40) > 3, {})
    text = ddl_bench(["report", tmp_path / "run", "--plugin", path])
    assert "macro recall (%)" in text
    assert (tmp_path / "run" / "report" / "means.csv").read_text() == "label,accuracy\na,90.0\n"


def test_the_page_names_the_version() -> None:
    assert VERSION.strip() == f"DDL_BENCH_API = {API_VERSION}"
