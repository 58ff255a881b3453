"""Which rows may be averaged, and how the lines of a table are named."""

from pathlib import Path

import numpy as np

from ddl_bench.plan.cell import Cell, Machine
from ddl_bench.results.frame import frame
from ddl_bench.results.groups import gather
from ddl_bench.results.rows import Row, load_rows
from tests.conftest import make_cell, make_row, put


def mask(n_images: int, *right: int) -> np.ndarray:
    """Which of the images are right."""
    is_right = np.zeros(n_images, dtype=bool)
    is_right[list(right)] = True
    return is_right


def test_groups_are_split_by_what_may_not_be_averaged(tmp_path: Path) -> None:
    put(tmp_path, make_cell("a", params={"n_layers": 1}), mask(10, 1), {})
    put(tmp_path, make_cell("a", 1, params={"n_layers": 2}), mask(10, 1, 2), {})
    two_threads = make_cell("a", params={"n_layers": 2}, machine=Machine(threads=2))
    put(tmp_path, two_threads, mask(10, 1, 2, 3), {})
    groups = gather(load_rows(tmp_path))
    names = ["a (n_layers=2, threads=2)", "a (n_layers=2, threads=1)", "a (n_layers=1, threads=1)"]
    assert [group.name for group in groups] == names
    assert [group.missing for group in groups] == [
        "1 of 2 seeds; seed 1: not run",
        "1 of 2 seeds; seed 0: not run",
        "1 of 2 seeds; seed 1: not run",
    ]


def test_same_images_under_two_paths_are_one_data_set(tmp_path: Path) -> None:
    for label, path in (("a", "here/x.npz"), ("b", "there/x.npz")):
        put(tmp_path, make_cell(label, dataset=path, data="same"), mask(10, 1), {})
    put(tmp_path, make_cell("c", dataset="else/x.npz", data="other"), mask(10, 1), {})
    titles = {group.name: group.dataset for group in gather(load_rows(tmp_path))}
    assert titles == {"a": "x.npz (data=same)", "b": "x.npz (data=same)", "c": "x.npz (data=other)"}


def test_rows_of_different_code_are_two_lines_with_hash_and_day() -> None:
    def row(seed: int, code: str, started: str, accuracy: float) -> Row:
        cell = make_cell("a", seed, source=code)
        return make_row(cell, status="ok", started=started, accuracy=accuracy, n_test=100)

    rows = [
        row(0, "0123456789", "2026-01-02T10:00", 80.0),
        row(1, "0123456789", "2026-01-03T10:00", 82.0),
        row(0, "abcdefabcd", "2026-02-01T10:00", 90.0),
    ]
    groups = gather(rows)
    means = {group.name: group.values("accuracy").mean() for group in groups}
    assert means == {
        "a (code=abcdefab of 2026-02-01)": 90,
        "a (code=01234567 of 2026-01-02)": 81,
    }
    assert groups[0].missing == "1 of 2 seeds; seed 1: not run"
    assert [group.name for group in gather(rows[:2])] == ["a"]


def test_an_outdated_row_stands_in_the_line_of_the_newer_code(tmp_path: Path) -> None:
    for seed, code in ((0, "old"), (1, "old"), (1, "new")):
        put(tmp_path, make_cell("a", seed, source=code), mask(10, seed), {})
    (group,) = gather(load_rows(tmp_path))
    assert group.name == "a"
    assert [row.cell.source for row in group.ok] == ["new"]
    assert group.missing.startswith("1 of 2 seeds; seed 0: outdated: measured with older code")


def test_a_group_of_a_frame_never_mixes_code() -> None:
    """Whoever averages the lines of one `group` must not average two methods."""
    rows = [
        make_row(make_cell("a", seed, source=source), status="ok", accuracy=accuracy)
        for seed, source, accuracy in ((0, "old", 80.0), (1, "new", 90.0), (2, "new", 91.0))
    ]
    means = frame(rows).groupby("group")["accuracy"].mean()
    assert sorted(means) == [80, 90.5]


def test_rows_without_a_code_are_grouped_by_their_settings() -> None:
    cell = make_cell("a", source="")
    other = Cell(**cell.model_dump() | {"seed": 1, "identity": 1})
    assert cell.group == other.group == cell.settings
    assert make_cell("a", source="x").group != make_cell("a", source="x", identity=1).group
    assert make_cell("a", source="x").settings == cell.settings


def test_an_option_with_the_name_of_a_setting_tells_lines_apart(tmp_path: Path) -> None:
    for threads in (1, 2):
        put(tmp_path, make_cell("a", params={"threads": threads}), mask(10, *range(threads)), {})
    names = [group.name for group in gather(load_rows(tmp_path))]
    assert names == ["a (threads=2)", "a (threads=1)"]


def test_a_row_whose_method_was_not_importable_stands_in_the_line_of_the_others(
    tmp_path: Path,
) -> None:
    for seed in range(2):
        put(tmp_path, make_cell("a", seed, source="code"), mask(10, seed), {})
    nowhere = make_cell("a", 2, source="")
    put(tmp_path, nowhere, status="not_installed", reason="no module named b")
    (group,) = gather(load_rows(tmp_path))
    assert group.name == "a"
    assert group.missing == "2 of 3 seeds; seed 2: not_installed: no module named b"


def test_results_of_unknown_code_are_not_averaged_with_those_of_another() -> None:
    cells = [make_cell("a", 0, source="code"), make_cell("a", 1, source="")]
    rows = [make_row(cell, status="ok", accuracy=50.0, started="2026-01-01") for cell in cells]
    assert [len(group.ok) for group in gather(rows)] == [1, 1]
