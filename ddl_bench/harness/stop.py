"""Stop work in order: a worker between two epochs, a runner before its time on a machine is over.

A worker that is asked to stop saves a checkpoint at the end of its epoch and ends; another goes on
from there to the same result. After the last epoch it goes on to its row. One that cannot be
resumed, or has not begun to train, is ended by the signal itself.
"""

import math
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from functools import cache

from ddl_bench.errors import UserError

SIGNAL = signal.SIGUSR2  # Slurm's tools send it some time before they end a job
REQUESTS = (SIGNAL, signal.SIGTERM)  # to stop, which a worker notes
SIGNAL_WITHIN_S = 0.2  # of the first one, the last process of a job has its signal
EXIT_CODE = 75  # of a worker that has stopped; EX_TEMPFAIL of sysexits.h: try again later
WITHIN_S = 60.0  # that workers have to end their epochs
LONGEST_SHARE = 0.2  # of the time on a machine, for that
ASK_WITHIN_S = 10.0  # the answer of squeue
NUMBER = r"(\d+\.?\d*)"
DURATION = rf"(?:{NUMBER}d)?(?:{NUMBER}h)?(?:{NUMBER}m)?(?:{NUMBER}s)?"
LONGEST_S = 1e9


class StopRequest:
    """Whether this worker was asked to stop: by its runner, or by Slurm, which asks all processes.

    What Slurm sends to the processes of a job that it cancels, requeues or preempts is SIGTERM.
    """

    def __init__(self) -> None:
        self.is_asked = False

    def listen(self) -> None:
        """Note the signals from now on, instead of being ended by them."""
        for number in REQUESTS:
            signal.signal(number, self._note)
        spare_children()

    def _note(self, *_: object) -> None:
        self.is_asked = True

    def explains_failure(self) -> bool:
        """Whether a training failed because it was to stop, as when Slurm has ended its children.

        The signal to this process may come a little later than theirs.
        """
        time.sleep(SIGNAL_WITHIN_S)
        return self.is_asked


@cache
def spare_children() -> None:
    """Have processes that a method forks end at the signals, as any process does.

    They would inherit the handlers, which end nobody, and none that waits in a library. A signal
    that comes in the middle of a fork waits until the child has the usual handlers.
    """
    usual = threading.local()  # of the thread that forks

    def block() -> None:
        usual.mask = signal.pthread_sigmask(signal.SIG_BLOCK, REQUESTS)

    def restore() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, usual.mask)

    def reset() -> None:
        for number in REQUESTS:
            signal.signal(number, signal.SIG_DFL)
        restore()

    os.register_at_fork(before=block, after_in_parent=restore, after_in_child=reset)


class Shift:
    """The time that a runner has.

    Parameters
    ----------
    seconds
        How long it may work; None for as long as there are cells.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self._is_asked = False
        self._end_s = math.inf if seconds is None else time.monotonic() + seconds
        longest_s = math.inf if seconds is None else LONGEST_SHARE * seconds
        self.stop_within_s = min(WITHIN_S, longest_s)

    def ask(self, *_: object) -> None:
        """Ask the runner to stop; also a handler of signals."""
        self._is_asked = True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Stop in order at the signal of Slurm's tools, and, where time is limited, at SIGTERM."""
        signals = {SIGNAL} if self.seconds is None else {SIGNAL, signal.SIGTERM}
        earlier = {number: signal.signal(number, self.ask) for number in signals}
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)

    def remaining_s(self) -> float:
        """Seconds in which cells may run, before the time that stopping takes."""
        if self._is_asked:
            return 0.0
        return max(0.0, self._end_s - self.stop_within_s - time.monotonic())

    def is_over(self) -> bool:
        """Whether it is time to stop."""
        return self.remaining_s() <= 0


def seconds_of_job(
    environment: Mapping[str, str] = os.environ,
    ask: Callable[[str], str] | None = None,
) -> float | None:
    """Return how long the Slurm job of this process has left; None outside of one, or unlimited.

    Newer Slurm says so in an environment variable; else `squeue` is asked, which a node may lack.

    Parameters
    ----------
    environment
        The environment variables.
    ask
        Returns the end of a job as `squeue` prints it, by the number of the job.
    """
    job = environment.get("SLURM_JOB_ID")
    if not job:
        return None
    end = environment.get("SLURM_JOB_END_TIME", "")
    if end.isdecimal():
        return float(end) - time.time()
    text = (ask or ask_squeue)(job)
    try:
        return datetime.fromisoformat(text).timestamp() - time.time()
    except ValueError:  # N/A, or no answer
        return None


def ask_squeue(job: str) -> str:
    """Return the end of a Slurm job as `squeue` prints it; empty where that cannot be asked."""
    command = ["squeue", "--noheader", "--jobs", job, "--format", "%e"]
    try:
        done = subprocess.run(  # noqa: S603  a list of words, without a shell
            command, capture_output=True, text=True, timeout=ASK_WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = done.stdout.split()
    return lines[0] if done.returncode == 0 and lines else ""


def read_duration(option: str, text: str) -> float:
    """Read a time such as `3h50m`, `90s` or `2d`; returns seconds.

    Raises UserError for anything else.
    """
    match = re.fullmatch(DURATION, text.strip())
    total = 0.0
    if match:
        for value, unit_s in zip(match.groups(), (86400, 3600, 60, 1), strict=True):
            total += float(value or 0) * unit_s
    if not 0 < total < LONGEST_S:
        raise UserError(f"{option} {text!r:.80}: expected a time such as 3h50m, 90s or 2d")
    return total


def write_duration(seconds: float) -> str:
    """Write a time as `read_duration` reads it: all digits and no exponent, such as `5400s`."""
    return f"{Decimal(repr(seconds)).normalize():f}s"
