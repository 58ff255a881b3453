"""A little of what `python -m tests.scale` measures, in seconds."""

import json
from pathlib import Path
from typing import Any

import pytest

from ddl_bench.harness.claims import claim, claims_folder
from ddl_bench.harness.folder import make_folders
from reports import documentation, scale
from tests.conftest import ROOT
from tests.scale.folder import finish, planned, words_of
from tests.scale.measure import time_claims
from tests.scale.simulate import simulate
from tests.scale.trace import traced

CLAIM_S = 2e-3  # at most


@pytest.mark.parametrize("n_runners", [2, 12])
def test_runners_that_meet_look_at_few_cells_twice(n_runners: int) -> None:
    chosen = simulate(1_200, n_runners)
    in_order = simulate(1_200, n_runners, in_order=True)
    assert chosen.n_doubled == in_order.n_doubled == 0
    assert chosen.looks < 3
    assert chosen.claims < 1.2
    assert chosen.lists < 0.1
    assert in_order.looks > 2 + 0.8 * (n_runners - 1)


def test_a_runner_that_is_alone_looks_at_each_row_twice() -> None:
    load = simulate(100, 1)
    assert (load.looks, load.claims, load.lists, load.lists_of_claims) == (2, 1, 0, 0)


def test_a_finished_run_reads_each_row_once(tmp_path: Path) -> None:
    n_cells = 4
    run = tmp_path / "run"
    finish(run, planned(n_cells))
    again = traced(run, tmp_path / "trace", words_of(run, n_cells))
    assert again.reads - 2 * n_cells <= 3, "the plan, what plans learnt, columns of plugins"
    assert again.syncs == 2
    assert again.lists <= 6
    status = traced(run, tmp_path / "trace", ["status", str(run)])
    assert status.reads == n_cells + 1
    assert status.lists == 4
    assert not status.creates


def test_a_claim_is_fast_beside_a_thousand_others_and_in_a_long_folder(tmp_path: Path) -> None:
    make_folders(tmp_path)
    for number in range(5_000):
        (tmp_path / "work" / f"{number:012x}.log").touch()
    assert min(time_claims(tmp_path) for _ in range(3)) < CLAIM_S
    taken = claim(claims_folder(tmp_path), "0" * 12)
    assert taken is not None
    taken.release()


def test_the_tables_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = dict.fromkeys([*scale.CALLS, "bytes_read", "bytes_written"], 1.0)
    sizes = {"seconds": 1.0, "cpu_s": 0.5, "n_bytes": 1e8}
    commands = {name: sizes for name in ("again", "dry run", "status")}
    load = {
        "n_cells": 1000, "n_runners": 10, "in_order": False, "looks": 2.5, "claims": 1.1,
        "lists": 0.01, "lists_of_claims": 0.02, "n_doubled": 0,
    }  # fmt: skip
    names = ("run, of new cells", "run, of finished cells")
    results: dict[str, Any] = {
        "date": "2026-01-01",
        "cpu": "a processor",
        "n_claims": 1000,
        "sign_of_life_s": 5.0,
        "progress_s": 0.3,
        "progress_share": 0.02,
        "progress_most_s": 10.0,
        "counts": [{"command": name, "fixed": counts, "each": counts} for name in names],
        "times": [{"n_cells": n, "claim_s": 1e-3, **commands} for n in (1000, 2000)],
        "simulated": [load, {**load, "in_order": True}],
    }
    path = tmp_path / "scale.json"
    path.write_text(json.dumps(results))
    monkeypatch.setattr(scale, "SCALE", path)
    assert scale.operations().splitlines()[-1] == (
        "| ... and for each cell | 1 | 1 | 1 | 1 | 1 | 1 | 0.0 | 0.0 |"
    )
    assert scale.times().splitlines()[-1].endswith("| 0.5 | 100 | 1.00 |")
    assert scale.runners().splitlines()[-1].startswith("| 1,000 | 10 | of the plan | 2.5 | 1.1 |")
    first = scale.loads().splitlines()[2].split(" | ")
    # 100 runners, cells of 60 s: 10 calls, 0.5 looks, 0.1 creates, 0.01 and 2.22 lists of names
    assert first[3] == f"{100 / 60 * (10 + 0.5 + 0.3 + 20 + 2.22):,.0f}"
    assert first[4] == "120"
    assert scale.n_writes(results, 3.0) == pytest.approx(10)
    assert scale.n_writes(results, 1500.0) == pytest.approx(50 + 175.3 + 100, abs=0.1)
    seldom = {**results, "progress_share": 0.1, "progress_most_s": 20.0}
    assert scale.n_writes(seldom, 3.0) == pytest.approx(10)
    assert scale.n_writes(seldom, 1500.0) == pytest.approx(10 + 42.0 + 65, abs=0.1)


def test_the_page_has_the_tables_of_the_committed_results() -> None:
    assert not documentation.is_stale("docs/scale.md")
    text = (ROOT / "docs" / "scale.md").read_text()
    assert text.count("<!-- table ") == 4
    sign_s = scale.measured()["sign_of_life_s"]
    assert f"a sign of life every {sign_s:g} s" in " ".join(text.split())
