"""Rows: what is written is read, also from older and newer versions; old code never mixes in."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from ddl_bench.files import DamagedFile
from ddl_bench.plan.cell import Cell
from ddl_bench.results.frame import frame
from ddl_bench.results.groups import gather
from ddl_bench.results.rows import (
    Measured,
    Row,
    arrays,
    digest,
    load_rows,
    read_row,
    write_row,
)
from tests.conftest import ROOT, make_cell, make_row


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    row = make_row(make_cell("a"), status="ok", accuracy=90.0, started="2026-01-01")
    write_row(tmp_path, row)
    return tmp_path / "cells" / f"{row.cell.id}.json"


def test_a_row_is_read_as_it_was_written(written: Path) -> None:
    row = read_row(written)
    assert row == make_row(make_cell("a"), status="ok", accuracy=90.0, started="2026-01-01")


def test_a_misspelled_column_cannot_exist() -> None:
    with pytest.raises(TypeError, match="acuracy"):
        Measured(acuracy=99)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="acuracy"):
        Row(cell=make_cell("a"), status="ok", acuracy=99)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        Measured().accuracy = 3.0  # type: ignore[misc]


def test_keys_of_a_newer_version_are_ignored(written: Path) -> None:
    before = read_row(written)
    values = json.loads(written.read_text())
    values |= {"schema_version": 99, "colour": "red"}
    values["measured"]["energy_j"] = 3.0
    values["cell"]["colour"] = "red"
    written.write_text(json.dumps(values))
    row = read_row(written)
    assert row is not None
    assert before is not None
    assert row.measured == before.measured
    assert row.cell == before.cell


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"cell": 3}', '{"cell": {}}', "\xff"])
def test_a_torn_file_holds_no_row(written: Path, text: str) -> None:
    written.write_text(text)
    with pytest.warns(DamagedFile, match=written.name):
        assert read_row(written) is None


def test_a_folder_holds_no_row(tmp_path: Path) -> None:
    with pytest.warns(DamagedFile, match="not a regular file"):
        assert read_row(tmp_path) is None


def test_a_misplaced_row_does_not_count(written: Path) -> None:
    copy = written.with_name("0123456789ab.json")
    copy.write_text(written.read_text())
    with pytest.warns(DamagedFile, match="its row is that of the cell"):
        assert read_row(copy) is None
    with pytest.warns(DamagedFile):
        assert len(load_rows(written.parents[1])) == 1


def test_rows_of_the_first_identity_are_shown_with_their_own_ids() -> None:
    folder = ROOT / "docs" / "results" / "quick"
    rows = load_rows(folder)
    stems = {path.stem for path in (folder / "cells").glob("*.json")}
    assert {row.cell.id for row in rows} == stems
    assert {row.status for row in rows} == {"ok"}


def test_rows_of_the_first_identity_are_never_continued(tmp_path: Path) -> None:
    """The same cell of today has another ID, so that it is run, and the old row then steps back."""
    cell = make_cell("a")
    values = make_row(cell, status="ok", accuracy=1.0, started="2025-01-01").model_dump(mode="json")
    flat = values.pop("measured") | values | {"schema_version": 1}
    flat["cell"] |= flat["cell"].pop("machine") | {"time_limit": 60, "memory_limit_gb": 8}
    for key in ("limits", "identity", "older_id"):
        del flat["cell"][key]
    path = tmp_path / "cells" / "aaaaaaaaaaaa.json"
    path.parent.mkdir()
    path.write_text(json.dumps(flat))
    (old,) = load_rows(tmp_path)
    assert (old.cell.id, old.measured.accuracy) == ("aaaaaaaaaaaa", 1)
    assert old.cell.settings == cell.settings
    assert old.cell.id != cell.id
    write_row(tmp_path, make_row(cell, status="ok", accuracy=2.0, started="2026-01-01"))
    assert [row.measured.accuracy for row in load_rows(tmp_path)] == [2.0]


def with_code(seed: int, source: str, started: str) -> Row:
    cell = make_cell("a", seed, source=source)
    return make_row(cell, status="ok", accuracy=90.0 + seed, started=started)


def test_a_method_that_was_not_installed_hides_no_results(tmp_path: Path) -> None:
    write_row(tmp_path, with_code(0, "known", "2026-01-01"))
    for seed in (0, 1):
        cell = make_cell("a", seed, source="")
        reason = "pip install 'ddl-bench[spams]'"
        row = make_row(cell, status="not_installed", reason=reason, started=f"2026-02-0{seed + 1}")
        write_row(tmp_path, row)
    rows = load_rows(tmp_path)
    assert {row.cell.seed: row.status for row in rows} == {0: "ok", 1: "not_installed"}
    assert [row.reason for row in rows if row.cell.seed == 1] == ["pip install 'ddl-bench[spams]'"]


def test_seeds_of_older_code_are_never_averaged_with_newer_ones(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_row(tmp_path, with_code(seed, "old", f"2026-01-0{seed + 1}"))
    for seed in (1, 2):
        write_row(tmp_path, with_code(seed, "new", f"2026-02-0{seed + 1}"))
    rows = load_rows(tmp_path)
    assert {row.cell.seed: row.status for row in rows} == {0: "outdated", 1: "ok", 2: "ok"}
    (group,) = gather(rows)
    assert group.values("accuracy").mean() == 91.5
    assert "seed 0: outdated: measured with older code" in group.missing


def test_a_frame_has_a_line_for_each_row(tmp_path: Path) -> None:
    table = frame([with_code(seed, "new", "2026-01-01") for seed in (0, 1)])
    assert table["accuracy"].tolist() == [90, 91]
    assert table["device"].tolist() == ["cpu", "cpu"]
    assert {"cell_id", "group", "label", "threads", "precision"} <= {*table}


def test_the_group_of_a_cell_leaves_out_its_seed_and_its_settings_also_the_code() -> None:
    cell = make_cell("a")
    seed = Cell(**cell.model_dump() | {"seed": 1})
    code = Cell(**cell.model_dump() | {"source": "x"})
    assert seed.group == cell.group != code.group
    assert seed.settings == cell.settings == code.settings
    assert len({cell.id, seed.id, code.id}) == 3


def test_labels_of_one_byte_are_read_as_numbers_that_can_be_added(tmp_path: Path) -> None:
    labels = np.array([0, 99, 100], np.int8)
    (tmp_path / "cells").mkdir()
    np.savez(tmp_path / "cells/a.npz", y_test=labels, predictions=labels)
    read = arrays(tmp_path, "a")
    assert (read["y_test"] * 1000).tolist() == [0, 99_000, 100_000]


def test_the_digest_tells_predictions_apart_and_not_their_type() -> None:
    predictions = np.array([0, 3, 9])
    assert digest(predictions.astype(np.int8)) == digest(predictions)
    assert digest(predictions[::-1]) != digest(predictions)
    # by coreutils: printf '\0\0\0\0\3\0\0\0\11\0\0\0' | sha256sum
    expected = "674497a202b66c30dc9cdb32c8df7206a059ea84fe9db8187f1d4ef5e787af49"
    assert digest(predictions) == expected
