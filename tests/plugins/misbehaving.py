"""Methods that go wrong in every way the harness must survive."""

import importlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ddl_bench.api import (
    Budget,
    Classifier,
    Deadline,
    OneShot,
    Size,
    Stepwise,
    Task,
    Training,
)
from ddl_bench.errors import Diverged, Skip


class Constant:
    """Scores every image alike, for so many classes."""

    def __init__(self, n_classes: int) -> None:
        self._n_classes = n_classes

    def size(self) -> Size:
        return Size(n_params=0, n_stored=0)

    def __call__(self, X: Tensor, /) -> Tensor:
        return torch.zeros(len(X), self._n_classes)


class Painter(Constant):
    """Writes into the images it is given."""

    def __call__(self, X: Tensor, /) -> Tensor:
        X[:, :, 0, 0] = 7
        return super().__call__(X)


class Noisy(Constant):
    """Scores that are not finite."""

    def __call__(self, X: Tensor, /) -> Tensor:
        return super().__call__(X) * float("nan")


@dataclass(frozen=True)
class Misbehave:
    """Does what `way` says."""

    name: ClassVar[str] = "misbehave"
    way: str = "ok"
    megabytes: int = 0
    marker: str = ""

    def start(self, task: Task, budget: Budget) -> Training:
        return OneShot(lambda: self._fit(task, budget))

    def _fit(self, task: Task, budget: Budget) -> Classifier:
        match self.way:
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "broken-twice":
                marks = Path(self.marker)
                n_attempts = len(marks.read_bytes()) if marks.exists() else 0
                marks.write_bytes(b"x" * (n_attempts + 1))
                if n_attempts == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                if n_attempts == 1:
                    raise MemoryError("no more")
            case "exit":
                print("last words", flush=True)
                os._exit(3)
            case "exit-politely":
                sys.exit(0)
            case "hang":
                time.sleep(600)
            case "hang-with-child":
                subprocess.Popen(["sleep", "601"])
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                time.sleep(600)
            case "orphan":
                subprocess.Popen(["sleep", "602"])
            case "memory":
                hoard = [bytearray(b"x") * (1 << 20) for _ in range(self.megabytes)]
                time.sleep(5)
                return Constant(len(hoard))
            case "raise":
                raise RuntimeError("a reason\nin two lines")
            case "skip":
                raise Skip("too small for me")
            case "diverge":
                raise Diverged("step 17: the loss is nan")
            case "oom":
                raise MemoryError("no more")
            case "import":
                importlib.import_module("no_such_package")
            case "long-reason":
                raise RuntimeError("x" * 1_000_000)
            case "pipes":
                for path in (log_file(), log_file().with_suffix(".progress.json")):
                    path.unlink(missing_ok=True)
                    os.mkfifo(path)
                time.sleep(1)
                os._exit(3)
            case "remove":
                shutil.rmtree(log_file().parents[1], ignore_errors=True)
            case "classes":
                return Constant(task.n_classes + 1)
            case "paint":
                return Painter(task.n_classes)
            case "nan":
                return Noisy(task.n_classes)
        return Constant(task.n_classes)


class Slow:
    """Epochs of 2 s, in steps of 10 ms."""

    def __init__(self, budget: Budget, n_classes: int) -> None:
        self._budget = budget
        self._n_classes = n_classes
        self.passes = 0.0

    def advance(self, deadline: Deadline) -> bool:
        for _ in range(200):
            if deadline.expired():
                return False
            time.sleep(0.01)
            self.passes += 1 / 200
        return self._budget.epochs is None or round(self.passes) < self._budget.epochs

    def classifier(self) -> Classifier:
        return Constant(self._n_classes)


@dataclass(frozen=True)
class Sleeper:
    """A method whose epoch is longer than a short budget."""

    name: ClassVar[str] = "sleeper"
    lag: float = 1.0

    def start(self, task: Task, budget: Budget) -> Training:
        return Slow(budget, task.n_classes)


@dataclass(frozen=True)
class Deaf:
    """Looks at no deadline."""

    name: ClassVar[str] = "deaf"

    def start(self, task: Task, budget: Budget) -> Training:
        def fit() -> Classifier:
            time.sleep(4.5)
            return Constant(task.n_classes)

        return OneShot(fit)


class SlowConstant(Constant):
    """Takes a while for images that it is shown again, in other company."""

    def __call__(self, X: Tensor, /) -> Tensor:
        if 1 < len(X) < 100:
            time.sleep(0.8)
        return super().__call__(X)


@dataclass(frozen=True)
class Telling:
    """Trains in one go, and tells how far it has come."""

    name: ClassVar[str] = "telling"

    def start(self, task: Task, budget: Budget) -> Training:
        def steps(deadline: Deadline) -> Iterator[Classifier]:
            for share in (-1.0, 0.25, 0.5, 0.75, 7.0):
                deadline.report(share)
                time.sleep(0.6)
            yield SlowConstant(task.n_classes)

        return Stepwise(steps)


def log_file() -> Path:
    """The file RUN/work/CELL.log, to which this process prints."""
    return Path(os.readlink("/proc/self/fd/1"))


def _no_data(data_dir: object, download: bool) -> object:
    """Nothing at all."""
    raise AssertionError("never loaded")


DATASETS = {"nothing": _no_data}


class Stateless(Constant):
    """Has arrays that cannot be had."""

    def state(self) -> dict[str, Tensor]:
        raise RuntimeError("no state today")


@dataclass(frozen=True)
class Unkeepable:
    """Says that it can be kept, which shows to be wrong at the end."""

    name: ClassVar[str] = "unkeepable"
    has_state: bool = False

    def start(self, task: Task, budget: Budget) -> Training:
        kind = Stateless if self.has_state else Constant
        return OneShot(lambda: kind(task.n_classes))

    def restore(self, state: dict[str, Tensor], task: Task) -> Classifier:
        return Constant(task.n_classes)
