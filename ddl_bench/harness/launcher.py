"""The runner's side of the fork server: start workers through it and learn how they ended."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ddl_bench.errors import UserError

# Every library reads its own variable, at import.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
POLL_EVERY_S = 0.01
CLOSE_WITHIN_S = 10.0


class Worker:
    """A process that the launcher started.

    Parameters
    ----------
    launcher
        Learns how the process ends.
    pid
        Its number.
    """

    def __init__(self, launcher: "Launcher", pid: int) -> None:
        self.pid = pid
        self._launcher = launcher

    def poll(self) -> int | None:
        """Return the exit code, or minus the number of the signal that ended it; None before."""
        return self._launcher.code_of(self.pid)

    def wait(self) -> int:
        """Wait for the end of the process and return its exit code."""
        while True:
            code = self.poll()
            if code is not None:
                return code
            time.sleep(POLL_EVERY_S)


class Launcher:
    """Starts workers: forked from a prepared process, or each in a fresh interpreter.

    Only cells of one thread on a CPU are forked. A library with more threads starts them when it
    is imported, and a copy of the process would lack them; a GPU does not survive a fork.

    Parameters
    ----------
    is_fresh
        Give every worker a fresh interpreter.
    """

    def __init__(self, *, is_fresh: bool = False) -> None:
        self._is_fresh = is_fresh
        self._is_prepared = False
        self._server: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._codes: dict[int, int | None] = {}

    @property
    def is_fresh(self) -> bool:
        """Whether workers get fresh interpreters that could be forks."""
        return self._is_fresh

    def __enter__(self) -> "Launcher":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the fork server, and with it all that workers left behind."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._server is not None:
            try:
                self._server.wait(CLOSE_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None
        self._is_prepared = False

    def prepare(self, threads: int, device: str) -> bool:
        """Get ready to start a worker; returns whether it will be a fork."""
        if self._server is None or self._server.poll() is not None:
            self.close()
            self._start()
        if self._is_fresh or not may_fork(threads, device):
            return False
        if not self._is_prepared:
            n_threads = self._ask({"prepare": True}).get("n_threads")
            self._is_prepared = n_threads == 1
            if n_threads is not None and not self._is_prepared:
                self._is_fresh = True
                print(
                    "ddl-bench: each cell gets a fresh interpreter, as an import started threads",
                    file=sys.stderr,
                )
        return self._is_prepared

    def start(
        self, arguments: list[str], log: Path, threads: int, device: str, gpu: str = ""
    ) -> Worker:
        """Start a worker on `arguments` with its output in a log, which exists.

        The device `cuda` is the one whose name is `gpu`, if that is given.
        Raises UserError where no process can be started.
        """
        is_fork = self.prepare(threads, device)
        only = {"CUDA_VISIBLE_DEVICES": gpu} if gpu and device == "cuda" else {}
        request = {
            "arguments": arguments,
            "log": str(log.absolute()),
            "environment": environment_of(threads) | only,
            "is_fresh": not is_fork,
        }
        answer = self._ask(request)
        if "pid" not in answer:
            reason = answer.get("error", "the process that starts workers has ended")
            raise UserError(f"no worker can be started: {reason}")
        pid = int(answer["pid"])
        self._codes[pid] = None
        return Worker(self, pid)

    def code_of(self, pid: int) -> int | None:
        """Return the exit code of a worker; None while it runs.

        Without the fork server the kernel kills its workers.
        """
        code = self._codes.get(pid)
        if code is not None:
            return code
        try:
            while self._connection is not None and self._connection.poll():
                self._take(receive(self._connection))
        except (EOFError, OSError):
            self.close()
        if self._connection is None and self._codes.get(pid) is None:
            self._codes[pid] = -signal.SIGKILL
        return self._codes[pid]

    def _start(self) -> None:
        """Start the server in a session of its own, where no Ctrl-C reaches it."""
        here, there = multiprocessing.Pipe()
        with there:
            self._server = subprocess.Popen(  # noqa: S603  a list of words, without a shell
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "ddl_bench.harness.fork_server",
                    str(there.fileno()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment_of(1),
                pass_fds=[there.fileno()],
                start_new_session=True,
            )
        self._connection = here
        self._is_prepared = False

    def _ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Send a message and return the answer; empty if the server has ended."""
        if self._connection is None:
            return {}
        try:
            self._connection.send_bytes(json.dumps(message).encode())
            while True:
                answer = receive(self._connection)
                if "ended" not in answer:
                    return answer
                self._take(answer)
        except (EOFError, OSError):
            self.close()
            return {}

    def _take(self, message: Mapping[str, Any]) -> None:
        """Note the end of a worker."""
        self._codes[int(message["ended"])] = int(message["code"])


def may_fork(threads: int, device: str) -> bool:
    """Whether a worker can be a fork: only one of one thread on a CPU."""
    return threads == 1 and device == "cpu" and sys.platform == "linux"


def receive(connection: Connection) -> dict[str, Any]:
    """Read one message."""
    message: dict[str, Any] = json.loads(connection.recv_bytes())
    return message


def environment_of(threads: int) -> dict[str, str]:
    """Return the environment variables of a worker of so many threads."""
    return {
        **os.environ,
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # deterministic products on a GPU
    }
