"""Several run folders as one: other machines, colleagues, conflicts."""

from pathlib import Path

import numpy as np
import pytest

import ddl_bench
from ddl_bench.errors import UserError
from ddl_bench.results.collect import collect
from ddl_bench.results.groups import gather
from ddl_bench.results.table import display, foot
from ddl_bench.results.times import RowTimes, Times, write_times
from tests.conftest import make_cell, put


def right(n_right: int) -> np.ndarray:
    return np.arange(100) < n_right


def timed(started: str, cell_id: str, cpu: str) -> Times:
    again = RowTimes(
        started=started,
        test_s_per_image=2e-4,
        test_s_per_image_iqr=1e-6,
        test_latency_s=1e-3,
        test_latency_s_iqr=1e-6,
        test_batch=100,
        n_test_runs=40,
        n_latency_runs=90,
    )
    day = "2026-11-27T12:00:00+00:00"
    return Times(measured=day, cpu=cpu, n_rounds=7, rows={cell_id: again})


def test_seeds_of_two_folders_are_one_line_and_its_times_are_marked(tmp_path: Path) -> None:
    for host, seeds in (("node1", (0, 1)), ("node2", (2, 3))):
        for seed in seeds:
            about = {"host": host, "cpu": "Xeon"}
            put(tmp_path / host, make_cell("a", seed), right(90 + seed), {}, provenance=about)
    collection = collect([tmp_path / "node1", str(tmp_path / "node2")])
    (group,) = gather(collection.rows)
    assert group.values("accuracy").mean() == 91.5
    assert not collection.conflicts
    assert collection.name == "node1 + node2"
    shown = display(collection.rows)
    assert "§" in shown["train (s)"][0]
    assert "node1, Xeon and cpu, threads: 1, node2" in shown["note"][0]
    text = foot(collection.rows)
    assert "Times are of 2 machines" in text
    assert "§ marks a mean over several machines" in text
    last = collection.rows[-1].cell.id
    assert collection.arrays(last)["predictions"].shape == (100,)
    df = ddl_bench.load([tmp_path / "node1", tmp_path / "node2"])
    assert df["run"].nunique() == 2
    assert ddl_bench.predictions([tmp_path / "node1", tmp_path / "node2"])["seed"].nunique() == 4


def test_a_cell_with_two_results_is_a_conflict_that_is_named(tmp_path: Path) -> None:
    put(tmp_path / "ours", make_cell("a"), right(90))
    put(tmp_path / "ours", make_cell("b"), right(80))
    put(tmp_path / "theirs", make_cell("a"), right(91))
    put(tmp_path / "theirs", make_cell("b"), right(80), train_s=9.0)
    collection = collect([tmp_path / "ours", tmp_path / "theirs"])
    (conflict,) = collection.conflicts
    assert conflict.startswith("a@0 (")
    assert "accuracy is 90 in " in conflict
    assert "91 in " in conflict
    assert {row.cell.label: row.measured.accuracy for row in collection.rows} == {"a": 90, "b": 80}
    notes = display(collection.rows).set_index("method")["note"]
    assert "conflict: seed 0: accuracy is 90" in notes["a"]
    assert "conflict" not in notes["b"]
    df = ddl_bench.load([tmp_path / "ours", tmp_path / "theirs"]).set_index("line")
    assert "accuracy is 90" in df["conflict"]["a"]
    assert df["conflict"].isna()["b"]


def test_a_row_that_ended_well_goes_before_one_that_did_not(tmp_path: Path) -> None:
    put(tmp_path / "ours", make_cell("a"), status="not_installed", reason="needs spams")
    put(tmp_path / "theirs", make_cell("a"), right(91))
    collection = collect([tmp_path / "ours", tmp_path / "theirs"])
    (row,) = collection.rows
    assert row.status == "ok"
    assert collection.homes[row.cell.id] == tmp_path / "theirs"
    assert not collection.conflicts


def test_different_code_in_two_folders_makes_two_lines(tmp_path: Path) -> None:
    for folder, source in (("before", "old"), ("after", "new")):
        put(tmp_path / folder, make_cell("a", source=source), right(90))
    names = {
        group.name for group in gather(collect([tmp_path / "before", tmp_path / "after"]).rows)
    }
    assert len(names) == 2
    assert all(name.startswith("a (code=") for name in names)


def test_the_same_folder_twice_counts_once(tmp_path: Path) -> None:
    put(tmp_path, make_cell("a"), right(90))
    assert len(collect([tmp_path, str(tmp_path)]).rows) == 1
    other = tmp_path / "other"
    put(other, make_cell("a"), right(80))
    for order in ([tmp_path, other], [tmp_path, other, tmp_path]):
        (row,) = collect(order).rows
        assert row.measured.accuracy == 90, "the first has the say"
    with pytest.raises(UserError, match="no run folder is given"):
        collect([])
    with pytest.raises(UserError, match="no results in"):
        collect([tmp_path, tmp_path / "nothing"])


def test_times_of_two_sessions_are_marked(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    for label, folder in zip("abc", (first, second, third), strict=True):
        row = put(folder, make_cell(label), right(90), test_s_per_image=5e-4, test_latency_s=4e-3)
        if folder != third:
            write_times(folder, timed(row.started, row.cell.id, cpu=f"processor {label}"))
    measured = {row.cell.label: row.measured for row in collect([first, second, third]).rows}
    assert measured["a"].not_retimed == ""
    assert measured["b"].not_retimed.startswith("timed apart from the others: alone and")
    assert measured["c"].not_retimed == "its run was not timed again"
    assert not any(each.not_retrained for each in measured.values())
    shown = display(collect([first, second, third]).rows).set_index("method")["test (µs/image)"]
    assert ["‡" in shown[label] for label in "abc"] == [False, True, True]
    assert collect([third]).rows[0].measured.not_retimed == ""
    apart = tmp_path / "apart"
    put(apart, make_cell("d", data="other images"), right(90), test_s_per_image=5e-4)
    (row,) = (each for each in collect([first, apart]).rows if each.cell.label == "d")
    assert row.measured.not_retimed == "", "of other images"


def test_a_training_under_two_names_counts_once(tmp_path: Path) -> None:
    cell = make_cell("a")
    for folder, name in (("ours", "0" * 12), ("theirs", "1" * 12)):
        put(tmp_path / folder, cell.model_copy(update={"older_id": name}), right(90))
    collection = collect([tmp_path / "ours", tmp_path / "theirs"])
    (row,) = collection.rows
    assert collection.homes == {row.cell.id: tmp_path / "ours"}
    assert not collection.conflicts
    put(tmp_path / "theirs", cell.model_copy(update={"older_id": "1" * 12}), right(80))
    (conflict,) = collect([tmp_path / "ours", tmp_path / "theirs"]).conflicts
    assert "accuracy is 90 in " in conflict
    put(tmp_path / "again", cell.model_copy(update={"older_id": "0" * 12}), right(70))
    (row,) = collect([tmp_path / name for name in ("ours", "theirs", "again")]).rows
    assert "70 in" in row.measured.conflict
    assert "80 in" in row.measured.conflict
