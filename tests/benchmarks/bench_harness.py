"""What the harness costs: the start of a worker, and its training time against training alone."""

import math
import statistics
import subprocess
import sys
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture
from scipy import stats

from ddl_bench.harness.run import run
from ddl_bench.plan.cell import BudgetSpec
from ddl_bench.plan.expansion import Overrides

EPOCHS = 280  # over 20 s of training on digits
EPOCHS_OF_A_PAIR = 40  # some 3 s
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
