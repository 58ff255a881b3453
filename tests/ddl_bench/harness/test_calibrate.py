"""How long cells will take on this machine, by short trainings."""

import json
from pathlib import Path

import pytest

from ddl_bench.errors import UserError
from ddl_bench.harness.calibrate import N_EPOCHS, calibrate, n_train, scaled, shortened
from ddl_bench.plan.expansion import Overrides, plan
from tests.conftest import PLUGINS, ddl_bench, make_cell, make_row


def test_short_trainings_are_of_few_images_and_passes() -> None:
    cell = make_cell("a", grid={"k": [3, 4], "j": [1, 2]}, params={"z": 0}, keep_model=True)
    short = shortened(cell)
    assert tuple(each.budget.epochs for each in short) == N_EPOCHS
    for each in short:
        assert each.splits.limit_train == 1000
        assert each.params == {"z": 0, "k": 3, "j": 1}
        assert not each.grid
        assert not each.keep_model


def test_times_are_scaled_to_images_passes_and_points() -> None:
    cell = make_cell("a", grid={"k": [3, 4]})
    n_epochs = 30
    assert cell.budget.epochs == n_epochs
    # Once 1 s, each pass 0.5 s, and 3 s for all but training.
    rows = []
    for each, passes in zip(shortened(cell), N_EPOCHS, strict=True):
        train_s = 1 + 0.5 * passes
        times = {"wall_s": 3 + train_s, "train_s": train_s, "passes": float(passes)}
        rows.append(make_row(each, status="ok", n_train=900, **times))
    assert scaled(cell, rows, 1800) == pytest.approx(3 + 2 * (1 + 2 * n_epochs * 0.5))
    whole = [
        make_row(each, status="ok", wall_s=5.0, train_s=2.0, n_train=900)
        for each in shortened(cell)
    ]
    assert scaled(cell, whole, 1800) == pytest.approx(3 + 2 * (2 * 2.0))


def test_methods_that_fail_and_budgets_in_seconds_are_left_out(tmp_path: Path) -> None:
    track = tmp_path / "t.toml"
    track.write_text(
        'name = "t"\nseeds = [0, 1]\nmachine = { threads = 1 }\nbudget = { epochs = 6 }\n'
        '[[datasets]]\nsource = "digits"\n'
        '[[methods]]\nname = "logistic"\n'
        '[[methods]]\nname = "nearest-mean"\nbudget = { seconds = 9 }\n'
        '[[methods]]\nname = "misbehave"\nparams = { way = "raise" }\n'
    )
    plugin = PLUGINS / "misbehaving.py"
    cells = plan(str(track), Overrides(plugins=(plugin,)))
    expected = calibrate(cells, 1)
    logistic = cells[0]
    assert list(expected) == [logistic.settings]
    assert 0 < expected[logistic.settings] < 60
    assert n_train(logistic) == 1293
    options = ["--plugin", plugin, "--out", tmp_path / "out", "--methods", "logistic"]
    listed = ddl_bench(["run", track, *options, "--dry-run", "--calibrate", "--json"])
    assert {record["from"] for record in json.loads(listed)} == {"calibrated"}
    assert not (tmp_path / "out").exists()


def test_calibrating_is_part_of_a_dry_run() -> None:
    with pytest.raises(UserError, match="give both"):
        ddl_bench(["run", "--calibrate"])
