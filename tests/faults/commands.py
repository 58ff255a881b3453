"""Run the command line in forked children, bounded in time and memory, and judge how it ended."""

import contextlib
import dataclasses
import os
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

LONGEST_LINE = 1_000  # characters of an error
GRACE_S = 10  # of processor time, between the signal that its bound is reached and the kill
MEMORY_BYTES = 2 << 30  # address space beyond what a child has at its start
TRACEBACK = re.compile(r"^Traceback \(most recent call last\)", re.M)
RAISED = re.compile(r"^[\w.]*(?:Error|Exception|BadZipFile|Interrupt)\b.*", re.M)
ABORTED = re.compile(r"^Aborted\.?$", re.M)


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended: exit code or minus the signal, output, whether its time was over."""

    code: int
    output: str
    overtime: bool

    def fault(self) -> str:
        """Say what is wrong with the way a command ended; empty where nothing is."""
        if self.overtime:
            return "endless"
        if TRACEBACK.search(self.output):
            raised = RAISED.findall(self.output) or [""]
            return f"traceback: {raised[-1][:200]}"
        if self.code not in (0, 1, 2):
            return f"exit code {self.code}: {self.output[-200:]!r}"
        if ABORTED.search(self.output):
            return "aborted without a reason"
        longest = max(map(len, self.output.splitlines()), default=0)
        if self.code == 2 and longest > LONGEST_LINE:
            return f"a line of {longest:,} characters"
        if self.code == 2 and not self.output.strip():
            return "exit code 2 without a word"
        return ""


def start(
    action: Callable[[], object],
    log: Path,
    *,
    memory: int | None = None,
    busy_s: int | None = None,
) -> int:
    """Fork a child in a session of its own that does `action`; returns its process number.

    What it prints goes to `log`; an exception that leaves `action` is printed there, too.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        with log.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(  # noqa: SIM115
            2, "w", encoding="utf-8", errors="backslashreplace", closefd=False
        )
        if memory is not None:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * os.sysconf("SC_PAGE_SIZE") + memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        if busy_s is not None:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            # a guest that its host held up finds seconds gone, and none left for the softer signal
            resource.setrlimit(resource.RLIMIT_CPU, (busy_s, busy_s + GRACE_S))
        action()
        code = 0
    except SystemExit as error:
        code = 1
        if error.code is None:
            code = 0
        elif isinstance(error.code, int):
            code = error.code
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def command_line(arguments: list[str]) -> Callable[[], None]:
    """Return an action that does what `ddl-bench ARGUMENTS` does."""

    def action() -> None:
        from ddl_bench.cli import main as cli

        sys.argv = ["ddl-bench", *arguments]
        cli.main()

    return action


def wait(pid: int, seconds: float) -> int | None:
    """Wait for a child: its exit code or minus its signal; None where it goes on."""
    end = time.monotonic() + seconds
    pause_s = 0.002
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(pause_s)
        pause_s = min(0.05, 1.5 * pause_s)
    return None


def stop(pid: int) -> None:
    """End a child and all of its process group, and reap it."""
    for group in (True, False):
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(pid, signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def call(arguments: list[str], log: Path, *, seconds: float = 20.0) -> Ended:
    """Run a command to its end, within so many seconds and `MEMORY_BYTES`."""
    return call_action(command_line(arguments), log, seconds=seconds)


def call_action(
    action: Callable[[], object],
    log: Path,
    *,
    seconds: float = 20.0,
    busy_s: int | None = None,
    memory: int | None = MEMORY_BYTES,
) -> Ended:
    """Do `action` in a child, as `call` does; `busy_s` bounds its processor time, too."""
    pid = start(action, log, memory=memory, busy_s=busy_s)
    code = wait(pid, seconds)
    if code is None:
        stop(pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)  # children that it left behind
    with log.open("rb") as file:
        output = file.read(1 << 20).decode(errors="replace")
    overtime = code in (None, -signal.SIGXCPU)
    return Ended(code if code is not None else -1, output, overtime)
