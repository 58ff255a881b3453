"""Public runs: no host, user, home folder or absolute path is left, and all else is as it was."""

import getpass
import json
import platform
import re
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from ddl_bench.errors import UserError
from ddl_bench.files import DamagedFile, read_arrays, write_arrays
from ddl_bench.plan.cell import BudgetSpec, Cell
from ddl_bench.results import tensorboard as curves
from ddl_bench.results.public import PATH, Place, public_row
from ddl_bench.results.publish import make_public, publish
from ddl_bench.results.rows import load_rows, read_row
from tests.conftest import ROOT, ddl_bench, make_cell, make_row, put

USER = "janedoe"
PLUGIN = """
import os, platform
from dataclasses import dataclass
from typing import ClassVar
from baselines.methods.nearest_mean import NearestMean

@dataclass(frozen=True)
class Talks(NearestMean):
    name: ClassVar[str] = "talks"

@dataclass(frozen=True)
class Fails(NearestMean):
    name: ClassVar[str] = "fails"

    def start(self, task, budget):
        home = os.path.expanduser("~")
        folder = home + "/My" + " Data"
        raise OSError(f"'{folder}/a.bin' on {platform.node()} of {os.environ['USER']}, "
                      f"process {os.getpid()}; see file://{home}/x and https://example.org/a/b")

METHODS = [Talks, Fails]
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of a user, with a plugin, images and a track."""
    folder = tmp_path / "homes" / USER
    (folder / "My Data").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    for variable in ("USER", "LOGNAME"):
        monkeypatch.setenv(variable, USER)
    (folder / "talks.py").write_text(PLUGIN)
    rng = np.random.default_rng(0)
    y = np.arange(40) % 4
    x = rng.integers(0, 60, (40, 4, 4), dtype=np.uint8) + (40 * y[:, None, None]).astype(np.uint8)
    np.savez(folder / "My Data" / "photos.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    (folder / "mine.toml").write_text(
        'name = "mine"\nbudget.epochs = 1\nseeds = [0]\nmachine.threads = 1\n'
        'datasets = [{source = "digits"}]\nmethods = [{name = "nearest-mean"}]\n'
    )
    return folder


def options(home: Path, out: Path) -> list[object]:
    return [
        home / "mine.toml",
        *("--methods", "talks,fails"),
        *("--datasets", home / "My Data" / "photos.npz"),
        *("--plugin", home / "talks.py"),
        *("--out", out, "--no-report"),
    ]


def texts(folder: Path) -> Iterator[tuple[str, str]]:
    """The text of every file of a folder but arrays; of models what stands before the numbers."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in (".npz", ".png"):
            yield path.name, path.read_bytes().decode(errors="replace")


def assert_public(folder: Path, *private: str) -> None:
    host = rf"(?<![\w-]){re.escape(platform.node())}(?![\w-])"
    files = dict(texts(folder))
    assert files
    for name, text in files.items():
        for word in (USER, "My Data", str(Path.home()), *private):
            assert word not in text, name
        if name.endswith((".json", ".log")):
            assert not re.search(host, text), name
            assert not re.search(r"process \d", text), name
            found = [match[0] for match in PATH.finditer(text)]
            assert not found, name


def test_run_public_leaves_no_names_and_no_paths(home: Path, tmp_path: Path) -> None:
    out = home / "results"
    ddl_bench(["run", *options(home, out), "--public"], code=1)
    assert_public(out, str(tmp_path))
    talks, fails = sorted(load_rows(out), key=lambda row: row.status, reverse=True)
    assert (talks.status, fails.status) == ("ok", "failed")
    assert talks.cell.dataset == "photos.npz"
    assert talks.cell.plugins == ("talks.py",)
    assert talks.cell.track == "mine.toml"
    assert list(talks.provenance["plugins"]) == ["talks.py"]
    words = shlex.split(talks.provenance["command"])
    assert words[:3] == ["ddl-bench", "run", "mine.toml"]
    assert {"talks.py", "photos.npz"} <= set(words)
    assert fails.reason.startswith("OSError: 'a.bin' on ... of ..., process; see x and ")
    assert "https://example.org/a/b" in fails.reason
    (log,) = (out / "work").glob(f"{fails.cell.id}.log")
    assert 'File "talks.py", line ' in log.read_text()
    assert not [*(out / "work").glob("*.cell.json")]


def test_a_run_is_made_public_later_with_all_else_as_it_was(home: Path, tmp_path: Path) -> None:
    out = home / "results"
    ddl_bench(["run", *options(home, out), "--keep-models"], code=1)
    before = {row.cell.id: row for row in load_rows(out)}
    folder = tmp_path / "public"
    shown = ddl_bench(["publish", folder, "--run", out])
    assert "index.html" in shown
    assert_public(folder, str(tmp_path))
    after = {row.cell.id: row for row in load_rows(folder)}
    assert after.keys() == before.keys()
    assert not (folder / "work").exists()
    for cell_id, row in after.items():
        old = before[cell_id]
        assert row.measured == old.measured
        assert row.cell.group == old.cell.group
        assert row.cell.older_id == ""
        assert row.phases == old.phases
        assert row.provenance.get("versions") == old.provenance.get("versions")
        assert row.provenance.get("host") is None
    names = sorted(path.name for path in (out / "cells").iterdir())
    assert sorted(path.name for path in (folder / "cells").iterdir()) == names
    (model,) = (folder / "models").iterdir()
    state = load_file(model)
    earlier = load_file(out / "models" / model.name)
    assert state.keys() == earlier.keys()
    assert all((state[name] == earlier[name]).all() for name in earlier)
    np.savez(tmp_path / "new.npz", x=np.zeros((2, 4, 4), np.uint8))
    command = ["predict", model, tmp_path / "new.npz", "--plugin", home / "talks.py", "--json"]
    assert len(json.loads(ddl_bench(command))) == 2
    assert "photos.npz" in ddl_bench(["show", "talks", "--run", folder])
    again = {path: path.read_bytes() for path in (folder / "cells").iterdir()}
    publish(folder, folder)  # once more changes nothing
    assert {path: path.read_bytes() for path in (folder / "cells").iterdir()} == again
    ddl_bench(["run", *options(home, out), "--public"], code=1)  # nothing is left to run
    assert_public(out, str(tmp_path))
    assert {row.cell.id: row.measured for row in load_rows(out)} == {
        cell_id: row.measured for cell_id, row in before.items()
    }


def test_a_run_is_made_public_in_place_only_where_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "results" / "quick"
    put(run, make_cell("a"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="give the folder of the copy first, then the run"):
        ddl_bench(["publish", "results/quick"])
    for inner in ("cells", "report", "work/one"):
        with pytest.raises(UserError, match="a folder of the run itself"):
            ddl_bench(["publish", f"results/quick/{inner}", "results/quick"])
    ddl_bench(["publish", "results/quick", "results/quick"])


def test_public_rows_are_compared_as_others(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    source = tmp_path / "run"
    for label in ("a", "b"):
        right = rng.random(60) < 0.8
        cell = make_cell(label, dataset="/home/janedoe/x y/z.npz")
        put(source, cell, right, {}, provenance={"host": "secret", "cpu": "AMD EPYC"})
    target = tmp_path / "public"
    publish(source, target)
    (old,) = json.loads(ddl_bench(["compare", "a", "b", "--run", source, "--json"]))
    (new,) = json.loads(ddl_bench(["compare", "a", "b", "--run", target, "--json"]))
    assert new == old
    ddl_bench(["report", "--run", target])
    assert "secret" not in (target / "report" / "index.html").read_text()
    assert "AMD EPYC" in (target / "report" / "index.html").read_text()


def test_an_option_with_a_path_keeps_the_id(tmp_path: Path) -> None:
    cell = make_cell("a[start=/home/jane/d.npz]", params={"start": "/home/jane/d.npz"})
    put(tmp_path, cell, np.ones(10, bool), {})
    make_public(tmp_path, [cell.id])
    row = read_row(tmp_path / "cells" / f"{cell.id}.json")
    assert row is not None
    assert row.cell.params == {"start": "d.npz"}
    assert row.cell.label == "a[start=d.npz]"
    assert row.cell.id == cell.id


def test_rows_that_only_a_folder_tells_apart_are_not_published(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for folder, seed in (("a", 0), ("a", 1), ("b", 2)):
        put(run, make_cell("net", seed, params={"weights": f"/data/{folder}/w.pt"}))
    publish(run, tmp_path / "public")
    put(run, make_cell("net", 1, params={"weights": "/data/b/w.pt"}))
    for out in (tmp_path / "again", run):
        with pytest.raises(UserError, match="differ by the folder of a path alone"):
            publish(run, out)
    assert not (tmp_path / "again").exists()
    assert len(load_rows(run)) == 4


def test_damaged_rows_are_left_out_and_no_rows_are_a_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no rows in .*: run `ddl-bench run` first"):
        publish(tmp_path / "none", tmp_path / "public")
    good = put(tmp_path, make_cell("a"), np.ones(10, bool), {})
    (tmp_path / "cells" / "0123456789ab.json").write_text('{"cell": "/home/jane/x')
    with pytest.warns(match="0123456789ab.json: not a row"):
        publish(tmp_path, tmp_path / "public")
    names = [path.stem for path in (tmp_path / "public" / "cells").glob("*.json")]
    assert names == [good.cell.id]


@pytest.mark.parametrize(
    ("provenance", "is_copied"),
    [
        ({"plugins": 3}, False),
        ({"plugins": None}, False),
        ({"host": ["/home/jane/x"]}, False),
        ({"note": "half a character: \udc80"}, True),
        ({"/home/jane/x": 1}, True),
    ],
)
def test_odd_rows_are_cleaned_or_left_out(
    provenance: dict[str, Any], is_copied: bool, tmp_path: Path
) -> None:
    row = put(tmp_path, make_cell("a"), np.ones(10, bool), {})
    path = tmp_path / "cells" / f"{row.cell.id}.json"
    values = json.loads(path.read_text()) | {"provenance": provenance}
    path.write_text(json.dumps(values))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        publish(tmp_path, tmp_path / "public")
    copies = [*(tmp_path / "public").rglob("*.json")]
    warned = [str(each.message) for each in caught]
    assert len(copies) == is_copied
    assert bool(warned) == (not is_copied)
    assert all("not a row" in text for text in warned)
    for copy in copies:
        assert "jane" not in copy.read_text()
        assert read_row(copy) is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cannot read /home/jane/a.npz: no such file", "cannot read a.npz: no such file"),
        ("~/x/a.npz and ~jane/b.npz", "a.npz and b.npz"),
        ("PATH=/usr/bin:/opt/my/bin", "PATH=bin:bin"),
        ("('/a/b/c.py', 3) \"/a/b/d\" [/a/b/e]", "('c.py', 3) \"d\" [e]"),
        ("file:///home/jane/a.npz, //server/share/b", "a.npz, b"),
        ("No such file: '/a/my data/c d.py', \"~/b c/d\"", "No such file: 'c d.py', \"d\""),
        ("https://example.org/a/b stays", "https://example.org/a/b stays"),
        (
            "3/4, µs/image, and/or, n/a, 1 / 2, ratio /2",
            "3/4, µs/image, and/or, n/a, 1 / 2, ratio /2",
        ),
        ("cells/a.json, ./b/c, ../d/e stay", "cells/a.json, ./b/c, ../d/e stay"),
        ("line\n/a/b/c\nline", "line\nc\nline"),
    ],
)
def test_paths_in_texts_become_names(text: str, expected: str) -> None:
    assert Place.of([]).without_paths(text) == expected


def test_known_paths_may_have_spaces_and_hosts_dots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "node-7.cluster.org")
    monkeypatch.setenv("LOGNAME", USER)
    place = Place.of(["/mnt/my data/x.npz", "digits"], ["other"])
    text = f"/mnt/my data/x.npz on node-7 and node-7.cluster.org of {USER}, other, pid 12, others"
    assert place.without_names(text) == "x.npz on ... and ... of ..., ..., pid, others"


def test_a_user_without_a_home_or_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object) -> None:
        raise RuntimeError("Could not determine home directory.")

    def nobody() -> None:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(Path, "home", nothing)
    monkeypatch.setattr(getpass, "getuser", nobody)
    assert Place.of([]).without_names("see /a/b/c") == "see c"


def test_names_of_curves_for_tensorboard_have_no_host(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    started = "2026-01-01T00:00:00+00:00"
    row = put(tmp_path, make_cell("a"), np.ones(10, bool), {}, started=started)
    for _ in range(2):  # older curves are replaced
        folder = curves.write(tmp_path, [row])
        for path in folder.rglob("*.*"):
            assert re.fullmatch(r"events\.out\.tfevents\.\d{6}", path.name)


def test_an_unrelated_row_does_not_change(tmp_path: Path) -> None:
    row = make_row(
        make_cell("a"), status="ok", accuracy=90.0, reason="loss 3/4 of https://a.org/b/c"
    )
    values = json.loads(row.model_dump_json())
    assert public_row(values, row.cell.id, tmp_path) == values


def test_committed_rows_are_public() -> None:
    paths = sorted((ROOT / "docs" / "results").rglob("cells/*.json"))
    assert len(paths) > 100
    for path in paths:
        values: dict[str, Any] = json.loads(path.read_text())
        assert public_row(values, path.stem, path.parents[1]) == values, path
        assert not values["provenance"].get("host"), path
    for path in (ROOT / "docs" / "results").rglob("*.json"):
        assert not PATH.search(path.read_text()), path


def test_copies_have_predictions_and_curves_and_no_large_atoms(tmp_path: Path) -> None:
    row = put(tmp_path / "run", make_cell("sdl"), np.ones(5, dtype=bool))
    path = tmp_path / "run/cells" / f"{row.cell.id}.npz"
    kept: dict[str, Any] = {"y_test": np.zeros(5, np.int8), "predictions": np.zeros(5, np.int8)}
    kept |= {"curve_seconds": np.ones(1), "curve_accuracy": np.ones(1), "curve_step": np.ones(1)}
    kept |= {"curve_split": np.array("validation"), "artefact_atoms": np.ones((9, 1, 4, 4))}
    write_arrays(path, kept | {"artefact_dictionary": np.ones((200, 300))})
    publish(tmp_path / "run", tmp_path / "public")
    copied = read_arrays(tmp_path / "public/cells" / path.name)
    assert copied.keys() == kept.keys()
    assert "artefact_dictionary" in read_arrays(path), "the run stays as it is"
    path.write_bytes(b"PK damaged")
    with pytest.warns(DamagedFile, match=path.name):
        publish(tmp_path / "run", tmp_path / "again")
    assert len(list((tmp_path / "again/cells").iterdir())) == 1


def test_a_run_is_published_again_as_it_grows_or_moves(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "public"
    right = np.ones(5, dtype=bool)
    put(run, make_cell("sdl", track="/home/jane/mine.toml"), right)
    ddl_bench(["publish", out, run])
    put(run, make_cell("sdl", seed=1, track="/home/jane/mine.toml"), right)
    put(run, make_cell("lista"), right)
    moved = run.rename(tmp_path / "elsewhere")
    assert "lacks" not in ddl_bench(["publish", out, moved])
    assert len(load_rows(out)) == 3
    (moved / "cells" / f"{make_cell('lista').id}.json").unlink()
    said = f"rows that {moved} lacks stay in {out}, and in its report: 1\n"
    assert said in ddl_bench(["publish", out, moved])
    assert len(load_rows(out)) == 3


@pytest.mark.parametrize(
    ("cell", "is_refused"),
    [
        (make_cell("sdl", source="new"), False),  # other code
        (make_cell("sdl", seed=1), False),  # a seed of another machine
        (make_cell("lista"), True),
        (make_cell("sdl", budget=BudgetSpec(epochs=1, seconds=None)), True),
        (make_cell("sdl", seed=1, track="table1"), True),
    ],
)
def test_two_runs_are_not_published_to_one_folder(
    cell: Cell, is_refused: bool, tmp_path: Path
) -> None:
    out = tmp_path / "public"
    put(tmp_path / "a", make_cell("sdl"))
    put(tmp_path / "b", cell)
    publish(tmp_path / "a", out)
    if is_refused:
        with pytest.raises(
            UserError, match=r"public: has rows of another run than .* \(1\); give a"
        ):
            publish(tmp_path / "b", out)
    else:
        publish(tmp_path / "b", out)
    assert len([*(out / "cells").iterdir()]) == (1 if is_refused else 2)


def test_what_an_earlier_copy_had_goes(tmp_path: Path) -> None:
    row = put(tmp_path / "run", make_cell("sdl"), np.ones(5, dtype=bool))
    publish(tmp_path / "run", tmp_path / "public")
    arrays = tmp_path / "public/cells" / f"{row.cell.id}.npz"
    arrays.write_bytes(b"of an earlier training")
    (tmp_path / "public/times.json").write_text("{}")
    publish(tmp_path / "run", tmp_path / "public")
    assert not arrays.exists()
    assert not (tmp_path / "public/times.json").exists()


def test_a_model_is_of_the_training_that_made_the_row(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "public"
    words = ["run", "--methods", "nearest-mean", "--seeds", "0", "--threads", "1", "--no-report"]
    ddl_bench([*words, "--out", run, "--keep-models"])
    publish(run, out)
    (model,) = (out / "models").iterdir()
    ddl_bench([*words, "--out", run, "--rerun", "all"])
    assert not (run / "models" / model.name).exists()
    publish(run, out)
    assert not model.exists()


def test_models_beside_rows_that_failed_are_not_those_of_a_method(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "public"
    row = put(run, make_cell("sdl"), status="failed", reason="no luck")
    (run / "models").mkdir()
    (run / "models" / f"{row.cell.id}.safetensors").write_bytes(b"of an earlier training")
    publish(run, out)
    assert not (out / "models").exists()
    with pytest.raises(UserError, match="no model of 'sdl' is kept"):
        ddl_bench(["predict", "sdl", tmp_path / "images", run])


def test_a_copy_of_a_public_run_follows_its_newer_rows(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "public"
    cell = make_cell("sdl", data_dir="/home/jane/data")
    for accuracy in (50.0, 60.0):
        put(run, cell, accuracy=accuracy)
        make_public(run, [cell.id])
        publish(run, out)
        (row,) = load_rows(out)
        assert row.measured.accuracy == accuracy
