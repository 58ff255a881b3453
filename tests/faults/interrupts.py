"""Stop a run by signals and closed outputs, at a terminal: it says what is kept, and resumes."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.faults import commands
from tests.faults.kills import LOG, N_SEEDS, Watched, arguments, complete
from tests.faults.tally import Tally

CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}


class Terminal:
    """A run at a terminal of its own."""

    def __init__(self, folder: Path) -> None:
        self._master, slave = pty.openpty()
        self.output = b""
        environment = {**os.environ, LOG: str(folder.with_suffix(".log")), "TERM": "xterm"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ddl_bench", *arguments(folder)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)

    def read(self, seconds: float) -> None:
        """Read what is written to the terminal, for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._master >= 0:
            ready, _, _ = select.select([self._master], [], [], 0.05)
            if ready:
                try:
                    self.output += os.read(self._master, 65_536)
                except OSError:  # nobody writes to it any more
                    break

    def close(self) -> None:
        """Close the terminal, as a lost connection does."""
        os.close(self._master)
        self._master = -1


def until_training(watched: Watched, terminal: Terminal | None = None) -> None:
    """Wait until a cell is trained."""
    end = time.monotonic() + 60
    while not watched.lines() and time.monotonic() < end:
        if terminal:
            terminal.read(0.05)
        else:
            time.sleep(0.05)


def stop_at_terminal(name: str, folder: Path, tally: Tally) -> None:
    """Send a signal to a run at a terminal; it ends soon, says so, and leaves no process."""
    tally.tried += 1
    watched = Watched(folder, tally)
    terminal = Terminal(folder)
    until_training(watched, terminal)
    children = psutil.Process(terminal.process.pid).children(recursive=True)
    terminal.process.send_signal(getattr(signal, name))
    end = time.monotonic() + 20
    while terminal.process.poll() is None and time.monotonic() < end:
        terminal.read(0.1)
    if terminal.process.poll() is None:
        tally.tracebacks.append(f"{name}: the run goes on after 20 s")
        terminal.process.kill()
        terminal.process.wait()
    terminal.read(0.3)
    text = terminal.output.decode(errors="replace")
    terminal.close()
    if commands.TRACEBACK.search(text.replace("\r", "")):
        tally.tracebacks.append(f"{name}: a traceback at the terminal")
    code = terminal.process.returncode
    if code != CODES[name]:
        tally.tracebacks.append(f"{name}: exit code {code}, expected {CODES[name]}")
    if "resume" not in text:
        tally.tracebacks.append(f"{name}: does not say how to resume: {text[-200:]!r}")
    _, alive = psutil.wait_procs(children, timeout=5)
    tally.torn += [f"{name}: process {process.pid} goes on" for process in alive]
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    complete(watched)
    watched.check()


def close_terminal(folder: Path, tally: Tally) -> None:
    """Close the terminal of a run; what was running ends, and the command resumes."""
    tally.tried += 1
    watched = Watched(folder, tally)
    terminal = Terminal(folder)
    until_training(watched, terminal)
    terminal.close()
    try:
        terminal.process.wait(90)
    except subprocess.TimeoutExpired:
        tally.tracebacks.append("closed terminal: the run never ends")
        terminal.process.kill()
        terminal.process.wait()
    complete(watched)
    watched.check()


def closed_output(name: str, folder: Path, tally: Tally) -> None:
    """Run with a standard output that nobody reads, that is full, or that is ASCII alone."""
    tally.tried += 1
    watched = Watched(folder, tally)
    environment = {**os.environ, LOG: str(folder.with_suffix(".log"))}
    reader = -1
    if name == "closed pipe":
        reader, output = os.pipe()
    elif name == "full output":
        output = os.open("/dev/full", os.O_WRONLY)
    else:
        output = os.open(folder.with_suffix(".ascii"), os.O_WRONLY | os.O_CREAT)
        environment |= {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    errors = folder.with_suffix(".errors")
    with errors.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "ddl_bench", *arguments(folder)],
            stdout=output,
            stderr=file,
            env=environment,
        )
    os.close(output)
    if reader >= 0:
        os.close(reader)
    try:
        process.wait(180)
    except subprocess.TimeoutExpired:
        tally.tracebacks.append(f"{name}: the run never ends")
        process.kill()
        process.wait()
    finished = watched.look()
    if finished != N_SEEDS:
        tally.lost.append(f"{name}: {finished} of {N_SEEDS} rows")
    text = errors.read_text(errors="replace")
    if commands.TRACEBACK.search(text):
        tally.tracebacks.append(f"{name}: {text.strip().splitlines()[-1][:200]}")


def try_signals(scratch: Path, *, smoke: bool) -> Tally:
    """Try each signal and each output; one of each in the smoke part."""
    tally = Tally("signals")
    for name in ("SIGINT",) if smoke else CODES:
        stop_at_terminal(name, scratch / name, tally)
    if smoke:
        return tally
    close_terminal(scratch / "terminal", tally)
    for name in ("closed pipe", "full output", "ascii output"):
        closed_output(name, scratch / name.replace(" ", "-"), tally)
    return tally
