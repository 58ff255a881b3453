"""A method that leaves its process in disorder, for tests of what a cell leaves behind."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ddl_bench.api import Budget, OneShot, Size, Task, Training


class Constant:
    """Takes every image for one of class 0."""

    def __init__(self, n_classes: int) -> None:
        self._n_classes = n_classes

    def __call__(self, X: Tensor) -> Tensor:
        scores = torch.zeros(len(X), self._n_classes)
        scores[:, 0] = 1
        return scores

    def size(self) -> Size:
        return Size(n_params=0, n_stored=0)


@dataclass(frozen=True)
class Untidy:
    """Prints what it sees of its process, then does what `way` says."""

    name: ClassVar[str] = "untidy"
    way: str = "look"

    def start(self, task: Task, budget: Budget) -> Training:
        return OneShot(lambda: self._fit(task))

    def _fit(self, task: Task) -> Constant:
        status = Path("/proc/self/status").read_text()
        command = Path("/proc/self/cmdline").read_text()
        seen = {
            "dtype": str(torch.get_default_dtype()),
            "variable": os.environ.get("UNTIDY", ""),
            "attribute": hasattr(json, "untidy"),
            "folder": os.getcwd(),
            "draw": random.random(),
            "cores": sorted(os.sched_getaffinity(0)),
            "n_threads": torch.get_num_threads(),
            "session": os.getsid(0) == os.getpid(),
            "peak": status.partition("VmHWM:")[2].split()[0],
            "terminates": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
            "replaced": random.sample.__module__ != "random",
            "python_threads": threading.active_count(),
            "forked": "ddl_bench.harness.fork_server" in command,
        }
        print("SEEN", json.dumps(seen), flush=True)
        match self.way:
            case "disorder":
                torch.set_default_dtype(torch.float64)
                torch.set_num_threads(2)
                os.environ["UNTIDY"] = "yes"
                json.untidy = True  # type: ignore[attr-defined]
                os.chdir("/")
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                random.sample = sorted  # type: ignore[assignment]
                threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            case "session":
                subprocess.Popen(["setsid", "sleep", "611"])
                time.sleep(0.5)
            case "session-and-hang":
                subprocess.Popen(["sh", "-c", "setsid sleep 612 & exit"])
                time.sleep(600)
            case "flood":
                line = "x" * 1023 + "\n"
                for _ in range(40_000):
                    sys.stdout.write(line)
                sys.stdout.flush()
                time.sleep(1)
                print("the last line", flush=True)
                os._exit(3)
            case "wait":
                time.sleep(2)
        return Constant(task.n_classes)
