"""Tracks and plans: what a wrong file says, what overrides do, and that the packaged ones are sound."""

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from ddl_bench.api import UserError
from ddl_bench.plan import Overrides, estimate, plan
from ddl_bench.registry import METHODS, make_method, parse_spec
from ddl_bench.track import BudgetSpec, Track, load_track, packaged

GOOD = """
name = "t"
budget = { epochs = 2 }
datasets = [{ source = "digits" }]
methods = [{ name = "nearest-mean" }]
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("budget = { epochs = 2 }", ""), r"t\.toml: budget: Field required"),
        (("epochs = 2", "epoch = 2"), r"budget\.epoch: unknown key: did you mean 'epochs'"),
        (("epochs = 2", "epochs = 2, seconds = 3"), r"budget: give either epochs or seconds"),
        (("epochs = 2", "epochs = -2"), r"budget\.epochs: .*greater than or equal to 1, got -2"),
        (("epochs = 2", 'epochs = "two"'), r"budget\.epochs: .*valid integer.*, got 'two'"),
        (("budget", "bugdet"), r"unknown key: did you mean 'budget'|budget: Field required"),
        (('name = "nearest-mean"', 'nam = "x"'), r"methods\[0\]\.(name: Field required|nam: unknown key)"),
        (
            ('"nearest-mean" }', '"nearest-mean", param = {} }'),
            r"methods\[0\]\.param: unknown key: did you mean 'params'",
        ),
        (("nearest-mean", "nearest-men"), r"no method 'nearest-men': did you mean 'nearest-mean'"),
        (('"nearest-mean" }', '"logistic", params = { penalt = 1 } }'), r"logistic has no option 'penalt'"),
        (("digits", "digit"), r"digit: no such data set.*did you mean 'digits'"),
        (('[{ source = "digits" }]', "[]"), r"datasets: .*at least 1 item"),
        (("= { epochs", "= { { epochs"), r"t\.toml: not valid TOML: .*line 3"),
        (
            ('name = "t"', 'name = "t"\nsplits = { val_fracton = 0.1 }'),
            r"splits.*val_fracton.*did you mean 'val_fraction'",
        ),
        (('name = "t"', 'name = "t"\nsplits = { val_fraction = 1.5 }'), r"splits.*val_fraction"),
        (('"nearest-mean"', '"nearest-mean", grid = {}'), ""),
    ],
)
def test_a_wrong_track_is_one_clear_line(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "t.toml"
    assert change[0] in GOOD
    path.write_text(GOOD.replace(*change, 1))
    if not message:
        assert plan(str(path))
        return
    with pytest.raises(UserError, match=message) as caught:
        plan(str(path))
    assert "\n" not in str(caught.value)


def test_unknown_track_names_the_nearest() -> None:
    with pytest.raises(UserError, match="no track 'quik': did you mean 'quick'"):
        load_track("quik")
    with pytest.raises(UserError, match="no such track file"):
        load_track("missing.toml")


@pytest.mark.parametrize("name", packaged())
def test_packaged_tracks_are_sound(name: str) -> None:
    track = load_track(name)
    assert isinstance(track, Track)
    assert track.name == name
    assert track.description
    cells = plan(name, Overrides(datasets=["digits"], seeds=[0], splits={"test_from_train": 0}))
    assert len({cell.id for cell in cells}) == len(cells)


def test_quick_is_what_it_promises() -> None:
    track = load_track("quick")
    assert len(track.methods) <= 8
    assert track.seeds == [0, 1, 2]
    assert [entry.source for entry in track.datasets] == ["digits"]
    cells = plan("quick")
    assert sum(estimate(cell, [])[0] for cell in cells) <= 2 * 180, "two cells at a time, three minutes"


@pytest.mark.parametrize("name", ["all", "equal-time"])
def test_a_track_of_every_method_has_every_method(name: str) -> None:
    names = [method.name for method in load_track(name).methods]
    assert sorted(names) == sorted(entry.name for entry in entry_points(group=METHODS))


def test_overrides_narrow_and_widen() -> None:
    overrides = Overrides(methods=["sdl", "plainnet-3", "plainnet[depth=6]"], seeds=[7], budget=BudgetSpec(seconds=2))
    cells = plan("quick", overrides)
    assert [cell.label for cell in cells] == ["sdl", "plainnet-3", "plainnet[depth=6]"]
    assert [cell.params.get("depth") for cell in cells] == [None, 3, 6]
    assert {cell.seed for cell in cells} == {7}
    assert {cell.budget.seconds for cell in cells} == {2}
    again = plan("quick", Overrides(methods=["sdl"], seeds=[7], budget=BudgetSpec(seconds=2)))
    assert again[0].id == cells[0].id


def test_the_command_of_a_cell_plans_the_same_cell() -> None:
    import shlex
    from unittest.mock import patch

    from typer.testing import CliRunner

    from ddl_bench import cli, commands

    (cell,) = plan("quick", Overrides(methods=["plainnet[depth=6]"], seeds=[4], precision="bfloat16"))
    with patch.object(commands, "dry_run") as seen:
        CliRunner().invoke(cli.app, [*shlex.split(cell.command())[1:], "--dry-run"], catch_exceptions=False)
    _, track, _, overrides, _ = seen.call_args.args
    assert [again.id for again in plan(track, overrides)] == [cell.id]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("40e", "40 epochs"), ("90s", "90 s"), ("3m", "180 s"), ("1.5 h", "5400 s"), ("1 epoch", "1 epochs")],
)
def test_budget_text(text: str, expected: str) -> None:
    assert str(BudgetSpec.parse(text)) == expected


@pytest.mark.parametrize("text", ["", "3", "0s", "-3s", "fast", "3 days"])
def test_wrong_budget_text(text: str) -> None:
    with pytest.raises(UserError, match="--budget"):
        BudgetSpec.parse(text)


def test_method_options_are_checked() -> None:
    from baselines.plainnet import PlainNet

    assert make_method(PlainNet, {"depth": 6}) == PlainNet(depth=6)
    with pytest.raises(UserError, match="plainnet, option 'depth' = 5"):
        make_method(PlainNet, {"depth": 5})
    with pytest.raises(UserError, match="did you mean 'depth'"):
        make_method(PlainNet, {"dept": 3})


def test_parse_spec() -> None:
    assert parse_spec("a[x=1, y=2.5, z=true, w=word]") == ("a", {"x": 1, "y": 2.5, "z": True, "w": "word"})
    assert parse_spec("a/b.npz") == ("a/b.npz", {})
    with pytest.raises(UserError, match=re.escape("'x' is not key=value")):
        parse_spec("a[x]")


def test_a_grid_needs_validation_images(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(
        GOOD.replace('"nearest-mean" }', '"sdl", grid = { n_layers = [1, 2] } }') + "[splits]\nval_fraction=0\n"
    )
    with pytest.raises(UserError, match="val_fraction above 0"):
        plan(str(path))
