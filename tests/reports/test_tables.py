"""Tables as LaTeX, CSV and BibTeX."""

import io
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ddl_bench
from ddl_bench.api import Metric
from ddl_bench.describe import bibliography
from ddl_bench.errors import UserError
from ddl_bench.results.columns import FRAME_COLUMNS
from ddl_bench.results.measuring import measure
from ddl_bench.results.rows import load_rows
from reports.report import write
from reports.tables.bibtex import references
from reports.tables.latex import label_of, latex_table, tex
from tests.conftest import ROOT, make_cell, put

HOSTILE = "<b>'x'</b> 100 % | $\\x_{ & # ~ ^ \" [a] {b}"
LONG_PATH = "/very/long/" + "folder_with_a_name/" * 6 + "data.npz"
ENGINES = ("pdflatex", "lualatex")


def unescaped(text: str) -> str:
    """Return what is left of a LaTeX text without commands and escaped letters."""
    return re.sub(r"\\([%&#${}_]|[A-Za-z]+|$)", "", text)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make up a run with five seeds, names of all kinds, notes with paths, and a failed method."""
    folder = tmp_path_factory.mktemp("results") / "made-up 100 %"
    about = {"cpu": "Xeon_1 & co", "commit": "0123456789", "versions": {"ddl-bench": "0.1.0"}}
    labels = {"sdl": 190, "lista": 189, HOSTILE: 120, "辞書学習 é": 100, "x" * 120: 90}
    for seed in range(5):
        for label, n_right in labels.items():
            right = np.arange(200) < n_right + seed
            cell = make_cell(label, seed)
            put(folder, cell, right, provenance=about, n_params=1234567, test_s_per_image=1e-5)
        put(folder, make_cell("spams", seed), status="failed", reason=f"cannot read {LONG_PATH}")
    return folder


@pytest.fixture(scope="module")
def paths(run: Path) -> dict[str, Path]:
    return write(str(run), str(run / "out"))


def test_latex_is_balanced_and_escaped(paths: dict[str, Path]) -> None:
    text = paths["latex"].read_text()
    code = "\n".join(line for line in text.splitlines() if not line.startswith(("%", r"\provide")))
    bare = unescaped(code)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert not re.search(r"[%#_±≈µ]", bare)
    assert code.count(r"\begin{") == code.count(r"\end{")
    body = unescaped(code[code.index(r"\toprule") : code.index(r"\bottomrule")])
    rows = [line for line in body.splitlines() if line.strip()]
    assert len({row.count("&") for row in rows}) == 1


def test_the_best_is_bold_what_is_not_separable_is_marked_and_numbers_are_right_aligned(
    paths: dict[str, Path],
) -> None:
    text = paths["latex"].read_text()
    assert text.count(r"\textbf{") == 1
    assert re.search(r"sdl & 5 & \\textbf\{96\.00 \$\\pm\$ 0\.79 \$\\approx\$\}", text)
    columns = re.search(r"\\begin\{tabular\}\{@\{\}(.*)@\{\}\}", text)
    assert columns is not None
    assert columns[1].endswith("rr")
    head = text[text.index(r"\toprule") : text.index(r"\midrule")]
    assert "data set" not in head, "what is the same on all lines stands in the caption"
    for wanted in (
        r"\caption{Results on digits.",
        "over n = 5 seeds, n = 200 test images",
        r"Xeon\_1 \& co, 1 thread",
        "ddl-bench 0.1.0 (01234567)",
        r"\label{tab:made-up-100}",
        "% Written by: ddl-bench report made-up 100 %",
    ):
        assert wanted in text
    assert r"spams: 0 of 5 seeds; seed 0, 1, 2, 3, 4: failed: cannot read /" in text
    assert r"/\allowbreak{}" in text, "a long path is broken into lines"


@pytest.mark.parametrize("engine", ENGINES)
def test_latex_compiles_with_booktabs_and_nothing_runs_out_of_the_page(
    engine: str, paths: dict[str, Path], tmp_path: Path
) -> None:
    program = shutil.which(engine)
    if program is None:
        pytest.skip(f"{engine} is not installed")
    shutil.copy(paths["latex"], tmp_path / "table.tex")
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}%s\end{document}"
    (tmp_path / "all.tex").write_text(document % r"\input{table.tex}")
    command = [program, "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(
        command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, timeout=120
    )
    log = (tmp_path / "all.log").read_text(errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert "Overfull" not in log
    assert "Float too large" not in log


def latex_of(run: Path, n_seeds: int) -> str:
    """Return the LaTeX table of two methods of so many seeds, timed on a loaded machine."""
    loaded: dict[str, Any] = {"test_cpu_share": 0.39, "test_others": 0.6}
    for seed in range(n_seeds):
        for label, n_right in {"sdl": 190, "lista": 150}.items():
            right = np.arange(200) < n_right + seed
            put(run, make_cell(label, seed), right, test_s_per_image=n_right / 1e7, **loaded)
    return write(run)["latex"].read_text()


@pytest.mark.parametrize("n_seeds", [1, 3, 5])
def test_latex_tables_have_the_cautions_of_the_foot(tmp_path: Path, n_seeds: int) -> None:
    text = latex_of(tmp_path / "run", n_seeds)
    head, _, body = text.partition(r"\toprule")
    is_single = n_seeds == 1
    assert ("single networks, from which nothing follows about methods" in head) == is_single
    assert ("standard deviations" in head) != is_single
    assert ("textbf" in body) != is_single
    assert ("No line is ranked: a verdict needs 5 seeds" in head) == (n_seeds == 3)
    assert r"$\dagger$" in body
    assert r"$\dagger$ marks a time" in head
    assert "CPU/wall" not in text


def test_letters_that_latex_does_not_know_are_texts() -> None:
    assert tex("a_b 100 %") == r"a\_b 100 \%"
    assert tex("日") == r"\unicodetext{日}{U+65E5}"
    assert tex("é\x07\n ≈") == r"é\unicodetext{?}{U+0007} $\approx$"
    assert r"\allowbreak{}" in tex("x" * 40)


def test_long_tables_go_on_in_another() -> None:
    numbers = [str(i) for i in range(100)]
    table = pd.DataFrame({"method": [f"m{number}" for number in numbers], "n": numbers})
    text = latex_table(table, caption="All.", label="tab:x")
    assert text.count(r"\begin{table}") == text.count(r"\toprule") == 3
    assert text.count(r"\caption{Continued.}") == 2
    assert r"\label{tab:x-3}" in text
    assert sum(line.startswith("m") for line in text.splitlines()) == 100 + 3


def test_cells_have_a_line_for_each_training_and_columns_that_are_described(
    run: Path, paths: dict[str, Path]
) -> None:
    cells = pd.read_csv(paths["cells"])
    df = ddl_bench.load(run)
    assert len(cells) == len(df) == 30
    expected = df["accuracy"].to_numpy(dtype=float, na_value=np.nan)
    np.testing.assert_allclose(cells["accuracy"], expected)
    assert set(cells["run"]) == {run.name}
    described = pd.read_csv(paths["columns"], keep_default_na=False)
    assert list(described) == ["name", "type", "unit", "meaning"]
    assert list(described["name"]) == list(cells) == [column.name for column in FRAME_COLUMNS]
    assert dict(zip(described["name"], described["unit"], strict=True))["train_s"] == "s"


def test_no_text_is_a_formula_to_a_spreadsheet(tmp_path: Path) -> None:
    put(tmp_path, make_cell("=HYPERLINK(1)"), status="failed", reason="-1+@SUM(A1)")
    cells = pd.read_csv(write(tmp_path)["cells"], dtype=str)
    assert cells["label"][0] == "'=HYPERLINK(1)"
    assert cells["reason"][0] == "'-1+@SUM(A1)"


@pytest.mark.parametrize("name", ["=1+1", " +x", "-x", "@SUM(A1)"])
def test_no_name_of_a_metric_is_a_formula_to_a_spreadsheet(name: str, tmp_path: Path) -> None:
    put(tmp_path, make_cell("sdl"), np.arange(20) < 15, {})
    metric = Metric(lambda _: 1.0)
    assert measure(tmp_path, load_rows(tmp_path), {name: metric}) == []
    paths = write(tmp_path)
    for file in ("csv", "cells"):
        header = paths[file].read_text().splitlines()[0].split(",")
        assert f"'{name}" in header
        assert name not in header


def test_references_are_those_of_the_methods(paths: dict[str, Path]) -> None:
    entries = bibliography(paths["bibtex"])
    assert {"gregor2010", "mairal2010"} <= entries.keys()
    assert "tang2021" not in entries
    text = references(["nearest-mean", "mine", "lista"])
    assert text.startswith("% without a reference: mine, nearest-mean\n")
    assert len(re.findall(r"^@", text, re.M)) == 2


def test_the_tables_of_the_paper_are_latex_and_csv(tmp_path: Path) -> None:
    paths = write(ROOT / "docs" / "results" / "paper-recipe", tmp_path)
    for stem in ("paper-table-1", "paper-table-2", "paper-claims"):
        text = paths[f"{stem}.tex"].read_text()
        assert r"\toprule" in text
        assert r"beside our runs: mean $\pm$ standard deviation" in text
        assert unescaped(text).count("{") == unescaped(text).count("}")
        assert len(pd.read_csv(io.StringIO(paths[f"{stem}.csv"].read_text()))) > 5


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    right = np.arange(90) < 50
    for seed in range(3):
        put(tmp_path / "run", make_cell("sdl", seed), right, {"class_names": np.arange(12)})
    for name in ("first", "second"):
        write(tmp_path / "run", tmp_path / name)
    files = [path for path in sorted((tmp_path / "first").rglob("*")) if path.is_file()]
    assert len(files) > 10
    for path in files:
        other = tmp_path / "second" / path.relative_to(tmp_path / "first")
        assert path.read_bytes() == other.read_bytes(), path.name


def test_several_folders_have_one_report(tmp_path: Path) -> None:
    put(tmp_path / "ours", make_cell("a"), np.arange(90) < 50)
    put(tmp_path / "theirs", make_cell("a"), np.arange(90) < 51)
    put(tmp_path / "theirs", make_cell("b"), np.arange(90) < 60)
    both: list[Path | str] = [tmp_path / "ours", str(tmp_path / "theirs")]
    with pytest.raises(UserError, match=r"several runs .*--out"):
        write(both)
    paths = write(both, tmp_path / "both")
    assert paths["page"] == tmp_path / "both" / "index.html"
    text = paths["markdown"].read_text()
    assert "conflict: seed 0: accuracy is 55.5556 in " in text
    assert "| b " in text
    assert "ours + theirs" in paths["page"].read_text()


def test_labels_of_names_in_other_scripts_differ() -> None:
    assert label_of("tab:数据") == "tab:u6570u636e"
    assert label_of("tab:数据") != label_of("tab:図像")
    assert label_of("tab:my data, 2") == "tab:my-data-2"
