"""Measure what a run folder of many cells costs: operations, seconds, megabytes."""

import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ddl_bench.harness.claims import claim, claims_folder, this_process
from ddl_bench.harness.folder import make_folders
from tests.scale.folder import finish, planned, words_of
from tests.scale.trace import Counts, traced

N_CLAIMS = 1_000  # of other runners, that lie beside the one that is timed
N_ROUNDS = 200  # of claim and release
FEW = 2  # cells; twice as many tell what each costs
LIMIT_S = 600.0

# A small process waits for each command, as the peak memory of a child begins with its parent's.
WAIT = """\
import json, os, sys, time
began = time.monotonic()
out = os.open(os.devnull, os.O_WRONLY)
pid = os.posix_spawn(
    sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, out, 1)]
)
_, status, usage = os.wait4(pid, 0)
code = os.waitstatus_to_exitcode(status)
cpu_s = usage.ru_utime + usage.ru_stime
print(json.dumps([code, time.monotonic() - began, cpu_s, 1024 * usage.ru_maxrss]))
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Costs:
    """Operations of a command: of its own, and for each cell of the folder."""

    command: str
    fixed: Counts
    each: Counts


def costs_of(command: str, count: Callable[[int], Counts]) -> Costs:
    """Count a command with few cells and with twice as many, to tell both parts apart."""
    few = dataclasses.asdict(count(FEW))
    more = dataclasses.asdict(count(2 * FEW))
    each = {name: (more[name] - few[name]) / FEW for name in few}
    fixed = {name: few[name] - FEW * each[name] for name in few}
    return Costs(command=command, fixed=Counts(**fixed), each=Counts(**each))


def count_operations(scratch: Path) -> list[Costs]:
    """Count what commands do, for a folder of finished cells and for one that is run."""

    def folder_of(name: str, n_cells: int) -> Path:
        run = scratch / f"{name}-{n_cells}"
        make_folders(run)
        return run

    def finished(n_cells: int) -> Path:
        run = folder_of("finished", n_cells)
        finish(run, planned(n_cells))
        traced(run, scratch / "trace", words_of(run, n_cells))  # leaves the plan
        return run

    def of_finished(*words: str) -> Callable[[int], Counts]:
        def count(n_cells: int) -> Counts:
            run = finished(n_cells)
            return traced(run, scratch / "trace", [*words, str(run)])

        return count

    def again(n_cells: int) -> Counts:
        run = finished(n_cells)
        return traced(run, scratch / "trace", words_of(run, n_cells))

    def fresh(n_cells: int) -> Counts:
        run = folder_of("fresh", n_cells)
        return traced(run, scratch / "trace", [*words_of(run, n_cells), "--jobs", "1"])

    return [
        costs_of("run, of finished cells", again),
        costs_of("run, of new cells", fresh),
        costs_of("status", of_finished("status")),
        costs_of("report", of_finished("report", "--run")),
        costs_of("clean --work", of_finished("clean", "--work", "--yes")),
    ]


def time_folder(run: Path, n_cells: int) -> dict[str, Any]:
    """Time commands on a folder of finished cells, and a claim in it."""
    finish(run, planned(n_cells))
    again = words_of(run, n_cells)
    timed(again)  # leaves the plan, and what later plans need not ask
    return {
        "n_cells": n_cells,
        "again": timed(again),
        "dry run": timed([*again, "--dry-run"]),
        "status": timed(["status", str(run)]),
        "claim_s": time_claims(run),
    }


def timed(words: Sequence[str]) -> dict[str, float]:
    """Do a command; returns its wall and CPU time in seconds, and its peak memory in bytes."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", WAIT, sys.executable, "-m", "ddl_bench", *words],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=LIMIT_S,
    )
    code, seconds, cpu_s, n_bytes = json.loads(done.stdout)
    if code:
        raise RuntimeError(f"{words} ended with {code}")
    return {"seconds": seconds, "cpu_s": cpu_s, "n_bytes": n_bytes}


def time_claims(run: Path) -> float:
    """Return the median seconds of a claim and its release, beside those of other runners."""
    folder = claims_folder(run)
    content = json.dumps({**this_process(), "token": "x"})
    others = [folder / f"{number:012x}.claim.1" for number in range(N_CLAIMS)]
    for path in others:
        path.write_text(content)
    times = []
    for number in range(N_ROUNDS):
        began = time.perf_counter()
        taken = claim(folder, f"{N_CLAIMS + number:012x}")
        assert taken is not None
        taken.release()
        times.append(time.perf_counter() - began)
    for path in others:
        path.unlink()
    return statistics.median(times)
