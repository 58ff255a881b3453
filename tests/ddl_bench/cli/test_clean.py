"""`ddl-bench runs` and `ddl-bench clean`."""

import errno
import json
import os
import time
from pathlib import Path

import pytest

from ddl_bench.cli.output import as_size
from ddl_bench.cli.runs import run_folders
from ddl_bench.errors import UserError
from ddl_bench.harness import clean as cleaning
from ddl_bench.harness.claims import claim, claims_folder
from ddl_bench.harness.folder import make_folders
from ddl_bench.harness.planned import read_plans, write_plan
from ddl_bench.harness.run import run
from ddl_bench.plan.cell import Cell
from ddl_bench.plan.expansion import Overrides, plan
from tests.conftest import ddl_bench, make_cell, put

CELLS = [make_cell("a", seed=0), make_cell("a", seed=1), make_cell("b"), make_cell("c")]
FAILED = CELLS[1]


def files_of(run: Path, cell: Cell) -> list[str]:
    return sorted(path.name for path in run.rglob(f"*{cell.id}*"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of which one cell is done, one failed, one held by this process, one was stopped."""
    run = tmp_path / "results" / "first"
    make_folders(run)
    (run / "models").mkdir()
    write_plan(run, CELLS)
    put(run, CELLS[0], accuracy=90.0)
    put(run, FAILED, status="crashed", reason="killed")
    assert claim(claims_folder(run), CELLS[2].id) is not None
    for cell in CELLS:
        (run / "cells" / f"{cell.id}.npz").write_bytes(b"x" * 1000)
        (run / "models" / f"{cell.id}.safetensors").touch()
        for ending in ("log", "checkpoint", "cell.json", "progress.json"):
            (run / "work" / f"{cell.id}.{ending}").touch()
    (claims_folder(run) / f"{CELLS[3].id}.claim.1").write_text("{}")
    long_ago_s = time.time() - 3600
    os.utime(claims_folder(run) / f"{CELLS[3].id}.claim.1", (long_ago_s, long_ago_s))
    return run


def test_failed_cells_go_with_all_their_files_and_wait_again(folder: Path) -> None:
    kept = [files_of(folder, cell) for cell in (CELLS[0], *CELLS[2:])]
    text = ddl_bench(["clean", folder, "--failed", "--yes"])
    assert "a on digits, seed 1" in text
    words = " ".join(text.split())
    parts = "rows: 1, arrays: 1, models: 1, checkpoints: 1, logs: 1, other files: 2,"
    assert parts in words
    assert files_of(folder, FAILED) == []
    assert [files_of(folder, cell) for cell in (CELLS[0], *CELLS[2:])] == kept
    assert FAILED.id in read_plans(folder)


def test_a_dry_run_and_a_missing_yes_remove_nothing(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    record = json.loads(ddl_bench(["clean", folder, "--failed", "--dry-run", "--json"]))
    assert record["cells"] == [FAILED.id]
    assert len(record["files"]) == 7
    assert record["n_bytes"] > 1000
    assert not record["is_removed"]
    with pytest.raises(UserError, match="confirm with --yes"):
        ddl_bench(["clean", folder, "--failed"])
    assert sorted(folder.rglob("*")) == before


def test_a_label_leaves_the_plan_too(folder: Path) -> None:
    ddl_bench(["clean", folder, "--label", "a", "--yes"])
    for cell in CELLS[:2]:
        assert files_of(folder, cell) == []
    assert set(read_plans(folder)) == {cell.id for cell in CELLS[2:]}
    for label in ("b", "c"):
        ddl_bench(["clean", folder, "--label", label, "--yes"])
    assert set(read_plans(folder)) == {CELLS[2].id}, "held by a living runner"
    assert len(files_of(folder, CELLS[2])) == 7


def test_spaces_around_a_label_may_be_left_out(folder: Path) -> None:
    ddl_bench(["clean", folder, "--label", " a", "--yes"])
    assert set(read_plans(folder)) == {cell.id for cell in CELLS[2:]}


def test_a_cell_that_only_waits_leaves_the_plan_when_that_is_confirmed(folder: Path) -> None:
    waiting = CELLS[3]
    for path in list(folder.rglob(f"*{waiting.id}*")):
        path.unlink()
    with pytest.raises(UserError, match="confirm with --yes"):
        ddl_bench(["clean", folder, "--label", "c"])
    text = ddl_bench(["clean", folder, "--label", "c", "--yes"])
    assert "cells out of the plan: 1" in text
    assert waiting.id not in read_plans(folder)


def test_a_label_beside_failed_cells_takes_its_own_from_the_plan_alone(folder: Path) -> None:
    ddl_bench(["clean", folder, "--failed", "--label", "c", "--yes"])
    assert files_of(folder, FAILED) == files_of(folder, CELLS[3]) == []
    assert set(read_plans(folder)) == {cell.id for cell in CELLS[:3]}


def test_what_a_living_runner_holds_is_left(folder: Path) -> None:
    before = files_of(folder, CELLS[2])
    text = ddl_bench(["clean", folder, "--label", "b", "--work", "--yes"])
    assert f"left: b on digits, seed 0, held by process {os.getpid()}" in " ".join(text.split())
    assert files_of(folder, CELLS[2]) == before


def test_a_cell_that_is_taken_up_meanwhile_is_left(folder: Path) -> None:
    found = cleaning.plan_cleaning(folder, failed=True)
    claimed = claim(claims_folder(folder), FAILED.id)
    assert claimed is not None
    before = files_of(folder, FAILED)
    assert cleaning.remove(found) == [FAILED.id]
    assert files_of(folder, FAILED) == before


def test_work_keeps_rows_plans_and_foreign_files(folder: Path) -> None:
    work = folder / "work"
    (work / "notes.txt").touch()
    (work / ".clock.host.1").touch()
    (work / ".probe.1").touch()
    long_ago_s = time.time() - 2 * cleaning.HIDDEN_FOR_S
    os.utime(work / ".probe.1", (long_ago_s, long_ago_s))
    ddl_bench(["clean", folder, "--work", "--yes"])
    held = {path.name for path in work.rglob(f"{CELLS[2].id}.*")}
    (plan,) = work.glob("plan-*.json")
    rest = {path.name for path in work.iterdir() if path.is_file()}
    rest |= {path.name for path in claims_folder(folder).iterdir()}
    assert rest == held | {plan.name, "notes.txt", ".clock.host.1"}
    assert len(list((folder / "cells").glob("*.json"))) == 2
    assert len(list((folder / "models").iterdir())) == 4


def test_a_link_is_removed_and_not_what_it_leads_to(folder: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (folder / "work" / f"{FAILED.id}.link").symlink_to(precious)
    (folder / "work" / f"{FAILED.id}.json.1.damaged").mkdir()
    ddl_bench(["clean", folder, "--failed", "--yes"])
    assert files_of(folder, FAILED) == []
    assert (precious / "file").exists()


def test_mistakes_are_explained(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--failed, --label LABEL or --work"):
        ddl_bench(["clean", folder])
    with pytest.raises(UserError, match="no cell of label 'aa': did you mean 'a'"):
        ddl_bench(["clean", folder, "--label", "aa"])
    with pytest.raises(UserError, match="no run folder"):
        ddl_bench(["clean", tmp_path, "--failed"])
    put(folder, FAILED, accuracy=90.0)
    assert "nothing to remove" in ddl_bench(["clean", folder, "--failed"])


def test_what_was_removed_is_run_again(tmp_path: Path) -> None:
    options = Overrides.of(methods="nearest-mean", seeds=[0], limit_train=400)
    (cell,) = plan("quick", options)
    put(tmp_path, cell, status="crashed")
    ddl_bench(["clean", tmp_path, "--failed", "--yes"])
    (row,) = run("quick", tmp_path, overrides=options)
    assert row.status == "ok"


def test_runs_are_listed(folder: Path) -> None:
    results = folder.parent
    second = results / "deep" / "second"
    put(second, make_cell("a", dataset="/data/mine.npz", track="/tracks/mine.toml"))
    records = json.loads(ddl_bench(["runs", results, "--json"]))
    by_name = {Path(record["run"]).name: record for record in records}
    assert by_name.keys() == {"first", "second"}
    first = by_name["first"]
    counts = {name: first[name] for name in ("done", "failed", "running", "waiting", "stale")}
    assert counts == {"done": 1, "failed": 1, "running": 1, "waiting": 0, "stale": 1}
    assert first["tracks"] == ["quick"]
    assert first["n_bytes"] > 4000
    assert by_name["second"]["tracks"] == ["mine"]
    assert by_name["second"]["datasets"] == ["mine.npz"]
    text = ddl_bench(["runs", results])
    words = " ".join(text.split())
    for part in ("first", "deep/second", "digits", "mine.npz", "1 done"):
        assert part in words, part
    assert "results/first" in "".join(ddl_bench(["runs", folder]).split()), "a run itself"


def test_a_folder_that_cannot_be_read_is_left_out_of_the_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    private = folder.parent / "private"
    private.mkdir()
    is_folder = Path.is_dir

    def refused(path: Path) -> bool:
        if private in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_folder(path)

    monkeypatch.setattr(Path, "is_dir", refused)
    assert list(run_folders(folder.parent)) == [folder]
    assert "private: left out: Permission denied" in capsys.readouterr().err


def test_no_runs(tmp_path: Path) -> None:
    assert "no run folders" in ddl_bench(["runs", tmp_path])
    with pytest.raises(UserError, match="no such folder"):
        ddl_bench(["runs", tmp_path / "absent"])


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"),
        (3400, "3.4 kB"),
        (2.5e6, "2.5 MB"),
        (999_600, "1 MB"),
        (1.25e12, "1,250.0 GB"),
    ],
)
def test_sizes(n_bytes: float, text: str) -> None:
    assert as_size(n_bytes) == text
