"""Check a method for a user: named ones and plugins in a process of their own.

A plugin may end its process, fork it, or never return. What it does then is a finding, and the
process that asked goes on.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from ddl_bench.contract import Finding, still_running
from ddl_bench.errors import UserError

if TYPE_CHECKING:  # importing torch is the child's task
    from ddl_bench.api import Method

LIMIT_S = 60.0  # after which a call of the method is said to hang
GRACE_S = 5.0  # beyond the limit, in which the child says so itself
START_S = 300.0  # for the imports of the child, on a machine with other work to do
POLL_S = 0.1
STDERR = 2  # where the child prints; standard output has the findings alone


def check(
    target: "str | Path | type[Method]", like: str | None = None, *, limit_s: float = LIMIT_S
) -> list[Finding]:
    """Run the contract on a method, and return all findings.

    A method that is given by name or file runs in a process of its own, a class in this one.

    Parameters
    ----------
    target
        A class, the name of a known method, or a plugin file: all methods in it.
    like
        A data set whose shape of images to try, or a shape such as 3x32x32; None tries 1x8x8,
        3x16x16, 1x28x28 and 3x32x32.
    limit_s
        Seconds after which a rule that is still being tried counts as broken.

    Raises
    ------
    UserError
        Where there is nothing to check.

    Examples
    --------
    >>> [each.rule for each in check("nearest-mean", "1x8x8") if each.status == "broken"]
    []
    """
    return list(findings(target, like, limit_s=limit_s))


def findings(
    target: "str | Path | type[Method]", like: str | None = None, *, limit_s: float = LIMIT_S
) -> Iterator[Finding]:
    """Run the contract on a method as `check` does, and yield each finding as it is made."""
    if isinstance(target, Path):
        target = str(target)
    if not isinstance(target, str):
        from ddl_bench.contract.examine import examine
        from ddl_bench.contract.toys import shapes_like

        yield from examine(target, shapes_like(like), limit_s)
        return
    n_methods = 1  # until the first child has read the file
    index = 0
    while index < n_methods:
        child = Child(target, like, index, limit_s)
        try:
            yield from child.findings()
        finally:
            child.end()
        n_methods = child.n_methods
        index += 1


class Child:
    """A process that checks one method: the `index`-th that `target` stands for."""

    def __init__(self, target: str, like: str | None, index: int, limit_s: float) -> None:
        self.n_methods = 1
        self._target = target
        self._limit_s = limit_s
        self._reader, writer = Pipe(duplex=False)
        command = [sys.executable, "-P", "-m", "ddl_bench.contract.worker", target, like or ""]
        command += [str(index), repr(limit_s), str(writer.fileno()), str(os.getpid())]
        self._process = subprocess.Popen(  # noqa: S603  a list of words, without a shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=STDERR,
            pass_fds=[writer.fileno()],
            start_new_session=True,
        )
        writer.close()

    def findings(self) -> Iterator[Finding]:
        """Yield the findings of the child, and one about itself where it does not come to the end.

        Raises UserError where the child says that there is nothing to check.
        """
        rule = f"{self._target} can be checked"
        finished = False
        for message in self._messages():
            if "error" in message:
                raise UserError(message["error"])
            if "finding" in message:
                yield Finding(**message["finding"])
            rule = message.get("rule", rule)
            self.n_methods = message.get("n_methods", self.n_methods)
            finished = "finished" in message
        if not finished:
            yield Finding(rule, "broken", self._ending())

    def _messages(self) -> Iterator[dict[str, Any]]:
        """Yield what the child sends, until it ends or is silent for too long."""
        patience_s = START_S
        heard_s = time.monotonic()
        while time.monotonic() - heard_s < patience_s:
            ended = self._process.poll() is not None  # before the last look at what it sent
            if self._reader.poll(0 if ended else POLL_S):
                message = receive(self._reader)
                if message is None:
                    break
                yield message
                patience_s = self._limit_s + GRACE_S
                heard_s = time.monotonic()
            elif ended:
                break

    def _ending(self) -> str:
        """Say how the child ended before it was finished."""
        try:
            code = self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return still_running(self._limit_s)
        if code < 0:
            return f"the process was killed by {signal.Signals(-code).name}"
        return f"the process ended with exit code {code}; a method returns or raises, and goes on"

    def end(self) -> None:
        """End the child, and whatever it started."""
        processes = []
        with suppress(psutil.NoSuchProcess):
            processes = psutil.Process(self._process.pid).children(recursive=True)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        self._reader.close()


def receive(reader: "Connection[Any, Any]") -> dict[str, Any] | None:
    """Return the next message of a child; None where it has closed its end."""
    try:
        message: dict[str, Any] = json.loads(reader.recv_bytes())
    except (EOFError, OSError):
        return None
    return message
