"""Time one training step and one batch of predictions of any method, by its public interface.

A step is the first `advance` on a small generated task: the one batch of a network, the whole fit
of a method that trains in one go, the first dictionary and its readout of one that learns
iteratively. Methods whose step takes seconds even so have few atoms and
iterations: see `OPTIONS`.
"""

import time
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F

from ddl_bench.api import Budget, Classifier, Task
from ddl_bench.contract.toys import toy_task
from ddl_bench.registry import load_method

SHAPES = {"1x8x8": 64, "3x32x32": 32}
"""The images to learn from, by their shape: like the digits, and like CIFAR-10."""

ROUNDS = 3
ROUNDS_S = 1.0  # after which no further round begins
WARM_UP_S = 5.0  # that no compilation takes

STACK: dict[str, Any] = {"n_atoms": 64, "n_samples": 2000, "stride": 2}
OPTIONS: dict[str, dict[str, Any]] = {
    "adl": {**STACK, "n_iter": 2},
    "adl-sdl": {**STACK, "n_iter": 2},
    "d-ksvd": {"n_atoms": 30, "n_first": 2, "n_iter": 2, "n_nonzero": 3},
    "ddl-greedy": STACK,
    "dpl": {"n_atoms": 30, "n_iter": 1},
    "lc-ksvd": {"n_atoms": 60, "n_first": 2, "n_iter": 2, "n_nonzero": 3},
    "logistic": {"strengths": (1e-3,)},
    "sdl": STACK,
    "spams": STACK,
}


class Unlimited:
    """A deadline that never expires."""

    def fraction(self) -> float:
        """Return 0."""
        return 0.0

    def expired(self) -> bool:
        """Return False."""
        return False

    def report(self, share: float) -> None:
        """Do nothing."""


class Times(NamedTuple):
    """Least seconds of some rounds: of a step, and of a prediction for one image of a batch."""

    step_s: float
    image_s: float


def task_of(shape: str) -> Task:
    """Return the generated task of a shape of `SHAPES`."""
    channels, side, _ = map(int, shape.split("x"))
    task, _ = toy_task(channels, side, n=SHAPES[shape], val=0)
    return task


def times_of(name: str, shape: str) -> Times:
    """Time a registered method.

    Raises
    ------
    Skip
        If it needs a package that is not installed, or other images.
    """
    task = task_of(shape)
    method: Any = load_method(name)
    method = method(**OPTIONS.get(name, {}))
    budget = Budget(epochs=1, threads=1)
    classifiers: list[Classifier] = []

    def step() -> float:
        training = method.start(task, budget)
        begin = time.perf_counter()
        training.advance(Unlimited())
        seconds = time.perf_counter() - begin
        classifiers.append(training.classifier())
        return seconds

    def predict() -> float:
        begin = time.perf_counter()
        classifiers[-1](task.train.X)
        return time.perf_counter() - begin

    return Times(least_seconds(step), least_seconds(predict) / len(task.train))


def least_seconds(timed: Callable[[], float]) -> float:
    """Return the least time of some rounds, which end once they took `ROUNDS_S` together.

    A first round, which may compile, is left out unless it takes longer than compiling would.
    """
    first = timed()
    if first >= WARM_UP_S:
        return first
    times: list[float] = []
    while len(times) < ROUNDS and sum(times) < ROUNDS_S:
        times.append(timed())
    return min(times)


@cache
def yardstick() -> float:
    """Time a fixed computation on one thread: convolutions, matrix products and passes of memory.

    The least seconds of several rounds, the unit in which times of different machines are compared.
    """
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(32, 16, 32, 32, generator=generator)
    weight = torch.rand(16, 16, 3, 3, generator=generator)
    A = torch.rand(512, 512, generator=generator)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times = []
    for _ in range(10):
        begin = time.perf_counter()
        for _ in range(4):
            F.conv2d(X, weight, padding=1).relu_().mean()
            (A @ A).sort()
        times.append(time.perf_counter() - begin)
    torch.set_num_threads(n_threads)
    return min(times)
