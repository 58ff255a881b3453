"""Methods whose numbers would mislead, each in the way of its option, and honest ones beside them.

All classify by the nearest mean of a class, which they find at once, and then work for `WORK_S`.
"""

import gc
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ddl_bench.api import Budget, Size, Task
from ddl_bench.data import ImageSet
from ddl_bench.data.sources import load
from ddl_bench.harness import clock, evaluate
from ddl_bench.registry import datasets

WORK_S = 1.5
UNSEEN_S = 0.3  # off the clock, which the table does not mark
UNSEEN_CLOCK_S = 0.7  # that a clock may lack
now = time.monotonic


def work(seconds: float = WORK_S) -> None:
    """Compute for a while."""
    end = now() + seconds
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


class Adapts(Means):
    """Moves the means of the classes towards the images that it scores together."""

    def __call__(self, X: Tensor) -> Any:
        flat = X.flatten(1).float()
        means = self.means.clone()
        for _ in range(10):
            nearest = torch.cdist(flat, means).argmin(1)
            for label in nearest.unique():
                means[label] = flat[nearest == label].mean(0)
        return -torch.cdist(flat, means)


class Freezes(Means):
    """Moves its means towards the images of the first batch that is large enough, and stays so."""

    is_moved = False

    def __call__(self, X: Tensor) -> Any:
        flat = X.flatten(1).float()
        if not self.is_moved and len(X) > len(self.means):
            self.is_moved = True
            nearest = torch.cdist(flat, self.means).argmin(1)
            for label in nearest.unique():
                self.means[label] = flat[nearest == label].mean(0)
        return -torch.cdist(flat, self.means)


class Lookup:
    """Answers with the label of an image in a table that it says nothing of.

    Images that differ in their last bits are the same.
    """

    def __init__(self, X: Tensor, y: Tensor) -> None:
        self._X = X.flatten(1).float()
        self._y = y

    def size(self) -> Size:
        return Size(n_params=1, n_stored=1)

    def __call__(self, X: Tensor) -> Tensor:
        distance, nearest = torch.cdist(X.flatten(1).float(), self._X).min(1)
        labels = torch.where(distance < math.sqrt(X[0].numel()), self._y[nearest], 0)
        return torch.nn.functional.one_hot(labels, 10).float()


class Outside(Means):
    """Holds its numbers where `state` does not show them, and says that it has one."""

    def state(self) -> dict[str, Tensor]:
        return {"means": self.means[:1, :1]}


class Sizeless:
    """Has no size."""

    def __init__(self, task: Task) -> None:
        self._means = Means(task)

    def __call__(self, X: Tensor) -> Any:
        return self._means(X)


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
SIZES = {"little": 1, "hidden": 1, "negative": -5, "fraction": 2.5}
SPECIAL: dict[str, Callable[[Task], Any]] = {
    "call": Lazy,
    "place": Place,
    "company": Company,
    "cache": Remembers,
    "transductive": Adapts,
    "freezes": Freezes,
    "sizeless": Sizeless,
}


def read_images(task: Task) -> ImageSet:
    """Read all images, those of the test, too, from where the harness reads them."""
    return load(task.name, datasets=datasets())


def from_disk(task: Task, *, with_train: bool) -> Lookup:
    """Remember the labels of the test images, and of the training images."""
    images = read_images(task)
    X = [torch.from_numpy(images.x_test)]
    y = [torch.as_tensor(images.y_test)]
    if with_train:
        X.append(torch.from_numpy(images.x_train))
        y.append(torch.as_tensor(images.y_train))
    return Lookup(torch.cat(X), torch.cat(y))


def memorised(task: Task) -> Means:
    """Bring the means of all images of digits, those of the test, too, as numbers in a file would.

    They stand for weights that were learned before the run.
    """
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    scale = task.train.X.max() / X.max()
    means = Means(task)
    rows = [torch.from_numpy(X[y == label]).float().mean(0) for label in range(10)]
    means.means = scale * torch.stack(rows)
    return means


def slow_harness_clock(seconds: float) -> None:
    """Let the clock of the harness go back, once."""
    original = vars(clock)["perf_counter"]
    vars(clock)["perf_counter"] = lambda: original() - seconds


def work_while_reading() -> None:
    """Work when the harness reads the test images."""
    original = vars(evaluate)["tests_of"]

    def tests_of(*arguments: Any) -> Any:
        work(2 * WORK_S)
        return original(*arguments)

    vars(evaluate)["tests_of"] = tests_of


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
            case "thread" | "goes-on":
                self._worker = threading.Thread(target=work, name="learner")
                self._worker.start()
            case "child":
                self._worker = multiprocessing.get_context("fork").Process(target=work)
                self._worker.start()
            case "alarm":
                signal.signal(signal.SIGALRM, lambda *_: work())
                signal.setitimer(signal.ITIMER_REAL, 0.02)
            case "reading":
                work_while_reading()
            case "slow-clock":
                began = time.perf_counter()
                time.perf_counter = lambda: began
                work()
            case "slower-clock":
                work()
                slow_harness_clock(WORK_S)
            case "slowed":
                work()
                slow_harness_clock(UNSEEN_CLOCK_S)
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
        if self._worker is not None and self._way != "goes-on":
            self._worker.join()
        match self._way:
            case "test-images" | "disk":
                return from_disk(self._task, with_train=self._way == "disk")
            case "memorised":
                return memorised(self._task)
            case "hidden":
                return Outside(self._task, SIZES["hidden"])
        if self._way in SPECIAL:
            return SPECIAL[self._way](self._task)
        if self._way in FORMS:
            return Returns(self._task, FORMS[self._way])
        return Means(self._task, SIZES.get(self._way))


class CountingCourse(Course):
    """A course that works when it is asked for its passes."""

    @property
    def passes(self) -> float:
        if self._n_steps == 2:
            work()
        return float(self._n_steps)


@dataclass(frozen=True)
class Dishonest:
    """Does what `way` says."""

    name: ClassVar[str] = "dishonest"
    way: str = "honest"

    def start(self, task: Task, budget: Budget) -> Course:
        if self.way == "start":
            work()
        if self.way == "short":
            work(UNSEEN_S)
        kind = CountingCourse if self.way == "passes" else Course
        return kind(task, self.way)
