"""Tracks and plans: messages about wrong files, overrides, and the packaged tracks."""

import json
import os
import re
import shlex
import signal
import tomllib
import typing
import warnings
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from typer.testing import CliRunner

from ddl_bench import registry
from ddl_bench.cli import dry_run
from ddl_bench.cli import main as cli
from ddl_bench.data.splits import Splits
from ddl_bench.errors import UserError
from ddl_bench.harness.estimate import estimate
from ddl_bench.params import make_method, options_of, parse_spec
from ddl_bench.plan.cell import BudgetSpec, Cell
from ddl_bench.plan.expansion import Data, Overrides, plan
from ddl_bench.plan.track import DataEntry, Track, grid_points, load_track, packaged
from ddl_bench.registry import METHODS, load_method, methods
from reports.paper.protocol import networks
from tests.conftest import ROOT, ddl_bench

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
        (
            ('name = "nearest-mean"', 'nam = "x"'),
            r"methods\[0\]\.(name: Field required|nam: unknown key)",
        ),
        (
            ('"nearest-mean" }', '"nearest-mean", param = {} }'),
            r"methods\[0\]\.param: unknown key: did you mean 'params'",
        ),
        (("nearest-mean", "nearest-men"), r"no method 'nearest-men': did you mean 'nearest-mean'"),
        (
            ('"nearest-mean" }', '"logistic", params = { penalt = 1 } }'),
            r"logistic has no option 'penalt'",
        ),
        (("digits", "digit"), r"digit: no such data set.*did you mean 'digits'"),
        (('[{ source = "digits" }]', "[]"), r"datasets: .*at least 1 item"),
        (("= { epochs", "= { { epochs"), r"t\.toml: not valid TOML: .*line 3"),
        (
            ('name = "t"', 'name = "t"\nsplits = { val_fracton = 0.1 }'),
            r"splits.*val_fracton.*did you mean 'val_fraction'",
        ),
        (('name = "t"', 'name = "t"\nsplits = { val_fraction = 1.5 }'), r"splits.*val_fraction"),
        (('name = "t"', 'name = "t"\nsplits = { limit_train = true }'), r"limit_train.*integer"),
        (('name = "t"', 'name = "t"\nseeds = [true]'), r"seeds: expected a number, not true"),
        (("epochs = 2", "epochs = true"), r"budget.epochs: expected a number, not true or false"),
        (
            ('name = "t"', 'name = "t"\nseeds = [0, -1]'),
            r"seeds\[1\]: .*greater than or equal to 0, got -1",
        ),
        (('name = "t"', 'name = "t"\nreference = "nearest-men"'), "reference: .*'nearest-mean'"),
        (
            ('name = "t"', 'name = "t"\npairs = [["nearest-mean", "x"]]'),
            r"pairs\[0\]: no method 'x'",
        ),
        (
            ('name = "t"', 'name = "t"\npairs = [["nearest-mean", "nearest-mean"]]'),
            r"pairs\[0\]: 'nearest-mean' is compared with itself",
        ),
        (('name = "t"', 'name = "t"\npairs = [["a"]]'), r"pairs\.0.*|pairs\[0\].*"),
        (('"nearest-mean"', '"nearest-mean", grid = {}'), ""),
        (('"nearest-mean"', '"sdl", grid = { n_layers = [] }'), r"grid\.n_layers: .*at least 1"),
    ],
)
def test_a_wrong_track_is_one_clear_line(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    path = tmp_path / "t.toml"
    assert change[0] in GOOD
    path.write_text(GOOD.replace(*change, 1))
    if not message:
        assert plan(str(path))
        return
    with pytest.raises(UserError, match=message) as caught:
        plan(str(path))
    assert "\n" not in str(caught.value)


TWO = """
name = "t"
budget = { epochs = 2 }
datasets = [{ source = "digits" }]
methods = [{ name = "nearest-mean" }, { name = "logistic" }, { name = "sdl", label = "ours" }]
"""


def test_cells_carry_the_comparisons_of_their_track(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(f'reference = "ours"\n{TWO}')
    fewer = Overrides(methods=["nearest-mean", "logistic"])
    for overrides in (None, fewer):
        assert {cell.reference for cell in plan(str(path), overrides)} == {"ours"}
    plain = plan(str(path))
    path.write_text(f'pairs = [["ours", "logistic"], ["nearest-mean", "logistic"]]\n{TWO}')
    cells = plan(str(path))
    assert [cell.id for cell in cells] == [cell.id for cell in plain], "results stay"
    for cell in (cells[0], plan(str(path), fewer)[0]):
        assert cell.pairs == (("ours", "logistic"), ("nearest-mean", "logistic"))
    path.write_text(f'reference = "ours"\npairs = [["ours", "logistic"]]\n{TWO}')
    with pytest.raises(UserError, match="give either reference or pairs, not both"):
        plan(str(path))


@pytest.mark.parametrize("space", ["", " ", "  "])
def test_a_line_of_the_track_is_chosen_with_and_without_spaces(tmp_path: Path, space: str) -> None:
    path = tmp_path / "t.toml"
    line = '{ name = "sdl", params = { n_atoms = 8, n_iter = 1 }, budget = { epochs = 7 } }'
    path.write_text(f"methods = [{line}]\n{TWO.replace('methods', '#')}")
    (cell,) = plan(str(path), Overrides(methods=[f"sdl[n_atoms=8,{space}n_iter=1]"]))
    assert cell.label == "sdl[n_atoms=8, n_iter=1]"
    assert cell.budget.epochs == 7


def test_options_on_a_command_line_have_one_label_however_spaced() -> None:
    labels = []
    for space in ("", " ", "  "):
        (cell,) = plan("quick", Overrides(methods=[f"sdl[n_atoms=8,{space}n_iter=1]"], seeds=[0]))
        labels.append(cell.label)
    assert labels == ["sdl[n_atoms=8, n_iter=1]"] * 3


def test_labels_that_differ_by_a_space_are_two_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(TWO.replace('"nearest-mean"', '"sdl", label = "o urs"'))
    assert [cell.label for cell in plan(str(path), Overrides(methods=["ours"]))] == ["ours"]
    assert [cell.label for cell in plan(str(path), Overrides(methods=["o urs"]))] == ["o urs"]


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
    assert sum(estimate(cell, {})[0] for cell in cells) <= 2 * 180, (
        "two cells at a time, three minutes"
    )


def made_up(entry: DataEntry, splits: Splits, _: Overrides) -> Data:
    """Stand in for a data set whose files are not here."""
    fields = {"dataset": entry.source, "data_dir": "", "mirror": None, "splits": splits}
    return Data(fields | {"data": entry.source}, 50_000, 0)


def test_table_1_is_whole() -> None:
    """16 lines, two data sets, five seeds; each network has the steps that the paper prints."""
    with patch("ddl_bench.plan.expansion.read_data", made_up):
        cells = plan("table1")
        on_svhn = plan("table1-svhn")
    assert len({cell.id for cell in cells}) == len(cells) == 160
    for dataset in ("cifar10", "cifar100"):
        here = [cell for cell in cells if cell.dataset == dataset]
        assert len({cell.label for cell in here}) == len({cell.paper for cell in here}) == 16
        assert {cell.seed for cell in here} == set(range(5))
        assert all(len(cell.pairs) == 8 for cell in here)
        for cell in here:
            wanted = networks(dataset)[cell.paper]
            assert cell.method == wanted.method
            assert cell.params.get("n_steps") == wanted.params.get("n_steps")
    assert len(on_svhn) == 80
    assert {cell.dataset for cell in on_svhn} == {"svhn"}


def planned_notes(*options: str) -> set[tuple[str, str]]:
    """Return what a dry run of Table 1 says of its methods, by the entry point of this tree."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    installed = registry.entries

    def entries(group: str) -> dict[str, EntryPoint]:
        if group != registry.NOTES:
            return installed(group)
        return {name: EntryPoint(name, value, group) for name, value in project[group].items()}

    with (
        patch("ddl_bench.plan.expansion.read_data", made_up),
        patch.object(registry, "entries", entries),
    ):
        words = ["run", "table1", "--dry-run", "--out", "none", *options]
        records = json.loads(ddl_bench([*words, "--json"]))
        text = ddl_bench(words)
    for record in records:
        assert record["note"] in " ".join(text.split())
    return {(record["method"], record["note"]) for record in records}


def test_a_dry_run_says_which_lines_have_a_place_beside_the_paper() -> None:
    follows = "follows the paper's protocol"
    assert {note for _, note in planned_notes()} == {follows}
    departs = "not comparable with the paper: "
    short = planned_notes("--limit-train", "5000", "--limit-test", "100", "--val-fraction", "0.1")
    assert {note for _, note in short} == {
        f"{departs}4,500 training images, not 50,000; not the 10,000 official test images"
    }
    specs = ("resnet[depth=20,recipe=wrn-base]", "resnet[depth=20]", "nearest-mean")
    notes = dict(planned_notes("--methods", ",".join(specs), "--seeds", "0-4"))
    assert notes["resnet[depth=20, recipe=wrn-base]"] == follows
    assert notes["resnet[depth=20]"].startswith(f"{departs}another recipe than wide-resnet or ")
    assert notes["nearest-mean"].startswith("no place beside the paper: ")
    few = dict(planned_notes("--methods", "resnet[depth=8,recipe=wrn-base]", "--seeds", "0"))
    assert few["resnet[depth=8, recipe=wrn-base]"] == f"{departs}1 of 5 seeds"


@pytest.mark.parametrize("name", ["all", "equal-passes", "equal-time"])
def test_a_track_of_every_method_has_every_method(name: str) -> None:
    methods = load_track(name).methods
    defaults = [method.name for method in methods if not method.params]
    assert sorted(defaults) == sorted(entry.name for entry in entry_points(group=METHODS))
    others = [(method.name, method.params) for method in methods if method.params]
    expected: list[tuple[str, dict[str, Any]]] = [
        ("sdl", {"learner": "ksvd-exact", "coder": "fista"})
    ]
    if name == "equal-passes":  # rivals of ddl-greedy and d-ksvd that differ in one thing
        expected += [("sdl", {"n_atoms": 800}), ("d-ksvd", {"n_first": 30, "n_iter": 0})]
    assert others == expected


def test_overrides_narrow_and_widen() -> None:
    overrides = Overrides(
        methods=["sdl", "plainnet-3", "plainnet[depth=6]"], seeds=[7], budget=BudgetSpec(seconds=2)
    )
    cells = plan("quick", overrides)
    assert [cell.label for cell in cells] == ["sdl", "plainnet-3", "plainnet[depth=6]"]
    assert [cell.params.get("depth") for cell in cells] == [None, 3, 6]
    assert {cell.seed for cell in cells} == {7}
    assert {cell.budget.seconds for cell in cells} == {2}
    again = plan("quick", Overrides(methods=["sdl"], seeds=[7], budget=BudgetSpec(seconds=2)))
    assert again[0].id == cells[0].id


def test_overrides_of_plain_values() -> None:
    overrides = Overrides.of(
        methods="sdl",
        datasets=Path("x.npz"),
        seeds=3,
        budget={"epochs": 2},
        threads=1,
        time_limit=5,
        limit_train=40,
        plugins=["a.py"],
    )
    assert overrides == Overrides(
        methods=["sdl"],
        datasets=["x.npz"],
        seeds=[3],
        budget=BudgetSpec(epochs=2, seconds=None),
        machine={"threads": 1},
        limits={"time_s": 5},
        splits={"limit_train": 40},
        plugins=(Path("a.py"),),
    )
    assert Overrides.of() == Overrides()
    for wrong in (30, {"epoch": 3}):
        with pytest.raises(UserError, match="expected a text such as '40e'"):
            Overrides.of(budget=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "overrides"),
    [
        ("--device foo", {"machine": {"device": "foo"}}),
        ("--precision float16", {"machine": {"precision": "float16"}}),
        ("--threads -1", {"machine": {"threads": -1}}),
        ("--threads 0", {"machine": {"threads": 0}}),
        ("--time-limit -1.0", {"limits": {"time_s": -1.0}}),
        ("--memory-limit-gb 0.0", {"limits": {"memory_gb": 0.0}}),
        ("--seeds []", {"seeds": []}),
        ("--seeds [0, -1]", {"seeds": [0, -1]}),
    ],
)
def test_a_wrong_override_names_the_option(option: str, overrides: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=re.escape(f"{option}: ")) as caught:
        plan("quick", Overrides(**overrides))
    assert "\n" not in str(caught.value)


PLUGIN = """
from dataclasses import dataclass
from typing import ClassVar

@dataclass(frozen=True)
class Method:
    name: ClassVar[str] = "{name}"
    {field}

    def start(self, task, budget):
        raise NotImplementedError

DATASETS = {{}}
"""


def planned_by(command: str) -> list[Cell]:
    """Read a recorded command as the command line does, and plan it."""
    with patch.object(dry_run, "print_dry_run") as seen:
        words = shlex.split(command)[1:]
        CliRunner().invoke(cli.app, [*words, "--dry-run"], catch_exceptions=False)
    _, track, _, overrides, _ = seen.call_args.args
    return plan(track, overrides)


TRACK_OF_COMMANDS = """
name = "commands"
budget = {{ epochs = 3 }}
splits = {{ limit_train = 100, val_fraction = 0.25 }}
[[datasets]]
source = "digits"
[[datasets]]
source = "{folder}/a, b[1].npz"
mirror = false
[[methods]]
name = "sdl"
[[methods]]
name = "sdl"
label = "sdl, long"
params = {{ n_atoms = 20 }}
budget = {{ seconds = 0.0000123456789 }}
[[methods]]
name = "sdl"
label = "sdl [grid, of two"
grid = {{ n_atoms = [10, 20] }}
[[methods]]
name = "mine"
params = {{ text = "none" }}
"""


def test_the_command_of_a_cell_plans_the_same_cell(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (200, 6, 6), dtype=np.uint8)
    labels = np.arange(200) % 3
    path = tmp_path / "a, b[1].npz"
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    plugin = tmp_path / "my plugin, too.py"
    plugin.write_text(PLUGIN.format(name="mine", field='text: str = "x"'))
    track = tmp_path / "t.toml"
    track.write_text(TRACK_OF_COMMANDS.format(folder=tmp_path))
    choices: dict[str, list[Any]] = {
        "seeds": [0, 7, 2**32 - 1],
        "budget": [None, "17e", "0.3333333333333333s", "1.1h"],
        "precision": [None, "bfloat16"],
        "threads": [None, 1],
        "memory_limit_gb": [None, 0.1 + 0.2],
        "time_limit": [None, 1e5 / 3],
        "limit_test": [None, 30],
        "keep_models": [False, True],
        "data_dir": [None, tmp_path / "data, here"],
        "methods": [None, "sdl[n_atoms=7]", "mine[text=nan]"],
    }
    for _ in range(12):
        options = {
            name: values[generator.integers(len(values))] for name, values in choices.items()
        }
        if options["methods"] is None or "mine" in options["methods"]:
            options["keep_models"] = False
        cells = plan(str(track), Overrides.of(plugins=plugin, **options))
        assert cells
        for cell in cells:
            assert planned_by(cell.command()) == [cell]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("40e", "40 epochs"),
        ("90s", "90 s"),
        ("3m", "180 s"),
        ("1.5 h", "5400 s"),
        ("1 epoch", "1 epochs"),
    ],
)
def test_budget_text(text: str, expected: str) -> None:
    assert str(BudgetSpec.parse(text)) == expected


@pytest.mark.parametrize("text", ["", "3", "0s", "-3s", "fast", "3 days", "0.2e", "7.5 epochs"])
def test_wrong_budget_text(text: str) -> None:
    with pytest.raises(UserError, match="--budget"):
        BudgetSpec.parse(text)


def test_method_options_are_checked() -> None:
    from baselines.methods.plainnet import PlainNet

    assert make_method(PlainNet, {"depth": 6}) == PlainNet(depth=6)
    with pytest.raises(UserError, match="plainnet, option 'depth' = 5"):
        make_method(PlainNet, {"depth": 5})
    with pytest.raises(UserError, match="did you mean 'depth'"):
        make_method(PlainNet, {"dept": 3})


WRONG = """
recipe.lr=-1 recipe.batch_size=-5: plainnet lista cnn-lista sparse-lstm ml-ista csc-net deq-sc
recipe.lr=-1 recipe.batch_size=-5: ddl task-driven scn crate-lite
n_layers=0: sdl ddl-greedy adl
n_layers=1: adl-sdl
patch=-1 stride=-1 n_atoms=-1 n_cells=-1 deep_patch=0 n_iter=-1 n_samples=0: sdl adl
contrast=-1 zca=0 n_components=-1: sdl adl
lmbd=-1 n_nonzero=-1: sdl spams
lmbd=0 lmbd=nan lmbd=inf threshold=-1: adl adl-sdl
synthesis_lmbd=-1: adl-sdl
n_steps=0 n_steps=2.5 patch=-1 stride=-1 n_atoms=-1 n_cells=-1 lmbd=-1: lista sparse-lstm
n_steps=0 width=-1 n_atoms=-1: cnn-lista
n_steps=-1: ml-ista ml-fista ml-lista
width=0 n_blocks=0 lmbd=-1: csc-net deq-sc
n_stages=0 n_steps=0: csc-net
n_iter=0 alpha=0 tol=-1: deq-sc
depth=-1 depth=24 width=-3 n_cells=-1 lmbd=-1 alpha=-1: ddl task-driven
depth=0 width=-1 first_stride=-1 n_cells=0 lmbd=-1 alpha=-1: scn
patch=-1 dim=-1 depth=-1 n_heads=0: crate-lite
n_samples=-1 n_nonzero=0: src d-ksvd lc-ksvd
n_samples=-1 n_atoms=0: d-ksvd lc-ksvd dpl
n_iter=0: dpl
n_iter=-1 n_first=0: d-ksvd lc-ksvd
alpha=0: d-ksvd lc-ksvd
beta=0: lc-ksvd
"""
LINES = [line.split(": ") for line in WRONG.strip().splitlines()]
SPECS = [
    f"{name}[{option}]"
    for options, names in LINES
    for name in names.split()
    for option in options.split()
]


@pytest.mark.parametrize("spec", SPECS)
def test_an_option_out_of_range_is_named(spec: str) -> None:
    name, params = parse_spec(spec)
    (option,) = params
    with pytest.raises(UserError, match=rf"^\S+: method .*{name}.*\b{option}\b") as caught:
        plan("quick", Overrides(methods=[spec], seeds=[0]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("strengths", [[], [1.0, 0.0]])
def test_strengths_out_of_range_are_named(strengths: list[float]) -> None:
    with pytest.raises(UserError, match="logistic, option 'strengths'"):
        make_method(load_method("logistic"), {"strengths": strengths})


@pytest.mark.parametrize("name", methods())
def test_every_default_is_in_range(name: str) -> None:
    cls = load_method(name)
    hints = typing.get_type_hints(cls, include_extras=True)
    if cls.__module__.startswith("baselines"):
        assert not [key for key in options_of(cls) if hints[key] in (int, float)], (
            "a number without a range"
        )
    make_method(cls, {key: getattr(cls(), key) for key in options_of(cls)})


def test_parse_spec() -> None:
    assert parse_spec("a[x=1, y=2.5, z=true, w=word]") == (
        "a",
        {"x": 1, "y": 2.5, "z": True, "w": "word"},
    )
    assert parse_spec("a/b.npz") == ("a/b.npz", {})
    with pytest.raises(UserError, match=re.escape("'x' is not key=value")):
        parse_spec("a[x]")
    with pytest.raises(UserError, match="'x' is given twice"):
        parse_spec("a[x=1, x=2]")


def test_a_grid_needs_validation_images(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(
        GOOD.replace('"nearest-mean" }', '"sdl", grid = { n_layers = [1, 2] } }')
        + "[splits]\nval_fraction=0\n"
    )
    with pytest.raises(UserError, match=r"val_fraction=0\): raise val_fraction"):
        plan(str(path))
    path.write_text(
        GOOD.replace('"nearest-mean" }', '"sdl", grid = { n_layers = [1, 2] } }')
        + "[splits]\nlimit_train=10\n"
    )
    with pytest.raises(UserError, match=r"none is held out \(val_fraction=0\.1\)"):
        plan(str(path))


def test_a_method_that_is_for_other_data_sets_is_not_dropped_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(
        GOOD.replace(
            '"nearest-mean" }', '"nearest-mean", only = ["digits"] }, { name = "logistic" }'
        )
    )
    other = ["planted-4"]
    labels = [cell.label for cell in plan(str(path), Overrides(datasets=other))]
    assert labels == ["logistic"], "the track itself may have a method for some data sets alone"
    for chosen in (["nearest-mean", "logistic"], ["nearest-mean"]):
        named = Overrides(datasets=other, methods=chosen)
        with pytest.raises(
            UserError, match="--methods nearest-mean: in the track it is for digits"
        ):
            plan(str(path), named)


def test_a_choice_of_no_method_is_refused() -> None:
    with pytest.raises(UserError, match="--methods: names no method"):
        plan("quick", Overrides(methods=[], keep_models=True))


def limit_of(**options: Any) -> float:
    """The hard limit of time of the first cell of the track `quick`, whose own limit is 60 s."""
    return plan("quick", Overrides.of(seeds=0, **options))[0].limits.time_s


def test_the_hard_limit_follows_the_budget_of_a_user() -> None:
    assert limit_of() == 60
    assert limit_of(budget="30e") == 60
    assert limit_of(budget="10e") == 60
    assert limit_of(budget="90e") == 180
    assert limit_of(budget="3m") > 1.4 * 180
    assert limit_of(budget="3m", time_limit=200) == 200
    with pytest.raises(UserError, match=r"--time-limit 100: .* 180 s, its budget"):
        limit_of(budget="3m", time_limit=100)


@pytest.mark.parametrize("text", ["inf", "nan"])
@pytest.mark.parametrize("option", ["time_limit", "memory_limit_gb"])
def test_limits_are_finite(option: str, text: str) -> None:
    with pytest.raises(UserError, match="finite"):
        limit_of(**{option: float(text)})


def test_a_budget_is_finite() -> None:
    for text in ("9" * 400 + "h", "9" * 400 + "e"):
        with pytest.raises(UserError, match="--budget"):
            limit_of(budget=text)


def test_seeds_are_those_that_numpy_takes() -> None:
    assert len(plan("quick", Overrides.of(methods="sdl", seeds=2**32 - 1))) == 1
    with pytest.raises(UserError, match="--seeds"):
        plan("quick", Overrides.of(methods="sdl", seeds=2**32))


def test_one_training_under_two_names_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    X = np.zeros((9, 8, 8), np.uint8)
    y = np.arange(9) % 3
    for name in ("a.npz", "copy.npz"):
        np.savez(name, x_train=X, y_train=y, x_test=X, y_test=y)
    with pytest.raises(UserError, match=r"a\.npz and .*copy\.npz are the same images; leave one"):
        plan("quick", Overrides.of(methods="nearest-mean", datasets=["a.npz", "copy.npz"], seeds=0))
    Path("t.toml").write_text(
        'name = "t"\nseeds = [0]\nbudget = { epochs = 1 }\ndatasets = [{ source = "digits" }]\n'
        'methods = [{ name = "sdl", label = "a" }, { name = "sdl", label = "b" }]\n'
    )
    with pytest.raises(UserError, match=r"t\.toml: 'a' and 'b' are the same training; leave one"):
        plan("t.toml")


def test_the_order_of_a_grid_is_not_that_of_its_words() -> None:
    points = list(grid_points({"b": [1, 2], "a": [3]}))
    assert points == list(grid_points({"a": [3], "b": [1, 2]}))
    assert points[0] == {"a": 3, "b": 1}


def test_a_run_has_a_bounded_number_of_cells() -> None:
    with pytest.raises(UserError, match="choose fewer"):
        plan("quick", Overrides.of(seeds=range(200_000)))


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 20_000,
        "x = " + "9" * 5_000,
        "seeds = [0x" + "f" * 5_000 + "]",
        "methods = [{ name = 'sdl', params = { n_atoms = 0x" + "f" * 20 + " } }]",
        "x = '" + "y" * 2_000_000 + "'",
        "x = '\udcff'",
    ],
    ids=["nested", "a long number", "long hexadecimal", "65 bits", "a large file", "no UTF-8"],
)
def test_an_absurd_track_is_one_clear_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"t\.toml") as caught:
        plan(str(path))
    assert len(str(caught.value)) < 500


def test_a_track_that_is_a_folder_or_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "folder.toml"
    folder.mkdir()
    pipe = tmp_path / "pipe.toml"
    os.mkfifo(pipe)
    for path in (folder, pipe):
        with pytest.raises(UserError, match=path.name):
            plan(str(path))


def test_a_cell_imports_only_the_plugins_that_it_needs(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(PLUGIN.format(name="mine", field=""))
    images = tmp_path / "images.py"
    images.write_text(
        "from dataclasses import replace\n"
        "from ddl_bench.data.digits import digits\n\n\n"
        "def darker(data_dir, download):\n"
        "    images = digits(data_dir, download)\n"
        "    return replace(images, x_train=images.x_train // 2)\n\n\n"
        "DATASETS = {'my-digits': darker}\n"
    )
    cells = plan(
        "quick",
        Overrides.of(
            methods=["logistic", "mine"],
            datasets=["digits", "my-digits"],
            seeds=0,
            plugins=[mine, images],
        ),
    )
    needed = {(cell.method, cell.dataset): cell.plugins for cell in cells}
    assert needed == {
        ("logistic", "digits"): (),
        ("logistic", "my-digits"): (str(images),),
        ("mine", "digits"): (str(mine),),
        ("mine", "my-digits"): (str(mine), str(images)),
    }


def test_a_name_or_a_seed_that_is_given_twice_is_one_cell() -> None:
    twice = Overrides.of(methods=["nearest-mean", "nearest-mean"], seeds=[0, 1, 0])
    assert [cell.seed for cell in plan("quick", twice)] == [0, 1]


def test_a_plugin_changes_nothing_of_the_process_that_plans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "meddles.py"
    lines = "import os\nos.environ['OMP_DYNAMIC'] = 'x'\nos.chdir('/')\nos.environ.pop('HOME')\n"
    lines += "os.umask(0o777)\nimport signal, warnings\nwarnings.simplefilter('ignore')\n"
    lines += "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    path.write_text(lines + PLUGIN.format(name="meddles", field=""))
    before = dict(os.environ)
    filters = list(warnings.filters)
    handler = signal.getsignal(signal.SIGTERM)
    X = np.zeros((9, 8, 8), np.uint8)
    y = np.arange(9) % 3
    np.savez("images.npz", x_train=X, y_train=y, x_test=X, y_test=y)
    overrides = Overrides.of(
        methods="meddles", plugins="meddles.py", datasets="images.npz", seeds=0
    )
    (cell,) = plan("quick", overrides)
    assert cell.plugins == (str(path),)
    assert cell.dataset == str(tmp_path / "images.npz")
    assert dict(os.environ) == before
    assert Path.cwd() == tmp_path
    assert list(warnings.filters) == filters
    assert signal.getsignal(signal.SIGTERM) == handler
    (tmp_path / "new").touch()
    assert (tmp_path / "new").stat().st_mode & 0o400


def test_a_file_of_images_that_is_a_link_keeps_its_own_name(tmp_path: Path) -> None:
    X = np.zeros((9, 8, 8), np.uint8)
    y = np.arange(9) % 3
    blob = tmp_path / "0123456789ab"
    with blob.open("wb") as file:
        np.savez(file, x_train=X, y_train=y, x_test=X, y_test=y)
    link = tmp_path / "photos.npz"
    link.symlink_to(blob)
    overrides = Overrides.of(methods="nearest-mean", datasets=str(link), seeds=0)
    (cell,) = plan("quick", overrides)
    assert cell.dataset == str(link)


@pytest.mark.parametrize("text", ["nan", "none", "1", "true", "1e3", "inf"])
@pytest.mark.parametrize("hint", ["str", "str | int"])
def test_a_text_may_look_like_another_value(tmp_path: Path, text: str, hint: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN.format(name="mine", field=f'text: {hint} = "x"'))
    (cell,) = plan("quick", Overrides.of(methods=f"mine[text={text}]", plugins=path, seeds=0))
    numbers = {"1": 1, "1e3": 1000.0} if "int" in hint else {}
    assert cell.params == {"text": numbers.get(text, text)}


@pytest.mark.parametrize(
    ("field", "spec", "words"),
    [
        ("", "mine[x=1]", "no option 'x'"),
        ("x: 'Missing' = 1", "mine[x=1]", "cannot be resolved"),
        ("x: 'int |' = 1", "mine[x=1]", "cannot be resolved"),
        ("x: float = 1.0", "mine[x=inf]", "finite"),
        ("x: 'type(dataclass)' = dataclass", "mine[x=1]", "cannot be checked"),
    ],
)
def test_a_strange_class_of_a_plugin_is_one_clear_line(
    tmp_path: Path, field: str, spec: str, words: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN.format(name="mine", field=field))
    with pytest.raises(UserError, match=words):
        plan("quick", Overrides.of(methods=spec, plugins=path))
    if not field:
        path = tmp_path / "bare.py"
        path.write_text(PLUGIN.format(name="mine", field="").replace("@dataclass(frozen=True)", ""))
        with pytest.raises(UserError, match=words):
            plan("quick", Overrides.of(methods=spec, plugins=path))


def test_a_model_that_cannot_be_kept_is_found_by_the_plan() -> None:
    plan("quick", Overrides.of(methods=["dpl", "sdl"], keep_models=True))  # one can be kept
    with pytest.raises(UserError, match=r"--keep-models: dpl cannot be kept"):
        plan("quick", Overrides.of(methods=["dpl", "src"], keep_models=True))


def test_grids_and_seeds_are_counted_before_they_are_made(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    values = list(range(100))
    grid = f"{{ n_atoms = {values}, lmbd = {values}, n_iter = {values}, lr = {values} }}"
    path.write_text(
        "name = 't'\nbudget = { epochs = 1 }\n[[datasets]]\nsource = 'digits'\n"
        f"[[methods]]\nname = 'sdl'\ngrid = {grid}\n"
    )
    with pytest.raises(UserError, match="100,000,000 points; at most 10,000"):
        plan(str(path))
    with pytest.raises(UserError, match="--seeds: more than 1,000,000"):
        Overrides.of(seeds=range(10**12))


def test_a_label_wins_over_a_name(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(
        "name = 't'\nbudget = { epochs = 1 }\n[[datasets]]\nsource = 'digits'\n"
        "[[methods]]\nname = 'sdl'\n[[methods]]\nname = 'sdl'\nlabel = 'other'\n"
    )
    assert [cell.label for cell in plan(str(path), Overrides.of(methods="sdl"))] == ["sdl"]
    assert [cell.label for cell in plan(str(path), Overrides.of(methods="other"))] == ["other"]


def test_a_name_that_is_not_utf8_is_refused_by_the_plan(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xe9t\xe9.npz")
    x = np.zeros((20, 8, 8), np.uint8)
    y = np.arange(20) % 2
    try:
        np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    except OSError:
        pytest.skip("this file system takes no such names")
    with pytest.raises(UserError, match="its name is not UTF-8"):
        plan("quick", Overrides.of(methods="nearest-mean", datasets=str(path)))
