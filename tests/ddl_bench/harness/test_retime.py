"""Times that are measured again after a run: alone, interleaved, beside the rows."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from ddl_bench.api import Budget, Deadline, Task
from ddl_bench.cli.retime import print_times
from ddl_bench.errors import UserError
from ddl_bench.files import DamagedFile
from ddl_bench.harness import clock, retime, retrain, rounds
from ddl_bench.harness.load import clock_mhz, frequencies_of_cpuinfo
from ddl_bench.plan.cell import Machine
from ddl_bench.results.frame import load
from ddl_bench.results.paths import model_path
from ddl_bench.results.publish import publish
from ddl_bench.results.rows import load_rows
from ddl_bench.results.table import display, foot
from ddl_bench.results.times import (
    FILE,
    RowTimes,
    Times,
    TrainTimes,
    read_times,
    write_times,
)
from ddl_bench.training.network import Network
from tests.conftest import HELD_OUT, ddl_bench, make_cell, make_row, put

SUBJECTS = ("fast", "slow", "slower")
STEP_S = {"fast": 0.001, "slow": 0.010, "slower": 0.020}


class FakeTime:
    """A clock that moves only where a model computes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def model(self, name: str) -> Any:
        """A classifier that takes its time for each image, twice as much for one alone."""

        def classify(X: Tensor) -> Tensor:
            self.calls.append(name)
            self.now += STEP_S[name] * (2 if len(X) == 1 else len(X))
            return torch.zeros(len(X), 10)

        return classify


@pytest.fixture
def fake_time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    monkeypatch.setattr(clock, "perf_counter", fake)
    monkeypatch.setattr(rounds, "perf_counter", fake)
    return fake


def subjects_of(fake: FakeTime) -> list[rounds.Subject]:
    rows = [make_row(make_cell(name), status="ok", started="0") for name in SUBJECTS]
    X = HELD_OUT.X[:8]
    return [rounds.subject_of(row, fake.model(row.cell.label), X, {0}) for row in rows]


def test_rounds_go_over_all_models_in_changing_order(fake_time: FakeTime) -> None:
    subjects = subjects_of(fake_time)
    fake_time.calls.clear()
    told: list[tuple[str, int, int]] = []
    rounds.time_in_rounds(subjects, 4, lambda *news: told.append(news), visit_s=0)
    assert told == [("rounds", n, 4) for n in (1, 2, 3, 4)]
    calls = fake_time.calls
    visits = [name for index, name in enumerate(calls) if index == 0 or calls[index - 1] != name]
    assert all(visits.count(name) >= 3 for name in SUBJECTS)
    assert len(calls) == 4 * len(SUBJECTS) * 4  # of each: a batch and an image, one discarded
    orders = [tuple(dict.fromkeys(calls[12 * n : 12 * n + 12])) for n in range(4)]
    assert all(sorted(order) == sorted(SUBJECTS) for order in orders)
    assert len(set(orders)) > 1


def test_times_are_medians_over_rounds(fake_time: FakeTime) -> None:
    subjects = subjects_of(fake_time)
    rounds.time_in_rounds(subjects, 5, lambda *news: None, visit_s=0.5)
    for name, subject in zip(SUBJECTS, subjects, strict=True):
        times = subject.times()
        assert times.test_s_per_image == pytest.approx(STEP_S[name])
        assert times.test_latency_s == pytest.approx(2 * STEP_S[name])
        assert times.test_s_per_image_iqr == pytest.approx(0, abs=1e-9)
        assert times.n_test_runs >= 5 * 0.5 / (8 * STEP_S[name])
        assert times.test_batch == 8


def test_a_slow_moment_of_the_machine_stays_in_its_round(fake_time: FakeTime) -> None:
    subject = subjects_of(fake_time)[0]
    for n_round in range(5):
        if n_round == 2:
            subject.batches.run = lambda: 1.0  # type: ignore[method-assign]
        subject.visit(0)
        if n_round == 2:
            del subject.batches.run
    assert subject.times().test_s_per_image == pytest.approx(STEP_S["fast"])


def test_the_frequency_is_that_of_the_cores(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(
        "processor\t: 0\ncpu MHz\t\t: 1000.5\n\nprocessor\t: 1\ncpu MHz\t\t: 3000\n"
        "processor\t: 2\ncpu MHz\t\t: unknown\n"
    )
    assert frequencies_of_cpuinfo({1}, path) == [3000]
    assert frequencies_of_cpuinfo({0, 1, 2}, path) == [1000.5, 3000]
    assert frequencies_of_cpuinfo({0}, tmp_path / "none") == []
    frequency = clock_mhz({0})
    assert frequency is None or frequency > 0


def test_a_model_is_timed_in_its_own_precision() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(FloatOf(), torch.nn.Flatten(), torch.nn.Linear(64, 10))
    classifier = Network(net)
    X = HELD_OUT.X[:8]
    before = classifier(X)
    rounds.place(classifier, Machine(threads=1))
    assert torch.equal(classifier(X), before)
    bfloat16 = Machine(threads=1, precision="bfloat16")
    rounds.place(classifier, bfloat16)
    assert torch.equal(classifier(X), Network(net, precision="bfloat16")(X))
    assert not torch.equal(classifier(X), before)
    with pytest.raises(UserError, match="in bfloat16: function has no place"):
        rounds.place(FakeTime().model("fast"), bfloat16)


class FloatOf(torch.nn.Module):
    def forward(self, X: Tensor) -> Tensor:
        return X.float() / 16


def times_of(started: str, **changes: float) -> RowTimes:
    values: dict[str, Any] = {
        "test_s_per_image": 2e-4,
        "test_s_per_image_iqr": 1e-6,
        "test_latency_s": 1e-3,
        "test_latency_s_iqr": 5e-4,
        "test_batch": 256,
        "n_test_runs": 40,
        "n_latency_runs": 90,
    }
    return RowTimes(started=started, **values | changes)


def session_of(rows: dict[str, RowTimes], left: dict[str, str] | None = None) -> Times:
    day = "2026-11-27T12:00:00+00:00"
    return Times(measured=day, cpu="a processor", n_rounds=7, rows=rows, left=left or {})


def test_tables_show_later_times_and_rows_keep_theirs(tmp_path: Path) -> None:
    right = np.ones(50, dtype=bool)
    old: dict[str, Any] = {"test_s_per_image": 5e-4, "test_latency_s": 4e-3}
    again = put(tmp_path, make_cell("again"), right, **old)
    left = put(tmp_path, make_cell("left"), right, **old)
    later = put(tmp_path, make_cell("later"), right, **old)
    files = {path: path.read_bytes() for path in (tmp_path / "cells").iterdir()}
    rows = {again.cell.id: times_of(again.started), later.cell.id: times_of("another day")}
    write_times(tmp_path, session_of(rows, {left.cell.id: "no model was kept"}))
    table = display(load_rows(tmp_path)).set_index("method")
    assert table.loc["again", "test (µs/image)"] == "200 (IQR 1)"
    assert table.loc["again", "latency (ms)"] == "1† (IQR 0.5)", "it spreads"
    assert table.loc["left", "test (µs/image)"] == "500‡"
    assert table.loc["later", "latency (ms)"] == "4‡"
    text = foot(load_rows(tmp_path))
    assert "measured again: alone and interleaved in 7 rounds, 2026-11-27, a processor." in text
    assert "‡ marks those" in text
    assert "† marks a time" in text
    frame = load(tmp_path).set_index("label")
    assert frame.loc["again", "run_test_s_per_image"] == old["test_s_per_image"]
    assert frame.loc["again", "n_test_runs"] == 40
    assert frame.loc["left", "not_retimed"] == "no model was kept"
    assert frame.loc["later", "not_retimed"] == "it was run later"
    assert {path: path.read_bytes() for path in (tmp_path / "cells").iterdir()} == files


def test_where_training_alone_was_timed_again_no_test_time_is_marked(tmp_path: Path) -> None:
    row = put(tmp_path, make_cell("a"), np.ones(50, dtype=bool), test_s_per_image=5e-4)
    write_times(tmp_path, session_of({}, {row.cell.id: "no model was kept"}))
    table = display(load_rows(tmp_path)).set_index("method")
    assert table.loc["a", "test (µs/image)"] == "500"
    assert "‡" not in foot(load_rows(tmp_path))
    said = StringIO()
    print_times(Console(file=said, width=200), tmp_path)
    assert "not timed again: a@0: no model was kept" in said.getvalue()


def test_times_are_marked_where_they_spread_or_the_machine_was_loaded(tmp_path: Path) -> None:
    right = np.ones(50, dtype=bool)
    busy = {"test_cpu_share": 0.5, "test_others": 0.5}
    times = {"test_s_per_image": 1e-4, "test_latency_s": 1e-3, "train_s_per_image": 2e-3}
    cases: dict[str, dict[str, Any]] = {
        "calm": {"test_s_per_image_iqr": 0.9e-5, "test_latency_s_iqr": 0.9e-4},
        "spread": {"test_s_per_image_iqr": 1.1e-5, "test_latency_s_iqr": 1.1e-4},
        "tested while loaded": busy,
        "trained while loaded": {"train_cpu_s": 1.0, "train_others": 0.5},
    }
    for label, fields in cases.items():
        for seed in (0, 1):  # one seed is enough for a mark
            bent = fields if seed else {}
            put(tmp_path, make_cell(label, seed), right, **times | bent)
    table = display(load_rows(tmp_path)).set_index("method")
    columns = ["train (ms/image)", "test (µs/image)", "latency (ms)"]
    shown = {str(label): texts for label, *texts in table[columns].itertuples()}
    assert shown == {
        "calm": ["2", "100 (IQR 9)", "1 (IQR 0.09)"],
        "spread": ["2", "100† (IQR 11)", "1† (IQR 0.11)"],
        "tested while loaded": ["2", "100†", "1†"],
        "trained while loaded": ["2†", "100", "1"],
    }
    assert "loaded machine in timing" in str(table.loc["tested while loaded", "note"])


def test_cells_say_which_operations_are_left_out(tmp_path: Path) -> None:
    right = np.ones(50, dtype=bool)
    put(tmp_path, make_cell("a"), right, flops_per_image=2_500_000, flops_left_out="pursuits")
    put(tmp_path, make_cell("b"), right, flops_per_image=1_000_000)
    put(tmp_path, make_cell("c"), right, flops_left_out="nobody counts them")
    table = display(load_rows(tmp_path)).set_index("method")
    assert table["Mflop/image"].to_dict() == {"a": "2.5 (without pursuits)", "b": "1", "c": ""}
    assert table.loc["c", "note"] == "operations unknown: nobody counts them"


def test_a_seed_without_a_count_does_not_explain_that_of_another(tmp_path: Path) -> None:
    right = np.ones(50, dtype=bool)
    put(tmp_path, make_cell("a"), right, flops_per_image=1_000_000)
    put(tmp_path, make_cell("a", seed=1), right, flops_left_out="not counted")
    [line] = display(load_rows(tmp_path)).to_dict("records")
    assert line["Mflop/image"] == "1"
    assert line["note"] == "operations unknown: not counted"


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        json.dumps({"measured": "x"}),
        session_of({}).model_copy(update={"format": 99}).model_dump_json(),
        session_of(
            {"0": times_of("0").model_copy(update={"test_s_per_image": -1.0})}
        ).model_dump_json(),
    ],
)
def test_damaged_times_are_left_out(tmp_path: Path, content: str) -> None:
    put(tmp_path, make_cell("sdl"), np.ones(5, dtype=bool), test_s_per_image=5e-4)
    (tmp_path / FILE).write_text(content)
    with pytest.warns(DamagedFile, match=FILE):
        (row,) = load_rows(tmp_path)
    assert row.measured.test_s_per_image == 5e-4


def test_public_copies_have_the_times_too(tmp_path: Path) -> None:
    row = put(tmp_path / "run", make_cell("sdl"), np.ones(5, dtype=bool), test_s_per_image=5e-4)
    reason = f"{tmp_path}/secret/x.npz: no such file"
    session = session_of({row.cell.id: times_of(row.started)}, {"0": reason})
    write_times(tmp_path / "run", session)
    ddl_bench(["publish", tmp_path / "public", "--run", tmp_path / "run"])
    copied = read_times(tmp_path / "public")
    assert copied is not None
    assert copied.rows == session.rows
    assert str(tmp_path) not in copied.left["0"]


def test_publishing_loses_no_times_that_cannot_be_read(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "public"
    row = put(run, make_cell("sdl"), np.ones(5, dtype=bool), test_s_per_image=5e-4)
    write_times(run, session_of({row.cell.id: times_of(row.started)}))
    publish(run, out)
    (run / FILE).write_text('{"format": 99}')
    other = put(out, make_cell("spams"), np.ones(5, dtype=bool))
    for copy in (out, run):
        with pytest.warns(DamagedFile, match=FILE):
            publish(run, copy)
    kept = read_times(out)
    assert kept is not None
    assert (set(kept.rows), kept.left) == ({row.cell.id}, {})
    assert other.cell.id in {each.cell.id for each in load_rows(out)}
    assert (run / FILE).read_text() == '{"format": 99}'


def test_times_that_cannot_be_read_are_kept_under_another_name(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"format": 99}')
    with pytest.warns(DamagedFile, match=r"kept as times\.json\..*\.unread"):
        write_times(tmp_path, session_of({}))
    (aside,) = tmp_path.glob(f"{FILE}.*.unread")
    assert aside.read_text() == '{"format": 99}'
    assert read_times(tmp_path) == session_of({})


def test_a_copy_keeps_the_times_of_rows_that_the_run_lacks(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "public"
    gone, stays = (put(run, make_cell("sdl", seed), test_s_per_image=5e-4) for seed in (0, 1))
    both = session_of({row.cell.id: times_of(row.started) for row in (gone, stays)})
    of_one = session_of({stays.cell.id: times_of(stays.started)})
    later = of_one.model_copy(update={"cpu": "another"})
    write_times(run, both)
    publish(run, out)
    (run / "cells" / f"{gone.cell.id}.json").unlink()
    apart = "timed apart from the others: alone and interleaved in 7 rounds, 2026-11-27, "
    cases: list[tuple[Times | None, dict[str, RowTimes], dict[str, str]]] = [
        (of_one, both.rows, {}),
        (None, {gone.cell.id: times_of(gone.started)}, {stays.cell.id: "its run was not timed"}),
        (later, of_one.rows, {gone.cell.id: f"{apart}a processor"}),
    ]
    for session, rows, left in cases:
        (run / FILE).unlink(missing_ok=True)
        if session is not None:
            write_times(run, session)
        publish(run, out)
        copied = read_times(out)
        assert copied is not None
        assert copied.rows == rows
        assert copied.left.keys() == left.keys()
        for cell_id, reason in left.items():
            assert copied.left[cell_id].startswith(reason)


def test_a_run_is_timed_again(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["--methods", "nearest-mean,logistic", "--seeds", "0", "--out", run, "--keep-models"]
    ddl_bench(["run", *words])
    (mean,) = (row for row in load_rows(run) if row.cell.label == "nearest-mean")
    (logistic,) = (row for row in load_rows(run) if row.cell.label == "logistic")
    model = model_path(run, mean.cell.id)
    model.replace(model.with_suffix(".away"))
    told: list[tuple[str, int, int]] = []
    session = retime.retime(run, n_rounds=3, tell=lambda *news: told.append(news))
    assert told[-1] == ("rounds", 3, 3)
    assert set(session.rows) == {logistic.cell.id}
    assert session.left == {mean.cell.id: "no model was kept"}
    times = session.rows[logistic.cell.id]
    assert 0 < times.test_s_per_image < times.test_latency_s
    assert read_times(run) == session
    other = model_path(run, logistic.cell.id)
    other.replace(model)
    with pytest.raises(UserError, match="nothing could be timed: the kept model is not that"):
        retime.retime(run, n_rounds=3)


def test_a_run_without_models_says_how_to_keep_them(tmp_path: Path) -> None:
    put(tmp_path, make_cell("sdl"), np.ones(5, dtype=bool))
    with pytest.raises(UserError, match=r"no kept model to time.*--keep-models"):
        ddl_bench(["time", tmp_path])


class FakeTraining:
    """A training of 10 batches an epoch that take 3 s each, the first one 100 s."""

    def __init__(self, fake: FakeTime, *, looks: bool, epochs: int) -> None:
        self.passes = 0.0
        self._fake = fake
        self._looks = looks
        self._left = epochs

    def advance(self, deadline: Deadline) -> bool:
        for _ in range(10):
            if self._looks and deadline.expired():
                return False
            self._fake.now += 3 if self.passes else 100
            self.passes = round(self.passes + 0.1, 9)
        self._left -= 1
        return self._left > 0

    def classifier(self) -> Any:
        raise NotImplementedError


class FakeMethod:
    """Starts trainings, which takes 1,000 s."""

    def __init__(self, fake: FakeTime, *, looks: bool = True, epochs: int = 9) -> None:
        self._fake = fake
        self._looks = looks
        self._epochs = epochs

    def start(self, task: Task, budget: Budget) -> FakeTraining:
        self._fake.now += 1000
        return FakeTraining(self._fake, looks=self._looks, epochs=self._epochs)


def steps_of(method: Any) -> retrain.Steps:
    task = Task(name="digits", class_names=tuple("0123456789"), train=HELD_OUT, val=HELD_OUT)
    return retrain.Steps(make_cell("a"), method, task)


@pytest.mark.parametrize("visit_s", [1, 7, 29, 100])
def test_steps_are_timed_without_the_start_and_the_first_batch(
    fake_time: FakeTime, monkeypatch: pytest.MonkeyPatch, visit_s: float
) -> None:
    monkeypatch.setattr(retrain, "perf_counter", fake_time)
    steps = steps_of(FakeMethod(fake_time))
    for _ in range(3):
        steps.visit(visit_s)
    assert steps.pass_s == pytest.approx([30.0] * 3), "ten batches of 3 s"
    times = steps.times()
    assert times.train_s_per_image_pass == pytest.approx(30 / len(HELD_OUT))
    assert times.train_s_per_image_pass_iqr == pytest.approx(0, abs=1e-12)
    assert times.n_visits == 3


@pytest.mark.parametrize(("epochs", "seconds"), [(9, 30), (1, 127)])
def test_a_training_that_never_looks_counts_by_epochs(
    fake_time: FakeTime, monkeypatch: pytest.MonkeyPatch, epochs: int, seconds: float
) -> None:
    monkeypatch.setattr(retrain, "perf_counter", fake_time)
    steps = steps_of(FakeMethod(fake_time, looks=False, epochs=epochs))
    steps.visit(1)
    assert steps.pass_s == pytest.approx([seconds])


def test_what_counts_no_passes_is_not_timed() -> None:
    class Plain:
        def start(self, task: Task, budget: Budget) -> object:
            return object()

    with pytest.raises(UserError, match="does not count passes"):
        steps_of(Plain()).visit()


def test_times_of_training_follow_from_passes(tmp_path: Path) -> None:
    right = np.ones(50, dtype=bool)
    old: dict[str, Any] = {"train_s": 90.0, "train_s_per_image": 0.9, "n_train": 100}
    again = put(tmp_path, make_cell("again"), right, **old, passes=20.0, train_cpu_s=30.0)
    left = put(tmp_path, make_cell("left"), right, **old)
    put(tmp_path, make_cell("later"), right, **old, passes=20.0)
    times = TrainTimes(
        started=again.started,
        train_s_per_image_pass=0.01,
        train_s_per_image_pass_iqr=0.0001,
        n_visits=7,
        train_cpu_share=1.0,
        train_others=0.0,
    )
    before = put(tmp_path, make_cell("before"), right, **old, passes=20.0)
    of_before = times.model_copy(update={"started": "another day"})
    session = session_of({}).model_copy(
        update={
            "training": {again.cell.id: times, before.cell.id: of_before},
            "left_training": {left.cell.id: "no passes"},
        }
    )
    write_times(tmp_path, session)
    frame = load(tmp_path).set_index("label")
    assert frame.loc["again", "train_s"] == pytest.approx(0.01 * 20 * 100)
    assert frame.loc["again", "train_s_per_image"] == pytest.approx(0.2)
    assert frame.loc["again", "run_train_s"] == 90
    assert frame.loc["left", "train_s"] == 90
    assert frame["not_retrained"].to_dict() == {
        "again": None,
        "left": "no passes",
        "later": "it was run later",
        "before": "it was run later",
    }
    assert frame.loc["before", "train_s"] == 90
    table = display(load_rows(tmp_path)).set_index("method")
    assert table.loc["again", "train (s)"] == "20", "it is not marked as loaded any more"
    assert table.loc["left", "train (s)"] == "90‡"
    text = foot(load_rows(tmp_path))
    assert "Times of training follow from some steps that were trained again" in text
    assert "‡ marks those" in text


def test_the_training_of_a_run_is_timed_again(tmp_path: Path) -> None:
    methods = "plainnet[depth=3],logistic"
    ddl_bench(["run", "--methods", methods, "--seeds", "0,1", "--budget", "1e", "--out", tmp_path])
    ddl_bench(["time", tmp_path, "--train", "--rounds", "3"])
    by_label: dict[str, list[Any]] = {}
    for row in load_rows(tmp_path):
        by_label.setdefault(row.cell.method, []).append(row.measured)
    for measured in by_label["plainnet"]:
        assert measured.run_train_s is not None
        assert 0.1 < measured.train_s / measured.run_train_s < 10
    for measured in by_label["logistic"]:
        assert measured.not_retrained == "its training does not count passes"
    (row, *_) = load_rows(tmp_path)
    cell = row.cell.model_copy(update={"source": "0123456789abcdef"})
    older = row.model_copy(update={"cell": cell})
    with pytest.raises(UserError, match="code of the method has changed"):
        rounds.load_line(older, retime_request(tmp_path), {})


def retime_request(run: Path) -> rounds.TimingRequest:
    return rounds.TimingRequest(
        run=run, cell_ids=[], train_ids=[], plugins=[], data_dir=None, n_rounds=3, cores=[0]
    )


def test_the_grid_point_that_was_chosen_is_trained_again(tmp_path: Path) -> None:
    ddl_bench(
        [
            "run",
            "--methods",
            "plainnet[depth=3]",
            "--seeds",
            "0",
            "--budget",
            "1e",
            "--out",
            tmp_path,
            "--no-report",
        ]
    )
    (row,) = load_rows(tmp_path)
    chosen = row.model_copy(update={"chosen": {"depth": 6}})
    line = rounds.load_line(chosen, retime_request(tmp_path), {})
    assert line.method.depth == 6  # type: ignore[attr-defined]  # of PlainNet
    smaller = row.model_copy(update={"chosen": {"recipe": {"progressive_resizing": 0.5}}})
    with pytest.raises(UserError, match="smaller images"):
        rounds.load_line(smaller, retime_request(tmp_path), {})
    assert retime.line_of(chosen) != retime.line_of(row)
