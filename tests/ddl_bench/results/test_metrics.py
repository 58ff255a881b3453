"""Columns that plugins bring: computed from kept predictions, shown wherever rows are."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ddl_bench import load
from ddl_bench.api import Metric, Predicted
from ddl_bench.cli.main import app
from ddl_bench.errors import UserError
from ddl_bench.files import DamagedFile
from ddl_bench.registry import metrics
from ddl_bench.results import measuring
from ddl_bench.results.groups import gather
from ddl_bench.results.measuring import measure
from ddl_bench.results.metrics import read_columns
from ddl_bench.results.publish import publish
from ddl_bench.results.rows import load_rows
from ddl_bench.results.table import columns_of, display, summary
from tests.conftest import ddl_bench, make_cell, put

N_IMAGES = 50


def n_wrong(predicted: Predicted) -> int:
    """Test images whose class is wrong.

    Of all.
    """
    return int((predicted.predictions != predicted.targets).sum())


def only_of_b(predicted: Predicted) -> float | None:
    """Seconds of training, of one method."""
    return predicted.row["train_s"] if predicted.row["label"] == "b" else None


METRICS = {
    "n_wrong": Metric(n_wrong, title="wrong", unit="images", better="lower"),
    "only_of_b": Metric(only_of_b),
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for label, wrong in (("a", 5), ("b", 10)):
        for seed in range(2):
            right = np.arange(N_IMAGES) >= wrong + seed
            put(
                tmp_path,
                make_cell(label, seed),
                right,
                {"class_names": np.array(list("0123456789ab"))},
            )
    put(tmp_path, make_cell("c"), status="failed", reason="no luck")
    return tmp_path


def test_metrics_are_columns_of_tables_and_frames(run: Path) -> None:
    before = {path.name: path.read_bytes() for path in (run / "cells").iterdir()}
    assert measure(run, load_rows(run), METRICS) == []
    assert {path.name: path.read_bytes() for path in (run / "cells").iterdir()} == before
    rows = load_rows(run)
    table = display(rows).set_index("method")
    assert table["wrong (images)"].to_dict() == {"a": "5.5 ± 0.71", "b": "10.5 ± 0.71", "c": ""}
    assert table["only_of_b"].to_dict() == {"a": "", "b": "2", "c": ""}
    assert summary(rows).set_index("label")["n_wrong"]["b"] == 10.5
    column = columns_of(gather(rows))[-2]
    assert (column.field, column.meaning) == ("n_wrong", "Test images whose class is wrong.")
    frame = load(run)
    assert sorted(frame["n_wrong"].dropna()) == [5, 6, 10, 11]


def test_a_metric_that_fails_loses_nothing_else(run: Path) -> None:
    def broken(predicted: Predicted) -> float:
        raise ValueError("no such thing")

    def endless(predicted: Predicted) -> float:
        return float("inf")

    put(run, make_cell("d"), accuracy=50.0)
    problems = measure(run, load_rows(run), {**METRICS, "x": Metric(broken), "y": Metric(endless)})
    assert problems == [
        "metric 'n_wrong': 1 row has none: UserError: predictions were not kept",
        "metric 'only_of_b': 1 row has none: UserError: predictions were not kept",
        "metric 'x': 4 rows have none: ValueError: no such thing",
        "metric 'x': 1 row has none: UserError: predictions were not kept",
        "metric 'y': 4 rows have none: UserError: inf is not finite, or beyond 1e18",
        "metric 'y': 1 row has none: UserError: predictions were not kept",
    ]
    assert [len(row.metrics) for row in load_rows(run)].count(0) == 2


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def huge(predicted: Predicted) -> float:
    return 1.5e308


def leaves(predicted: Predicted) -> float:
    raise SystemExit(0)


def mute(predicted: Predicted) -> float:
    raise Mute


def text(predicted: Predicted) -> float:
    return "12"  # type: ignore[return-value]  # as a plugin may


def clears(predicted: Predicted) -> float:
    predicted.row.clear()  # type: ignore[attr-defined]  # as a plugin may
    return 1.0


def test_whatever_a_metric_does_is_a_sentence(run: Path) -> None:
    bad = {"huge": huge, "leaves": leaves, "mute": mute, "text": text}
    offered = {name: Metric(function) for name, function in bad.items()}
    problems = measure(run, load_rows(run), {"clears": Metric(clears)} | offered | METRICS)
    assert len(problems) == len(bad)
    for words in ("beyond 1e18", "SystemExit", "Mute", "expected a number"):
        assert any(words in problem for problem in problems), words
    assert load(run)["n_wrong"].notna().sum() == 4


def test_equal_headings_stay_apart(run: Path) -> None:
    titles = ("same", "same", "accuracy (%)", "method")
    offered = {}
    for place, title in enumerate(titles):

        def constant(predicted: Predicted, place: int = place) -> float:
            return float(place)

        offered[f"m{place}"] = Metric(constant, title=title)
    measure(run, load_rows(run), offered)
    table = display(load_rows(run))
    line = table[table["method"] == "a"].iloc[0]
    titles_shown = ("same", "same, m1", "accuracy (%), m2", "method, m3")
    assert [line[title] for title in titles_shown] == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("values", "words"),
    [({"better": "up"}, "better='up'"), ({"title": 3}, "title=3"), ({"unit": None}, "unit=None")],
)
def test_a_metric_of_other_types_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        Metric(n_wrong, **values)
    with pytest.raises(TypeError, match="expected a function"):
        Metric(3)  # type: ignore[arg-type]  # as a plugin may


def test_metrics_of_one_plugin_stay_when_another_is_computed(run: Path) -> None:
    measure(run, load_rows(run), {"n_wrong": METRICS["n_wrong"]})
    measure(run, load_rows(run), {"only_of_b": METRICS["only_of_b"]})
    assert list(read_columns(run).columns) == ["n_wrong", "only_of_b"]


def test_numbers_of_other_rows_stay_when_some_are_computed(run: Path) -> None:
    measure(run, load_rows(run), METRICS)
    some = [row for row in load_rows(run) if row.cell.label == "a"]
    measure(run, some, METRICS)
    assert sorted(load(run)["n_wrong"].dropna()) == [5, 6, 10, 11]
    (run / "cells" / f"{some[0].cell.id}.npz").unlink()
    measure(run, some, METRICS)
    assert sorted(load(run)["n_wrong"].dropna()) == [6, 10, 11], "what is not known now goes"


def test_a_number_of_an_earlier_training_does_not_count(run: Path) -> None:
    measure(run, load_rows(run), METRICS)
    put(run, make_cell("a", 0), np.ones(N_IMAGES, bool), {}, started="9")
    values = {(row.cell.label, row.cell.seed): row.metrics for row in load_rows(run)}
    assert values["a", 0] == {}
    assert values["a", 1]["n_wrong"].value == 6


def test_a_public_copy_has_the_metrics(run: Path, tmp_path: Path) -> None:
    measure(run, load_rows(run), METRICS)
    publish(run, tmp_path / "public")
    assert "n_wrong" in load(tmp_path / "public")
    (run / "cells" / f"{make_cell('b', 1).id}.json").unlink()
    (run / "metrics.json").unlink()
    rows = [row for row in load_rows(run) if row.cell.label == "a"]
    measure(run, rows, {"n_wrong": METRICS["n_wrong"]})
    publish(run, tmp_path / "public")
    copied = load(tmp_path / "public")
    assert sorted(copied["n_wrong"].dropna()) == [5, 6, 11], "the run lacks the last"
    assert copied["only_of_b"].count() == 1


@pytest.mark.parametrize("text", ["[]", "{", '{"format": 2}', '{"columns": {"x": {"values": 1}}}'])
def test_a_damaged_file_is_left_out_with_a_warning(run: Path, text: str) -> None:
    (run / "metrics.json").write_text(text)
    with pytest.warns(DamagedFile, match=r"metrics\.json"):
        rows = load_rows(run)
    assert len(rows) == 5


PLUGIN = """
from ddl_bench.api import Metric

def n_wrong(predicted):
    'Test images whose class is wrong.'
    return int((predicted.predictions != predicted.targets).sum())

def write(rows, folder):
    (folder / "seen.txt").write_text(" ".join(rows["label"]))

def fail(rows, folder):
    raise RuntimeError("no paper")

METRICS = {"n_wrong": Metric(n_wrong, title="wrong", unit="images")}
REPORTS = {"seen": write, "failing": fail}
"""


def test_a_plugin_brings_columns_and_reports_to_the_command_line(run: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "brings.py"
    plugin.write_text(PLUGIN)
    text = ddl_bench(["report", run, "--plugin", plugin])
    assert "wrong (images)" in text
    assert (run / "report" / "seen.txt").read_text().split() == ["a", "a", "b", "b", "c"]
    assert "the report 'failing' is left out: RuntimeError: no paper" in text
    later = ddl_bench(["report", run, "--columns", "n_wrong", "--out", tmp_path / "again"])
    assert "wrong (images)" in later
    rows = json.loads(ddl_bench(["show", "a", run, "--json"]))
    assert rows[0]["metrics"]["n_wrong"]["value"] == 5


MOVES = """
import os
from ddl_bench.api import Metric

def moves(predicted):
    print("on the way")
    os.chdir("/")
    return 1.0

def write(rows, folder):
    print("on the way")
    os.chdir("/")
    (folder / "seen.txt").write_text("seen")

METRICS = {"moves": Metric(moves), "moves_too": Metric(moves)}
REPORTS = {"moving": write, "moving-too": write}
"""


def test_what_a_plugin_prints_and_where_it_goes_changes_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "moves.py"
    plugin.write_text(MOVES)
    monkeypatch.chdir(run.parent)
    seen = CliRunner().invoke(app, ["report", run.name, "--plugin", str(plugin), "--json"])
    assert {"moving", "moving-too", "page"} <= json.loads(seen.stdout).keys()
    assert "on the way" in seen.stderr
    assert "has removed" not in seen.stderr
    assert (run / "metrics.json").is_file()
    assert load(run)["moves_too"].count() == 4, "of one no predictions are kept"


def test_a_run_computes_the_columns_of_its_plugins(tmp_path: Path) -> None:
    plugin = tmp_path / "brings.py"
    plugin.write_text(PLUGIN.replace('"failing": fail', ""))
    words = ["run", "--methods", "nearest-mean", "--seeds", "0", "--no-report", "--plugin", plugin]
    text = ddl_bench([*words, "--out", tmp_path / "out", "--columns", "n_wrong,accuracy"])
    assert "wrong (images)" in text
    (row,) = load_rows(tmp_path / "out")
    n_test = row.measured.n_test or 0
    assert row.metrics["n_wrong"].value == round(n_test * (1 - (row.measured.accuracy or 0) / 100))
    with pytest.raises(UserError, match="no column 'n_rong': did you mean 'n_wrong'"):
        ddl_bench([*words, "--columns", "n_rong"])


@pytest.mark.parametrize("name", ["accuracy", "seed", "behind", "train_s", "line"])
def test_a_metric_cannot_take_the_name_of_a_column(name: str, tmp_path: Path) -> None:
    plugin = tmp_path / "takes.py"
    plugin.write_text(PLUGIN.replace('METRICS = {"n_wrong"', f'METRICS = {{"{name}"'))
    words = ["run", "--methods", "nearest-mean", "--plugin", plugin, "--out", tmp_path / "out"]
    with pytest.raises(UserError, match=f"the metric '{name}' has the name of a column"):
        ddl_bench(words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "METRICS = {'x': len}",
            r"METRICS\['x'\] is a builtin_function_or_method; expected Metric",
        ),
        ("METRICS = [1]", "METRICS is no dictionary"),
        ("from ddl_bench.api import Metric\nMETRICS = {'a-b': Metric(len)}", "no name of a column"),
    ],
)
def test_a_wrong_registration_is_one_clear_line(code: str, message: str, tmp_path: Path) -> None:
    plugin = tmp_path / "wrong.py"
    plugin.write_text(code)
    with pytest.raises(UserError, match=message):
        metrics([plugin])


def test_metrics_that_a_run_has_no_more_leave_its_copy(run: Path, tmp_path: Path) -> None:
    measure(run, load_rows(run), METRICS)
    publish(run, tmp_path / "public")
    (run / "metrics.json").unlink()
    publish(run, tmp_path / "public")
    assert not (tmp_path / "public" / "metrics.json").exists()


def test_predictions_of_another_training_are_not_measured(run: Path) -> None:
    """As after a kill between the predictions and the row."""
    cell = make_cell("a", 0)
    put(run, cell, np.ones(N_IMAGES, bool), {}, predictions_sha256="0" * 64)
    with pytest.warns(DamagedFile, match="predictions are those of another training"):
        measure(run, load_rows(run), METRICS)
    frame = load(run).set_index(["label", "seed"])
    assert frame["n_wrong"].isna()["a", 0]
    assert frame["n_wrong"]["a", 1] == 6


def test_a_metric_with_the_name_of_a_column_of_ours_is_left_out(run: Path) -> None:
    measure(run, load_rows(run), METRICS)
    path = run / "metrics.json"
    values = json.loads(path.read_text())
    for name in ("accuracy", "family"):
        values["columns"][name] = values["columns"]["n_wrong"]
    path.write_text(json.dumps(values))
    with pytest.warns(DamagedFile, match="'accuracy' is the name of a column of ours"):
        table = load(run)
    ok = table[table["status"] == "ok"]
    assert ok["accuracy"].between(70, 90).all()
    assert ok["n_wrong"].notna().all()
    assert set(ok["family"]) == {"other"}
    with pytest.warns(DamagedFile):
        assert "wrong" in ddl_bench(["report", run])


def test_a_file_that_cannot_be_read_is_kept_under_another_name(run: Path) -> None:
    (run / "metrics.json").write_text('{"format": 99}')
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DamagedFile)
        measure(run, load_rows(run), METRICS)
    assert re.search(r"kept as metrics\.json\..*\.unread", str(caught[-1].message))
    (aside,) = run.glob("metrics.json.*.unread")
    assert aside.read_text() == '{"format": 99}'
    assert set(read_columns(run).columns) == set(METRICS)


def test_a_run_that_cannot_be_written_has_a_report_without_metrics(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path, columns: object) -> None:
        raise UserError(f"{folder.name}: cannot write")

    monkeypatch.setattr(measuring, "write_columns", refuse)
    plugin = tmp_path / "plugin.py"
    plugin.write_text(PLUGIN)
    result = CliRunner().invoke(app, ["report", str(run), "--plugin", str(plugin)])
    assert result.exit_code == 0, result.output
    assert "cannot write; metrics of plugins are left out" in " ".join(result.stderr.split())
