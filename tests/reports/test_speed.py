"""The tables of docs/speed.md, from made-up results."""

import json
from pathlib import Path
from typing import Any

import pytest

from reports import speed

MACHINE = {"cpu": "A", "date": "2026-01-02", "threads": 2}


def results(monkeypatch: pytest.MonkeyPatch, folder: Path, *runs: dict[str, Any]) -> None:
    """Let the tables show these results."""
    path = folder / "speed.json"
    path.write_text(json.dumps({"runs": runs}))
    monkeypatch.setattr(speed, "SPEED", path)


def cell(n_atoms: int, lmbd: float, positive: bool, ratio: float, **changes: Any) -> dict[str, Any]:
    """Make a cell of a grid with a bar of 1.5."""
    problem = {"grid": "patches", "n_atoms": n_atoms, "lmbd": lmbd, "positive": positive}
    times = {"ours_s": 1.0, "theirs_s": ratio, "ratio": ratio, "bar": 1.5, "mean_bar": 2.0}
    samples = {"n_patches": 1000 * n_atoms, "images": "x.npz", "equal": True}
    return {"name": "test_cell", **MACHINE, **problem, **times, **samples, **changes}


def test_what_was_not_measured_has_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results(monkeypatch, tmp_path)
    assert [speed.speeds(), speed.grids(), speed.costs(), speed.steps()] == [""] * 4


def test_a_grid_has_ratios_by_atoms_and_penalty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [
        cell(8, 0.5, True, 4.0, blas="numpy: b, spams: c"),
        cell(8, 0.5, False, 2.0, blas="numpy: b"),
        cell(16, 0.1, False, 1.0),
    ]
    results(monkeypatch, tmp_path, *runs)
    assert speed.grids() == (
        "A, 2026-01-02, threads: 2; numpy: b, spams: c.\n\n"
        "8,000 to 16,000 samples of x.npz: least ratio 1.00 (missed), bar 1.5;"
        " geometric mean 2.00, bar 2.\n\n"
        "| atoms | lmbd 0.5 | lmbd 0.1 |\n"
        "| ---: | ---: | ---: |\n"
        "| 8 | 4.0 / 2.0 | - / - |\n"
        "| 16 | - / - | - / 1.0 (missed) |"
    )


def test_a_cell_with_a_worse_objective_counts_as_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results(monkeypatch, tmp_path, cell(8, 0.5, True, 9.0), cell(8, 0.5, False, 9.0, equal=False))
    text = speed.grids()
    assert "least ratio 0.00 (missed), bar 1.5; geometric mean 0.00 (missed), bar 2." in text
    assert "| 8 | 9.0 / worse objective |" in text


def test_rows_of_two_machines_are_in_two_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost = {"name": "test_a_cost[x]", "ratio": 3.0, "bar": 2.5, "cpu": "A", "date": "2026-01-02"}
    memory = {"name": "test_memory", "gigabytes": 1.5, "bar": 2, "cpu": "B", "date": "2026-01-03"}
    results(monkeypatch, tmp_path, cost, memory)
    assert speed.costs() == (
        "A, 2026-01-02.\n\n| what | measured | at most |\n| --- | ---: | ---: |\n"
        "| a cost: x | 3 (missed) | 2.5 |\n\n"
        "B, 2026-01-03.\n\n| what | measured | at most |\n| --- | ---: | ---: |\n"
        "| memory | 1.5 GB | 2 GB |"
    )


def test_a_comparison_below_its_bar_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {"ours_s": 2.0, "theirs_s": 3.0, "ratio": 1.5}
    run = {"name": "test_omp", "n_patches": 5000, "images": "x.npz", **MACHINE, **times}
    results(monkeypatch, tmp_path, {**run, "bar": 1.5}, {**run, "bar": 1.6})
    held, missed = speed.speeds().splitlines()[-2:]
    assert held == "| omp | x.npz | 5,000 | 2 | 3 | 1.50 | 1.5 |"
    assert missed == "| omp | x.npz | 5,000 | 2 | 3 | 1.50 (missed) | 1.6 |"


def test_a_method_has_its_times_for_each_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {"step_s": 0.0125, "image_s": 1.2345e-3}
    results(
        monkeypatch,
        tmp_path,
        {"name": "b", "method": "b", "shape": "1x8x8", **MACHINE, **times},
        {"name": "a", "method": "a", "shape": "3x32x32", **MACHINE, **times},
    )
    assert speed.steps().splitlines()[2:] == [
        "| method | 1x8x8: step (ms) | 1x8x8: image (µs)"
        " | 3x32x32: step (ms) | 3x32x32: image (µs) |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| a | - | - | 12.5 | 1,234 |",
        "| b | 12.5 | 1,234 | - | - |",
    ]
