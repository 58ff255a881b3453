"""Signals that stop a command: Ctrl-C, a polite kill, a terminal that has been closed.

The first one raises `Stopped`, so that the command ends what it has begun and says what is done.
While workers run, which must be ended in order, it waits for `check`. The second one ends the
process at once; the fork server then ends the workers, and claims of a process that is gone hold
nothing.
"""

import contextlib
import shlex
import signal
import sys
from collections.abc import Iterator
from os import _exit, environ, pathsep, write  # before a plugin can replace them
from pathlib import PurePath
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STDERR = 2
SHOW_CURSOR = "\x1b[?25h"  # a live view hides it


class Stopped(BaseException):
    """Raised where the user has stopped the command; no handler of exceptions takes it for one."""


class Stops:
    """Which signal has stopped this process, if any.

    `more` are words that the command needs besides its own to go on where it was stopped.
    """

    def __init__(self) -> None:
        self.number = 0
        self.more: tuple[str, ...] = ()
        self._is_deferred = False

    @property
    def code(self) -> int:
        """The exit code of a process that the signal has ended."""
        return 128 + self.number

    def watch(self) -> None:
        """Take the signals from now on, except those that whoever started us has turned off."""
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._take)
        sys.unraisablehook = self._end_unraisable

    def ignore(self) -> None:
        """Let no signal change the exit code any more: all work is done."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Let the first signal wait for `check`, or for the end of this context."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False
        self.check()

    def check(self) -> None:
        """Raise Stopped if a signal has come."""
        if self.number:
            raise Stopped

    def end(self) -> NoReturn:
        """End a command that was stopped, with one line that says so."""
        say(f"ddl-bench: stopped before the end; run it again by: {this_command()}\n")
        sys.exit(self.code)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            self._end_at_once()
        self.number = number
        if not self._is_deferred:
            raise Stopped

    def _end_at_once(self) -> None:
        """End this process in the middle of whatever it does."""
        cursor = ""
        if sys.stderr is not None and sys.stderr.isatty():
            cursor = SHOW_CURSOR
        say(f"{cursor}\nddl-bench: ended at once\n")
        _exit(self.code)

    def _end_unraisable(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """Take the place of `sys.unraisablehook`: a stop that came in a finaliser is lost there."""
        if isinstance(unraisable.exc_value, Stopped):
            self._end_at_once()
        sys.__unraisablehook__(unraisable)


STOPS = Stops()  # signals belong to the process


def say(text: str) -> None:
    """Write to standard error, whatever state its file object is in."""
    if sys.stderr is None:  # closed from the start: its number may be that of another file
        return
    with contextlib.suppress(OSError):
        write(STDERR, text.encode(errors="backslashreplace"))


def this_command() -> str:
    """Return the command line that goes on where this process is, in the same folder."""
    program = PurePath(sys.argv[0])
    words = [str(program)]
    if program.name == "ddl-bench" and program.parent in map(PurePath, path_folders()):
        words = ["ddl-bench"]
    elif program.name == "__main__.py":
        words = [sys.executable, "-m", "ddl_bench"]
    return shlex.join([*words, *sys.argv[1:2], *STOPS.more, *sys.argv[2:]])


def path_folders() -> list[str]:
    """List the folders in which the shell looks for programs."""
    return environ.get("PATH", "").split(pathsep)
