"""What a part is told, and what it gives back: named jobs, one after the other."""

import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from ddl_bench.api import Split, Task
from ddl_bench.harness.clock import synchronize
from tests.gpu import sheets


class NotFinished(Exception):
    """Raised by a job that has kept its state and wants to be taken up again; `values` so far."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(f"to be taken up again: {values}")
        self.values_so_far = values


Job = Callable[[], dict[str, Any]]
"""Measures something and returns the values of its row."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all jobs of a part are told.

    out: folder of rows and states. device: "cuda" or "cpu". data: folder of sheets, None for
    generated images. ends: when the part should be over, as time.time() tells it. tiny: sizes for a
    CPU that only shows that everything runs. done: names of jobs whose rows are there already.
    """

    out: Path
    device: str
    data: Path | None
    ends: float
    tiny: bool
    commit: str | None
    done: frozenset[str] = frozenset()
    stop: list[int] = field(default_factory=list)  # signals that asked to end

    @classmethod
    def parse(cls, text: str) -> "Setting":
        values = json.loads(text)
        values |= {"out": Path(values["out"]), "data": values["data"] and Path(values["data"])}
        return cls(**values | {"done": frozenset(values["done"])})

    def listen(self) -> None:
        """From now on a signal to end is noted, and `is_over` tells of it."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda got, _: self.stop.append(got))

    def seconds_left(self) -> float:
        return self.ends - time.time()

    def is_over(self) -> bool:
        return bool(self.stop) or self.seconds_left() <= 0

    @property
    def precision(self) -> Literal["float32", "bfloat16"]:
        return "float32" if self.tiny else "bfloat16"

    @cached_property
    def images(self) -> tuple[Task, Split]:
        """Training images and the test images: CIFAR-10, or generated ones."""
        if self.data is not None:
            limit = 300 if self.tiny else None
            return sheets.task_of(sheets.read(self.data, limit=limit), "cifar10")
        n_train, n_test, side = (300, 60, 16) if self.tiny else (50_000, 10_000, 32)
        return sheets.task_of(sheets.generated(n_train, n_test, side=side), "generated")

    def seconds_of(
        self, step: Callable[[], object], *, least_s: float = 0.5, n_least: int = 3
    ) -> float:
        """Median time of `step`, the device waited for, after one call that is thrown away."""
        if self.tiny:
            least_s, n_least = 0.0, 1
        step()
        times: list[float] = []
        begin = time.perf_counter()
        while len(times) < n_least or time.perf_counter() - begin < least_s:
            synchronize(self.device)
            at = time.perf_counter()
            step()
            synchronize(self.device)
            times.append(time.perf_counter() - at)
        return sorted(times)[len(times) // 2]

    def peak_bytes(self) -> int | None:
        """Most device memory in use since the last call."""
        if not self.device.startswith("cuda"):
            return None
        peak = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return peak
