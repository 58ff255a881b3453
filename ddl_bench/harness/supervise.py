"""Watch over one worker process: its time, its memory, and how it ended."""

import contextlib
import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from ddl_bench.errors import UserError
from ddl_bench.files import open_regular, write_atomically
from ddl_bench.harness import claims, progress, stop
from ddl_bench.harness.claims import Claim
from ddl_bench.harness.cores import Taken
from ddl_bench.harness.folder import points_path
from ddl_bench.harness.launcher import Launcher
from ddl_bench.harness.leftovers import sweep_cell
from ddl_bench.harness.verify import labels_of, verified
from ddl_bench.machine import memory_limit
from ddl_bench.plan.cell import Cell
from ddl_bench.results.paths import row_path
from ddl_bench.results.rows import Measured, Row, Status, read_row, write_row

GRACE_S = 2.0  # between the polite signal and the hard one
CHECK_EVERY_S = 0.2  # memory of the worker, length of its log
JOB_MEMORY_SHARE = 0.95  # of the memory of a job or container that a cell may use
# Exit codes of a worker that has stopped, or that a request to do so has ended.
STOPPED = {stop.EXIT_CODE, -stop.SIGNAL, -signal.SIGTERM, -signal.SIGHUP}
LONGEST_OUTPUT = 200  # characters of a worker's last line that a reason repeats
LAST_BYTES = 4096  # of a log that are searched for the last line
LONGEST_LOG_BYTES = 8 * 2**20  # a log that grew beyond is cut to its end


class Job:
    """A worker process on cores of its own, started at once.

    Parameters
    ----------
    run
        The run folder.
    cell
        What the worker trains.
    claim
        Keeps other runners off the cell.
    taken
        CPU cores of the worker, locked.
    launcher
        Starts the worker.
    earlier
        The row of the cell that was there before.
    has_curves
        Whether the worker is to write the points of its curves while it trains.

    Raises
    ------
    UserError
        Where no file can be written in the run folder, or no process started.
    """

    def __init__(
        self,
        run: Path,
        cell: Cell,
        claim: Claim,
        taken: Taken,
        launcher: Launcher,
        earlier: Row | None = None,
        *,
        has_curves: bool = False,
    ) -> None:
        self.run = run
        self.cell = cell
        self.claim = claim
        self.cores = taken.cores
        self.is_lost = False  # another runner has taken the cell over
        self.is_asked = False  # to stop
        self.is_stopped = False  # as it was asked to, without a row
        self.must_be_resumable = False  # it needs more time than the runner has
        self._taken = taken
        self._earlier = earlier
        self.log = run / "work" / f"{cell.id}.log"
        self._row = row_path(run, cell.id)
        self._progress = run / "work" / f"{cell.id}.progress.json"
        self._peak_memory = 0
        self._memory_limit = cell.limits.memory_gb * 1e9
        of_job = memory_limit()  # beyond which the kernel would kill any process of the job
        if of_job is not None:
            self._memory_limit = min(self._memory_limit, JOB_MEMORY_SHARE * of_job)
        self._checked_s = 0.0
        self._claim_due_s = 0.0
        self._seen = progress.Seen()
        self._seen_until_s = 0.0
        task = run / "work" / f"{cell.id}.cell.json"
        try:
            if task.exists():  # somebody has begun the cell before
                sweep_cell(run, cell.id)
            self._progress.unlink(missing_ok=True)
            points = points_path(run, cell.id)
            points.unlink(missing_ok=True)
            if has_curves:
                points.touch()
            content = cell.model_dump_json().encode()
            write_atomically(task, content)
            self.log.unlink(missing_ok=True)
            self.log.write_bytes(b"")
        except OSError as error:
            raise UserError(f"{run}: cannot write there: {error.strerror or error}") from None
        self._labels: NDArray[np.int64] | None = None
        with contextlib.suppress(UserError):  # the worker says what is wrong with its images
            self._labels = labels_of(cell)
        launcher.prepare(cell.threads, cell.machine.device)
        self._spawned = time.monotonic()
        self._started = datetime.now(UTC).isoformat(timespec="milliseconds")
        arguments = [
            str(run),
            cell.id,
            ",".join(map(str, self.cores)),
            repr(self._spawned),
            self._started,
            str(claim.path),
            claim.token,
        ]
        self._command = cell.command(fresh_process=launcher.is_fresh)
        self._process = launcher.start(
            arguments, self.log, cell.threads, cell.machine.device, taken.gpu
        )

    @property
    def pid(self) -> int:
        """Number of the worker process."""
        return self._process.pid

    @property
    def seconds(self) -> float:
        """Seconds since the worker was started."""
        return time.monotonic() - self._spawned

    def progress(self) -> progress.Seen:
        """Phase and share of training done, as the worker wrote them just now."""
        if self.seconds > self._seen_until_s:
            self._seen = progress.read(self._progress)
            self._seen_until_s = self.seconds + progress.EVERY_S
        return self._seen

    def poll(self) -> Row | None:
        """Look at the worker: returns its row once it is over, however it ended, None before.

        A worker beyond its hard limits is ended.
        """
        code = self._process.poll()
        if code is not None:
            return self._ended(code)
        limits = self.cell.limits
        if self.seconds - self._checked_s > CHECK_EVERY_S:
            self._checked_s = self.seconds
            if self.seconds > self._claim_due_s:
                self._claim_due_s = self.seconds + claims.STALE_AFTER_S / claims.SIGNS_OF_LIFE
                if not self._holds_claim():
                    return None
            self._bound_log()
            memory = self._memory()
            self._peak_memory = max(self._peak_memory, memory)
            if memory > self._memory_limit:
                limit = f"{self._memory_limit / 1e9:.3g} GB"
                reason = f"used {memory / 1e9:.2f} GB, the limit is {limit}"
                return self._over_limit("oom", reason)
        if self.seconds > limits.time_s:
            phase = self.progress().phase
            reason = f"still in phase {phase!r} after {limits.time_s:g} s, the hard limit"
            return self._over_limit("timeout", reason)
        return None

    def _over_limit(self, status: Status, reason: str) -> Row:
        """End the worker, whose row counts if it has just written one."""
        seconds = self.seconds
        self.kill()
        row = read_row(self._row)
        if row is not None and row.started == self._started:
            return self._verified(row, seconds)
        return self._failure(status, reason)

    def _holds_claim(self) -> bool:
        """Keep the claim fresh; give the cell up if another runner has taken it over."""
        if self.claim.is_lost():
            self.is_lost = True
            self.kill()
            return False
        self.claim.keep_fresh()
        return True

    def ask_to_stop(self) -> None:
        """Ask the worker to save a checkpoint after its epoch and to end."""
        if not self.is_asked:
            self.is_asked = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, stop.SIGNAL)

    def release(self) -> None:
        """Leave the cell and the cores to others."""
        self.claim.release()
        self._taken.release()

    def was_stopped_by_others(self) -> bool:
        """Whether a signal to all processes has stopped or ended the worker, and nobody here."""
        return not self.is_asked and self._process.poll() in STOPPED

    def kill(self) -> None:
        """End the worker, and all its children: politely, then not."""
        processes = self._processes()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            _, processes = psutil.wait_procs(processes, timeout=GRACE_S)
        self._process.wait()

    def _processes(self) -> list[psutil.Process]:
        """List the worker and its children."""
        try:
            worker = psutil.Process(self.pid)
            return [worker, *worker.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _memory(self) -> int:
        """Sum the resident memory of the worker and its children, in bytes."""
        total = 0
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                total += process.memory_info().rss
        return total

    def _ended(self, code: int) -> Row | None:
        """Return the row that the worker wrote, or one that says how it ended without.

        None where it stopped as it was asked to, and where another runner has taken the cell over,
        so that nothing of it is overwritten.
        """
        seconds = self.seconds
        self._end_children()
        row = read_row(self._row)
        if row is not None and row != self._earlier:
            is_ours = row.started == self._started or (code == 0 and self._holds_claim())
            return self._verified(row, seconds) if is_ours else row
        if not self._holds_claim():
            return None
        if self.is_asked:
            self.is_stopped = True
            return None
        if code == stop.EXIT_CODE:
            reason = "stopped by a signal that was sent to it alone"
        elif code >= 0:
            reason = f"ended with exit code {code} and left no valid result"
        else:
            reason = f"killed by {signal.Signals(-code).name}"
        if code == -signal.SIGKILL:
            peak = f"{self._peak_memory / 1e9:.2f} GB"
            reason += (
                f" (often the kernel, for lack of memory; peak resident set that was seen: {peak})"
            )
        last_line = self._last_line()
        if last_line:
            reason += f"; last output: {last_line[:LONGEST_OUTPUT]!r}"
        return self._failure("crashed", f"{reason}; log: {self.log}")

    def _verified(self, row: Row, seconds: float) -> Row:
        """Check what the worker wrote; what is wrong with it is written into the row."""
        if self._labels is None:
            return row
        checked = verified(row, self.run, self._labels, seconds)
        if checked is not row and self._holds_claim():
            write_row(self.run, checked)
        return checked

    def _bound_log(self) -> None:
        """Cut a log that has grown too long to its end; the worker appends to what is left."""
        with contextlib.suppress(OSError, UserError):
            if self.log.stat().st_size > LONGEST_LOG_BYTES:
                content = last_bytes(self.log)
                os.truncate(self.log, 0)
                with self.log.open("ab") as log:
                    log.write(b"[the output before was too long to keep]\n" + content)

    def _last_line(self) -> str:
        """Return the last line that the worker printed; empty where there is none."""
        try:
            lines = last_bytes(self.log).decode(errors="replace").strip().splitlines()
        except (OSError, UserError):  # somebody has deleted the folder, or replaced the file
            return ""
        return lines[-1] if lines else ""

    def _end_children(self) -> None:
        """End children that outlived the worker, which would disturb the times of the next cell."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _failure(self, status: Status, reason: str) -> Row:
        """Write a row for a worker that could not."""
        row = Row(
            cell=self.cell,
            status=status,
            reason=reason,
            started=self._started,
            wall_s=self.seconds,
            measured=Measured(peak_memory=self._peak_memory or None),
            provenance={"command": self._command},
        )
        write_row(self.run, row)
        return row


def last_bytes(path: Path) -> bytes:
    """Read the end of a regular file, however long it is."""
    with open_regular(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - LAST_BYTES))
        return file.read(LAST_BYTES)
