"""Damaged files of a run, models and images: each is a warning or one clear line, never more."""

import json
import os
import struct
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from baselines.features.readout import Linear
from baselines.methods.nearest_mean import NearestMean
from ddl_bench.data import npz
from ddl_bench.data.folder import pixels
from ddl_bench.data.sources import load as load_images
from ddl_bench.errors import UserError
from ddl_bench.files import DamagedFile, read_arrays
from ddl_bench.results import models
from ddl_bench.results.frame import load
from ddl_bench.results.models import load_model, predict, probabilities_of, save_model
from ddl_bench.results.rows import LONGEST_REASON, arrays, load_rows, read_row
from ddl_bench.results.stats.compare import compare
from ddl_bench.training.network import Network
from reports.page.render import inline
from reports.report import write
from tests.conftest import DIGITS, fit, make_cell, put

LONGEST_LINE = 700  # characters


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Rows of three methods with all that is kept beside them."""
    rng = np.random.default_rng(0)
    for label in ("a", "b", "c"):
        curve = {
            "curve_seconds": np.arange(3.0),
            "curve_accuracy": np.arange(3.0),
            "curve_split": np.array("validation"),
        }
        put(tmp_path, make_cell(label), rng.random(50) < 0.8, curve)
    return tmp_path


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def part(name: str, **changes: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        values = json.loads(path.read_text())
        values[name] |= changes
        path.write_text(json.dumps(values))

    return change


def measured(**changes: float | None) -> Callable[[Path], None]:
    return part("measured", **changes)


def provenance(**changes: Any) -> Callable[[Path], None]:
    return part("provenance", **changes)


ROW_FAULTS: dict[str, Callable[[Path], object]] = {
    "folder": replace_by_folder,
    "loop": replace_by_loop,
    "pipe": replace_by_pipe,
    "huge accuracy": measured(accuracy=1e300),
    "infinite accuracy": measured(accuracy=float("inf")),
    "not a number": measured(train_s=float("nan")),
    "no accuracy": measured(accuracy=None),
    "negative images": measured(n_test=-5),
    "nested": lambda path: path.write_text("[" * 100_000),
    "digits": lambda path: path.write_text("1" * 10_000),
    "latin": lambda path: path.write_bytes(b'{"cell": "\xff"}'),
    "cores": provenance(cores="four"),
    "half a core": provenance(cores=2.5),
    "dirty": provenance(dirty="yes"),
    "host": provenance(host=["x"]),
    "command": provenance(command=["ddl-bench"]),
    "versions": provenance(versions=["torch"]),
    "no versions": provenance(versions=None),
    "data set": part("cell", dataset="a\0b"),
    "threads": part("cell", machine={"device": "cpu", "threads": None}, older_id=make_cell("c").id),
}


@pytest.mark.parametrize("fault", ROW_FAULTS)
def test_a_damaged_row_is_left_out_with_a_warning(run: Path, fault: str) -> None:
    path = run / "cells" / f"{make_cell('c').id}.json"
    ROW_FAULTS[fault](path)
    with pytest.warns(DamagedFile, match=path.name) as warned:
        rows = load_rows(run)
    assert {row.cell.label for row in rows} == {"a", "b"}
    assert all(len(str(each.message)) < LONGEST_LINE for each in warned)


def test_a_row_that_went_on_too_often_is_left_out(run: Path) -> None:
    path = run / "cells" / f"{make_cell('c').id}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"resumed": 2**70}))
    with pytest.warns(DamagedFile, match=path.name):
        assert {row.cell.label for row in load_rows(run)} == {"a", "b"}


def test_a_file_of_a_row_has_no_say_in_what_other_files_tell(run: Path) -> None:
    path = run / "cells" / f"{make_cell('c').id}.json"
    values = json.loads(path.read_text())
    values["metrics"] = {"accuracy": {"value": 99.9, "title": "x"}}
    values["measured"] |= {"retimed": "today", "run_train_s": 1.0, "conflict": "none"}
    path.write_text(json.dumps(values))
    table = load(run).set_index("label")
    assert table["accuracy"].notna().all()
    assert table.loc["c", "accuracy"] == values["measured"]["accuracy"]
    row = read_row(path)
    assert row is not None
    assert not row.metrics
    assert (row.measured.retimed, row.measured.run_train_s, row.measured.conflict) == ("", None, "")


@pytest.mark.parametrize("fault", ["folder", "loop", "pipe"])
def test_a_damaged_row_is_written_anew(run: Path, fault: str) -> None:
    cell = make_cell("c")
    ROW_FAULTS[fault](run / "cells" / f"{cell.id}.json")
    put(run, cell, accuracy=50.0)
    row = read_row(run / "cells" / f"{cell.id}.json")
    assert row is not None
    assert row.measured.accuracy == 50


def test_a_long_reason_is_cut(run: Path) -> None:
    row = put(run, make_cell("d"), status="failed", reason="x" * 20_000_000)
    assert len(row.reason) == LONGEST_REASON
    assert len(load_rows(run)) == 4


def without(name: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        stored = dict(np.load(path))
        del stored[name]
        np.savez(path, **stored)

    return change


def spoilt(name: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        stored = dict(np.load(path))
        stored[name] = stored[name] * np.nan
        np.savez(path, **stored)

    return change


def cut(name: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        stored = dict(np.load(path))
        stored[name] = stored[name][:-1]
        np.savez(path, **stored)

    return change


ARRAY_FAULTS: dict[str, Callable[[Path], object]] = {
    "folder": replace_by_folder,
    "loop": replace_by_loop,
    "pipe": replace_by_pipe,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "junk": lambda path: path.write_bytes(b"junk" * 50),
    "empty": lambda path: path.write_bytes(b""),
    "no predictions": without("predictions"),
    "no labels": without("y_test"),
    "fewer predictions": cut("predictions"),
    "unequal curve": cut("curve_accuracy"),
    "no split": without("curve_split"),
    "curve of nan": spoilt("curve_accuracy"),
}

CURVE_FAULTS = ("unequal curve", "no split", "curve of nan")


@pytest.mark.parametrize("fault", ARRAY_FAULTS)
def test_damaged_arrays_are_left_out_with_a_warning(run: Path, fault: str) -> None:
    cell = make_cell("c")
    path = run / "cells" / f"{cell.id}.npz"
    ARRAY_FAULTS[fault](path)
    with pytest.warns(DamagedFile, match=path.name):
        assert arrays(run, cell.id) == {}
    if fault in CURVE_FAULTS:  # a comparison reads no curve
        (comparison,) = compare(run, "a", "c")
        assert comparison.these_networks is not None
        return
    with pytest.warns(DamagedFile, match=path.name):
        (comparison,) = compare(run, "a", "c")
    assert comparison.these_networks is None
    assert comparison.left_out[0] == "seed 0: no predictions were kept of c"


def test_predictions_on_other_images_are_not_compared(run: Path) -> None:
    cell = make_cell("c")
    put(run, cell, np.ones(20, dtype=bool), {})
    (comparison,) = compare(run, "a", "c")
    assert comparison.these_networks is None


def test_a_report_leaves_out_what_is_damaged(run: Path) -> None:
    (run / "cells" / f"{make_cell('b').id}.npz").write_bytes(b"junk")
    (run / "cells" / f"{make_cell('c').id}.json").write_bytes(b"junk")
    with pytest.warns(DamagedFile):
        page = write(run)["page"]
    assert page.is_file()


@pytest.mark.parametrize("name", ["8x8.npz", "28x28.npz", "2026-photos.npz", "10-classes"])
def test_the_name_of_a_data_set_may_begin_with_a_digit(tmp_path: Path, name: str) -> None:
    right = np.arange(50) < 40
    put(tmp_path, make_cell("a", dataset=f"/data/{name}"), right, {}, n_params=3)
    figure = f"{name}-accuracy-against-parameters"
    text = inline(write(tmp_path)["figures"] / f"{figure}.svg")
    assert f' id="{figure}-' in text


def with_claim(path: Path, shape: tuple[int, ...]) -> None:
    """Write an .npz file whose header claims more than there is."""
    header = repr({"descr": "|u1", "fortran_order": False, "shape": shape}).encode()
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(1000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key in npz.KEYS:
            archive.writestr(f"{key}.npy", member)


def good_data(path: Path, **changes: object) -> None:
    images = np.zeros((8, 5, 5), np.uint8)
    labels = np.arange(8) % 2
    values: dict[str, object] = dict(zip(npz.KEYS, (images, labels) * 2, strict=True))
    np.savez(path, **values | changes)  # type: ignore[arg-type]


def test_an_npz_that_claims_terabytes_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with_claim(path, (1 << 30, 64, 64))
    begin = time.process_time()
    with pytest.raises(UserError, match="claims an array"):
        read_arrays(path)
    assert time.process_time() - begin < 5


def test_members_in_total_fit_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, x=np.zeros(1_000_000, np.uint8))
    monkeypatch.setattr("ddl_bench.files.memory_limit", lambda: 500_000)
    with pytest.raises(UserError, match="1 MB, the limit is 0 MB"):
        read_arrays(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_npz_in_another_compression_is_refused(tmp_path: Path, method: int) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x_train.npy", bytes(500))
    with pytest.raises(UserError, match="compressed in a way"):
        read_arrays(path)


@pytest.mark.parametrize("mirror", ["false", "no", 0.5, float("nan"), [True, False], 2])
def test_mirror_is_true_or_false(tmp_path: Path, mirror: object) -> None:
    path = tmp_path / "x.npz"
    good_data(path, mirror=mirror)
    with pytest.raises(UserError, match=r"mirror is .* expected true or false"):
        npz.read(path)


@pytest.mark.parametrize("mirror", [True, False, 0, 1, [True]])
def test_mirror_may_be_a_number(tmp_path: Path, mirror: int | list[bool]) -> None:
    path = tmp_path / "x.npz"
    good_data(path, mirror=mirror)
    assert npz.read(path).mirror == bool(np.all(mirror))


def test_arrays_keep_order_and_shape(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    written = {
        "f": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "empty": np.zeros((0, 3), np.uint8),
        "scalar": np.array("text"),
    }
    np.savez(path, **written)  # type: ignore[arg-type]
    for name, array in read_arrays(path).items():
        np.testing.assert_array_equal(array, written[name])


def test_a_home_folder_is_found_in_one_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    good_data(tmp_path / "x.npz")
    assert len(load_images("~/x.npz", datasets={}).y_train) == 8
    with pytest.raises(UserError, match="nosuchuser"):
        load_images("~nosuchuser/x.npz", datasets={})


@pytest.mark.parametrize("name", ["x" * 5_000, "a\0b", "d\udcf6g.npz"])
def test_a_name_that_no_file_can_have_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError) as raised:
        load_images(str(tmp_path / name), datasets={})
    assert len(str(raised.value)) < LONGEST_LINE
    str(raised.value).encode()


def test_a_pipe_is_no_data_set(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    os.mkfifo(path)
    with pytest.raises(UserError, match="not a regular file"):
        load_images(str(path), datasets={})


def test_an_image_in_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path, format="gif")
    with pytest.raises(UserError, match="cannot be read as an image"):
        pixels([path])


@pytest.mark.filterwarnings("error")
def test_an_image_of_many_megapixels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.new("1", (14_000, 14_000)).save(path)
    with pytest.raises(UserError, match="pixels") as raised:
        pixels([path])
    assert len(str(raised.value)) < LONGEST_LINE


def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    os.mkfifo(path)
    with pytest.raises(UserError, match="not a regular file"):
        pixels([path])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "good.safetensors"
    method = NearestMean()
    save_model(path, fit(method), method, make_cell("nearest-mean"), DIGITS)
    return path


def rewrite(model: Path, path: Path, **changes: object) -> Path:
    with safe_open(str(model), "pt") as file:
        about = json.loads(file.metadata()["ddl-bench"])
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    for key, value in changes.items():
        about[key] = about[key] | value if isinstance(value, dict) else value
    save_file(state, str(path), {"ddl-bench": json.dumps(about)})
    return path


def test_probabilities_are_of_the_mean_over_views() -> None:
    """A network adds views that are moved by half: 1 + 1/2 + 1/2 of three."""
    scores = torch.tensor([[2.0, 0.0, 1.0]])
    module = nn.Identity()
    for mirror, shift, weight in ((0, 0, 1), (1, 0, 2), (0, 1, 2), (1, 1, 4)):
        network = Network(module, mirror=bool(mirror), shift=bool(shift))
        found = probabilities_of(weight * scores, network, NearestMean)
        assert found is not None
        torch.testing.assert_close(found, scores.double().softmax(1))


def test_plugins_of_a_prediction_may_be_given_one_by_one(model: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "rebuilt_by_a_plugin.py"
    plugin.write_text(
        "from baselines.methods.nearest_mean import NearestMean\n\n\n"
        "class Mine(NearestMean):\n"
        '    """Is another."""\n\n'
        '    name = "mine"\n'
    )
    images = tmp_path / "x.npz"
    np.savez(images, x=np.full((2, 8, 8), 200, np.uint8) * np.arange(8, dtype=np.uint8))
    path = rewrite(
        model, tmp_path / "m.safetensors", cell={"plugins": [str(plugin)], "method": "mine"}
    )
    assert len(predict(path, images, (each for each in [plugin]))) == 2


def test_many_images_are_classified_in_batches(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "MOST_IMAGES", 2)
    sizes = []
    score = Linear.__call__

    def counted(self: Linear, X: torch.Tensor) -> torch.Tensor:
        sizes.append(len(X))
        return score(self, X)

    monkeypatch.setattr(Linear, "__call__", counted)
    images = tmp_path / "x.npz"
    np.savez(images, x=np.full((5, 8, 8), 200, np.uint8) * np.arange(8, dtype=np.uint8))
    assert len(predict(model, images)) == 5
    assert sizes == [2, 2, 1]


def test_a_model_runs_no_file_that_it_names(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "helper.py").write_text(f"open({str(ran)!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    path = rewrite(model, tmp_path / "m.safetensors", cell={"plugins": ["helper.py"]})
    assert len(load_model(path)[1].class_names) == 10
    path = rewrite(
        model, tmp_path / "m.safetensors", cell={"plugins": ["helper.py"], "method": "mine"}
    )
    with pytest.raises(UserError, match=r"of a plugin; .* --plugin helper\.py"):
        load_model(path)
    assert not ran.exists()


CHANGES: dict[str, dict[str, object]] = {
    "cell": {"cell": None},
    "cell field": {"cell": {"budget": 3}},
    "params": {"params": ["x"]},
    "names": {"class_names": 5},
    "fewer names": {"class_names": ["0"]},
    "one text of names": {"class_names": "0123456789"},
    "shape": {"image_shape": [1, 8]},
    "huge shape": {"image_shape": [1 << 60, 1 << 60, 3]},
    "mirror": {"image_shape": "text"},
    "format": {"format": "x" * 5000},
    "method": {"cell": {"method": "y" * 5000}},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_model_is_one_line(model: Path, tmp_path: Path, change: str) -> None:
    path = rewrite(model, tmp_path / "m.safetensors", **CHANGES[change])
    images = tmp_path / "x.npz"
    np.savez(images, x=np.full((5, 8, 8), 200, np.uint8) * np.arange(8, dtype=np.uint8))
    with pytest.raises(UserError, match=path.name) as raised:
        predict(path, images)
    assert len(str(raised.value)) < LONGEST_LINE


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip, cut, insert or repeat some bytes."""
    changed = bytearray(data)
    kind = rng.integers(4)
    start = int(rng.integers(len(data)))
    if kind == 0:
        for place in rng.integers(len(data), size=int(rng.integers(1, 30))):
            changed[place] = rng.integers(256)
    elif kind == 1:
        del changed[start:]
    elif kind == 2:
        del changed[start : start + int(rng.integers(1, 200))]
    else:
        changed[start:start] = changed[start : start + int(rng.integers(1, 200))]
    return bytes(changed)


@pytest.mark.parametrize("kind", ["row", "arrays", "data", "model", "png", "jpeg", "tiff", "bmp"])
def test_damage_of_any_kind_is_a_value_or_one_line(
    kind: str, run: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cell = make_cell("a")
    folder = tmp_path / "damaged"
    folder.mkdir()
    sources = {
        "row": run / "cells" / f"{cell.id}.json",
        "arrays": run / "cells" / f"{cell.id}.npz",
        "data": folder / "good.npz",
        "model": model,
    }
    good_data(folder / "good.npz")
    picture = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    path = sources.get(kind, folder / f"x.{kind}")
    if kind not in sources:
        picture.save(path)
    original = path.read_bytes()
    target = path if kind in ("row", "arrays") else folder / f"y{path.suffix}"
    readers: dict[str, Callable[[], object]] = {
        "row": lambda: read_row(target),
        "arrays": lambda: arrays(run, cell.id),
        "data": lambda: npz.read(target),
        "model": lambda: load_model(target),
    }
    read = readers.get(kind, lambda: pixels([target]))
    rng = np.random.default_rng(7)
    lines = list[str]()
    for _ in range(60):
        target.write_bytes(damaged(original, rng))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DamagedFile)
            try:
                read()
            except UserError as error:
                lines.append(str(error))
    assert capfd.readouterr().err == ""
    assert all(len(line) < LONGEST_LINE and "\n" not in line for line in lines)
