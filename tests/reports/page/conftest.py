"""A made-up run for the page: five methods, one of them with a hostile name, on two data sets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddl_bench.results.groups import gather
from ddl_bench.results.rows import CURVE, Row, arrays, load_rows
from ddl_bench.results.stats.families import compare_all
from reports.page.render import render
from reports.paper.tables import tables
from tests.conftest import make_cell, put

HOSTILE = "<script>alert('x')</script> \"100 %\" | $\\x_{ & #"
N_SEEDS = 5
SHARES = {"sdl": 0.93, "spams": 0.925, "plainnet-3": 0.97, HOSTILE: 0.8}
METHODS = {"plainnet-3": "plainnet"}
COMMAND = "ddl-bench run quick --methods {} --seeds {} <again>"


def made_up(folder: Path) -> Path:
    """Write the rows of the run."""
    rng = np.random.default_rng(0)
    for seed in range(N_SEEDS):
        for place, (label, share) in enumerate(SHARES.items()):
            add(folder, rng, label, seed, share, 10.0**place)
        cell = make_cell("lista", seed)
        put(folder, cell, status="not_installed", reason="needs <b>torch</b>")
        put(folder, make_cell("sdl", seed, dataset="my data/x.npz"), rng.random(100) < 0.5, {})
    return folder


def add(
    folder: Path, rng: np.random.Generator, label: str, seed: int, share: float, scale: float
) -> None:
    """Write one row; seed 3 of spams ran out of time."""
    cell = make_cell(label, seed, method=METHODS.get(label, label))
    provenance = {
        "cpu": "Xeon",
        "versions": {"torch": "2.5"},
        "command": COMMAND.format(label, seed),
    }
    if label == "spams" and seed == 3:
        put(folder, cell, status="timeout", reason="longer than\n60 s", provenance=provenance)
        return
    steps = np.arange(1, 31)
    arrays: dict[str, Any] = {
        "curve_seconds": scale * steps * (1 + 0.1 * rng.random()),
        "curve_accuracy": 100 * share - 40 / steps + rng.normal(0, 1, len(steps)),
        "curve_step": steps,
        "curve_split": np.array("validation"),
    }
    put(
        folder,
        cell,
        rng.random(400) < share,
        arrays,
        n_params=int(1000 * scale),
        flops_per_image=int(1000 * scale),
        flops_left_out="pursuits" if label == "sdl" else "",
        train_s=scale * (5 + rng.random()),
        passes=30.0,
        test_s_per_image=scale / 1e5 * (1 + 0.1 * rng.random()),
        wall_s=60.0,
        started=f"2026-11-{26 + seed // 4}T10:0{seed}:00+00:00",
        provenance=provenance,
    )


def page_of(run: Path) -> str:
    """Make the page of a run, without static figures."""
    rows = load_rows(run)
    groups = gather(rows)
    tests = {}
    for dataset in dict.fromkeys(group.dataset for group in groups):
        tests[dataset] = compare_all(run, [each for each in groups if each.dataset == dataset])

    def read(row: Row) -> dict[str, np.ndarray]:
        return arrays(run, row.cell.id, CURVE)

    return render(run.name, rows, groups, tests, tables(groups), {}, read)


@pytest.fixture(scope="session")
def make_page() -> Callable[[Path], str]:
    """Return what makes the page of a run folder."""
    return page_of


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make up the run."""
    return made_up(tmp_path_factory.mktemp("results") / "made-up")


@pytest.fixture(scope="session")
def page(run: Path) -> str:
    """Return the page of the made-up run."""
    return page_of(run)


@pytest.fixture(scope="session")
def hostile() -> str:
    """Return the label that is hostile to HTML, Markdown, LaTeX and spreadsheets."""
    return HOSTILE
