"""The command line: what a user types and sees."""

import dataclasses
import io
import json
import os
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ddl_bench import describe, machine, registry
from ddl_bench.cli import main as cli
from ddl_bench.cli import running
from ddl_bench.cli.commands.shared import DATA_DIR_HELP, LAST_RUN, one_run
from ddl_bench.cli.live import line
from ddl_bench.cli.output import as_time
from ddl_bench.cli.predict import model_file
from ddl_bench.cli.report import show_page, write_report
from ddl_bench.cli.results import print_results
from ddl_bench.data.sources import default_data_dir
from ddl_bench.errors import UserError
from ddl_bench.plan.cell import BudgetSpec
from ddl_bench.results.models import known_classes
from ddl_bench.results.rows import Row, load_rows
from tests.conftest import DIGITS, ddl_bench, make_cell, make_row, put

ON_RUNS = ["run", "status", "runs", "clean", "report", "publish", "show", "compare", "power"]
VERBS = [*ON_RUNS, "predict", "methods", "datasets", "tracks", "doctor", "check"]
OPTIONS = ["--methods", "nearest-mean,logistic", "--seeds", "0-1", "--limit-train", 400]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two fast methods on digits, with kept models and a report."""
    out = tmp_path_factory.mktemp("cli") / "run"
    ddl_bench(["run", "quick", *OPTIONS, "--keep-models", "--out", out])
    return out


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_teaches(verb: str) -> None:
    text = ddl_bench([*filter(None, [verb]), "--help"])
    assert "Usage:" in text
    if verb in (
        "run",
        "show",
        "compare",
        "power",
        "predict",
        "check",
        "report",
        "publish",
        "methods",
        "datasets",
    ):
        assert f"• ddl-bench {verb}" in text, "an example"


def test_the_help_names_the_folder_of_data_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DDL_BENCH_DATA", raising=False)
    folder = f"~/{default_data_dir().relative_to(Path.home())}"
    assert f"or else it is {folder}." in DATA_DIR_HELP


def test_run_shows_a_table_and_says_where_things_lie(finished: Path) -> None:
    text = ddl_bench(["run", "quick", *OPTIONS, "--out", finished])
    assert "4 of 4 cells are finished already" in text
    columns = ("accuracy", "parameters", "train", "test")
    for part in ("nearest-mean", "logistic", *columns, "index.html"):
        assert part in text
    assert (finished / "report" / "index.html").is_file()


def test_dry_run_lists_cells_and_their_time(finished: Path, tmp_path: Path) -> None:
    options = ["run", "quick", "--methods", "nearest-mean", "--dry-run", "--json"]
    fresh = json.loads(ddl_bench([*options, "--out", tmp_path / "new"]))
    assert [cell["seed"] for cell in fresh] == [0, 1, 2]
    assert all(cell["expected_s"] > 0 for cell in fresh)
    again = json.loads(ddl_bench([*options, "--out", finished, "--limit-train", 400]))
    assert [cell["from"] for cell in again] == ["finished", "finished", "measured"]
    afresh = [*options, "--out", finished, "--limit-train", 400, "--rerun", "all"]
    assert {cell["from"] for cell in json.loads(ddl_bench(afresh))} == {"measured"}
    assert not (tmp_path / "new").exists()
    assert " s, " in ddl_bench(
        ["run", "quick", "--methods", "nearest-mean", "--dry-run", "--out", tmp_path]
    )


def test_show_gives_every_number_and_the_command(finished: Path) -> None:
    row = json.loads(ddl_bench(["show", "logistic@0", "--run", finished, "--json"]))
    assert row["status"] == "ok"
    assert row["measured"]["n_params"] == 650
    assert row["measured"]["peak_memory"] > 1e7
    assert "--limit-train 400" in row["provenance"]["command"]
    text = ddl_bench(["show", "logistic@0", "--run", finished])
    assert re.search(r"train_s_per_image  [\d.]+ (µs|ms)\n", text)
    assert re.search(r"peak_memory  [\d.]+ (MB|GB)\n", text)
    assert re.search(r" accuracy  [\d.]+ %\n", text)
    assert re.search(r"phases  .*training=[\d.]+ m?s", text)
    assert "commit" in text
    with pytest.raises(UserError, match="no row 'logistik': did you mean 'logistic'"):
        ddl_bench(["show", "logistik", "--run", finished])


def test_show_lists_all_seeds_of_a_label(finished: Path) -> None:
    listed = ddl_bench(["show", "logistic", finished])
    assert "one in full: `ddl-bench show logistic@0`" in listed
    every = json.loads(ddl_bench(["show", "logistic", finished, "--json"]))
    assert [row["cell"]["seed"] for row in every] == [0, 1]
    rows = load_rows(finished)
    seeds = {row.cell.seed: row.cell.id for row in rows if row.cell.label == "logistic"}
    for seed, cell_id in seeds.items():
        assert re.search(rf"{cell_id} +logistic +digits +{seed}", listed)
        for wanted in (cell_id, f"logistic@{seed}"):
            row = json.loads(ddl_bench(["show", wanted, "--run", finished, "--json"]))
            assert row["cell"]["seed"] == seed


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (2.48e-4, "248 µs"),
        (0.0121, "12.1 ms"),
        (0.9996, "1,000 ms"),
        (4.789, "4.79 s"),
        (330.0, "5.5 min"),
        (72_000.0, "20 h"),
        (7.2e6, "2,000 h"),
    ],
)
def test_a_time_has_a_unit_that_suits_it(seconds: float, text: str) -> None:
    assert as_time(seconds) == text


def test_a_run_says_where_changed_results_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--methods", "nearest-mean", "--seeds", "0", "--no-report"]
    text = ddl_bench(["run", *options, "--limit-train", 400])
    assert "results go to results/quick-train400" in text
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["quick-train400"]
    again = ddl_bench(["run", *options, "--limit-train", 400])
    assert "1 of 1 cells are finished already" in again
    dry = json.loads(ddl_bench(["run", *options, "--name", "mine", "--dry-run", "--json"]))
    assert dry[0]["from"] != "finished"


def test_a_table_says_what_stands_in_brackets() -> None:
    rows = [
        make_row(make_cell("a", budget=BudgetSpec(epochs=epochs, seconds=None)), status="ok")
        for epochs in (10, 20)
    ]
    for chosen in (rows, rows[:1]):
        out = io.StringIO()
        print_results(Console(file=out, width=200), chosen)
        assert ("In brackets" in out.getvalue()) == ("a (epochs=10)" in out.getvalue())
        assert ("In brackets" in out.getvalue()) == (len(chosen) > 1)


def test_predict_with_a_kept_model(finished: Path, tmp_path: Path) -> None:
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images[:50] * 255 / 16).astype(np.uint8)
    np.savez(tmp_path / "new.npz", x=images)
    row = json.loads(ddl_bench(["show", "logistic@0", "--run", finished, "--json"]))
    assert row.pop("metrics") == {}
    (model,) = [
        path
        for path in (finished / "models").iterdir()
        if json.loads((finished / "cells" / f"{path.stem}.json").read_text()) == row
    ]
    records = json.loads(ddl_bench(["predict", model, tmp_path / "new.npz", "--json"]))
    labels = np.array([record["label"] for record in records])
    assert (labels == digits.target[:50].astype(str)).mean() > 0.8
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(3):
        Image.fromarray(images[index]).save(folder / f"{index}.png")
    of_files = json.loads(ddl_bench(["predict", model, folder, "--json"]))
    assert [record["label"] for record in of_files] == labels[:3].tolist()
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(folder / "3.png")
    with pytest.raises(UserError, match=r"3\.png"):
        ddl_bench(["predict", model, folder])
    with pytest.raises(UserError, match="not a readable safetensors"):
        ddl_bench(["predict", tmp_path / "new.npz", folder])
    with pytest.raises(UserError, match="keep-models"):
        ddl_bench(["predict", tmp_path / "none.safetensors", folder])
    np.savez(tmp_path / "wrong.npz", x=images.astype(np.float32))
    with pytest.raises(UserError, match="expected uint8 images"):
        ddl_bench(["predict", model, tmp_path / "wrong.npz"])
    np.savez(tmp_path / "colour.npz", x=np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(UserError, match=r"the model takes \(1, 8, 8\)"):
        ddl_bench(["predict", model, tmp_path / "colour.npz"])


@pytest.fixture(scope="module")
def digit_images() -> tuple[np.ndarray, np.ndarray]:
    """Fifty digits as uint8 images, and their labels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.rint(digits.images[:50] * 255 / 16).astype(np.uint8), digits.target[:50]


Labelled = tuple[np.ndarray, np.ndarray]


def test_predict_takes_a_label_and_gives_probabilities(
    finished: Path, digit_images: Labelled, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = digit_images
    np.savez(tmp_path / "new.npz", x=images, y=labels)
    words = ["predict", "logistic@1", tmp_path / "new.npz", finished]
    records = json.loads(ddl_bench([*words, "--top", 10, "--json"]))
    for record, label in zip(records, labels, strict=True):
        probabilities = [each["probability"] for each in record["top"]]
        assert sum(probabilities) == pytest.approx(1)
        assert probabilities == sorted(probabilities, reverse=True)
        assert record["probability"] == probabilities[0]
        assert (record["label"], record["truth"]) == (record["top"][0]["label"], str(label))
    n_right = sum(record["label"] == record["truth"] for record in records)
    text = ddl_bench([*words, "--top", 3])
    assert f"accuracy: {2 * n_right:.2f} % ({n_right} of 50 images)" in text
    assert "probability (%)" in text
    assert re.search(r"\d \(\d+\.\d %\), \d \(\d+\.\d %\)\n", text)
    assert "score" not in text
    scores = ddl_bench(["predict", "nearest-mean@0", tmp_path / "new.npz", "--run", finished])
    assert "score" in scores
    assert "probability" not in scores
    path = model_file("logistic", finished)
    assert path == model_file("logistic@0", finished)
    assert "2 models of logistic: taking logistic@0" in capsys.readouterr().err
    with pytest.raises(UserError, match="no row 'logistik': did you mean 'logistic'"):
        ddl_bench(["predict", "logistik", tmp_path / "new.npz", finished])


def test_predict_scores_class_folders(
    finished: Path, digit_images: Labelled, tmp_path: Path
) -> None:
    from PIL import Image

    images, labels = digit_images
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = tmp_path / "photos" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{index}.png")
    (tmp_path / "photos" / ".hidden").touch()
    words = ["predict", "logistic@0", tmp_path / "photos", finished]
    records = json.loads(ddl_bench([*words, "--json"]))
    assert all(Path(record["image"]).parent.name == record["truth"] for record in records)
    assert sum(record["label"] == record["truth"] for record in records) > 40
    (tmp_path / "photos" / "3").rename(tmp_path / "photos" / "three")
    with pytest.raises(UserError, match="the model has no class 'three'; it has 0, 1, 2"):
        ddl_bench(words)
    np.savez(tmp_path / "bad.npz", x=images, y=labels[:3])
    with pytest.raises(UserError, match=r"y is int\d+ \(3,\); expected \(50,\) labels"):
        ddl_bench(["predict", "logistic@0", tmp_path / "bad.npz", finished])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1, 2, 3], ["1", "2", "3"]),  # all are names
        ([1, 2], ["1", "2"]),
        ([0, 1, 2], ["3", "1", "2"]),  # one is none: numbers of names
        (["2", "1"], ["2", "1"]),
        ([], []),
    ],
)
def test_labels_are_matched_by_name(labels: list[str | int], expected: list[str]) -> None:
    task = dataclasses.replace(DIGITS, class_names=("3", "1", "2"))
    assert known_classes(labels, task, Path("x.npz")) == expected


def test_all_unknown_classes_are_named() -> None:
    task = dataclasses.replace(DIGITS, class_names=("3", "1", "2"))
    for labels in (["0", "1", "four"], [0, 1, 7]):
        with pytest.raises(UserError, match=r"^x: the model has no class '0', .*; it has 3, 1, 2"):
            known_classes(labels, task, Path("x"))


def test_a_file_names_its_labels_in_an_order_of_its_own(
    finished: Path, digit_images: Labelled, tmp_path: Path
) -> None:
    images, labels = digit_images
    names = np.arange(10)[::-1].astype(str)
    path = tmp_path / "turned.npz"
    np.savez(path, x=images, y=9 - labels, class_names=names)
    words = ["predict", "logistic@0", path, finished, "--json"]
    truth = [record["truth"] for record in json.loads(ddl_bench(words))]
    assert truth == labels.astype(str).tolist()
    y = 100 - labels
    np.savez(path, x_test=images, y_test=y, y_train=y, class_names=names)
    assert [record["truth"] for record in json.loads(ddl_bench(words))] == truth
    np.savez(path, x=images, y=labels, class_names=names[:3])
    with pytest.raises(UserError, match=r"class_names is \(3,\); expected one for each label"):
        ddl_bench(words)


def test_a_row_without_a_model_is_one_clear_line(tmp_path: Path) -> None:
    put(tmp_path, make_cell("sdl"))
    with pytest.raises(UserError, match=r"no model of 'sdl' is kept; .*--keep-models"):
        ddl_bench(["predict", "sdl", tmp_path / "x.npz", tmp_path])


def test_methods_are_listed_without_their_libraries() -> None:
    code = (
        "import sys; from ddl_bench.cli.main import app; app(['methods'], standalone_mode=False);"
        "print({'torch', 'sklearn', 'scipy', 'pandas', 'numba'} & {*sys.modules})"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert output.splitlines()[-1] == "set()"
    for record in describe.methods():
        assert f"  {record['name']} " in output


@pytest.mark.parametrize("verb", ["methods", "datasets", "tracks"])
def test_lists(verb: str) -> None:
    records = json.loads(ddl_bench([verb, "--json"]))
    assert all(record["name"] and record["about"] for record in records)
    assert records[0]["name"] in ddl_bench([verb])


def test_a_data_set_in_full_shows_its_note_and_checks_files(tmp_path: Path) -> None:
    record = json.loads(ddl_bench(["datasets", "digits", "--json"]))
    assert record["n_train"] + record["n_test"] == 1797
    assert record["image_shape"] == [1, 8, 8]
    assert "the same people wrote" in ddl_bench(["datasets", "digits"])
    with pytest.raises(UserError, match="not found; fetch it by --download"):
        ddl_bench(["datasets", "cifar10", "--data-dir", tmp_path])
    mine = tmp_path / "mine.npz"
    np.savez(mine, x_train=np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(UserError, match=r"mine\.npz: has no array y_train"):
        ddl_bench(["datasets", mine])


def test_check_ends_with_1_where_a_rule_is_broken(tmp_path: Path) -> None:
    plugin = tmp_path / "bad.py"
    plugin.write_text("class Bad:\n    name = 'bad'\n    def start(self, task, budget): ...\n")
    assert "frozen" in ddl_bench(["check", plugin], code=1)
    findings = json.loads(ddl_bench(["check", "nearest-mean", "--json"]))
    statuses = {finding["status"] for finding in findings}
    assert "held" in statuses
    assert "broken" not in statuses
    broken = tmp_path / "broken.py"
    broken.write_text("import nothing_of_the_kind")
    with pytest.raises(UserError, match=r"broken\.py, line 1: ModuleNotFoundError"):
        ddl_bench(["check", broken])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "quik"], "no track 'quik': did you mean 'quick'"),
        (["run", "--methods", "plainet"], "did you mean 'plainnet'"),
        (["run", "--methods", "plainnet[depth=4]"], "option 'depth' = 4"),
        (["run", "--datasets", "digit"], "did you mean"),
        (["run", "--datasets", "cifar10", "--data-dir", "/nowhere"], "--download"),
        (
            ["run", "--datasets", "digits[mirror=maybe]"],
            "the only option is mirror=true or mirror=false",
        ),
        (["run", "--seeds", "a"], "such as 0,1,2 or 0-4"),
        (["run", "--budget", "soon"], "such as 40e, 90s"),
        (["run", "--threads", "500"], "cores are available"),
        (["run", "--threads", "-1"], "--threads -1: Input should be greater than or equal to 1"),
        (["run", "--threads", "0", "--dry-run"], "--threads 0: "),
        (["run", "--device", "foo"], "--device foo: expected cpu, cuda or cuda:NUMBER"),
        (["run", "--time-limit", "5m"], "'--time-limit': expected a number without a unit"),
        (["run", "--methods", ""], "'' is an empty list"),
        (["run", "--seeds", ""], "--seeds '': expected seeds"),
        (["run", "--methods", "SDL"], "did you mean 'sdl'"),
        (["run", "--methods", "detrame-plainnet[widths=(8,9)]"], "a list is given in a track"),
        (["run", "--time-limit", "-1"], "--time-limit -1.0: "),
        (["run", "--memory-limit-gb", "-1"], "--memory-limit-gb -1.0: "),
        (["run", "--methods", "sdl[n_iter=-1]", "--dry-run"], "option 'n_iter' = -1"),
        (["run", "--jobs", "99"], "--jobs 99: expected 1 to"),
        (["run", "--val-fraction", "2"], "val_fraction"),
        (["run", "--plugin", "none.py"], "no such file"),
        (["run", "--rerun", "xyz", "--methods", "nearest-mean"], "no such cell"),
        (["show", "x", "--run", "none"], "no results in none"),
        (["report", "--run", "none"], "no results in none"),
        (["compare", "a", "b", "--run", "none"], "no results in none"),
        (["check", "none"], "no method 'none'"),
        (
            ["run", "--epochs", "5"],
            "--epochs: did you mean --budget 5e; `ddl-bench run --help`",
        ),
        (["run", "--seeds", "0", "--seeds", "1"], "run: --seeds is given 2 times; give it once"),
        (["run", "--columns", "acuracy"], "--columns: no column 'acuracy': did you mean"),
        (["report", "--serve", "--out", "x"], "--serve: writes nothing"),
        (["report", "--port", "8000"], "--port: only with --serve"),
        (["rum"], "No such command 'rum'"),
        (["--json"], "--json before the command"),
        (["show"], "Missing argument 'row'; `ddl-bench show --help` explains"),
        (["run", "--jobs", "many"], "Invalid value for '--jobs': "),
        (["run", "--dry-run", "--out", "x" * 300], "File name too long"),
        (["run", "--dry-run", "--plugin", "x" * 300], "File name too long"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ddl-bench", *arguments])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # `main` puts others in their place
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    sys.stdout.close()
    sys.stderr.close()
    assert ended.value.code == 2
    output = capfd.readouterr().err
    assert message in output
    assert output.count("\n") == 1
    assert "Traceback" not in output


NEED_A_RUN = {
    "status": [],
    "report": [],
    "time": [],
    "cancel": [],
    "show": ["x"],
    "compare": ["x", "y"],
    "power": ["x", "y"],
    "publish": ["out"],
    "verify": ["x"],
}


@pytest.mark.parametrize("verb", NEED_A_RUN)
def test_each_command_takes_its_run_folder_in_the_same_way(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [verb, *NEED_A_RUN[verb]]
    for given in (["absent"], ["--run", "absent"]):
        with pytest.raises(UserError, match="absent"):
            ddl_bench([*words, *given])
    if verb != "report":  # which makes one report of several
        with pytest.raises(UserError, match=r"two run folders|--run is given 2 times"):
            ddl_bench([*words, "absent", "--run", "other"])
        with pytest.raises(UserError, match="--run is given 2 times"):
            ddl_bench([*words, "--run", "absent", "--run", "other"])
    with pytest.raises(UserError, match="results/quick"):
        ddl_bench(words)


@pytest.mark.parametrize("named", [["other"], ["--run", "other"]])
def test_a_run_folder_that_nothing_would_be_read_of_is_refused(
    named: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cell = make_cell("sdl")
    for folder in ("other", "results/one"):
        put(tmp_path / folder, cell)
    for what in ("results/one", f"results/one/cells/{cell.id}.json"):
        with pytest.raises(UserError, match=r"^other: no run folder is read beside .*one"):
            ddl_bench(["verify", what, *named])
    with pytest.raises(UserError, match=r"^other: no run folder is read beside x\.safetensors"):
        ddl_bench(["predict", "x.safetensors", "photos", *named])
    with pytest.raises(UserError, match=r"^other: no row 'one'"):  # a label may be named so
        ddl_bench(["verify", "one", *named])


def test_a_path_that_is_no_run_folder_is_not_taken_for_a_row() -> None:
    with pytest.raises(UserError, match=r"^results/none: no run folder, as it has no cells/"):
        ddl_bench(["verify", "results/none"])


def test_the_default_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "results" / "quick", make_cell("sdl"))
    assert one_run(None, None) == LAST_RUN
    assert "reading results/quick; another" in capsys.readouterr().err
    assert one_run(Path("quick"), None) == LAST_RUN
    assert capsys.readouterr().err == ""


def test_help_is_short_and_completion_can_be_installed() -> None:
    assert "--install-completion" in ddl_bench(["-h"])
    assert "--columns" in ddl_bench(["run", "-h"])


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("ddl-bench compa", ["compare"]),
        ("ddl-bench run equal-", ["equal-passes", "equal-time"]),
        ("ddl-bench run --methods sdl,lis", ["sdl,lista"]),
        ("ddl-bench report mi", ["mine"]),
        ("ddl-bench show sdl --run results/", ["results/mine"]),
        ("ddl-bench report --columns accuracy,n_p", ["accuracy,n_params"]),
        ("ddl-bench methods logi", ["logistic"]),
        ("ddl-bench datasets cifar", ["cifar10", "cifar100"]),
        ("ddl-bench new me", ["method", "metric"]),
    ],
)
def test_a_shell_completes(typed: str, offered: list[str], tmp_path: Path) -> None:
    (tmp_path / "results" / "mine" / "cells").mkdir(parents=True)
    environment = os.environ | {
        "_DDL_BENCH_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split()) - 1),
    }
    command = [str(Path(sys.executable).with_name("ddl-bench"))]
    if not Path(command[0]).exists():
        pytest.skip("the command is not installed beside this Python")
    output = subprocess.check_output(command, env=environment, cwd=tmp_path, text=True)
    assert output.split() == offered


@pytest.mark.parametrize("opens", [True, False])
def test_the_page_is_opened_where_there_is_a_browser(
    opens: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    opened: list[str] = []

    def browse(url: str) -> bool:
        opened.append(url)
        return opens

    monkeypatch.setattr("webbrowser.open", browse)
    for name in ("WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    page = tmp_path / "a b.html"
    show_page({"page": page})
    assert opened == [page.as_uri()]
    said = capsys.readouterr().err
    assert ("no browser here" in said) != opens
    monkeypatch.delenv("DISPLAY")
    show_page({"page": page})
    assert len(opened) == 1
    assert f"no browser here; open {page} in one" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full device")
def test_outputs_that_take_nothing_change_no_exit_code() -> None:
    command = [sys.executable, "-m", "ddl_bench", "show", "x", "--run", "none"]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(command, stdout=full, stderr=full, check=False)
    assert ended.returncode == 2


def test_a_report_that_cannot_be_imported_is_named_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def entries(group: str) -> dict[str, EntryPoint]:
        return {"broken": EntryPoint("broken", "no_such_module:write", group)}

    monkeypatch.setattr(registry, "entries", entries)
    assert write_report(tmp_path, None) == {}
    assert "the report 'broken' is left out: No module named" in capsys.readouterr().err


def test_version_and_speed_of_help() -> None:
    code = "import sys; from ddl_bench.cli import main; print({'torch', 'numpy'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
    number = ddl_bench(["--version"]).strip()
    assert json.loads(ddl_bench(["--version", "--json"])) == {"version": number, "api": 1}


@pytest.mark.parametrize("text", ["0-4000000000", "0-" + "9" * 5000, "9" * 5000, "3-1"])
def test_seeds_without_bounds_are_refused_at_once(text: str) -> None:
    with pytest.raises(UserError, match="--seeds") as refused:
        ddl_bench(["run", "--dry-run", "--seeds", text])
    assert len(str(refused.value)) < 200


def test_a_precision_that_would_take_days_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "processor_flags", lambda: {"avx2"})
    out = tmp_path / "out"
    command = ["run", "--methods", "logistic", "--precision", "bfloat16", "--out", out]
    with pytest.raises(UserError, match="number by number"):
        ddl_bench(command)
    assert not out.exists()


def test_a_gpu_that_is_missing_is_named_before_anything_runs(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"--device cuda:90: torch sees \d+ CUDA devices"):
        ddl_bench(["run", "--methods", "logistic", "--device", "cuda:90", "--out", out])
    assert not out.exists()


def test_a_long_reason_is_cut_where_it_is_shown() -> None:
    row = make_row(make_cell("a"), status="failed", reason="word " * 20_000)
    assert len(line(row)) < 500


@pytest.mark.parametrize("flags", [[], ["--fresh-process"]])
def test_a_fresh_interpreter_for_each_cell_is_asked_for(
    flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def record(*_: object, **options: object) -> list[Row]:
        asked.append(options["fresh_process"])
        return []

    monkeypatch.setattr(running, "run_track", record)
    ddl_bench(["run", "--no-report", *flags])
    assert asked == [bool(flags)]


def test_a_dry_run_says_which_trainings_are_too_long_for_their_limit() -> None:
    options = ["run", "--methods", "plainnet-3", "--dry-run"]
    short = " ".join(ddl_bench([*options, "--time-limit", "1"]).split())
    assert "longer than their limit, and to be ended: 3 of 3 cells; raise --time-limit" in short
    assert "longer than their limit" not in ddl_bench(options)


def test_a_dry_run_shows_the_hard_limit() -> None:
    text = ddl_bench(["run", "--methods", "sdl", "--budget", "3m", "--dry-run", "--json"])
    assert {record["limit_s"] for record in json.loads(text)} == {330.0}
