"""Several run folders as one: other machines, colleagues, conflicts."""

from pathlib import Path

import numpy as np
import pytest

import ddl_bench
from ddl_bench.errors import UserError
from ddl_bench.results.collect import collect
from ddl_bench.results.groups import gather
from ddl_bench.results.table import display, foot
from tests.conftest import make_cell, put


def right(n_right: int) -> np.ndarray:
    return np.arange(100) < n_right


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
