"""Watch over one worker process: its time, its memory, and what became of it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil

from ddl_bench.files import write_atomically
from ddl_bench.harness.claims import Claim
from ddl_bench.plan.cell import Cell
from ddl_bench.results.rows import Measured, Row, Status, read_row, write_row

GRACE = 2.0  # seconds between the polite and the hard signal
# Every library reads its own variable, at import; the worker is pinned to the same number of cores.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


class Job:
    """A worker process on a set of cores, started at once."""

    def __init__(self, run: Path, cell: Cell, claim: Claim, cores: list[int]) -> None:
        self.run, self.cell, self.claim, self.cores = run, cell, claim, cores
        self._work = run / "work"
        self._row = run / "cells" / f"{cell.id}.json"
        write_atomically(self._work / f"{cell.id}.cell.json", cell.model_dump_json().encode())
        self._progress = self._work / f"{cell.id}.progress.json"
        self._progress.unlink(missing_ok=True)
        self.log = self._work / f"{cell.id}.log"
        self._spawned = time.time()
        self._started = datetime.fromtimestamp(self._spawned, UTC).isoformat(
            timespec="milliseconds"
        )
        self._peak = 0
        self._checked = 0.0
        command = [
            sys.executable,
            "-m",
            "ddl_bench.harness.worker",
            str(run),
            cell.id,
            ",".join(map(str, cores)),
        ]
        environment = (
            os.environ
            | dict.fromkeys(THREADS, str(cell.threads))
            | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        )
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, repr(self._spawned), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    @property
    def seconds(self) -> float:
        return time.time() - self._spawned

    def progress(self) -> tuple[str, float]:
        """Phase and share of training done, as the worker last told."""
        try:
            told = json.loads(self._progress.read_text())
            return str(told["phase"]), float(told["fraction"])
        except (OSError, ValueError, KeyError, TypeError):
            return "starting", 0.0

    def poll(self) -> Row | None:
        """The row once the job is over, however it ended; None while it runs."""
        code = self._process.poll()
        if code is not None:
            return self._ended(code)
        if self.seconds - self._checked > 0.2:
            self._checked = self.seconds
            with contextlib.suppress(
                FileNotFoundError
            ):  # somebody deleted the folder; the row will still be written
                self.claim.keep_fresh()
            memory = self._memory()
            self._peak = max(self._peak, memory)
            if memory > self.cell.limits.memory_gb * 1e9:
                self.kill()
                return self._failure(
                    "oom",
                    f"used {memory / 1e9:.2f} GB, the limit is {self.cell.limits.memory_gb:g} GB",
                )
        if self.seconds > self.cell.limits.time_s:
            phase, _ = self.progress()
            self.kill()
            return self._failure(
                "timeout",
                f"still in phase {phase!r} after {self.cell.limits.time_s:g} s, the hard limit",
            )
        return None

    def kill(self) -> None:
        """End the worker and all its children: politely, then not."""
        tree = self._tree()
        for stop in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, stop)
            for process in tree:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(stop)
            _, tree = psutil.wait_procs(tree, timeout=GRACE)
        self._process.wait()

    def _tree(self) -> list[psutil.Process]:
        try:
            worker = psutil.Process(self._process.pid)
            return [worker, *worker.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _memory(self) -> int:
        total = 0
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                total += process.memory_info().rss
        return total

    def _ended(self, code: int) -> Row:
        self._sweep()
        row = read_row(self._row)
        if (
            row is not None and row.cell.id == self.cell.id and row.started == self._started
        ):  # not an older, failed one
            return row
        said = self._last_words()
        if code < 0:
            name = signal.Signals(-code).name
            why = f"killed by {name}"
            if code == -signal.SIGKILL:
                why += f" (often the kernel, for lack of memory; peak resident set seen {self._peak / 1e9:.2f} GB)"
        else:
            why = f"ended with exit code {code} and left no valid result"
        return self._failure("crashed", f"{why}{said}; log: {self.log}")

    def _sweep(self) -> None:
        """Children that outlived their worker would time their work against the next cell's."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return f"; last output: {lines[-1][:200]!r}" if lines else ""

    def _failure(self, status: Status, reason: str) -> Row:
        row = Row(
            cell=self.cell,
            status=status,
            reason=reason,
            started=self._started,
            wall_s=self.seconds,
            measured=Measured(peak_memory=self._peak or None),
            provenance={"command": self.cell.command()},
        )
        write_row(self.run, row)
        return row
