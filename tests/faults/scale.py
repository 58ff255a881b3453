"""Commands on made-up folders of thousands of finished cells, in bounded time and memory."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.conftest import make_row
from tests.faults import commands
from tests.faults.tally import Tally

LIMIT_S = 180.0
CURVE = ("seconds", "accuracy", "step", "value")


def many_rows(run: Path, n_cells: int, n_methods: int) -> list[str]:
    """Write finished rows of planned cells; returns the options that plan them again."""
    from ddl_bench.plan.expansion import Overrides, plan
    from ddl_bench.results.rows import write_row

    methods = ["nearest-mean"]
    methods += [f"sdl[n_atoms={number}]" for number in range(20, 19 + n_methods)]
    n_seeds = n_cells // n_methods
    cells = plan("quick", Overrides.of(methods=methods, seeds=range(n_seeds), threads=1))
    rng = np.random.default_rng(0)
    y = np.arange(50) % 10
    curve = np.linspace(0, 1, 5)
    kept: dict[str, Any] = {
        f"{prefix}_{value}": curve for prefix in ("curve", "loss") for value in CURVE
    }
    for cell in cells:
        right = rng.random(50) < 0.8
        row = make_row(
            cell,
            status="ok",
            started=f"2026-01-01T00:00:{cell.seed % 60:02}",
            accuracy=100 * float(right.mean()),
            n_train=900,
            n_val=100,
            n_test=50,
            n_params=640,
            train_s=1.0,
            test_s_per_image=1e-6,
        )
        write_row(run, row)
        predictions = np.where(right, y, (y + 1) % 10)
        np.savez(
            run / "cells" / f"{cell.id}.npz",
            y_test=y,
            predictions=predictions,
            class_names=np.array(list("0123456789")),
            curve_split="validation",
            **kept,
        )
    words = ["--methods", ",".join(methods), "--seeds", f"0-{n_seeds - 1}", "--threads", "1"]
    return [*words, "--out", str(run)]


# A process of its own waits for the command: the peak memory that the kernel counts for a child
# begins with that of the process that starts it, and this one is large.
MEASURE = """\
import json, os, sys, time
began = time.monotonic()
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
measured = [os.waitstatus_to_exitcode(status), time.monotonic() - began, 1024 * usage.ru_maxrss]
with open(sys.argv[1], "w") as file:
    json.dump(measured, file)
"""


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What a command may take at most: seconds, None for any, and bytes of resident memory."""

    seconds: float | None
    n_bytes: float


def measured(arguments: list[str], log: Path) -> tuple[int, float, int]:
    """Run Python in a fresh process; returns exit code, seconds and peak bytes of memory."""
    results = log.with_suffix(".json")
    with log.open("wb") as file:
        subprocess.run(
            [sys.executable, "-S", "-c", MEASURE, str(results), sys.executable, *arguments],
            stdout=file,
            stderr=file,
            check=True,
            timeout=LIMIT_S,
        )
    code, seconds, n_bytes = json.loads(results.read_text())
    return code, seconds, n_bytes


def bounded(tally: Tally, name: str, arguments: list[str], log: Path, bounds: Bounds) -> None:
    """Run a command in a fresh process, and note where it takes more than its bounds."""
    tally.tried += 1
    code, seconds, n_bytes = measured(["-m", "ddl_bench", *arguments], log)
    ended = commands.Ended(code, log.read_text(), overtime=False)
    print(f"{name}: {seconds:.1f} s, {n_bytes / 1e6:,.0f} MB", file=sys.stderr, flush=True)
    if ended.fault() or ended.code:
        tally.tracebacks.append(f"{name}: {ended.fault() or ended.output[-300:]}")
    if bounds.seconds is not None and seconds > bounds.seconds:
        tally.slow.append(f"{name}: {seconds:.1f} s, at most {bounds.seconds:g} s")
    if n_bytes > bounds.n_bytes:
        limit = bounds.n_bytes / 1e6
        tally.slow.append(f"{name}: {n_bytes / 1e6:,.0f} MB, at most {limit:,.0f} MB")


def try_scale(scratch: Path, *, smoke: bool) -> Tally:
    """Try 10,000 finished cells and 100 methods; in the smoke part 300 cells, without times."""
    tally = Tally("scale")
    run = scratch / "run"
    options = many_rows(run, 300 if smoke else 10_000, 3 if smoke else 10)
    few = Bounds(None if smoke else 2.0, 500e6)
    again = ["run", *options, "--no-report"]
    # The first run imports torch, and leaves what later plans need not ask. How much of its
    # libraries a kernel maps differs by hundreds of megabytes between machines.
    imports = ["-c", "import sklearn, torch, torchvision"]
    _, _, of_libraries = measured(imports, scratch / "imports.log")
    first = Bounds(None, of_libraries + few.n_bytes)
    bounded(tally, "first run", again, scratch / "first.log", first)
    labels = ["nearest-mean", "sdl[n_atoms=20]"]
    for name, arguments in {
        "run again": again,
        "dry run": [*again, "--dry-run"],
        "compare": ["compare", *labels, "--run", str(run)],
    }.items():
        bounded(tally, name, arguments, scratch / f"{name}.log", few)
    if smoke:
        return tally
    report = ["report", "--run", str(run)]
    bounded(tally, "report", report, scratch / "report.log", Bounds(15.0, 1e9))
    hundred = scratch / "hundred"
    many_rows(hundred, 300, 100)
    report = ["report", "--run", str(hundred)]
    bounded(tally, "report of 100 methods", report, scratch / "hundred.log", Bounds(30.0, 1e9))
    return tally
