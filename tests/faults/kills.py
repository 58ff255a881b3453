"""Kill runners and workers at random moments; in the end every cell has one row, trained once."""

import contextlib
import hashlib
import json
import os
import platform
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.conftest import PLUGINS
from tests.faults import commands
from tests.faults.shares import in_shares
from tests.faults.tally import Tally

N_SEEDS = 4
KILLS_A_ROUND = 20
LONGEST_WAIT_S = 1.8  # between two kills
STALE_S = 1.5  # in runners that are stopped, instead of the minute that users wait
LOG = "DDL_BENCH_NAPS"


def arguments(folder: Path) -> list[str]:
    """Return the command that is killed and resumed."""
    plugin = str(PLUGINS / "naps.py")
    options = ["--methods", "nap", "--seeds", f"0-{N_SEEDS - 1}", "--jobs", "1", "--threads", "1"]
    return ["run", *options, "--plugin", plugin, "--no-report", "--out", str(folder)]


class Watched:
    """A run folder, and what was seen of its rows and its log so far."""

    def __init__(self, folder: Path, tally: Tally) -> None:
        self.folder = folder
        self.tally = tally
        self.log = folder.with_suffix(".log")
        self._digests: dict[str, str] = {}
        self._starts: dict[str, int] = {}

    def lines(self) -> list[list[str]]:
        """Read the log of the method: event, seed and process number, in the order of time."""
        if not self.log.exists():
            return []
        return [line.split() for line in self.log.read_text().splitlines()]

    def look(self) -> int:
        """Compare the finished rows with those seen before; returns how many there are."""
        starts: dict[str, int] = defaultdict(int)
        for event, seed, _ in self.lines():
            starts[seed] += event == "start"
        finished = 0
        for path in (self.folder / "cells").glob("*.json"):
            content = path.read_bytes()
            try:
                row = json.loads(content)
            except ValueError:
                self.tally.torn.append(f"{path} is no JSON")
                continue
            if row["status"] != "ok":
                continue
            finished += 1
            seed = str(row["cell"]["seed"])
            digest = hashlib.sha256(content).hexdigest()
            if self._digests.setdefault(path.name, digest) != digest:
                self.tally.lost.append(f"{path} was replaced")
                self._digests[path.name] = digest
            if self._starts.setdefault(seed, starts[seed]) != starts[seed]:
                self.tally.doubled.append(f"{path}: seed {seed} was trained again after its row")
                self._starts[seed] = starts[seed]
        return finished

    def check(self) -> None:
        """Look at the folder once all is over."""
        finished = self.look()
        if finished != N_SEEDS:
            self.tally.lost.append(f"{self.folder}: {finished} of {N_SEEDS} rows")
        for path in self.folder.rglob("*"):
            if path.suffix == ".tmp" or path.name.startswith("."):
                self.tally.torn.append(f"{path} is left over")
        ends = [seed for event, seed, _ in self.lines() if event == "end"]
        at_once = overlapping(self.lines())
        self.tally.doubled += [
            f"{self.folder}: seed {seed} trained twice at once" for seed in at_once
        ]
        missing = {str(seed) for seed in range(N_SEEDS)} - set(ends)
        self.tally.lost += [f"{self.folder}: seed {seed} never ended" for seed in sorted(missing)]


def overlapping(lines: list[list[str]]) -> list[str]:
    """Find the seeds of which a training ended after another one of the same seed had begun."""
    latest: dict[str, str] = {}
    seeds = []
    for event, seed, pid in lines:
        if event == "start":
            latest[seed] = pid
        elif latest[seed] != pid:
            seeds.append(seed)
    return seeds


def runner(folder: Path, log: Path, *, host: str = "", stale_s: float | None = None) -> int:
    """Start a runner on the folder, on a made-up host if named; returns its process number."""
    action = commands.command_line(arguments(folder))

    def disguised() -> None:
        if host:
            platform.node = lambda: host
        if stale_s is not None:
            from ddl_bench.harness import claims

            assert hasattr(claims, "STALE_AFTER_S")
            claims.STALE_AFTER_S = stale_s
        os.environ[LOG] = str(folder.with_suffix(".log"))
        action()

    return commands.start(disguised, log)


def workers(pid: int) -> list[psutil.Process]:
    """List the processes that a runner has started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def kill_worker(pid: int) -> None:
    """Kill what a runner has started."""
    for process in workers(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def kill_runner(pid: int) -> None:
    """Kill a runner alone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_both(pid: int) -> None:
    """Kill a runner and what it has started."""
    children = workers(pid)
    kill_runner(pid)
    for process in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


KINDS: tuple[Callable[[int], None], ...] = (kill_runner, kill_worker, kill_both)


def kill_at_random(folder: Path, tally: Tally, rng: random.Random, n_kills: int) -> None:
    """Kill one or two runners on a folder so many times, then run to the end."""
    watched = Watched(folder, tally)
    running: dict[int, Path] = {}
    logs = 0
    for _ in range(n_kills):
        wanted = rng.choice((1, 1, 2))
        while len(running) < wanted:
            log = folder.with_suffix(f".{logs}.out")
            logs += 1
            running[runner(folder, log)] = log
        time.sleep(rng.uniform(0.05, LONGEST_WAIT_S))
        victim = rng.choice(sorted(running))
        rng.choice(KINDS)(victim)
        tally.tried += 1
        for pid in list(running):
            code = commands.wait(pid, 0.1 if pid == victim else 0.01)
            if code is not None:
                judge(running.pop(pid), code, tally)
        if watched.look() == N_SEEDS:
            break
    for pid, log in running.items():
        code = commands.wait(pid, 120)
        if code is None:
            commands.stop(pid)
            tally.tracebacks.append(f"{log}: a runner never ended")
        else:
            judge(log, code, tally)
    complete(watched)
    watched.check()


def judge(log: Path, code: int, tally: Tally) -> None:
    """Note a runner that was not killed and ended in a traceback."""
    output = log.read_text(errors="replace")
    if code != -signal.SIGKILL and commands.TRACEBACK.search(output):
        tally.tracebacks.append(f"{log}: {output.strip().splitlines()[-1][:200]}")


def complete(watched: Watched) -> int:
    """Run what is left, as a user would: the command again, then again what failed.

    Returns how many cells are finished then.
    """
    folder = watched.folder
    finished = 0
    for attempt, words in enumerate(([], ["--rerun", "failed"])):
        os.environ[LOG] = str(watched.log)
        log = folder.with_suffix(f".end{attempt}.out")
        pid = commands.start(commands.command_line([*arguments(folder), *words]), log)
        code = commands.wait(pid, 180)
        if code is None:
            commands.stop(pid)
            watched.tally.tracebacks.append(f"{log}: the last runner never ended")
        else:
            judge(log, code, watched.tally)
        finished = watched.look()
        if finished == N_SEEDS:
            break
    return finished


def stop_past_claim(folder: Path, tally: Tally) -> None:
    """Stop a runner for longer than its claim lives; a second one finishes; the first goes on."""
    tally.tried += 1
    watched = Watched(folder, tally)
    first_log = folder.with_suffix(".first.out")
    second_log = folder.with_suffix(".second.out")
    first = runner(folder, first_log, host="first", stale_s=STALE_S)
    end = time.monotonic() + 60
    while not watched.lines() and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(first, signal.SIGSTOP)
    for process in workers(first):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()
    time.sleep(1.5 * STALE_S)
    second = runner(folder, second_log, host="second", stale_s=STALE_S)
    code = commands.wait(second, 120)
    if code is None:
        commands.stop(second)
        tally.tracebacks.append(f"{second_log}: never ended beside a stopped runner")
    else:
        judge(second_log, code, tally)
    finished = watched.look()
    if finished != N_SEEDS:
        tally.lost.append(f"{folder}: {finished} rows beside a stopped runner")
    for process in workers(first):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
    os.kill(first, signal.SIGCONT)
    code = commands.wait(first, 120)
    if code is None:
        commands.stop(first)
        tally.tracebacks.append(f"{first_log}: never ended after it was stopped")
    else:
        judge(first_log, code, tally)
    if complete(watched) != N_SEEDS:
        tally.lost.append(f"{folder}: rows are missing after a runner was stopped")


def kill_many(scratch: Path, seed: int, n_kills: int, *, stops: bool) -> Tally:
    """Kill so many times, in one folder after the other; then let a runner overtake another."""
    scratch.mkdir()
    rng = random.Random(seed)
    tally = Tally("kills")
    rounds = 0
    while tally.tried < n_kills:
        folder = scratch / f"kills{rounds}"
        rounds += 1
        kill_at_random(folder, tally, rng, min(KILLS_A_ROUND, n_kills - tally.tried))
    if stops:
        stop_past_claim(scratch / "stopped", tally)
    return tally


def try_kills(scratch: Path, *, smoke: bool) -> Tally:
    """Kill 200 times, or 4 times in the smoke part; let runners overtake one that is stopped."""
    from ddl_bench.cli import running as imported  # noqa: F401  children need not import it again

    if smoke:
        return kill_many(scratch / "0", 0, 4, stops=False)

    def share(number: int) -> Tally:
        return kill_many(scratch / str(number), number, 100, stops=True)

    return in_shares("kills", share, scratch)
