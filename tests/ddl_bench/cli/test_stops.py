"""Ctrl-C and other signals: what is done is said and kept, and nothing is left behind."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ddl_bench.cli import running
from ddl_bench.cli.stops import STOPS, Stopped
from ddl_bench.harness.progress import read as read_progress
from ddl_bench.plan.expansion import Overrides, plan
from ddl_bench.results.rows import load_rows
from tests.conftest import PLUGINS, ddl_bench, put

PLUGIN_OPTIONS = [
    *("--plugin", str(PLUGINS / "misbehaving.py")),
    *("--plugin", str(PLUGINS / "resumable.py")),
]
CTRL_C = b"\x03"
TRACK = """
name = "t"
machine = {{ threads = 1 }}
limits = {{ time_s = 120, memory_gb = 3 }}
budget = {{ seconds = 60 }}
datasets = [{{ source = "digits" }}]
methods = [{methods}]
"""
OK = '{ name = "misbehave", label = "ok", params = { way = "ok" } }'
TRAINS = '{ name = "drops" }'
STUBBORN = '{ name = "misbehave", label = "stubborn", params = { way = "hang-with-child" } }'
WAITS = '{ name = "misbehave", label = "waits", params = { way = "hang" } }'
SLOW_IMPORT = """
import sys, time
sys.stderr.write("importing now\\n")
sys.stderr.flush()
time.sleep(60)
"""


class Terminal:
    """A command with a terminal of its own, whose keys the test presses."""

    def __init__(self, arguments: list[str]) -> None:
        self._keys, terminal = pty.openpty()
        self.output = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ddl_bench", *arguments],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            preexec_fn=control_terminal,
        )
        os.close(terminal)

    def press(self, key: bytes) -> None:
        os.write(self._keys, key)

    def read_until(self, is_there: Callable[[], bool], within_s: float = 90) -> None:
        """Read what the command prints until something is there."""
        deadline = time.monotonic() + within_s
        while not is_there():
            assert time.monotonic() < deadline, self.output
            if select.select([self._keys], [], [], 0.02)[0]:
                try:
                    self.output += os.read(self._keys, 65536).decode(errors="replace")
                except OSError:  # the other end is closed
                    self.process.wait(10)
                    return

    def end(self) -> int:
        """Read to the end and return the exit code."""
        self.read_until(lambda: self.process.poll() is not None)
        with contextlib.suppress(OSError):
            while select.select([self._keys], [], [], 0)[0]:
                self.output += os.read(self._keys, 65536).decode(errors="replace")
        os.close(self._keys)
        return self.process.wait()


def control_terminal() -> None:
    """Make standard input the terminal that sends signals to this process, in the child."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def write_track(folder: Path, *methods: str) -> str:
    path = folder / "t.toml"
    path.write_text(TRACK.format(methods=", ".join(methods)))
    return str(path)


def workers(out: Path) -> list[int]:
    """Processes whose output is a log of the run folder."""
    alive = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{process.pid}/fd/1").startswith(str(out)):
                alive.append(process.pid)
    return alive


def nothing_is_left(out: Path) -> bool:
    """Whether no worker runs; the fork server ends those of a runner that ended at once."""
    deadline = time.monotonic() + 60
    while workers(out) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not workers(out)


def check_block(output: str, track: str, out: Path) -> None:
    """What the user reads after a stop with one cell done, one training and one waiting."""
    lines = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", output)
    assert re.search(r"stopped: 1 of 3 cells are done", lines)
    after = r"goes on from its checkpoint, after [\d.]+ s of training"
    assert re.search(
        rf"drops on digits, seed 0: stopped at \d+ % of its training; {after}", lines
    ), lines
    assert "not started: 1 cell" in lines
    command = f"-m ddl_bench run {track} --jobs 1 --no-report --out {out}"
    assert command in lines.replace("\r\n", "")
    assert re.search(r"ok +1 +[\d.]+ ", lines), "the table of the rows so far"
    assert "Traceback" not in lines


@pytest.mark.parametrize("way", ["Ctrl-C", "SIGTERM"])
def test_a_stopped_run_says_what_is_done_and_how_to_resume(way: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    track = write_track(tmp_path, OK, TRAINS, WAITS)
    options = ["run", track, "--jobs", "1", "--no-report", "--out", str(out), *PLUGIN_OPTIONS]

    def is_training() -> bool:
        for path in out.glob("work/*.checkpoint"):
            return read_progress(path.with_suffix(".progress.json")).phase == "training"
        return False

    if way == "Ctrl-C":
        terminal = Terminal(options)
        terminal.read_until(is_training)
        terminal.press(CTRL_C)
        assert terminal.end() == 130
        output = terminal.output
        assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l"), "the cursor is back"
    else:
        command = [sys.executable, "-m", "ddl_bench", *options]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            deadline = time.monotonic() + 90
            while not is_training():
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.terminate()
            assert process.stdout is not None
            output = process.stdout.read()
            assert process.wait() == 143
    check_block(output, track, out)
    assert not workers(out)
    assert not list(out.glob("work/claims/*.claim.*"))
    assert [row.cell.label for row in load_rows(out)] == ["ok"]


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    track = write_track(tmp_path, STUBBORN)
    terminal = Terminal(["run", track, "--out", str(out), *PLUGIN_OPTIONS])
    terminal.read_until(
        lambda: any(len(psutil.Process(pid).children()) for pid in workers(out))  # the way is taken
    )
    terminal.press(CTRL_C)
    terminal.read_until(lambda: "stopping 1 cell" in terminal.output)
    pressed_s = time.monotonic()
    terminal.press(CTRL_C)
    assert terminal.end() == 130
    assert time.monotonic() - pressed_s < 1.5, "a worker has 2 s to end by itself"
    assert "Traceback" not in terminal.output
    assert nothing_is_left(out)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--methods", "logistic"],
        ["run", "--dry-run"],
        ["methods"],
        ["datasets"],
        ["check", "{plugin}"],
    ],
)
def test_any_command_that_is_stopped_says_so_in_one_line(
    arguments: list[str], tmp_path: Path
) -> None:
    plugin = tmp_path / "slow.py"
    plugin.write_text(SLOW_IMPORT)
    words = [word.format(plugin=plugin) for word in arguments]
    if arguments[0] != "check":
        words += ["--plugin", str(plugin)]
    if arguments[0] == "run":
        words += ["--out", str(tmp_path / "out")]
    command = [sys.executable, "-m", "ddl_bench", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "importing now\n":
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        output = process.stdout.read()
        code = process.wait()
    assert code == 130
    assert output.count("stopped before") == 1
    assert "Traceback" not in output


def test_a_stop_while_the_report_is_written_names_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        STOPS.number = signal.SIGINT
        raise Stopped

    monkeypatch.setattr(running, "write_report", stop)
    monkeypatch.setattr(STOPS, "number", 0)
    (cell,) = plan("quick", Overrides.of(methods=["nearest-mean"], seeds=[0]))
    put(tmp_path, cell, accuracy=50.0)
    options = ["--methods", "nearest-mean", "--seeds", "0", "--out", tmp_path]
    output = ddl_bench(["run", *options], code=130)
    assert "all 1 cell are done" in " ".join(output.split())
    assert f"ddl-bench report {tmp_path}" in output.replace("\n", "")
