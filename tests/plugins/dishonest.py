"""Methods whose numbers would mislead, each in the way of its option, and honest ones beside them.

All classify by the nearest mean of a class, which they find at once, and then work for `WORK_S`.
"""

import gc
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ddl_bench.api import Budget, Size, Task
from ddl_bench.data import ImageSet
from ddl_bench.harness import clock, evaluate

WORK_S = 1.5
now = time.monotonic


def work() -> None:
    """Compute for a while."""
    end = now() + WORK_S
    while now() < end:
        torch.ones(200, 200) @ torch.ones(200, 200)


def take_all_cores() -> None:
    """Let the thread that calls it run on every core of the machine."""
    os.sched_setaffinity(0, range(os.cpu_count() or 1))


def take_all_cores_and_sleep() -> None:
    """Take all cores, and use none."""
    take_all_cores()
    time.sleep(60)


class Means:
    """Scores by the distance to the mean of each class."""

    def __init__(self, task: Task, says: Any = None) -> None:
        X = task.train.X.flatten(1).float()
        classes = range(task.n_classes)
        self.means = torch.stack([X[task.train.y == label].mean(0) for label in classes])
        self._says = self.means.numel() if says is None else says

    def size(self) -> Size:
        return Size(n_params=self._says, n_stored=self._says)

    def state(self) -> dict[str, Tensor]:
        return {"means": self.means}

    def __call__(self, X: Tensor) -> Any:
        return -torch.cdist(X.flatten(1).float(), self.means)


class Lazy(Means):
    """Works when it is first asked."""

    is_ready = False

    def __call__(self, X: Tensor) -> Any:
        if not self.is_ready:
            work()
            self.is_ready = True
        return super().__call__(X)


class Place(Means):
    """Scores by the place in the batch."""

    def __call__(self, X: Tensor) -> Any:
        n_classes = len(self.means)
        classes = torch.arange(len(X)) * n_classes // len(X)
        return torch.nn.functional.one_hot(classes, n_classes).float()


class Company(Means):
    """Centres images by the mean of their batch."""

    def __call__(self, X: Tensor) -> Any:
        flat = X.flatten(1).float()
        return -torch.cdist(flat - flat.mean(0), self.means - self.means.mean(0))


class Remembers(Means):
    """Keeps its answers by the address of the images."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.known: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, X: Tensor) -> Any:
        key = (X.data_ptr(), len(X))
        if key not in self.known:
            time.sleep(0.02)
            self.known[key] = super().__call__(X)
        return self.known[key]


class Returns(Means):
    """Returns scores in another form."""

    def __init__(self, task: Task, form: Callable[[Tensor], Any]) -> None:
        super().__init__(task)
        self._form = form

    def __call__(self, X: Tensor) -> Any:
        return self._form(super().__call__(X))


def look_for_tests() -> None:
    """Raise an error where test images of digits are in memory."""
    for thing in gc.get_objects():
        is_images = isinstance(thing, Tensor) and thing.shape == (360, 1, 8, 8)
        if is_images or isinstance(thing, ImageSet):
            raise RuntimeError("the test images are in memory")


def without_last(scores: Tensor) -> Tensor:
    """Exclude a class by a score of -inf."""
    scores[:, -1] = -torch.inf
    return scores


FORMS: dict[str, Callable[[Tensor], Any]] = {
    "array": lambda scores: scores.numpy(),
    "excluded": without_last,
    "all-excluded": lambda scores: scores - torch.inf,
    "list": lambda scores: scores.tolist(),
    "pair": lambda scores: (scores, 0.0),
    "nothing": lambda scores: None,
    "flags": lambda scores: scores > -100,
}
SIZES = {"little": 1, "negative": -5, "fraction": 2.5}


class Course:
    """A training of two steps in which functions of a test take part."""

    def __init__(self, task: Task, way: str) -> None:
        self._task = task
        self._way = way
        self._n_steps = 0
        self._worker: Any = None

    def advance(self, deadline: Any) -> bool:
        self._n_steps += 1
        is_last = self._n_steps == 2
        if self._way in SIZES and is_last:
            work()
        if not is_last:
            return True
        match self._way:
            case "honest":
                work()
            case "thread":
                self._worker = threading.Thread(target=work, name="learner")
                self._worker.start()
            case "child":
                self._worker = multiprocessing.get_context("fork").Process(target=work)
                self._worker.start()
            case "slow-clock":
                began = time.perf_counter()
                time.perf_counter = lambda: began
                work()
            case "slower-clock":
                original = vars(clock)["perf_counter"]
                work()
                vars(clock)["perf_counter"] = lambda: original() - WORK_S
            case "looks":
                look_for_tests()
            case "twins":
                os.fork()
            case "accuracy":
                vars(evaluate)["accuracy"] = lambda *_: 99.5
            case "elsewhere":
                os.chdir("/")
            case "cores":
                take_all_cores()
            case "cores-of-a-thread":
                threading.Thread(target=take_all_cores_and_sleep, daemon=True).start()
        return False

    def classifier(self) -> Any:
        if self._way == "classifier" and self._n_steps == 2:
            work()
        if self._worker is not None:
            self._worker.join()
        special = {"call": Lazy, "place": Place, "company": Company, "cache": Remembers}
        if self._way in special:
            return special[self._way](self._task)
        if self._way in FORMS:
            return Returns(self._task, FORMS[self._way])
        return Means(self._task, SIZES.get(self._way))


@dataclass(frozen=True)
class Dishonest:
    """Does what `way` says."""

    name: ClassVar[str] = "dishonest"
    way: str = "honest"

    def start(self, task: Task, budget: Budget) -> Course:
        if self.way == "start":
            work()
        return Course(task, self.way)
