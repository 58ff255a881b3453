"""Start workers: `python -P -m ddl_bench.harness.fork_server PIPE`.

Importing torch takes longer than many trainings. This process imports what every cell needs, once,
and forks each worker from itself, or gives it a fresh interpreter. It never trains, starts no
thread and touches no GPU, so that a worker begins as if it had imported everything itself.

It also is the parent of all that workers leave behind ("subreaper", see prctl(2)). Whatever a
worker started ends with the worker, also in a session of its own, and all of it ends when the
runner is gone. The messages are JSON objects, see `WorkerRequest` and `launcher.py`.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import sys
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

import psutil

from ddl_bench.harness import worker

IMPORTED = (
    "ddl_bench.harness.claims",
    "ddl_bench.harness.evaluate",
    "ddl_bench.harness.provenance",
    "numba",
    "scipy.sparse",
    "sklearn.datasets",
    "sklearn.linear_model",
    "torch",
    "torch._dynamo",
)
# Signals to all processes of a terminal or a job, which the runner alone answers. This process ends
# with it, and no earlier, as all workers end with this one.
FOR_THE_RUN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True, kw_only=True)
class WorkerRequest:
    """A worker to start.

    Parameters
    ----------
    arguments
        Of `ddl_bench.harness.worker`, without the number of its parent.
    log
        File of its output, which exists.
    environment
        All its environment variables.
    is_fresh
        Whether it gets an interpreter of its own instead of a copy of this one.
    """

    arguments: list[str]
    log: str
    environment: dict[str, str]
    is_fresh: bool


class ForkServer:
    """Starts workers as it is asked to, and tells how they ended.

    Parameters
    ----------
    connection
        To the runner; its end is the end of this process.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._workers: set[int] = set()
        self._wakeup, self._signalled = os.pipe()
        os.set_blocking(self._wakeup, False)
        os.set_blocking(self._signalled, False)

    def serve(self) -> None:
        """Answer requests until the runner is gone, then end all that is left."""
        worker.adopt_orphans()
        for number in FOR_THE_RUN:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._signalled, warn_on_full_buffer=False)
        with contextlib.suppress(EOFError, OSError):
            while True:
                if self._connection in wait([self._connection, self._wakeup]):
                    self._answer(json.loads(self._connection.recv_bytes()))
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wakeup, 4096)
                self._report_ended()
        self._workers.clear()
        end_strays(self._workers)

    def _answer(self, message: dict[str, object]) -> None:
        """Import what workers need, or start one."""
        if "prepare" in message:
            prepare()
            self._send(n_threads=len(os.listdir("/proc/self/task")))
            return
        request = WorkerRequest(**message)  # type: ignore[arg-type]
        try:
            pid = os.fork()
        except OSError as error:
            self._send(error=error.strerror or "cannot fork")
            return
        if pid == 0:
            self._become_worker(request)
        self._workers.add(pid)
        self._send(pid=pid)

    def _become_worker(self, request: WorkerRequest) -> None:
        """Turn this copy of the process into a worker; never returns."""
        code = 1
        try:
            server = os.getppid()
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (*FOR_THE_RUN, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            log = os.open(request.log, os.O_WRONLY | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            for descriptor in (log, self._wakeup, self._signalled, self._connection.fileno()):
                os.close(descriptor)
            arguments = [*request.arguments, str(server)]
            if request.is_fresh:
                command = [sys.executable, "-P", "-m", "ddl_bench.harness.worker", *arguments]
                os.execve(sys.executable, command, request.environment)  # noqa: S606
            os.environ.clear()
            os.environ.update(request.environment)
            sys.argv = ["ddl_bench.harness.worker", *arguments]
            worker.start(arguments, is_fresh=False)
        except SystemExit as stop:
            if isinstance(stop.code, int):
                code = stop.code
            elif stop.code is None:
                code = 0
            else:
                print(stop.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _report_ended(self) -> None:
        """Tell of each worker that has ended, after all that it started has ended too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._workers:
                self._workers.remove(pid)
                end_strays(self._workers)
                self._send(ended=pid, code=os.waitstatus_to_exitcode(status))

    def _send(self, **message: object) -> None:
        self._connection.send_bytes(json.dumps(message).encode())


def prepare() -> None:
    """Import what every cell needs, and keep the collector of garbage off it.

    A collection would write to every page that workers share with this process.
    """
    for module in IMPORTED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()


def end_strays(workers: set[int]) -> None:
    """End the children of this process that are no workers, and their children, and so on."""
    while True:
        strays = [child for child in psutil.Process().children() if child.pid not in workers]
        if not strays:
            return
        for stray in strays:
            with contextlib.suppress(psutil.NoSuchProcess):
                stray.kill()
        for stray in strays:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(stray.pid, 0)


if __name__ == "__main__":
    ForkServer(Connection(int(sys.argv[1]))).serve()
    os._exit(0)
