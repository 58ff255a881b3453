"""What the harness costs: the start of a worker, and its training time against training alone."""

import itertools
import math
import statistics
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from scipy import stats

from ddl_bench.harness import evaluate, load, verify
from ddl_bench.harness.clock import Phases
from ddl_bench.harness.progress import Progress
from ddl_bench.harness.run import run
from ddl_bench.plan.cell import BudgetSpec, Cell
from ddl_bench.plan.expansion import Overrides, plan
from ddl_bench.results.rows import Row, load_rows

EPOCHS = 280  # over 20 s of training on digits
EPOCHS_OF_A_PAIR = 40  # some 3 s
N_SHARED_CELLS = 40  # for two runners
ROUNDED_S = 0.05  # of the start of a worker and its end
CHECKS = (
    (evaluate, "depends_on_company"),
    (evaluate, "checked_size"),
    (evaluate, "numbers_held"),
    (evaluate, "cpu_seconds"),
    (evaluate, "background"),
    (evaluate, "n_cores_beyond"),
    (load.LoadMeter, "__init__"),
    (load.LoadMeter, "read"),
    (verify, "labels_of"),
    (verify, "wrong_accuracy"),
)
ALONE = """
import sys, time, torch
from ddl_bench.api import Budget
from ddl_bench.harness.clock import CellDeadline, Stopwatch
from ddl_bench.data.digits import digits
from ddl_bench.data.splits import Splits, split
from baselines.methods.plainnet import PlainNet
torch.set_num_threads(1)
task = split("digits", digits(None), Splits()).task
training = PlainNet(depth=3).start(task, Budget(epochs=int(sys.argv[1])))
deadline = CellDeadline(Stopwatch("cpu"), None)
begin = time.perf_counter()
while training.advance(deadline):
    pass
print(time.perf_counter() - begin)
"""


def test_worker_start_to_first_training_step(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """At most 0.5 s from the second cell of a run on: the first waits for the imports of all."""
    starts = []

    def once() -> None:
        rows = run("quick", tmp_path, methods=["plainnet-3"], seeds=[0, 1], rerun="all", jobs=1)
        for row in rows[1:]:
            phases = ("start-up", "import", "data", "warm-up")
            starts.append(sum(row.phases[phase] for phase in phases))

    benchmark.pedantic(once, rounds=5, warmup_rounds=1)
    benchmark.extra_info.update(seconds=statistics.median(starts), bar=0.5)
    assert statistics.median(starts) <= 0.5


def test_a_fork_trains_as_fast_as_a_fresh_interpreter(
    benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    """Twenty alternating pairs; the 95 % interval of the ratio lies within 0.97 to 1.03."""
    logarithms: list[float] = []

    def seconds(fresh_process: bool) -> float:
        (row,) = run(
            "quick",
            tmp_path,
            methods=["plainnet-3"],
            seeds=[0],
            budget=f"{EPOCHS_OF_A_PAIR}e",
            rerun="all",
            jobs=1,
            fresh_process=fresh_process,
        )
        assert row.measured.train_s is not None
        return row.measured.train_s

    def pair() -> None:
        is_fork_first = len(logarithms) % 2 == 0
        first = seconds(not is_fork_first)
        second = seconds(is_fork_first)
        ratio = first / second if is_fork_first else second / first
        logarithms.append(math.log(ratio))

    benchmark.pedantic(pair, rounds=20)
    error = stats.sem(logarithms)
    middle = statistics.mean(logarithms)
    low, high = stats.t.interval(0.95, len(logarithms) - 1, loc=middle, scale=error)
    interval = (math.exp(low), math.exp(high))
    benchmark.extra_info.update(ratio=math.exp(middle), interval=interval)
    text = " to ".join(f"{limit:.3f}" for limit in interval)
    print(f"\nfork / fresh interpreter: {math.exp(middle):.3f}, {text}")
    assert interval[0] >= 0.97
    assert interval[1] <= 1.03


def test_training_time_is_that_of_training_alone(
    benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    """Five alternating pairs; the median ratio is within 3 % of one."""
    ratios = []

    def pair() -> None:
        overrides = Overrides(
            methods=["plainnet-3"],
            seeds=[0],
            budget=BudgetSpec(epochs=EPOCHS),
            limits={"time_s": 600},
        )
        (row,) = run("quick", tmp_path, overrides=overrides, rerun="all", jobs=1)
        command = ["taskset", "-c", "0", sys.executable, "-c", ALONE, str(EPOCHS)]
        alone = float(subprocess.check_output(command, text=True))
        assert row.measured.train_s is not None
        assert alone >= 20
        ratios.append(row.measured.train_s / alone)

    benchmark.pedantic(pair, rounds=5)
    benchmark.extra_info.update(ratio=statistics.median(ratios), bar=1.03)
    assert abs(statistics.median(ratios) - 1) <= 0.03, ratios


def test_checks_take_little_of_the_cpu_time(
    benchmark: BenchmarkFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most 5 % of the CPU time of the quick run's cells goes into what checks a method."""
    spent: list[float] = []

    def timed(check: Callable[..., Any]) -> Callable[..., Any]:
        def run_check(*arguments: Any, **named: Any) -> Any:
            began_s = process_time()
            try:
                return check(*arguments, **named)
            finally:
                spent.append(process_time() - began_s)

        return run_check

    for place, name in CHECKS:
        monkeypatch.setattr(place, name, timed(getattr(place, name)))
    read_images = evaluate.read_images
    cells_read: set[str] = set()

    def read(cell: Cell, *arguments: Any) -> Any:
        """The second time is a check: test images are read when the training is over."""
        if cell.id in cells_read:
            return timed(read_images)(cell, *arguments)
        cells_read.add(cell.id)
        return read_images(cell, *arguments)

    monkeypatch.setattr(evaluate, "read_images", read)
    folder = tmp_path / "run"
    for name in ("cells", "work"):
        (folder / name).mkdir(parents=True)
    cells = plan("quick", Overrides.of(seeds=[0], threads=1))

    def all_cells() -> float:
        began_s = process_time()
        for cell in cells:
            phases = Phases({})
            progress = Progress(folder / "progress", phases)
            outcome = evaluate.evaluate(cell, folder, phases, progress)
            row = Row(cell=cell, status="ok", measured=outcome.measured)
            assert not verify.wrong_accuracy(row, folder, verify.labels_of(cell))
        return process_time() - began_s

    whole_s = benchmark.pedantic(all_cells, rounds=1)
    share = sum(spent) / whole_s
    benchmark.extra_info.update(share=share, bar=0.05)
    print(f"\nchecks take {100 * share:.2f} % of {whole_s:.1f} s")
    assert share <= 0.05


def test_two_runners_of_a_folder_share_its_cells(
    benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    """Two commands take at most 0.6 of the time of one, and each cell is alone on its core."""
    command = [sys.executable, "-m", "ddl_bench", "run", "--methods", "plainnet", "--budget", "8e"]
    command += ["--seeds", f"0-{N_SHARED_CELLS - 1}", "--jobs", "1", "--threads", "1"]
    command += ["--no-report", "--out"]

    def seconds(n_runners: int) -> float:
        folder = tmp_path / str(n_runners)
        began_s = perf_counter()
        runners = [
            subprocess.Popen([*command, str(folder)], stdout=subprocess.DEVNULL)
            for _ in range(n_runners)
        ]
        codes = [runner.wait() for runner in runners]
        assert 0 in codes  # the other says that the last cell was not its own
        return perf_counter() - began_s

    one_s = seconds(1)
    two_s = benchmark.pedantic(seconds, args=[2], rounds=1)
    ratio = two_s / one_s
    benchmark.extra_info.update(ratio=ratio, bar=0.6)
    print(f"\ntwo runners: {two_s:.1f} s, one: {one_s:.1f} s, ratio {ratio:.3f}")
    rows = load_rows(tmp_path / "2")
    assert len(rows) == N_SHARED_CELLS
    for core in (0, 1):
        spans = sorted(span(row) for row in rows if row.provenance["cores_used"] == [core])
        assert spans
        for (_, ended), (began, _) in itertools.pairwise(spans):
            assert began >= ended - ROUNDED_S
    assert ratio <= 0.6


def span(row: Row) -> tuple[float, float]:
    """When the worker of a row began and ended, in seconds."""
    began_s = datetime.fromisoformat(row.started).timestamp()
    assert row.wall_s is not None
    return began_s, began_s + row.wall_s
