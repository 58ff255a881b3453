"""The GPU pack on the CPU, with tiny sizes: what it writes, refuses and takes up again."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.gpu import archives, install, pack, rows, sheets
from tests.gpu.rows import PARTS

pytestmark = pytest.mark.no_cover  # smaller tests cover it

HERE = Path(__file__).parent
UNITS = ("_s", "_ms", "_percent", "_bytes")
NAMES = {
    "seed",
    "side",
    "lmbd",
    "kkt",
    "limit",
    "shape",
    "options",
    "precision",
    "method",
    "dataset",
    "schedule",
}


def run(*words: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [HERE / "run.sh", *words],
        env=os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def is_named_with_its_unit(key: str) -> bool:
    plain = key in NAMES or key.startswith(("n_", "relative_", "largest_in"))
    return plain or key.endswith(UNITS) or key == "objective_per_sample"


def test_all_parts_leave_rows(tmp_path: Path) -> None:
    done = run(tmp_path / "out", "--device", "cpu", "--minutes", "20", "--commit", "abc")
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows.load(tmp_path / "out")
    assert {row.part for row in found} == set(PARTS)
    for row in found:
        assert row.status == "ok", f"{row.name}: {row.reason}"
        assert (row.device, row.gpu, row.commit) == ("cpu", None, "abc")
        assert row.values
        wrong = [key for key in row.values if not is_named_with_its_unit(key)]
        assert not wrong, f"{row.name}: {wrong} have no unit"
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["log.txt", *sorted(f"rows-{part}.jsonl" for part in PARTS)]
    assert "== summary" in done.stdout
    assert "schedule: 2 ok" in (tmp_path / "out" / "log.txt").read_text()


def test_a_part_that_fails_leaves_the_others(tmp_path: Path) -> None:
    sheet = tmp_path / "data" / "train_00.webp"
    sheet.parent.mkdir()
    sheet.write_bytes(b"no image")
    words = ["--device", "cpu", "--minutes", "3", "--parts", "fast,schedule"]
    done = run(tmp_path / "out", *words, "--data", sheet.parent)
    assert done.returncode == 1
    found = rows.load(tmp_path / "out")
    assert {row.part for row in found} == {"fast", "schedule"}
    assert all(row.status == "failed" and "train_00.webp" in row.reason for row in found)


def test_a_schedule_is_stopped_and_taken_up_again(tmp_path: Path) -> None:
    told: dict[str, Any] = {"out": str(tmp_path), "data": None, "device": "cpu", "tiny": True}
    told |= {"commit": None}
    words = [sys.executable, "-m", "tests.gpu.pack", "--part", "schedule"]

    def start(seconds: float) -> "subprocess.Popen[bytes]":
        ends = {"ends": time.time() + seconds}
        return subprocess.Popen([*words, json.dumps(told | ends)], cwd=HERE.parents[1])

    process = start(600)
    while process.poll() is None and not (tmp_path / "rows-schedule.jsonl").exists():
        time.sleep(0.01)  # until the first network is finished
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) in (0, 1)
    first = rows.load(tmp_path)
    assert first[0].name == "detrame-plainnet-9"
    if len(first) > 1 and first[1].name.endswith(rows.UNDER_WAY):
        assert list(tmp_path.glob("state-plainnet.*"))
    assert start(600).wait(120) == 0
    finished = rows.load(tmp_path)
    assert [row.name for row in finished] == ["detrame-plainnet-9", "plainnet-9"]
    assert all(row.values["n_epochs_done"] == 3 for row in finished)
    assert not list(tmp_path.glob("state-*"))


def test_a_schedule_without_time_keeps_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.gpu import schedule
    from tests.gpu.setting import NotFinished, Setting

    def setting(seconds: float) -> Setting:
        where: dict[str, Any] = {"out": tmp_path, "device": "cpu", "data": None, "commit": None}
        return Setting(ends=time.time() + seconds, tiny=True, **where)

    whole = schedule.train(setting(600), "plainnet")
    looks = iter([False, True])
    monkeypatch.setattr(Setting, "is_over", lambda _: next(looks, False))
    with pytest.raises(NotFinished) as stopped:
        schedule.train(setting(600), "plainnet")
    assert stopped.value.values_so_far["n_epochs_done"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["state-plainnet.00"]
    again = schedule.train(setting(600), "plainnet")
    assert again["n_resumed"] == 1
    assert again["accuracy_percent"] == whole["accuracy_percent"]
    assert not list(tmp_path.iterdir())


# Arguments and what is missing


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "cpu", "--parts", "speed,spede"], "--parts spede: no such part"),
        (["--device", "cpu", "--minutes", "0"], "--minutes 0: must be more than 0"),
        (["--device", "tpu"], "--device tpu: must be cuda or cpu"),
        (["--device", "cpu", "--data", "/nowhere"], "--data /nowhere: no such folder"),
        (["--device", "cpu", "--resume", "/nowhere"], "--resume /nowhere: no such folder"),
    ],
)
def test_wrong_arguments_are_named(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pack.main([str(tmp_path / "out"), *words]) == 2
    told = capsys.readouterr().err
    assert told.startswith(message)
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_cannot_take_the_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out"
    path.write_text("text")
    assert pack.main([str(path), "--device", "cpu"]) == 2
    assert capsys.readouterr().err == f"{path}: a file; give a folder, which may be new\n"


def test_what_is_missing_is_told_in_one_line(tmp_path: Path) -> None:
    bare = tmp_path / "python"  # the same interpreter without its packages
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    done = run(tmp_path / "out", "--device", "cpu", PYTHON=str(bare))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("missing, of what pyproject.toml asks for: ")
    for package in ("jinja2", "numba", "pydantic", "torch", "torchvision"):
        assert f" {package}>=" in done.stderr
    assert not (tmp_path / "out").exists()


def needed(package: str) -> str:
    """What pyproject.toml asks for of a package."""
    (requirement,) = re.findall(
        rf'^    "({package}>=[^"]+)",$', (ROOT / "pyproject.toml").read_text(), re.M
    )
    return str(requirement)


def test_a_package_that_is_too_old_or_broken_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert install.missing() == []
    (tmp_path / "broken_wheel.py").write_text("import what_it_needs")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(install.IMPORTED_AS, "rich", "broken_wheel")
    monkeypatch.setattr(install, "version", lambda name: "0.1" if name == "scipy" else "99")
    assert install.missing(tmp_path) == [
        f"{needed('rich')} (No module named 'what_it_needs')",
        f"{needed('scipy')} (there is 0.1)",
    ]


def test_versions_are_compared_by_numbers() -> None:
    assert install.numbers("2.11.0+cu130") == (2, 11, 0) > install.numbers("2.5")
    assert install.numbers("1.0rc1") == (1,)


def test_metadata_can_be_written_down(tmp_path: Path) -> None:
    install.write_metadata(tmp_path)
    script = (
        "from importlib.metadata import distribution as of; d = of('ddl-bench');"
        "print(len([e for e in d.entry_points if e.group == 'ddl_bench.methods']), d.version)"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    words = [sys.executable, "-c", script]
    said = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
    assert int(said.split()[0]) > 30


# Files


def test_rows_that_are_none_are_named(tmp_path: Path) -> None:
    path = rows.rows_file(tmp_path, "speed")
    path.write_text('{"part": "speed"}\n')
    with pytest.raises(ValueError, match=r"rows-speed.jsonl, line 1: not a row"):
        rows.load(tmp_path)
    path.write_text('{"part": "spe')  # cut off
    assert rows.load(tmp_path) == []


def test_a_state_is_split_and_put_together(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(1000)
    paths = archives.write(tmp_path, "state", data, limit=300)
    assert len(paths) == 4
    assert all(path.stat().st_size <= 300 for path in paths)
    assert archives.read(tmp_path, "state") == data
    assert archives.write(tmp_path, "state", b"less", limit=300) == paths[:1]
    assert archives.read(tmp_path, "state") == b"less"
    archives.remove(tmp_path, "state")
    assert archives.read(tmp_path, "state") is None


@pytest.mark.parametrize("at", range(9))
def test_a_kill_at_any_moment_leaves_a_whole_state(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = b"a" * 1000, b"b" * 900
    archives.write(tmp_path, "state", old, limit=300)
    n_calls, real_write, real_replace = [0], Path.write_bytes, Path.replace

    def counted() -> None:
        n_calls[0] += 1
        if n_calls[0] > at:
            raise KeyboardInterrupt

    def write_bytes(self: Path, data: Any) -> int:
        counted()
        return real_write(self, data)

    def replace(self: Path, target: Any) -> Path:
        counted()
        return real_replace(self, target)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    monkeypatch.setattr(Path, "replace", replace)
    with contextlib.suppress(KeyboardInterrupt):
        archives.write(tmp_path, "state", new, limit=300)
    assert archives.read(tmp_path, "state") in (old, new)


def test_sheets_are_read_in_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3000, 3, 32, 32), np.uint8)
    labels = rng.integers(0, 10, 3000)
    for name, first in (("train_00", 0), ("train_01", 1000), ("test_00", 2000)):
        tiles = images[first : first + 1000].reshape(25, 40, 3, 32, 32)
        grid = tiles.transpose(0, 3, 1, 4, 2).reshape(25 * 32, 40 * 32, 3)
        Image.fromarray(grid).save(tmp_path / f"{name}.webp", lossless=True, method=0)
    np.save(tmp_path / "train_labels.npy", labels[:2000])
    np.save(tmp_path / "test_labels.npy", labels[2000:])
    found = sheets.read(tmp_path)
    assert np.array_equal(found.x_train, images[:2000])
    assert np.array_equal(found.y_train, labels[:2000])
    assert np.array_equal(found.x_test, images[2000:])
    assert len(sheets.read(tmp_path, limit=1300).x_train) == 1300
    (tmp_path / "train_00.webp").unlink()
    with pytest.raises(ValueError, match=r"train_00.webp is missing, train_01.webp is there"):
        sheets.read(tmp_path)
