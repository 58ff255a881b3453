"""What the harness costs: the start of a worker, and its training time against training alone."""

import statistics
import subprocess
import sys
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

from ddl_bench.harness.run import run
from ddl_bench.plan.cell import BudgetSpec
from ddl_bench.plan.expansion import Overrides

EPOCHS = 280  # over 20 s of training on digits
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
    """At most 3.5 s; importing torch alone takes 1 to 2 s."""
    starts = []

    def once() -> None:
        (row,) = run(
            "quick",
            tmp_path,
            overrides=Overrides(methods=["plainnet-3"], seeds=[0]),
            rerun="all",
            jobs=1,
        )
        starts.append(sum(row.phases[phase] for phase in ("start-up", "import", "data", "warm-up")))

    benchmark.pedantic(once, rounds=5, warmup_rounds=1)
    benchmark.extra_info.update(seconds=statistics.median(starts), bar=3.5)
    assert statistics.median(starts) <= 3.5


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
