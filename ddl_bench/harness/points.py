"""The points of the curves of a worker, in RUN/work/ID.curves, where its runner wants them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ddl_bench.files import append_at
from ddl_bench.results.tensorboard import ACCURACY, LOSS

if TYPE_CHECKING:  # the checkpoint imports torch, which a runner without work does not need
    from ddl_bench.harness.checkpoint import Mark


class Points:
    """Appends the points of a training to a file, each once; does nothing where there is no file.

    A line is `[GRID POINT, TITLE, EPOCH, SECONDS, VALUE]`.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_asked_for = path.exists()
        self._size = 0
        self._mark: Mark | None = None
        self._n_written = dict.fromkeys((ACCURACY, LOSS), 0)

    def write(self, mark: Mark | None) -> None:
        """Append what is new in the curves of `mark`, or all of them for another mark."""
        if mark is None or not self._is_asked_for:
            return
        if mark is not self._mark:
            self._mark = mark
            self._n_written = dict.fromkeys(self._n_written, 0)
        curves = {ACCURACY: mark.curve, LOSS: mark.losses}
        n_points = {title: len(curve) for title, curve in curves.items()}
        lines = []
        for title, curve in curves.items():
            for point in curve[self._n_written[title] : n_points[title]]:
                words = [mark.index, title, point.n_advances, point.train_s, point.value]
                lines.append(json.dumps(words) + "\n")
        if lines:
            with contextlib.suppress(OSError):  # a full disk; they are written the next time
                self._size = append_at(self._path, self._size, "".join(lines).encode())
                self._n_written = n_points
