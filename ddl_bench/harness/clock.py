"""Honest time: a stopwatch that waits for the device, the deadline a method sees, and the timing of predictions."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from ddl_bench.api import Classifier


def synchronize(device: str) -> None:
    """Wait until the device has done all it was asked for; queued work would otherwise escape the clock."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


class Stopwatch:
    """Sums the wall time spent inside its `with` blocks, in seconds, from `seconds` on."""

    def __init__(self, device: str, *, seconds: float = 0.0) -> None:
        self._device = device
        self._sum = seconds
        self._since: float | None = None

    def __enter__(self) -> None:
        synchronize(self._device)
        self._since = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        synchronize(self._device)
        self._sum, self._since = self.seconds, None

    @property
    def seconds(self) -> float:
        return self._sum + (time.perf_counter() - self._since if self._since is not None else 0.0)


class CellDeadline:
    """The `Deadline` of a cell. Each look at it also tells the outside that the method is alive."""

    def __init__(
        self, watch: Stopwatch, seconds: float | None, beat: Callable[[float], None]
    ) -> None:
        self._watch = watch
        self._limit = seconds
        self._beat = beat

    def fraction(self) -> float:
        used = min(1.0, self._watch.seconds / self._limit) if self._limit else 0.0
        self._beat(used)
        return used

    def expired(self) -> bool:
        return self.fraction() >= 1.0


class Phases:
    """Where the wall time of a worker goes: seconds by phase."""

    def __init__(self, seconds: dict[str, float], on_change: Callable[[str], None]) -> None:
        self.seconds = seconds
        self._on_change = on_change

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._on_change(name)
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin


def time_inference(
    classifier: Classifier,
    X: Tensor,
    device: str,
    *,
    min_seconds: float = 0.3,
    min_runs: int = 5,
    max_seconds: float = 20,
) -> tuple[float, float]:
    """Median and interquartile range of the time to score the batch `X`, in seconds an image.

    One run is discarded; images start and scores end in host memory, so transfers count. Very slow classifiers stop
    after `max_seconds` with the runs they have.
    """
    times: list[float] = []
    classifier(X)
    begin = time.perf_counter()
    while len(times) < min_runs or time.perf_counter() - begin < min_seconds:
        watch = Stopwatch(device)
        with watch:
            classifier(X)
        times.append(watch.seconds / len(X))
        if time.perf_counter() - begin > max_seconds:
            break
    low, median, high = np.percentile(times, [25, 50, 75])
    return float(median), float(high - low)
