"""Curves that grow in TensorBoard while a cell trains: the runner copies the points of its workers.

So a process that trains neither imports TensorBoard nor waits for it; a failure costs curves alone.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ddl_bench.files import brief, open_regular
from ddl_bench.harness.folder import points_path
from ddl_bench.results.tensorboard import EventFile, ShownPoint, folder_of, write

if TYPE_CHECKING:
    from ddl_bench.harness.supervise import Job
    from ddl_bench.results.rows import Row

LOOK_EVERY_S = 1.0
MOST_BYTES = 1_000_000  # of points that are copied at a time


class GrowingCurves:
    """Copies the points of the workers of a runner to the event files of their cells.

    Parameters
    ----------
    run
        The run folder.
    is_on
        Whether anything is copied at all.
    """

    def __init__(self, run: Path, *, is_on: bool) -> None:
        self._run = run
        self._is_on = is_on
        self._has_warned = False
        self._looked_s = 0.0
        self._followers: dict[str, Follower] = {}

    def look(self, jobs: Sequence[Job]) -> None:
        """Copy what is new, now and then."""
        if self._is_on and time.monotonic() - self._looked_s > LOOK_EVERY_S:
            self._looked_s = time.monotonic()
            for job in jobs:
                self._follow(job)

    def ended(self, job: Job, row: Row | None) -> None:
        """Copy the rest of a cell that has ended; the curves of the best point of its grid stay."""
        if not self._is_on:
            return
        if not job.is_lost:
            self._follow(job)
        if row is not None and job.claim.is_held():
            with self._harmless():
                points_path(self._run, job.cell.id).unlink(missing_ok=True)
                write(self._run, [row])
        self._followers.pop(job.cell.id, None)

    def _follow(self, job: Job) -> None:
        follower = self._followers.get(job.cell.id)
        if follower is None:
            folder = folder_of(self._run, job.cell)
            path = points_path(self._run, job.cell.id)
            follower = Follower(path, folder, time.time() - job.seconds)
            self._followers[job.cell.id] = follower
        with self._harmless():
            follower.look()

    @contextlib.contextmanager
    def _harmless(self) -> Iterator[None]:
        """Print the first failure, and go on: rows are worth more than curves."""
        try:
            yield
        except Exception as error:
            if not self._has_warned:
                self._has_warned = True
                text = f"ddl-bench: no curves for TensorBoard for now: {brief(error)}"
                print(text, file=sys.stderr)


class Follower:
    """Copies the points of one worker to an event file, those of the current point of a grid.

    Parameters
    ----------
    path
        The file with points.
    folder
        The folder of the event file.
    start_s
        When the worker began, as seconds since 1970.
    """

    def __init__(self, path: Path, folder: Path, start_s: float) -> None:
        self._path = path
        self._folder = folder
        self._start_s = start_s
        self._n_read = 0
        self._index = 0
        self._events: EventFile | None = None

    def look(self) -> None:
        """Copy the lines that are new and whole."""
        try:
            with open_regular(self._path) as file:
                file.seek(self._n_read)
                content = file.read(MOST_BYTES)
        except FileNotFoundError:
            return
        whole = content[: content.rfind(b"\n") + 1]
        self._n_read += len(whole)
        points: list[ShownPoint] = []
        for line in whole.splitlines():
            index, title, epoch, seconds, value = json.loads(line)
            if index != self._index:
                self._append(points)
                points = []
                self._index = index
                if self._events is not None:
                    self._events.begin_anew()
            points.append(ShownPoint(title, epoch, seconds, value))
        self._append(points)

    def _append(self, points: Sequence[ShownPoint]) -> None:
        """Append points, and what could not be written before."""
        if self._events is None and points:
            self._events = EventFile(self._folder, self._start_s)
        if self._events is not None:
            self._events.append(points)
