"""Honest time: a stopwatch that waits for the device, deadlines, and timed predictions."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ddl_bench.api import Classifier


def synchronize(device: str) -> None:
    """Wait until a GPU has done all it was asked for: queued work would escape the clock."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


class Stopwatch:
    """Sums the wall time spent inside its `with` blocks, in seconds.

    Parameters
    ----------
    device
        Where the timed work runs; the clock waits for it at both ends.
    seconds
        Where the sum begins.
    """

    def __init__(self, device: str, *, seconds: float = 0.0) -> None:
        self._device = device
        self._sum_s = seconds
        self._since: float | None = None

    def __enter__(self) -> None:
        synchronize(self._device)
        self._since = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        synchronize(self._device)
        self._sum_s = self.seconds
        self._since = None

    @property
    def seconds(self) -> float:
        """The sum so far, with the block under way; other threads may ask for it."""
        since = self._since
        if since is None:
            return self._sum_s
        return self._sum_s + (time.perf_counter() - since)


class CellDeadline:
    """The `Deadline` of a cell: it only reads the clock, so that looking at it costs nothing.

    Parameters
    ----------
    watch
        Times the training.
    limit_s
        The budget in seconds; None under a budget in epochs.
    """

    def __init__(self, watch: Stopwatch, limit_s: float | None) -> None:
        self._watch = watch
        self._limit_s = limit_s

    def fraction(self) -> float:
        """Share of the budget used so far, 0 to 1; 0 under a budget in epochs."""
        if self._limit_s is None:
            return 0.0
        return min(1.0, self._watch.seconds / self._limit_s)

    def expired(self) -> bool:
        """Whether the budget is used up."""
        return self.fraction() >= 1.0


class Phases:
    """Says where the wall time of a worker goes: `with phases("training"): ...`.

    Parameters
    ----------
    seconds
        Seconds by phase; those of later phases are added.
    """

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self.current = ""

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time a phase."""
        self.current = name
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - begin)

    def add(self, name: str, seconds: float) -> None:
        """Add seconds to a phase."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds


class Timing(NamedTuple):
    """Seconds to score an image: median and interquartile range over repeated runs."""

    median_s: float
    iqr_s: float


def time_inference(
    classifier: Classifier,
    X: Tensor,
    device: str,
    *,
    min_s: float = 0.3,
    min_runs: int = 5,
    max_s: float = 20,
) -> Timing:
    """Time how long a classifier takes to score a batch, in seconds for each image of it.

    One run is discarded. Images start and scores end in host memory, so transfers count.

    Parameters
    ----------
    classifier
        Scores the images.
    X
        The batch, shape (n_images, channels, height, width), uint8.
    device
        Where the classifier runs.
    min_s, min_runs
        Runs are repeated until both are reached.
    max_s
        A very slow classifier stops after so many seconds with the runs that it has.
    """
    times_s: list[float] = []
    classifier(X)
    begin = time.perf_counter()
    while len(times_s) < min_runs or time.perf_counter() - begin < min_s:
        watch = Stopwatch(device)
        with watch:
            classifier(X)
        times_s.append(watch.seconds / len(X))
        if time.perf_counter() - begin > max_s:
            break
    low, median, high = np.percentile(times_s, [25, 50, 75])
    return Timing(float(median), float(high - low))
