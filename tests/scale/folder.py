"""Made-up run folders of very many finished cells, as a run leaves them."""

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ddl_bench.harness.folder import make_folders
from ddl_bench.plan.cell import Cell
from ddl_bench.plan.expansion import Overrides, plan
from tests.conftest import make_row

METHODS = ("nearest-mean", "logistic")
N_IMAGES = 50


def planned(n_cells: int) -> list[Cell]:
    """Plan cells of two methods."""
    seeds = range(n_cells // len(METHODS))
    return plan("quick", Overrides.of(methods=METHODS, seeds=seeds, threads=1))


def words_of(run: Path, n_cells: int) -> list[str]:
    """Return the command line that plans the same cells."""
    last = n_cells // len(METHODS) - 1
    words = ["run", "--methods", ",".join(METHODS), "--seeds", f"0-{last}", "--threads", "1"]
    return [*words, "--out", str(run), "--no-report"]


def finish(run: Path, cells: Sequence[Cell]) -> None:
    """Write what a run leaves of cells that are done: row, arrays, task, log and progress.

    Nothing waits for the disk, as that would take hours.
    """
    make_folders(run)
    y = np.arange(N_IMAGES) % 10
    buffer = io.BytesIO()
    np.savez_compressed(buffer, y_test=y, predictions=y, class_names=np.arange(10).astype(str))
    arrays = buffer.getvalue()
    progress = json.dumps({"phase": "saving", "fraction": 1.0}).encode()
    for cell in cells:
        row = make_row(
            cell,
            status="ok",
            started=f"2026-01-01T00:00:{cell.seed % 60:02}",
            accuracy=100.0,
            n_train=900,
            n_val=100,
            n_test=N_IMAGES,
            n_params=640,
            train_s=1.0,
            test_s_per_image=1e-6,
            wall_s=2.0,
        )
        for name, content in {
            f"cells/{cell.id}.json": row.model_dump_json(indent=1).encode(),
            f"cells/{cell.id}.npz": arrays,
            f"work/{cell.id}.cell.json": cell.model_dump_json().encode(),
            f"work/{cell.id}.progress.json": progress,
            f"work/{cell.id}.log": b"",
        }.items():
            write(run / name, content)


def write(path: Path, content: bytes) -> None:
    """Write a small file in one go."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(descriptor, content)
    os.close(descriptor)
