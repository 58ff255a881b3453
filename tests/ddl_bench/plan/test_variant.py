"""Which folder the rows of a run go to."""

import os
from pathlib import Path
from typing import Any

import pytest

from ddl_bench.errors import UserError
from ddl_bench.harness.folder import run_folder
from ddl_bench.plan.expansion import Overrides, plan
from ddl_bench.plan.variant import LONGEST, variant


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "quick"),
        ({"methods": ["sdl", "plainnet[depth=6]"], "seeds": range(5)}, "quick"),
        ({"time_limit": 600, "memory_limit_gb": 4, "download": True, "data_dir": "/x"}, "quick"),
        ({"datasets": "digits", "budget": "30e", "methods": "sdl", "threads": 1}, "quick"),
        ({"methods": "plainnet-3", "budget": "20e", "device": "cpu"}, "quick"),
        ({"methods": ["plainnet-3", "sdl"], "budget": "20e"}, "quick-20e"),
        ({"budget": "3m"}, "quick-3m"),
        ({"budget": "180s"}, "quick-3m"),
        ({"budget": "90s"}, "quick-90s"),
        ({"datasets": "data/my-images.npz", "budget": "3m"}, "quick-my-images-3m"),
        ({"datasets": "a b/c$d/"}, "quick-c_d"),
        ({"datasets": ["digits", "x.npz[mirror=true]"]}, "quick-x_mirror"),
        ({"datasets": "digits[mirror=false]"}, "quick-digits_nomirror"),
        ({"device": "cuda:1", "precision": "bfloat16"}, "quick-cuda_1-bfloat16"),
        ({"threads": 7}, "quick-7threads"),
        ({"limit_train": 400, "val_fraction": 0.1}, "quick-train400"),
        ({"val_fraction": 0.25, "test_from_train": 500}, "quick-val0.25-fromtrain500"),
    ],
)
def test_the_folder_says_what_was_changed(options: dict[str, Any], name: str) -> None:
    assert variant("quick", Overrides.of(**options)) == name
    assert run_folder("quick", overrides=Overrides.of(**options)) == Path("results") / name


def test_a_file_gives_its_stem_and_no_number_of_cores_matters(tmp_path: Path) -> None:
    track = tmp_path / "mine.toml"
    track.write_text(
        'name = "other"\nbudget = { epochs = 1 }\n'
        '[[datasets]]\nsource = "digits"\n[[methods]]\nname = "sdl"\n'
    )
    n_cores = len(os.sched_getaffinity(0))
    assert variant(str(track), Overrides()) == "mine"
    assert variant(str(track), Overrides.of(threads=n_cores)) == f"mine-{n_cores}threads"


def test_the_command_of_a_row_leads_to_the_folder_of_the_row() -> None:
    for cell in plan("quick", Overrides.of(seeds=[0])):
        options = Overrides.of(
            methods=cell.label,
            datasets=cell.dataset,
            seeds=cell.seed,
            budget=cell.budget.as_option(),
            device=cell.machine.device,
            threads=cell.machine.threads,
            precision=cell.machine.precision,
            test_from_train=cell.splits.test_from_train,
            val_fraction=cell.splits.val_fraction,
        )
        assert variant("quick", options) == "quick"


def test_long_names_are_cut_and_stay_apart() -> None:
    sources = [f"{letter * 30}.npz" for letter in "abcd"]
    names = {variant("quick", Overrides.of(datasets=[*sources, last])) for last in ("x", "y")}
    assert {len(name) for name in names} == {LONGEST}
    assert len(names) == 2


def test_a_name_and_a_path_of_ones_own() -> None:
    changed = Overrides.of(budget="3m")
    assert run_folder("quick", overrides=changed, name="mine") == Path("results/mine")
    assert run_folder("quick", "elsewhere/run", changed) == Path("elsewhere/run")
    with pytest.raises(UserError, match="give one of them"):
        run_folder("quick", "elsewhere", name="mine")
    for name in ("a/b", "..", "", ".hidden"):
        with pytest.raises(UserError, match="--out takes any path"):
            run_folder("quick", name=name)
    with pytest.raises(UserError, match="no track 'quik'"):
        run_folder("quik")
