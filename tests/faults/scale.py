"""Commands on made-up folders of thousands of finished cells, in bounded time and memory."""

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.conftest import make_row
from tests.faults import commands
from tests.faults.tally import Tally

LIMIT_S = 180.0


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


CURVE = ("seconds", "accuracy", "step", "value")


def measured(arguments: list[str], log: Path) -> Callable[[], None]:
    """Return an action that does a command, and says how much memory it took at most."""

    def action() -> None:
        try:
            commands.command_line(arguments)()
        finally:
            usage = resource.getrusage(resource.RUSAGE_SELF)
            log.with_suffix(".memory").write_text(str(1024 * usage.ru_maxrss))

    return action


def bounded(
    tally: Tally, name: str, arguments: list[str], log: Path, *, most_s: float, most_bytes: float
) -> None:
    """Run a command in a fresh process, and note where it takes more than its bounds."""
    import subprocess
    import sys

    tally.tried += 1
    began = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "ddl_bench", *arguments], stdout=file, stderr=file
        )
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    ended = commands.Ended(os.waitstatus_to_exitcode(status), log.read_text(), False)
    if ended.fault() or ended.code:
        tally.tracebacks.append(f"{name}: {ended.fault() or ended.output[-300:]}")
    if seconds > most_s:
        tally.lost.append(f"{name}: {seconds:.1f} s, at most {most_s:g} s")
    if 1024 * usage.ru_maxrss > most_bytes:
        size = 1024 * usage.ru_maxrss / 1e6
        tally.lost.append(f"{name}: {size:,.0f} MB, at most {most_bytes / 1e6:,.0f} MB")


def try_scale(scratch: Path, *, smoke: bool) -> Tally:
    """Try 10,000 finished cells; in the smoke part 300, without times."""
    tally = Tally("scale")
    run = scratch / "run"
    options = many_rows(run, 300 if smoke else 10_000, 3 if smoke else 10)
    most_s = 120.0 if smoke else 2.0
    again = ["run", *options, "--no-report"]
    labels = ["nearest-mean", "sdl[n_atoms=20]"]
    for name, arguments in {
        "run again": again,
        "dry run": [*again, "--dry-run"],
        "compare": ["compare", *labels, "--run", str(run)],
    }.items():
        log = scratch / f"{name}.log"
        bounded(tally, name, arguments, log, most_s=most_s, most_bytes=500e6)
    if smoke:
        return tally
    report = ["report", "--run", str(run)]
    bounded(tally, "report", report, scratch / "report.log", most_s=15, most_bytes=1e9)
    hundred = scratch / "hundred"
    many_rows(hundred, 300, 100)
    report = ["report", "--run", str(hundred)]
    log = scratch / "hundred.log"
    bounded(tally, "report of 100 methods", report, log, most_s=30, most_bytes=1e9)
    return tally
