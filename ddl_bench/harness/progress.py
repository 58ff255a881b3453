"""How far a worker has come: it writes a small file, which its runner reads."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # the clock imports torch, which a runner without work does not need
    from ddl_bench.harness.clock import Phases

EVERY_S = 0.3


class Seen(NamedTuple):
    """The phase that a worker is in, and the share of its training that is done.

    `is_resumable` says whether another worker can go on with the training; None before it begins.
    """

    phase: str
    fraction: float
    is_resumable: bool | None = None


def nothing_done() -> float:
    """Say that no training has been done yet."""
    return 0.0


class Progress:
    """Writes the progress of a worker from a thread of its own, so that training never waits.

    Nothing is written on the timed path: the thread looks at the current phase, and asks `fraction`
    which share of the training is done.

    Parameters
    ----------
    path
        The file.
    phases
        Knows the current phase.
    """

    def __init__(self, path: Path, phases: Phases) -> None:
        self.fraction: Callable[[], float] = nothing_done
        self.is_resumable: bool | None = None
        self._path = path
        self._phases = phases
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_until_stopped, daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _write_until_stopped(self) -> None:
        written = ""
        while True:
            fraction = round(min(1.0, self.fraction()), 3)
            seen = Seen(self._phases.current, fraction, self.is_resumable)
            text = json.dumps(seen._asdict())
            if text != written:
                # A full disk does not end the training; the row will say so.
                with contextlib.suppress(OSError):
                    write(self._path, text)
                    written = text
            if self._stop.wait(EVERY_S):
                return


def write(path: Path, text: str) -> None:
    """Replace the file at once. It need not survive a crash, so nothing waits for the disk."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def read(path: Path) -> Seen:
    """Read the progress of a worker; "starting" before it has written any."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        is_resumable = content.get("is_resumable")
        return Seen(str(content["phase"]), float(content["fraction"]), is_resumable)
    except (OSError, ValueError, KeyError, TypeError):
        return Seen("starting", 0.0)
