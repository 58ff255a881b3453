"""Honest time: a stopwatch that waits for the device, deadlines, and timed predictions.

The clock is taken at import, before any method is loaded: whoever replaces `time.perf_counter`
later does not slow it.
"""

import math
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
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
        # One attribute, so that another thread never reads a sum and a start of two moments.
        self._state: tuple[float, float | None] = (seconds, None)

    def __enter__(self) -> None:
        synchronize(self._device)
        sum_s, _ = self._state
        self._state = (sum_s, perf_counter())

    def __exit__(self, *_: object) -> None:
        synchronize(self._device)
        self._state = (self.seconds, None)

    @property
    def seconds(self) -> float:
        """The sum so far, with the block under way; other threads may ask for it."""
        sum_s, since = self._state
        if since is None:
            return sum_s
        return sum_s + (perf_counter() - since)


class Reported(NamedTuple):
    """Hold the share of a training that a method says is done, 0 to 1, and its seconds then."""

    share: float = 0.0
    train_s: float = 0.0


class CellDeadline:
    """The `Deadline` of a cell: it only reads the clock, so that looking at it costs nothing.

    `reported` is what a method has told of its training.

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
        self.reported = Reported()

    def fraction(self) -> float:
        """Share of the budget used so far, 0 to 1; 0 under a budget in epochs."""
        if self._limit_s is None:
            return 0.0
        return min(1.0, self._watch.seconds / self._limit_s)

    def expired(self) -> bool:
        """Whether the budget is used up."""
        return self.fraction() >= 1.0

    def report(self, share: float) -> None:
        """Note which share of the training is done; one that is no number, or less, is ignored."""
        with suppress(TypeError, ValueError, OverflowError):
            if self.reported.share < float(share) < math.inf:
                self.reported = Reported(min(1.0, float(share)), self._watch.seconds)


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
        begin = perf_counter()
        try:
            yield
        finally:
            self.add(name, perf_counter() - begin)

    def add(self, name: str, seconds: float) -> None:
        """Add seconds to a phase."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds


class WorkClock:
    """Sums wall time from `start` to `stop`, without what numba and torch take to compile.

    It runs all the time that a method is not timed as training, and pauses for what is known to be
    no work of the method: `with clock.paused(): ...`. So it counts whatever a method does in
    between, also where nobody calls it, as in a property or in the handler of a signal.

    Parameters
    ----------
    device
        Where the method runs; the clock waits for it.
    seconds
        Where the sum begins.
    """

    def __init__(self, device: str, *, seconds: float = 0.0) -> None:
        self._device = device
        self._sum_s = seconds
        self._since: float | None = None
        self._compiled_s = 0.0  # by torch, when the clock was started
        self._compiling: Any = None  # a listener to numba, since then
        self._listening = ExitStack()

    def start(self) -> None:
        """Let the clock run."""
        if "numba" in sys.modules:
            from numba.core import event

            listener: Any = event.TimingListener  # it has no types
            self._compiling = listener()
            self._listening.enter_context(event.install_listener("numba:compile", self._compiling))
        self._compiled_s = torch_compiling_s()
        self._since = perf_counter()

    def stop(self) -> None:
        """Stop the clock, once the device has done what it was asked for."""
        synchronize(self._device)
        self._sum_s = self.seconds
        self._since = None
        self._listening.close()
        self._compiling = None

    @property
    def seconds(self) -> float:
        """The sum so far."""
        if self._since is None:
            return self._sum_s
        passed_s = perf_counter() - self._since
        compiled_s = torch_compiling_s() - self._compiled_s
        if self._compiling is not None and self._compiling.done:
            compiled_s += self._compiling.duration
        return self._sum_s + max(0.0, passed_s - compiled_s)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock for a block."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def leave_out(self, seconds: float) -> None:
        """Take seconds off the sum that are known to be no work of the method."""
        self._sum_s -= seconds


def torch_compiling_s() -> float:
    """Return how long torch has compiled in this process, in seconds."""
    if "torch._dynamo" not in sys.modules:
        return 0.0
    from torch._dynamo.utils import calculate_time_spent

    return float(calculate_time_spent()["total_wall_time"])


class Timing(NamedTuple):
    """Seconds to score an image: median and interquartile range over `n_runs` repeated runs.

    `agreement` is the share of images that were given the class that they had before.
    """

    median_s: float
    iqr_s: float
    agreement: float
    n_runs: int


class TimedBatches:
    """Times one classifier on batches of the same images, run by run.

    One run is discarded. Images start and scores end in host memory, so transfers count. Each run
    has other images, in another order and with other last bits, so that no answer can be kept from
    an earlier run.

    Parameters
    ----------
    classifier
        Scores the images.
    X
        The images, shape (n, channels, height, width), uint8.
    device
        Where the classifier runs.
    n_images
        Images in a batch; None for all.
    """

    def __init__(
        self, classifier: Classifier, X: Tensor, device: str, n_images: int | None = None
    ) -> None:
        self._classifier = classifier
        self._X = X
        self._device = device
        self._n_images = n_images
        self._rng = np.random.default_rng(0)
        self._n_agreed = 0
        self._n_scored = 0
        self.times_s: list[float] = []
        self.predictions = predictions_of(classifier(X))

    def run(self) -> float:
        """Score one batch; returns and keeps the seconds for each image of it."""
        chosen = torch.from_numpy(self._rng.permutation(len(self._X))[: self._n_images])
        noise = torch.from_numpy(self._rng.integers(2, size=self._X[chosen].shape, dtype=np.uint8))
        batch = self._X[chosen] ^ noise
        watch = Stopwatch(self._device)
        with watch:
            scores = self._classifier(batch)
        self.times_s.append(watch.seconds / len(batch))
        self._n_agreed += int((predictions_of(scores) == self.predictions[chosen]).sum())
        self._n_scored += len(batch)
        return self.times_s[-1]

    def timing(self) -> Timing:
        """Return the median and the interquartile range of all runs so far."""
        low, median, high = np.percentile(self.times_s, [25, 50, 75])
        agreement = self._n_agreed / self._n_scored
        return Timing(float(median), float(high - low), agreement, len(self.times_s))


def time_inference(
    classifier: Classifier,
    X: Tensor,
    device: str,
    *,
    n_images: int | None = None,
    min_s: float = 0.3,
    min_runs: int = 5,
    max_s: float = 20,
) -> Timing:
    """Time how long a classifier takes to score a batch, in seconds for each image of it.

    Parameters
    ----------
    classifier, X, device, n_images
        As in `TimedBatches`.
    min_s, min_runs
        Runs are repeated until both are reached.
    max_s
        A very slow classifier stops after so many seconds with the runs that it has.
    """
    batches = TimedBatches(classifier, X, device, n_images)
    begin = perf_counter()
    while len(batches.times_s) < min_runs or perf_counter() - begin < min_s:
        batches.run()
        if perf_counter() - begin > max_s:
            break
    return batches.timing()


def predictions_of(scores: Tensor | NDArray[Any]) -> Tensor:
    """Return the class of the highest score of each image, in host memory."""
    return torch.as_tensor(scores).argmax(1).cpu()
