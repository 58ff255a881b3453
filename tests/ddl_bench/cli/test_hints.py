"""Lines that say what a run does not do; names that stand for folders."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddl_bench.errors import UserError
from tests.conftest import PLUGINS, ddl_bench, make_cell, put

NEAREST = ["run", "--methods", "nearest-mean", "--seeds", "0", "--no-report"]


def test_a_plugin_that_no_method_names_is_mentioned() -> None:
    plugin = ["--plugin", PLUGINS / "walking.py", "--seeds", "0", "--dry-run"]
    assert "add --methods walking" in ddl_bench(["run", *plugin])
    assert "add --methods" not in ddl_bench(["run", *plugin, "--methods", "walking"])


def test_cells_that_were_finished_without_a_model_are_mentioned(tmp_path: Path) -> None:
    ddl_bench([*NEAREST, "--out", tmp_path])
    again = [*NEAREST, "--out", tmp_path, "--keep-models"]
    assert "no model kept: --rerun all trains again" in ddl_bench(again)
    assert "--rerun all" not in ddl_bench([*again, "--rerun", "all"])


@pytest.mark.parametrize(
    ("own", "option", "is_said"),
    [([], "", True), ([], "[mirror=false]", False), (["mirror"], "", False)],
)
def test_images_of_which_nobody_says_whether_they_may_be_mirrored_are_mentioned(
    tmp_path: Path, own: list[str], option: str, is_said: bool
) -> None:
    x, y = np.zeros((40, 4, 4), np.uint8), np.arange(40) % 2
    path = tmp_path / "own.npz"
    arrays: dict[str, Any] = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    arrays |= dict.fromkeys(own, np.array(True))
    np.savez(path, **arrays)
    said = ddl_bench([*NEAREST, "--datasets", f"{path}{option}", "--dry-run"])
    assert ("training mirrors no image" in said) is is_said


def test_the_hint_on_mirrored_images_is_told_once_as_it_can_be_typed(tmp_path: Path) -> None:
    x, y = np.zeros((40, 4, 4), np.uint8), np.arange(40) % 2
    np.savez(tmp_path / "a,b.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    option = f"{tmp_path}/a\\,b.npz"
    said = ddl_bench([*NEAREST, "--datasets", f"{option},{option}", "--dry-run"])
    assert said.count(f"training mirrors no image; say {option}[mirror=true]") == 1


def test_the_name_of_a_run_stands_for_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "results" / "mine", make_cell("sdl"))
    assert "1 done" in ddl_bench(["status", "mine"])
    assert make_cell("sdl").id in ddl_bench(["show", "sdl@0", "--run", "mine"])
    with pytest.raises(UserError, match="the seeds of sdl are 0"):
        ddl_bench(["show", "sdl@7", "--run", "mine"])
    with pytest.raises(UserError, match="no results in others"):
        ddl_bench(["show", "sdl", "--run", "others"])
