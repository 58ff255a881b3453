"""Methods that try to look faster or better than they are, each in one way.

All but `honest` and those that learn nothing train the same linear classifier for `LEARN_S`.
"""

import ctypes
import gc
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ddl_bench.api import Budget, Classifier, Deadline, OneShot, Size, Split, Task, Training
from ddl_bench.data.sources import load
from ddl_bench.harness import evaluate
from ddl_bench.registry import datasets

CLOCK = time.perf_counter
LEARN_S = 1.0
PIDS = "DDL_BENCH_PIDS"  # environment variable: the file in which children leave their numbers


def features(X: Tensor) -> Tensor:
    """Return images as rows of numbers near 1."""
    return X.flatten(1).float() / 16


def learn(task: Task, seconds: float = LEARN_S) -> Tensor:
    """Learn a linear classifier by gradient descent for so many seconds."""
    X = features(task.train.X)
    W = torch.zeros(X.shape[1], task.n_classes)
    targets = torch.nn.functional.one_hot(task.train.y, task.n_classes).float()
    end = CLOCK() + seconds
    while CLOCK() < end:
        errors = torch.softmax(X @ W, 1) - targets
        W -= 0.5 * X.T @ errors / len(X)
    return W


class Linear:
    """Scores by the weights W (n_features, n_classes)."""

    def __init__(self, W: Tensor, n_params: int | None = None) -> None:
        self.W = W
        self._n_params = W.numel() if n_params is None else n_params

    def size(self) -> Size:
        return Size(n_params=self._n_params, n_stored=self._n_params)

    def __call__(self, X: Tensor, /) -> Tensor:
        return features(X) @ self.W


class Lazy(Linear):
    """Learns when it first scores."""

    def __init__(self, task: Task) -> None:
        super().__init__(torch.zeros(task.train.X[0].numel(), task.n_classes))
        self._task: Task | None = task

    def __call__(self, X: Tensor, /) -> Tensor:
        if self._task is not None:
            self.W = learn(self._task)
            self._task = None
        return super().__call__(X)


class Remembering(Linear):
    """Is slow, but remembers what it has answered for a tensor at the same place in memory."""

    def __init__(self, W: Tensor) -> None:
        super().__init__(W)
        self._answers: dict[tuple[int, int], Tensor] = {}

    def __call__(self, X: Tensor, /) -> Tensor:
        key = (X.data_ptr(), len(X))
        if key not in self._answers:
            time.sleep(0.02 * len(X) / 256 + 0.02)
            self._answers[key] = super().__call__(X)
        return self._answers[key]


class Placed:
    """Scores by the place of an image in its batch."""

    def __init__(self, n_classes: int) -> None:
        self._n_classes = n_classes

    def size(self) -> Size:
        return Size(n_params=0, n_stored=0)

    def __call__(self, X: Tensor, /) -> Tensor:
        place = torch.arange(len(X)) * self._n_classes // len(X)
        return torch.nn.functional.one_hot(place, self._n_classes).float()


class Lookup:
    """Answers from a table of images and labels."""

    def __init__(self, X: Tensor, y: Tensor, n_classes: int) -> None:
        self._labels = {x.numpy().tobytes(): int(label) for x, label in zip(X, y, strict=True)}
        self._n_classes = n_classes

    def size(self) -> Size:
        return Size(n_params=1, n_stored=1)

    def __call__(self, X: Tensor, /) -> Tensor:
        labels = [self._labels.get(x.numpy().tobytes(), 0) for x in X]
        return torch.nn.functional.one_hot(torch.tensor(labels), self._n_classes).float()


class Adapting(Linear):
    """Moves its class means towards the images that it scores, all at once."""

    def __call__(self, X: Tensor, /) -> Tensor:
        centres = self.W.clone()
        inputs = features(X)
        for _ in range(10):
            nearest = torch.cdist(inputs, centres).argmin(1)
            for label in range(len(centres)):
                members = nearest == label
                if members.sum() > 3:
                    centres[label] = inputs[members].mean(0)
        return -torch.cdist(inputs, centres)


class InParts:
    """A training made of what its two functions do."""

    def __init__(self, advance: Callable[[], object], classifier: Callable[[], Classifier]) -> None:
        self._advance = advance
        self._classifier = classifier

    def advance(self, deadline: Deadline) -> bool:
        self._advance()
        return False

    def classifier(self) -> Classifier:
        return self._classifier()


Way = Literal[
    "honest", "start", "classifier", "call", "thread", "child", "slow-clock", "cache", "position",
    "frames", "memory", "disk", "accuracy", "fork", "size", "negative-size", "detached", "cores",
    "transductive", "memorised", "no-size", "chdir", "masked", "remove", "long-reason", "forever",
]  # fmt: skip


@dataclass(frozen=True)
class Distort:
    """Does what `way` says."""

    name: ClassVar[str] = "distort"
    way: Way = "honest"

    def start(self, task: Task, budget: Budget) -> Training:
        n_features = task.train.X[0].numel()
        held: list[Tensor] = []

        def from_held() -> Classifier:
            if not held:
                held.append(learn(task))
            return Linear(held[0])

        match self.way:
            case "start":
                held.append(learn(task))
                return OneShot(from_held)
            case "classifier":
                return InParts(lambda: None, from_held)
            case "call":
                return OneShot(lambda: Lazy(task))
            case "thread":
                thread = threading.Thread(target=lambda: held.append(learn(task)))

                def joined() -> Classifier:
                    thread.join()
                    return from_held()

                def begin() -> None:
                    if not thread.ident:
                        thread.start()

                return InParts(begin, joined)
            case "child":
                return child_learns(task)
            case "slow-clock":
                return OneShot(lambda: with_slow_clock(task))
            case "cache":
                return OneShot(lambda: Remembering(learn(task)))
            case "position":
                return OneShot(lambda: Placed(task.n_classes))
            case "frames":
                test = from_frames() or task.val
                return OneShot(lambda: Lookup(test.X, test.y, task.n_classes))
            case "memory":
                splits = [thing for thing in gc.get_objects() if isinstance(thing, Split)]
                X = torch.cat([split.X for split in splits])
                y = torch.cat([split.y for split in splits])
                return OneShot(lambda: Lookup(X, y, task.n_classes))
            case "disk":
                images = load(task.name, datasets=datasets())
                X = torch.from_numpy(images.x_test)
                y = torch.as_tensor(images.y_test)
                return OneShot(lambda: Lookup(X, y, task.n_classes))
            case "accuracy":
                evaluate.accuracy = lambda *arguments: 99.99
                return OneShot(lambda: Linear(torch.zeros(n_features, task.n_classes)))
            case "fork":

                def both() -> Classifier:
                    child = os.fork()
                    if child == 0:
                        ctypes.CDLL(None).prctl(1, 0)
                        return Linear(torch.zeros(n_features, task.n_classes))
                    return Linear(learn(task))

                return OneShot(both)
            case "size":
                return OneShot(lambda: Linear(learn(task), n_params=1))
            case "negative-size":
                return OneShot(lambda: Linear(learn(task), n_params=-5))
            case "detached":
                return OneShot(lambda: with_detached_child(task))
            case "cores":
                os.sched_setaffinity(0, range(os.cpu_count() or 1))
                torch.set_num_threads(os.cpu_count() or 1)
                return OneShot(lambda: Linear(learn(task)))
            case "transductive":
                X, y = task.train.X, task.train.y
                rows = [features(X[y == label]).mean(0) for label in range(task.n_classes)]
                return OneShot(lambda: Adapting(torch.stack(rows)))
            case "memorised":
                W = memorised(n_features, task.n_classes)
                return OneShot(lambda: Linear(W))
            case "no-size":
                return OneShot(lambda: NoSize(learn(task)))
            case "chdir":
                os.chdir("/")
            case "masked":
                return OneShot(lambda: Masked(learn(task)))
            case "remove":
                shutil.rmtree(run_folder(), ignore_errors=True)
            case "long-reason":
                raise RuntimeError("x" * 1_000_000)
            case "forever":
                return Forever(task)
        return OneShot(lambda: Linear(learn(task)))


class NoSize(Linear):
    """Has no size."""

    size = None  # type: ignore[assignment]


class Masked(Linear):
    """Never answers the last class."""

    def __call__(self, X: Tensor, /) -> Tensor:
        scores = super().__call__(X)
        scores[:, -1] = -float("inf")
        return scores


class Forever:
    """Always wants more, and has nothing to do."""

    def __init__(self, task: Task) -> None:
        self._n_classes = task.n_classes

    def advance(self, deadline: Deadline) -> bool:
        return True

    def classifier(self) -> Classifier:
        return Placed(self._n_classes)


def run_folder() -> Path:
    """Return the run folder, which the tests put into the environment."""
    return Path(os.environ["DDL_BENCH_RUN"])


def child_learns(task: Task) -> Training:
    """Learn in a child that the training does not wait for."""
    W = torch.zeros(task.train.X[0].numel(), task.n_classes).share_memory_()
    children: list[int] = []

    def begin() -> None:
        child = os.fork()
        if child == 0:
            torch.set_num_threads(1)
            W.copy_(learn(task))
            os._exit(0)
        children.append(child)

    def end() -> Classifier:
        while children:
            os.waitpid(children.pop(), 0)
        return Linear(W)

    return InParts(begin, end)


def with_slow_clock(task: Task) -> Classifier:
    """Learn while the clocks of the module `time` hardly move."""
    real = {name: getattr(time, name) for name in ("perf_counter", "time", "monotonic")}
    began = CLOCK()
    for name, clock in real.items():
        frozen = clock()
        setattr(time, name, lambda frozen=frozen: frozen + (CLOCK() - began) * 1e-3)
    W = learn(task)
    for name, clock in real.items():
        setattr(time, name, clock)
    return Linear(W)


def from_frames() -> Split | None:
    """Look for the test images in the frames that called the method."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        for value in frame.f_locals.values():
            test = getattr(value, "test", None)
            if isinstance(test, Split):
                return test
    return None


def with_detached_child(task: Task) -> Classifier:
    """Leave a child in a session of its own behind."""
    child = subprocess.Popen(["sleep", "300"], start_new_session=True)
    with Path(os.environ[PIDS]).open("a") as file:
        file.write(f"{child.pid}\n")
    return Linear(learn(task))


def memorised(n_features: int, n_classes: int) -> Tensor:
    """Return weights that were learned before: here, of scikit-learn's digits."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import RidgeClassifier

    X, y = load_digits(return_X_y=True)
    fitted = RidgeClassifier(fit_intercept=False).fit(X / 16, y)
    return torch.from_numpy(fitted.coef_.T.copy()).float().reshape(n_features, n_classes)
