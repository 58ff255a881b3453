"""Standard output and error that end no command: closed, full, or of another encoding."""

import contextlib
import errno
import io
import os
import sys
from typing import Any, TextIO

LOWEST_FREE = 3  # file descriptor above standard input, output and error


class Patient(io.FileIO):
    """A file that drops what cannot be written: a full disk or a closed pipe ends no run."""

    problem = ""

    def write(self, data: Any, /) -> int:
        """Write bytes, or drop them where that fails; a reader that has gone is no problem."""
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno == errno.EAGAIN:
                raise
            if error.errno != errno.EPIPE:
                self.problem = str(error.strerror)
            return len(data)


def open_closed_streams() -> None:
    """Open what is closed of standard input, output and error.

    Another file would get their numbers, and then what a library or a child prints.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor < LOWEST_FREE:
        descriptor = os.dup(descriptor)
    os.close(descriptor)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  until the end
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def steady_stdout() -> Patient:
    """Let standard output take any text: what its encoding lacks is replaced, failures are kept.

    Returns the file below it, which knows of failures.
    """
    raw = steady(sys.stdout)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=sys.stdout.encoding,
        errors="replace",
        line_buffering=raw.isatty(),
    )
    return raw


def steady_stderr() -> None:
    """Let standard error drop what cannot be written."""
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(steady(sys.stderr)),
        encoding=sys.stderr.encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


def steady(stream: TextIO) -> Patient:
    """Open the file of a stream once more, as one that drops what cannot be written."""
    with contextlib.suppress(OSError):
        stream.flush()
    return Patient(os.dup(stream.fileno()), "wb")
