"""Thousands of rows: what is done once a row, and what a command need not import."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ddl_bench.harness import run as runner
from ddl_bench.harness.estimate import estimate, wall_times
from ddl_bench.plan import cell as cells
from ddl_bench.plan import track as tracks
from ddl_bench.plan.cell import Strict
from ddl_bench.results import frame as frames
from ddl_bench.results import rows as stored
from ddl_bench.results.groups import gather
from ddl_bench.results.rows import SCORED, arrays, load_rows
from reports.figures import curves
from reports.figures.curves import training_curves
from reports.figures.style import caption_of
from tests.conftest import make_cell, put

N_SEEDS = 6
MOST_HASHES = 3  # of a cell, whatever is asked how often
RIGHT = np.arange(20) % 5 > 0
CURVE: dict[str, Any] = {
    "curve_seconds": np.arange(3.0),
    "curve_accuracy": np.array([50.0, 70.0, 80.0]),
    "curve_step": np.arange(3),
    "curve_split": "validation",
}
HEAVY = ("torch", "numba", "sklearn", "torchvision", "spams")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two methods."""
    for label in ("a", "b"):
        for seed in range(N_SEEDS):
            put(tmp_path, make_cell(label, seed), RIGHT, CURVE, wall_s=float(seed))
    return tmp_path


def test_a_cell_is_hashed_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[bytes] = []

    def sha256(data: bytes) -> Any:
        hashed.append(data)
        return hashlib.sha256(data)

    monkeypatch.setattr(cells, "hashlib", SimpleNamespace(sha256=sha256))
    rows = load_rows(run)
    gather(rows)
    times = wall_times(rows)
    assert [estimate(row.cell, times).basis for row in rows] == ["measured"] * len(rows)
    assert {row.cell.id for row in rows} == {path.stem for path in (run / "cells").glob("*.json")}
    assert len(hashed) <= MOST_HASHES * len(rows)


def test_a_changed_copy_is_hashed_anew() -> None:
    cell = make_cell("a")
    before = (cell.id, cell.group)
    for copy in (cell.model_copy(update={"seed": 1}), cell.model_copy(update={"mirror": True})):
        assert copy.id != cell.id
        assert copy.id == make_cell("a", copy.seed, mirror=copy.mirror).id
    assert cell.model_copy(update={"mirror": True}).group != cell.group
    assert (cell.id, cell.group) == before


def test_a_hash_is_no_field() -> None:
    cell = make_cell("a")
    fresh = make_cell("a")
    text = fresh.model_dump_json()
    assert cell.id
    assert cell.group
    assert cell == fresh
    assert cell.model_dump_json() == text
    assert set(json.loads(text)) == set(cells.Cell.model_fields)


def test_no_bool_is_a_number() -> None:
    models = [thing for module in (cells, tracks) for thing in vars(module).values()]
    kinds = [each for each in models if isinstance(each, type) and issubclass(each, Strict)]
    numeric = {
        name
        for kind in kinds
        for name, field in kind.model_fields.items()
        if re.search(r"\b(int|float)\b", str(field.annotation))
    }
    assert numeric == set(cells.NUMBERS)


def test_a_finished_run_reads_each_row_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    read_row = stored.read_row

    def counting(path: Path) -> Any:
        read.append(path)
        return read_row(path)

    monkeypatch.setattr(stored, "read_row", counting)
    planned = [row.cell for row in load_rows(run)]
    read.clear()
    monkeypatch.setattr(runner, "plan", lambda *_: planned)
    rows = runner.run("quick", run)
    assert [row.cell for row in rows] == planned
    assert len(read) == len(set(read)) == len(planned)


@pytest.mark.parametrize("words", ["--help", "compare a b", "show a@0", "compare a b --json"])
def test_a_command_imports_no_library_of_methods(run: Path, words: str) -> None:
    arguments = words.split()
    if arguments[0] != "--help":
        arguments += ["--run", str(run)]
    assert not imported(arguments) & set(HEAVY)


def test_a_report_imports_no_library_of_methods(run: Path) -> None:
    assert not imported(["report", "--run", str(run)]) & set(HEAVY)


def test_help_imports_no_numbers() -> None:
    assert not imported(["run", "--help"]) & {*HEAVY, "numpy", "pandas", "scipy", "matplotlib"}


def test_of_many_seeds_the_first_curves_are_drawn(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Sequence[str] | None] = []

    def counting(folder: Path, cell_id: str, wanted: Sequence[str], sha256: str | None) -> Any:
        read.append(wanted)
        return arrays(folder, cell_id, wanted, sha256)

    monkeypatch.setattr(frames, "arrays", counting)
    df = frames.load(run)
    figure = training_curves(df)
    assert figure is not None
    assert f"means over n = {N_SEEDS:,} seeds" in caption_of(figure)
    assert read == [stored.CURVE] * 2 * N_SEEDS

    monkeypatch.setattr(curves, "MOST_CURVES", 4)
    read.clear()
    figure = training_curves(df)
    assert figure is not None
    assert f"of the first 2 of {N_SEEDS} seeds" in caption_of(figure)
    assert len(read) == 4


def test_wanted_arrays_alone_are_checked(run: Path) -> None:
    cell_id = load_rows(run)[0].cell.id
    assert set(arrays(run, cell_id, SCORED)) == set(SCORED)
    assert set(arrays(run, cell_id, stored.CURVE)) == set(stored.CURVE)
    path = run / "cells" / f"{cell_id}.npz"
    np.savez(path, y_test=np.arange(3), predictions=np.arange(4))
    with pytest.warns(UserWarning, match="differ in length"):
        assert not arrays(run, cell_id, SCORED)
    np.savez(path, y_test=np.arange(3))
    with pytest.warns(UserWarning, match="has no array predictions"):
        assert not arrays(run, cell_id, SCORED)


def imported(arguments: list[str]) -> set[str]:
    """Do a command in a fresh interpreter; returns the modules that it has imported."""
    program = (
        "import json, sys\n"
        "from ddl_bench.cli.main import app\n"
        "try:\n"
        "    app(sys.argv[1:])\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "print()\n"
        "print(json.dumps(list(sys.modules)))\n"
    )
    command = [sys.executable, "-P", "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))
