"""The paper's tables and claims beside ours: verdicts, reasons, and lines that nobody ran."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest
import torch

from ddl_bench.api import Split, Task
from ddl_bench.data.splits import Splits
from ddl_bench.params import make_method, parse_spec
from ddl_bench.plan.cell import BudgetSpec, Machine
from ddl_bench.plan.track import MethodEntry, load_track
from ddl_bench.registry import load_method
from ddl_bench.results.groups import gather
from ddl_bench.results.rows import Row
from reports.paper.claims import claims
from reports.paper.places import places_of
from reports.paper.protocol import REFERENCE, networks
from reports.paper.tables import tables
from tests.conftest import make_cell, make_row

PROTOCOL = BudgetSpec(epochs=200, seconds=None)
CLOSE = (93.0, 93.1, 93.05, 93.0, 93.1)  # to the 93.05 of DeTraMe-Net with 9 layers
TRACKS = {name: load_track(name).methods for name in ("table1", "table2")}


def measured(row: Row, **values: Any) -> Row:
    """Return a row with other measured values."""
    return row.model_copy(update={"measured": dataclasses.replace(row.measured, **values)})


def entry_of(key: str, dataset: str = "cifar10", track: str = "table1") -> MethodEntry:
    """Return the line of a packaged track for a network on a data set."""
    for entry in TRACKS[track]:
        if entry.paper == key and (not entry.only or dataset in entry.only):
            return entry
    raise KeyError(key)


def official(
    key: str, accuracies: Sequence[float], *, track: str = "table1", **changes: Any
) -> list[Row]:
    """Make rows of a line of a packaged track, but for `changes` of their cells."""
    dataset = changes.pop("dataset", "cifar10")
    entry = entry_of(key, "cifar100" if "cifar100" in dataset else "cifar10", track)
    params = entry.params | changes.pop("params", {})
    values = {"method": entry.name, "params": params, "paper": key, "track": track}
    values |= {"budget": PROTOCOL, "dataset": dataset} | changes
    rows = []
    for seed, accuracy in enumerate(accuracies):
        row = make_row(
            make_cell(entry.title, seed, **values),
            status="ok",
            accuracy=accuracy,
            n_train=50_000,
            n_test=10_000,
            n_stored=2_982_538,
            n_params=2_980_000,
            train_s_per_image=0.08,
            train_s_per_image_pass=4e-4,
            test_s_per_image=2e-4,
        )
        rows.append(row)
    return rows


def paper_line(rows: list[Row], table: str = "Table 1", **wanted: str) -> dict[str, str]:
    frame = tables(gather(rows))[table]
    for column, value in wanted.items():
        is_exact = column == "dataset"
        frame = frame[frame[column] == value if is_exact else frame[column].str.startswith(value)]
    assert len(frame) == 1
    return {str(key): value for key, value in frame.iloc[0].items()}


def line_9(rows: list[Row]) -> dict[str, str]:
    return paper_line(rows, network="PlainNet 9, DeTraMe", dataset="cifar10")


# Verdicts


def test_paper_accuracy_beside_ours() -> None:
    line = line_9(official("plainnet-9-detrame", CLOSE))
    assert line["paper"] == "93.05 ± 0.46 (5)"
    assert line["ours"] == "93.05 ± 0.05 (5)"
    assert line["ours - paper"] == "+0.00"
    assert line["95 % interval"] == "-0.57 to +0.57", "t(4.1) * 0.207"
    assert line["verdict"] == "reproduced, by a reconstruction"
    assert line["note"].startswith("a reconstruction: the kernel of the metrics")


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ((92.2, 92.21, 92.2, 92.19, 92.2), "reproduced"),
        ((92.7, 92.71, 92.7, 92.69, 92.7), "within 1 point, but different"),
        ((91.7, 91.71, 91.7, 91.69, 91.7), "within 1 point, but different"),
        ((90.0, 90.1, 90.2, 90.1, 90.0), "lower"),
        ((95.0, 95.1, 95.2, 95.1, 95.0), "higher"),
        ((90.0, 94.0, 92.0, 93.0, 91.5), "cannot be decided: a perfect replication"),
    ],
)
def test_verdicts(accuracies: tuple[float, ...], expected: str) -> None:
    line = paper_line(
        official("resnet-20-relu", accuracies), network="ResNet 20, ReLU", dataset="cifar10"
    )
    assert line["verdict"].startswith(expected)
    assert not line["note"], "ResNet 20 with ReLUs is no reconstruction"


def test_a_replication_of_a_wide_spread_is_never_reproduced_and_says_so() -> None:
    """The paper's 35.14 ± 4.94 % again: no interval lies within a point."""
    rows = official("plainnet-3-relu", (30.0, 41.0, 33.0, 38.0, 33.7))
    line = paper_line(rows, network="PlainNet 3, ReLU", dataset="cifar10")
    assert line["verdict"] == (
        "cannot be decided: a perfect replication would be called reproduced in 0 % of cases"
    )
    assert line["chance"] == "0 %"
    frame = tables(gather(rows))["Table 1"]
    assert (frame["chance"] != "").all(), "also of lines that nobody ran"


# Comparable or not


LINES = [
    (track, entry.paper, dataset)
    for track, entries in TRACKS.items()
    for entry in entries
    for dataset in entry.only or ["cifar10", "cifar100"]
    if "net" in entry.paper
]


@pytest.mark.parametrize(("track", "key", "dataset"), LINES)
def test_each_line_of_a_track_follows_the_protocol(track: str, key: str, dataset: str) -> None:
    for recipe in ("wide-resnet", "wrn-base"):
        params = {"recipe": recipe}
        rows = official(key, CLOSE, track=track, dataset=dataset, params=params)
        frames = tables(gather(rows))
        lines = pd.concat([frames["Table 1"], frames["Table 2"]])
        ours = lines[lines["ours"] != ""]
        assert len(ours) >= 1
        accuracies = ours[ours["95 % interval"] != ""]
        assert not accuracies["verdict"].str.startswith("not comparable").any()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"params": {"recipe": "fast"}}, "another recipe than wide-resnet or wrn-base: "),
        ({"params": {"recipe": {"base": "wrn-base", "lr": 5.0}}}, "lr=5.0, not 0.1"),
        ({"params": {"recipe": {"base": "paper", "batch_size": 64}}}, "batch_size=64, not 128"),
        ({"params": {"recipe": {"base": "paper", "momentum": 0.8}}}, "momentum=0.8, not 0.9"),
        ({"params": {"recipe": {"base": "paper", "weight_decay": 0.0}}}, "weight_decay=0.0, not"),
        ({"params": {"recipe": {"base": "paper", "schedule": "triangle"}}}, "schedule=triangle"),
        ({"params": {"recipe": {"base": "paper", "shift": 0.0}}}, "shift=0.0, not 0.125"),
        ({"params": {"recipe": {"base": "paper", "flip": "alternate"}}}, "flip=alternate, not"),
        ({"params": {"recipe": {"base": "paper", "label_smoothing": 0.1}}}, "label_smoothing=0.1"),
        ({"params": {"recipe": {"base": "paper", "lookahead": True}}}, "lookahead=True, not"),
        ({"params": {"recipe": {"base": "paper", "mirror_views": True}}}, "mirror_views=True, not"),
        ({"params": {"recipe": {"base": "wrn-base", "decay_all": False}}}, "decay_all=False, not"),
        ({"params": {"n_steps": 1}}, "n_steps=1, not 2"),
        ({"params": {"kernel": "1x1"}}, "kernel=1x1, not same"),
        ({"params": {"batch_norm": False}}, "batch_norm=False, not True"),
        ({"params": {"kernel": "same", "structure": "low-rank"}}, "structure=low-rank, not full"),
        ({"params": {"depth": 6}}, ""),
        ({"method": "plainnet-deep"}, "plainnet-deep, not detrame-plainnet"),
        ({"plugins": ("/x/mine.py",)}, "detrame-plainnet of a plugin, not detrame-plainnet"),
        ({"params": {"widht": 3}}, "options that detrame-plainnet no longer takes"),
        ({"machine": Machine(threads=1, precision="bfloat16")}, "bfloat16, not float32"),
        ({"mirror": False}, "no mirrored images"),
        ({"dataset": "/data/cifar10.npz"}, "no mirrored images"),
        ({"budget": BudgetSpec(epochs=15, seconds=None)}, "15 epochs, not 200 epochs"),
        ({"budget": BudgetSpec(epochs=None, seconds=90)}, "90 s, not 200 epochs"),
        ({"grid": {"recipe.lr": [0.1, 0.05]}}, "recipe.lr chosen from a grid"),
    ],
)
def test_an_altered_protocol_is_never_reproduced(changes: dict[str, Any], reason: str) -> None:
    frame = tables(gather(official("plainnet-9-detrame", CLOSE, **changes)))["Table 1"]
    verdicts = frame["verdict"]
    assert not verdicts.str.contains("reproduced").any()
    if reason:
        (verdict,) = verdicts[verdicts != ""]
        assert verdict.startswith("not comparable: ")
        assert reason in verdict


def test_too_few_seeds_and_other_images_are_named() -> None:
    rows = official("plainnet-3-relu", (80.0,), dataset="/data/cifar100-small.npz")
    rows = [measured(row, n_train=4500, n_test=1000) for row in rows]
    line = paper_line(rows, network="PlainNet 3, ReLU", dataset="cifar100")
    reasons = (
        "4,500 training images, not 50,000; not the 10,000 official test images; "
        "no mirrored images; 1 of 5 seeds"
    )
    assert line["verdict"] == f"not comparable: {reasons}"
    assert line["ours"] == "80.00 (1)"
    assert line_9(official("plainnet-9-detrame", CLOSE[:4]))["verdict"] == (
        "not comparable: 4 of 5 seeds"
    )


def test_paper_takes_the_official_test_images() -> None:
    rows = [
        measured(row, official_accuracy=92.0 + seed / 10, n_official=10_000, n_train=45_000)
        for seed, row in enumerate(
            official("resnet-20-relu", (70.0,) * 5, splits=Splits(test_from_train=5000))
        )
    ]
    line = paper_line(rows, network="ResNet 20, ReLU", dataset="cifar10")
    assert line["ours"] == "92.20 ± 0.16 (5)"
    assert line["verdict"] == "not comparable: 45,000 training images, not 50,000"


# Places


@pytest.mark.parametrize(
    ("spec", "track", "place"),
    [
        ("resnet[depth=20,recipe=wrn-base]", "quick", "ResNet 20, ReLU"),
        ("detrame-resnet[depth=8,recipe=paper]", "quick", "ResNet 8, DeTraMe (3 iterations)"),
        ("resnet[depth=110]", "table1", "ResNet 110, ReLU"),
        ("resnet[depth=110]", "quick", ""),
        ("nearest-mean", "table1", ""),
    ],
)
def test_lines_of_the_command_line_have_their_place(spec: str, track: str, place: str) -> None:
    """Where they follow the protocol, and in the paper's tracks always, with the reason."""
    method, params = parse_spec(spec)
    changes = {"method": method, "paper": "", "track": track, "params": params}
    rows = []
    for row in official("resnet-20-relu", CLOSE):
        rows.append(row.model_copy(update={"cell": row.cell.model_copy(update=changes)}))
    frames = tables(gather(rows))
    if not place:
        assert frames == {}
        return
    ours = frames["Table 1"][frames["Table 1"]["ours"] != ""]
    assert list(ours["network"]) == [place]
    is_alike = "recipe" in params
    assert ours["verdict"].iloc[0].startswith("not comparable: ") != is_alike


def test_one_key_a_network() -> None:
    """The counts of the two networks of depth 12: 4.48 M of Table 1, 2.4 M of Table 2."""
    counts = {}
    task = make_task()
    for key, network in networks("cifar10").items():
        if key.startswith("plainnet-12"):
            method: Any = make_method(load_method(network.method), network.params)
            with torch.device("meta"):
                net = method.network(task)
            counts[key] = sum(parameter.numel() for parameter in net.parameters())
    assert counts["plainnet-12-detrame"] == pytest.approx(4.48e6, rel=0.005)
    assert counts["plainnet-12-detrame-1x1"] == pytest.approx(2.42e6, rel=0.005)
    specs = {(each.method, str(each.params)) for each in networks("cifar10").values()}
    assert len(specs) == len(networks("cifar10"))
    for name in ("table1", "table2"):
        lines = pd.read_csv(REFERENCE / f"{name}.csv")
        assert set(lines["key"]) <= networks("cifar10").keys()


def make_task() -> Task:
    X = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    images = Split(X=X, y=torch.zeros(1, dtype=torch.int64))
    return Task(name="images", class_names=tuple(map(str, range(10))), train=images, val=images)


def test_a_row_with_the_key_of_another_network_has_the_place_of_its_own() -> None:
    """Rows of version 0.1.0 have one key for both networks of depth 12."""
    rows = official("plainnet-12-detrame", CLOSE, params={"kernel": "1x1"})
    frames = tables(gather(rows))
    assert (frames["Table 1"]["ours"] == "").all()
    ours = frames["Table 2"][frames["Table 2"]["ours"] != ""]
    assert set(ours["network"]) == {"DeTraMe-Net 12"}


def test_paper_tables_keep_every_line_and_appear_only_with_ours() -> None:
    beside = tables(gather(official("plainnet-12-detrame", CLOSE)))
    assert [len(beside[name]) for name in ("Table 1", "Table 2")] == [32, 18]
    assert (beside["Table 1"]["ours"] != "").sum() == 1
    assert tables(gather(official("plainnet-12-detrame", CLOSE, dataset="digits"))) == {}


def test_paper_costs_beside_ours() -> None:
    rows = official("plainnet-12-detrame-1x1", (93.0,), track="table2")
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
    (row,) = official("ddl-9", (93.0,), track="table2")
    failed = row.model_copy(update={"status": "oom", "reason": "16 GB"})
    line = paper_line([failed], "Table 2", network="DDL 9", quantity="accuracy", dataset="cifar10")
    assert (line["paper"], line["ours"], line["verdict"]) == (
        "93.04",
        "",
        "0 of 1 seeds; seed 0: oom: 16 GB",
    )


def test_an_accuracy_without_a_spread_has_no_verdict() -> None:
    rows = official("ddl-9", CLOSE, track="table2")
    line = paper_line(rows, "Table 2", network="DDL 9", quantity="accuracy", dataset="cifar10")
    assert line["verdict"] == "no verdict: published without a spread"


@pytest.mark.parametrize("table", ["table1", "table2"])
def test_a_track_has_every_line_of_its_table(table: str) -> None:
    lines = pd.read_csv(REFERENCE / f"{table}.csv")
    assert {entry.paper for entry in load_track(table).methods} == set(lines["key"])


# Claims


def all_of_table_1(gain: float = 0.0) -> list[Row]:
    """Make five rows of every line at the paper's accuracy, DeTraMe's raised by `gain`."""
    rows = []
    for line in pd.read_csv(REFERENCE / "table1.csv").to_dict("records"):
        accuracy = line["value"]
        if "detrame" in line["key"]:
            accuracy += gain
        around = [accuracy + 0.1 * step for step in (-2, -1, 0, 1, 2)]
        rows += official(line["key"], around, dataset=line["dataset"])
    return rows


ALL = all_of_table_1()


def test_a_report_of_every_line_shows_paper_ours_gain_and_verdict() -> None:
    beside = tables(gather(ALL))
    assert (beside["Table 1"]["ours"] != "").all()
    assert (beside["Table 1"]["verdict"] != "").all()
    frame = beside["Claims"]
    assert len(frame) == 2 * (8 + 2 + 2)
    assert (frame[["paper", "ours", "ours says", "ours - paper", "verdict"]] != "").all(axis=None)
    assert not frame["verdict"].str.startswith("not comparable").any()


def claim(rows: list[Row], text: str, dataset: str = "cifar10") -> dict[str, str]:
    frame = claims(places_of(gather(rows)))
    here = frame[(frame["claim"] == text) & (frame["dataset"] == dataset)]
    assert len(here) == 1
    return {str(key): value for key, value in here.iloc[0].items()}


def test_a_gain_has_its_interval_and_verdict() -> None:
    line = claim(ALL, "PlainNet 6: DeTraMe minus ReLU")
    assert line["paper"].startswith("+5.53 (+5.0"), "92.24 ± 0.32 minus 86.71 ± 0.36"
    assert line["ours"] == "+5.53 (+5.30 to +5.76)", "t(8) * 0.1"
    assert line["paper says"] == line["ours says"] == "DeTraMe is more accurate"
    assert line["verdict"] == "reproduced, by a reconstruction"
    deep = claim(ALL, "ResNet 56: DeTraMe minus ReLU")
    assert deep["paper says"] == deep["ours says"] == "not separable"
    assert float(deep["detectable"]) > 0.3
    worse = claim(all_of_table_1(gain=-9.0), "ResNet 56: DeTraMe minus ReLU")
    assert (worse["ours says"], worse["verdict"]) == ("ReLU is more accurate", "lower")


@pytest.mark.parametrize(
    ("family", "dataset", "paper", "ours"),
    [
        ("PlainNet", "cifar10", "+3.99 as printed; +4.14 (", "+4.14 ("),
        ("PlainNet", "cifar100", "+5.11 as printed; +5.11 (", "+5.11 ("),
        ("ResNet", "cifar10", "+0.05 as printed; +0.09 (", "+0.09 ("),
        ("ResNet", "cifar100", "+0.13 as printed; +0.13 (", "+0.13 ("),
    ],
)
def test_medians_are_as_printed_and_recomputed(
    family: str, dataset: str, paper: str, ours: str
) -> None:
    line = claim(ALL, f"{family}: median gain", dataset)
    assert line["paper"].startswith(paper)
    assert line["ours"].startswith(ours)
    assert line["verdict"] == "reproduced, by a reconstruction"


def test_the_shallower_the_more() -> None:
    for family in ("PlainNet", "ResNet"):
        line = claim(ALL, f"{family}: the shallower, the more")
        assert line["ours says"] == line["paper says"] == "falls with depth"
        assert line["paper"].startswith("-")
        assert line["paper"].endswith("a step")


def test_svhn_has_the_printed_median_alone() -> None:
    rows = [
        measured(row, n_train=73_257, n_test=26_032)
        for key in networks("svhn")
        if key.startswith("plainnet") and not key.endswith("1x1")
        for row in official(key, CLOSE, dataset="svhn", params=svhn_steps(key))
    ]
    line = claim(rows, "PlainNet: median gain", "svhn")
    assert line["paper"] == "+0.45 as printed"
    assert line["ours"].startswith("+0.00 (")
    assert not line["verdict"]


def svhn_steps(key: str) -> dict[str, int]:
    return {"n_steps": 2} if "detrame" in key else {}


def test_a_gain_is_of_lines_that_were_run_alike() -> None:
    rows = official("plainnet-9-detrame", CLOSE)
    by_base = {"recipe": "wrn-base"}
    rows += official("plainnet-9-relu", (90.0, 90.1, 90.2, 90.1, 90.0), params=by_base)
    line = claim(rows, "PlainNet 9: DeTraMe minus ReLU")
    assert line["ours says"] == "not run alike in both forms: PlainNet 9"
    rows += official("plainnet-9-relu", (91.0, 91.1, 91.2, 91.1, 91.0))
    line = claim(rows, "PlainNet 9: DeTraMe minus ReLU")
    assert line["ours"].startswith("+1.97 (")


def test_a_gain_of_one_line_says_what_lacks() -> None:
    line = claim(official("plainnet-9-detrame", CLOSE), "PlainNet 9: DeTraMe minus ReLU")
    assert (line["ours"], line["ours says"]) == ("", "not run alike in both forms: PlainNet 9")
    few = claim([row for row in ALL if row.cell.seed < 4], "PlainNet: median gain")
    assert few["ours says"] == "no verdict: 4 seeds, and a verdict needs 5"
    assert few["verdict"] == "not comparable: 4 of 5 seeds"
