"""The paper's tables beside ours: verdicts, reasons, and lines that nobody ran."""

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ddl_bench.data.splits import Splits
from ddl_bench.plan.cell import BudgetSpec
from ddl_bench.plan.track import load_track
from ddl_bench.results.groups import gather
from ddl_bench.results.rows import Row
from reports import paper
from tests.conftest import make_cell, make_row


def measured(row: Row, **values: Any) -> Row:
    """Return a row with other measured values."""
    return row.model_copy(update={"measured": dataclasses.replace(row.measured, **values)})


def official(label: str, seed: int, accuracy: float, key: str, **changes: Any) -> Row:
    """Make a row by the protocol of the paper, but for `changes` of its cell."""
    cell = make_cell(
        label,
        seed,
        **{"dataset": "cifar10", "budget": BudgetSpec(epochs=200, seconds=None)} | changes,
    )
    numbers = {"n_train": 50_000, "n_test": 10_000, "n_stored": 2_982_538, "n_params": 2_980_000}
    times = {"train_s_per_image": 0.08, "train_s_per_image_pass": 4e-4, "test_s_per_image": 2e-4}
    return make_row(
        cell.model_copy(update={"paper": key}),
        status="ok",
        accuracy=accuracy,
        **numbers,
        **times,
    )


def paper_line(rows: list[Row], table: str = "Table 1", **wanted: str) -> dict[str, str]:
    frame = paper.tables(gather(rows))[table]
    for column, value in wanted.items():
        frame = frame[
            frame[column].str.startswith(value) if column != "dataset" else frame[column] == value
        ]
    assert len(frame) == 1
    return {str(key): value for key, value in frame.iloc[0].items()}


def test_paper_accuracy_beside_ours() -> None:
    """Ours 93.2, 93.5, 93.8 against 93.05 ± 0.46 (5): the Welch interval of test_stats."""
    rows = [
        official("q", seed, accuracy, "plainnet-9-detrame")
        for seed, accuracy in enumerate((93.2, 93.5, 93.8))
    ]
    line = paper_line(rows, network="PlainNet 9, DeTraMe", dataset="cifar10")
    assert line["paper"] == "93.05 ± 0.46 (5)"
    assert line["ours"] == "93.50 ± 0.30 (3)"
    assert (line["ours - paper"], line["95 % interval"]) == ("+0.45", "-0.21 to +1.11")
    assert line["verdict"] == "unresolved"


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ((93.0, 93.1, 93.05, 93.0, 93.1), "reproduced"),
        ((91.0, 91.2, 91.1), "lower"),
        ((95.0, 95.1, 95.2), "higher"),
        ((93.0,), "unresolved: no spread"),
    ],
)
def test_paper_verdicts(accuracies: tuple[float, ...], expected: str) -> None:
    rows = [
        official("q", seed, accuracy, "plainnet-9-detrame")
        for seed, accuracy in enumerate(accuracies)
    ]
    assert paper_line(rows, network="PlainNet 9, DeTraMe", dataset="cifar10")["verdict"] == expected


def test_paper_names_what_is_not_comparable() -> None:
    budget = BudgetSpec(epochs=None, seconds=90)
    rows = [
        official("q", 0, 80.0, "plainnet-3-relu", dataset="/data/cifar100-small.npz", budget=budget)
    ]
    rows = [measured(row, n_train=4500, n_test=1000) for row in rows]
    line = paper_line(rows, network="PlainNet 3, ReLU", dataset="cifar100")
    reasons = (
        "4,500 training images, not 50,000; 90 s, not 200 epochs; "
        "not the 10,000 official test images"
    )
    assert line["verdict"] == f"not comparable: {reasons}"
    assert line["ours"] == "80.00 (1)"


def test_paper_takes_the_official_test_images() -> None:
    rows = [
        measured(
            official("q", seed, 70.0, "resnet-20-relu", splits=Splits(test_from_train=5000)),
            official_accuracy=92.0 + seed / 10,
            n_official=10_000,
            n_train=45_000,
        )
        for seed in (0, 1)
    ]
    line = paper_line(rows, network="ResNet 20, ReLU", dataset="cifar10")
    assert line["ours"] == "92.05 ± 0.07 (2)"
    assert line["verdict"] == "not comparable: 45,000 training images, not 50,000"


def test_paper_tables_keep_every_line_and_appear_only_with_ours() -> None:
    found = paper.tables(gather([official("q", 0, 93.0, "plainnet-12-detrame")]))
    assert [len(found[name]) for name in ("Table 1", "Table 2")] == [32, 18]
    assert (found["Table 1"]["ours"] != "").sum() == 1
    assert paper.tables(gather([official("q", 0, 93.0, "")])) == {}
    assert (
        paper.tables(gather([official("q", 0, 93.0, "plainnet-12-detrame", dataset="digits")]))
        == {}
    )


def test_paper_costs_beside_ours() -> None:
    rows = [official("q", 0, 93.0, "plainnet-12-detrame")]
    lines = {
        quantity: paper_line(rows, "Table 2", network="DeTraMe-Net 12", quantity=quantity)
        for quantity in (
            "parameters (M)",
            "training time per image (s)",
            "training time per image and pass",
            "test time",
        )
    }
    assert [(line["paper"], line["ours"]) for line in lines.values()] == [
        ("2.4", "2.98 (1)"),
        ("0.1605", "0.08 (1)"),
        ("", "0.0004 (1)"),
        ("3.52e-4", "0.0002 (1)"),
    ]
    assert all(line["verdict"].startswith("not comparable: the ") for line in lines.values())


def test_failed_rows_stand_beside_the_paper_with_their_reason() -> None:
    row = official("q", 0, 93.0, "ddl-9").model_copy(
        update={"status": "oom", "accuracy": None, "reason": "16 GB"}
    )
    line = paper_line([row], "Table 2", network="DDL 9", quantity="accuracy", dataset="cifar10")
    assert (line["paper"], line["ours"], line["verdict"]) == (
        "93.04",
        "",
        "0 of 1 seeds; seed 0: oom: 16 GB",
    )


@pytest.mark.parametrize("table", ["table1", "table2"])
def test_a_track_has_every_line_of_its_table(table: str) -> None:
    lines = pd.read_csv(Path(paper.__file__).parent / "reference" / f"{table}.csv")
    ours = {entry.paper for entry in load_track(table).methods}
    assert ours <= set(lines["key"])
    assert ours >= {key for key in lines["key"] if "resnet" not in key}, (
        "residual nets are not in a packaged track"
    )
