"""Claims under stress: rivals that claim the same cells and die, hosts whose clocks are wrong."""

import contextlib
import functools
import os
import platform
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.conftest import PLUGINS
from tests.faults import commands
from tests.faults.kills import LOG, judge
from tests.faults.tally import Tally

N_RIVALS = 4
N_CELLS = 3
LONGEST_LINE = "+ cell0 999\n"  # in the list of holds
DEATH_SHARE = 0.02  # of claims, whose holder dies
N_CLAIMS = 10_000
N_CLAIMS_SMOKE = 500
N_SEEDS = 3
MINUTES_S = 120.0
HOUR_S = 3600.0
COARSE_S = 2.0  # as on file systems that keep even seconds
CODES = (0, 1)  # 1 where the other host holds the last cell


def rival(work: Path, number: int, seed: int) -> None:
    """Claim cells again and again, note each hold, and die at some moment while holding one."""
    from ddl_bench.harness.claims import claim

    rng = random.Random(seed)
    with (work / "holds").open("ab", buffering=0) as holds:
        while not (work / "over").exists():
            cell = f"cell{rng.randrange(N_CELLS)}"
            taken = claim(work, cell)
            if taken is None:
                continue
            holds.write(f"+ {cell} {number}\n".encode())
            os.sched_yield()
            holds.write(f"- {cell} {number}\n".encode())
            if rng.random() < DEATH_SHARE:
                os.kill(os.getpid(), signal.SIGKILL)
            taken.release()


def stress(scratch: Path, n_claims: int) -> Tally:
    """Let rivals claim until there were so many holds; those that die are replaced."""
    work = scratch / "stress"
    work.mkdir()
    holds = work / "holds"
    holds.touch()
    tally = Tally("claims")
    running: dict[int, Path] = {}
    n_started = 0
    end = time.monotonic() + 600
    n_bytes = len(LONGEST_LINE) * 2 * n_claims
    while holds.stat().st_size < n_bytes and time.monotonic() < end:
        while len(running) < N_RIVALS:
            log = work / f"rival{n_started}.out"
            action = functools.partial(rival, work, n_started, n_started)
            running[commands.start(action, log)] = log
            n_started += 1
        time.sleep(0.02)
        for pid in list(running):
            code = commands.wait(pid, 0.001)
            if code is not None:
                judge(running.pop(pid), code, tally)
    (work / "over").touch()
    for pid, log in running.items():
        code = commands.wait(pid, 60)
        if code is None:
            commands.stop(pid)
            tally.tracebacks.append(f"{log}: a rival never ended")
        else:
            judge(log, code, tally)
    lines = holds.read_text().splitlines()
    tally.tried = len(lines) // 2
    tally.doubled += double_holds(lines)
    if tally.tried < n_claims:
        tally.lost.append(f"{tally.tried} of {n_claims} claims in 600 s")
    return tally


def double_holds(lines: list[str]) -> list[str]:
    """Find the cells that one rival took while another held them."""
    holders: dict[str, str] = {}
    found = []
    for line in lines:
        sign, cell, number = line.split()
        holder = holders.pop(cell, None)
        if sign == "+":
            holders[cell] = number
        if (sign == "+") == (holder is not None) or holder not in (None, number):
            found.append(f"{cell} was held by {number} and {holder}")
    return found


def host(folder: Path, log: Path, name: str, shift_s: float = 0.0) -> int:
    """Start a runner on a made-up host, whose clock is wrong; returns its process number."""
    options = ["--methods", "nap[seconds=0.7]", "--seeds", f"0-{N_SEEDS - 1}", "--threads", "1"]
    options += ["--jobs", "1", "--plugin", str(PLUGINS / "naps.py"), "--no-report"]
    action = commands.command_line(["run", *options, "--out", str(folder)])

    def disguised() -> None:
        now_s = time.time
        platform.node = lambda: name
        time.time = lambda: now_s() + shift_s
        os.utime = coarse(os.utime)
        # the cores of another machine are locked there
        os.environ["TMPDIR"] = str(folder.with_suffix(f".{name}"))
        Path(os.environ["TMPDIR"]).mkdir()
        os.environ[LOG] = str(folder.with_suffix(".log"))
        action()

    return commands.start(disguised, log)


def coarse(utime: Callable[..., None]) -> Callable[..., None]:
    """Let `os.utime` set whole multiples of `COARSE_S`, by the clock of the file system."""

    def set_times(path: Path, times: tuple[float, float] | None = None, **options: bool) -> None:
        utime(path, times, **options)
        if times is None:
            modified_s = os.stat(path).st_mtime // COARSE_S * COARSE_S
            utime(path, (modified_s, modified_s), **options)

    return set_times


def try_shift(folder: Path, shift_s: float) -> Tally:
    """Let a host with a wrong clock join a run: no cell runs twice, no row is replaced."""
    tally = Tally("claims", tried=1)
    log = folder.with_suffix(".log")
    outputs = [folder.with_suffix(f".{number}.out") for number in range(2)]
    first = host(folder, outputs[0], "first")
    end = time.monotonic() + 60
    while not log.exists() and time.monotonic() < end:
        time.sleep(0.02)
    second = host(folder, outputs[1], "second", shift_s)
    for pid, output in zip((first, second), outputs, strict=True):
        code = commands.wait(pid, 120)
        if code is None:
            commands.stop(pid)
            tally.tracebacks.append(f"{output}: never ended")
            continue
        judge(output, code, tally)
        if code not in CODES:
            tally.tracebacks.append(f"{output}: exit code {code}")
    starts: Counter[str] = Counter()
    with contextlib.suppress(FileNotFoundError):
        words = [line.split() for line in log.read_text().splitlines()]
        starts = Counter(seed for event, seed, _ in words if event == "start")
    for seed in map(str, range(N_SEEDS)):
        if starts[seed] > 1:
            tally.doubled.append(f"a clock that is off by {shift_s:g} s: seed {seed} ran twice")
    n_rows = len(list(folder.glob("cells/*.json")))
    if n_rows != N_SEEDS or len(starts) != N_SEEDS:
        tally.lost.append(f"a clock that is off by {shift_s:g} s: {n_rows} rows")
    return tally


def try_claims(scratch: Path, *, smoke: bool) -> Tally:
    """Claim 10,000 times, or 500 in the smoke part; shift clocks by two minutes and an hour."""
    from ddl_bench.cli import running as imported  # noqa: F401  children need not import it again

    if smoke:
        tally = stress(scratch, N_CLAIMS_SMOKE)
        tally.add(try_shift(scratch / "ahead", HOUR_S))
        return tally
    tally = stress(scratch, N_CLAIMS)
    for shift_s in (-HOUR_S, -MINUTES_S, MINUTES_S, HOUR_S):
        tally.add(try_shift(scratch / f"shift{shift_s:g}", shift_s))
    return tally
