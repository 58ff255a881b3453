"""How far a worker has come: it writes a small file, which its runner reads."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from ddl_bench.errors import UserError
from ddl_bench.files import read_regular

if TYPE_CHECKING:  # the clock imports torch, which a runner without work does not need
    from ddl_bench.harness.checkpoint import Mark
    from ddl_bench.harness.clock import Phases
    from ddl_bench.harness.points import Points

EVERY_S = 0.3  # a change of phase, share or accuracy is written,
EVERY_SHARE = 0.02  # later after this share of the time so far: writes cost a shared folder
AT_LEAST_EVERY_S = 10.0  # seconds of training, which change all the time
LARGEST_FILE_BYTES = 100_000
UNREADABLE = (
    OSError, UserError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError,
    RecursionError,
)  # fmt: skip


class TrainingProgress(NamedTuple):
    """How far a training has come.

    Parameters
    ----------
    fraction
        Share that is done, 0 to 1.
    train_s
        Seconds of training so far.
    remaining_s
        Seconds of training still to come; None where nothing is known yet.
    val_accuracy
        The last on validation images, in percent; None before the first.
    """

    fraction: float = 0.0
    train_s: float = 0.0
    remaining_s: float | None = None
    val_accuracy: float | None = None


class Seen(NamedTuple):
    """What a worker last wrote: the phase that it is in, and how far its training has come.

    `is_resumable` says whether another worker can go on with the training; None before it begins.
    `scored` is the share of the test images that have scores; None while it trains.
    """

    phase: str = "starting"
    fraction: float = 0.0
    is_resumable: bool | None = None
    train_s: float | None = None
    remaining_s: float | None = None
    val_accuracy: float | None = None
    scored: float | None = None
    host: str = ""
    pid: int | None = None


class Progress:
    """Writes the progress of a worker from a thread of its own, so that training never waits.

    Nothing is written on the timed path: the thread looks at the current phase, and asks `standing`
    how far the training has come.

    Parameters
    ----------
    path
        The file.
    phases
        Knows the current phase.
    points
        Takes the curves of `mark`.
    """

    def __init__(self, path: Path, phases: Phases, points: Points | None = None) -> None:
        self.standing: Callable[[], TrainingProgress] = TrainingProgress
        self.mark: Mark | None = None  # of the training under way
        self.is_resumable: bool | None = None
        self._scored: float | None = None
        self._path = path
        self._phases = phases
        self._points = points
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_until_stopped, daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    @property
    def threads(self) -> set[int]:
        """Return the number of the thread that writes, as the kernel counts."""
        return {self._thread.native_id} if self._thread.native_id is not None else set()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._write_points()

    def tell_scored(self, share: float) -> None:
        """Note which share of the test images have scores, 0 to 1."""
        self._scored = share

    def _write_points(self) -> None:
        if self._points is not None:
            self._points.write(self.mark)

    def _write_until_stopped(self) -> None:
        written: tuple[object, ...] = ()
        due_s = 0.0
        began_s = monotonic()
        while True:
            standing = self.standing()
            fraction = round(min(1.0, standing.fraction), 3)
            phase = self._phases.current
            is_resumable = self.is_resumable
            scored = self._scored
            coarse = (phase, fraction, is_resumable, standing.val_accuracy, scored)
            if coarse != written or monotonic() >= due_s:
                seen = Seen(
                    phase=phase,
                    fraction=fraction,
                    is_resumable=is_resumable,
                    train_s=rounded(standing.train_s),
                    remaining_s=rounded(standing.remaining_s),
                    val_accuracy=standing.val_accuracy,
                    scored=scored,
                    host=platform.node(),
                    pid=os.getpid(),
                )
                # A full disk does not end the training; the row will say so.
                with contextlib.suppress(OSError):
                    write(self._path, json.dumps(seen._asdict()))
                    written = coarse
                    due_s = monotonic() + AT_LEAST_EVERY_S
            self._write_points()
            pause_s = EVERY_SHARE * (monotonic() - began_s)
            if self._stop.wait(min(max(EVERY_S, pause_s), AT_LEAST_EVERY_S)):
                return


def rounded(seconds: float | None) -> float | None:
    """Round seconds to tenths; None stays."""
    return None if seconds is None else round(seconds, 1)


def write(path: Path, text: str) -> None:
    """Replace the file at once. It need not survive a crash, so nothing waits for the disk."""
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()  # made, but the disk had no room for its content
        raise


def read(path: Path) -> Seen:
    """Read the progress of a worker; "starting" before it has written any that can be read."""
    try:
        content = json.loads(read_regular(path, LARGEST_FILE_BYTES))
        known = {name: content[name] for name in Seen._fields if name in content}
        known["phase"] = str(content["phase"])
        known["fraction"] = float(content["fraction"])
        for name in ("train_s", "remaining_s", "val_accuracy", "scored"):
            known[name] = None if known.get(name) is None else float(known[name])
        is_sound = all(math.isfinite(value) for value in known.values() if type(value) is float)
        shares = (known["fraction"], known["scored"] or 0.0)
        return Seen(**known) if is_sound and all(0 <= share <= 1 for share in shares) else Seen()
    except UNREADABLE:
        return Seen()
