"""Every registered method keeps the contract; and the contract finds what is broken."""

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from ddl_bench import describe
from ddl_bench.api import Budget, Classifier, OneShot, Size, Stepwise, Task, Training
from ddl_bench.contract import check
from ddl_bench.registry import METHODS

NAMES = sorted(entry.name for entry in entry_points(group=METHODS))
EXTRAS = {name: needs for name in NAMES if (needs := describe.method(name)["needs"])}
SCORES = """
import hashlib, sys, torch
from ddl_bench.api import Budget
from ddl_bench.check import EPOCHS, _train, toy_task
from ddl_bench.registry import load_method
torch.set_num_threads(1)
task, test = toy_task()
for name in sys.argv[1:]:
    scores = _train(load_method(name), task).classifier()(test.X)
    print(name, hashlib.sha256(scores.contiguous().numpy().tobytes()).hexdigest())
"""


@pytest.mark.parametrize("name", NAMES)
def test_method_keeps_the_contract(name: str) -> None:
    for extra in EXTRAS.get(name, ()):
        pytest.importorskip(extra, reason=f"the extra `{extra}` is not installed")
    broken = [f"{finding.rule}: {finding.detail}" for finding in check(name) if not finding.held]
    assert broken == []


def test_predictions_are_identical_in_two_processes() -> None:
    names = [name for name in NAMES if name not in EXTRAS]
    command = [sys.executable, "-c", SCORES, *names]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert outputs[0].count("\n") == len(names)
    assert outputs[0] == outputs[1]


class Mean:
    """Nearest class mean, with a fault on request."""

    def __init__(self, means: Tensor, fault: str = "") -> None:
        self.means, self.fault = means, fault

    def size(self) -> Size:
        return Size(
            n_params=self.means.numel(), n_stored=self.means.numel() - (self.fault == "size")
        )

    def state(self) -> dict[str, Tensor]:
        return {"means": self.means}

    def __call__(self, X: Tensor, /) -> Tensor:
        if self.fault == "paint":
            X[:] = 0
        flat = X.flatten(1).float()
        if self.fault == "batch" and len(flat) > 1:
            flat = flat - flat.mean(0)
        return -torch.cdist(flat, self.means)


@dataclass(frozen=True)
class Faulty:
    """A nearest-mean method whose fault is a class attribute of its subclasses."""

    name: ClassVar[str] = "faulty"
    fault: ClassVar[str] = ""

    def start(self, task: Task, budget: Budget) -> Training:
        def means() -> Tensor:
            X = task.train.X.flatten(1).float()
            return torch.stack(
                [X[task.train.y == label].mean(0) for label in range(task.n_classes)]
            )

        def fit() -> Classifier:
            found = means()
            if self.fault == "seed":
                found = found + torch.rand(found.shape)
            if self.fault == "constant":
                found = found[:1].expand(len(found), -1).clone()
            return Mean(found, self.fault)

        def steps(deadline: object) -> "object":
            shared = Mean(means())
            for _ in range(3):
                yield shared
                shared.means = shared.means * 0.5

        return Stepwise(steps) if self.fault == "snapshot" else OneShot(fit)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("", ""),
        ("size", "counts its own size"),
        ("paint", "leaves the images"),
        ("batch", "trains and scores"),
        ("seed", "gives the same scores"),
        ("constant", "learns more than chance"),
        ("snapshot", "keeps a snapshot"),
    ],
)
def test_the_contract_finds_a_fault(fault: str, rule: str) -> None:
    cls: type[Faulty] = dataclass(frozen=True)(
        type("Sub", (Faulty,), {"fault": fault, "__annotations__": {}})
    )
    broken = [finding.rule for finding in check(cls) if not finding.held]
    assert (not broken) if not fault else any(rule in text for text in broken), broken


def test_check_explains_what_is_not_a_method(tmp_path: Path) -> None:
    class Loose:
        name = "loose"

        def start(self, task: Task) -> None: ...

    (finding,) = check(Loose)  # type: ignore[arg-type]
    assert not finding.held
    assert "@dataclass(frozen=True)" in finding.detail
    assert json.dumps(finding.detail)
