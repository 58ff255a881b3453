"""The contract of a method, run on a tiny generated task; every finding is a sentence that says what to mend."""

import dataclasses
import inspect
import time
import traceback
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ddl_bench.api import Budget, Classifier, Keepable, Method, Restorable, Split, Task, Training
from ddl_bench.errors import Skip, UserError
from ddl_bench.harness.clock import CellDeadline, Stopwatch
from ddl_bench.registry import is_method, load_method, plugin

EPOCHS = 2
SECONDS = 1.5
CHANCE = 100 / 3


@dataclasses.dataclass(frozen=True)
class Finding:
    """One rule of the contract: held or broken, and how."""

    rule: str
    held: bool
    detail: str = ""


def toy_task(
    channels: int = 1, side: int = 8, n: int = 96, val: int = 24, seed: int = 0
) -> tuple[Task, Split]:
    """A task of three classes and `n` training images that a nearest-mean classifier solves, and its test split."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(3, channels, 4, 4, generator=generator)
    patterns = (
        torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear") * 160 + 40
    )

    def draw(count: int) -> Split:
        y = torch.arange(count) % 3
        noise = 20 * torch.randn(count, channels, side, side, generator=generator)
        return Split(X=(patterns[y] + noise).clamp(0, 255).to(torch.uint8), y=y)

    task = Task(name="toy", class_names=("a", "b", "c"), train=draw(n), val=draw(val))
    return task, draw(30)


def check(target: str | type[Method]) -> list[Finding]:
    """Run the contract on a method: a class, the name of a known method, or a plugin file (all methods in it).

    Raises UserError where there is nothing to check.
    """
    if not isinstance(target, str):
        return list(_findings(target))
    if not target.endswith(".py"):
        return list(_findings(load_method(target)))
    module = plugin(Path(target))
    found = [
        thing
        for thing in vars(module).values()
        if is_method(thing) and thing.__module__ == module.__name__
    ]
    if not found:
        raise UserError(
            f"{target}: no method in it: expected a frozen dataclass with `name` and `start(task, budget)`"
        )
    return [finding for cls in found for finding in _findings(cls)]


def _findings(cls: type[Method]) -> Iterator[Finding]:
    rules: list[tuple[str, Callable[[type[Method]], str]]] = [
        ("is a frozen dataclass that can be made without arguments", _shape),
        ("trains and scores: (n, n_classes), finite, each image by itself", _scores),
        ("learns more than chance on three easy classes", _learns),
        ("leaves the images it is given unchanged", _unchanged),
        ("gives the same scores for the same seed, also when evaluated in between", _repeats),
        ("keeps a snapshot as it was while training goes on", _snapshot),
        ("counts its own size rightly", _size),
        ("comes back from its kept state with the same scores", _restores),
        ("keeps a budget in seconds", _deadline),
        ("works without validation images and on colour images", _other_tasks),
    ]
    for rule, run in rules:
        try:
            problem = run(cls)
        except Skip:
            problem = ""
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            problem = f"raised {type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})"
        yield Finding(f"{cls.name} {rule}", not problem, problem)
        if problem and run is _shape:
            return


def _train(
    cls: type[Method], task: Task, *, seconds: float | None = None, between: Tensor | None = None
) -> Training:
    """Train to the end; where `between` is given, score it after each step."""
    budget = Budget(epochs=None if seconds else EPOCHS, seconds=seconds)
    training = cls().start(task, budget)
    watch = Stopwatch("cpu")
    deadline = CellDeadline(watch, seconds)
    for _ in range(10_000):
        with watch:
            more = training.advance(deadline)
        if between is not None:
            training.classifier()(between)
        if not more:
            return training
    raise RuntimeError(f"advance() still wants more after 10,000 calls of an {EPOCHS}-epoch budget")


@cache
def _trained(cls: type[Method]) -> tuple[Classifier, Split, list[str]]:
    """A classifier trained on the toy task, the test images, and what training changed of its images."""
    task, test = toy_task()
    given = {
        "train.X": task.train.X,
        "train.y": task.train.y,
        "val.X": task.val.X,
        "the test images": test.X,
    }
    copies = {name: tensor.clone() for name, tensor in given.items()}
    classifier = _train(cls, task).classifier()
    classifier(test.X)
    return (
        classifier,
        test,
        [name for name, tensor in given.items() if not torch.equal(tensor, copies[name])],
    )


def _shape(cls: type[Method]) -> str:
    if not dataclasses.is_dataclass(cls) or not cls.__dataclass_params__.frozen:
        return "it is not decorated with @dataclass(frozen=True)"
    parameters = list(inspect.signature(cls.start).parameters)
    if parameters[1:] != ["task", "budget"]:
        return f"start() takes {parameters[1:]}, expected (task, budget)"
    cls()
    return ""


def _scores(cls: type[Method]) -> str:
    classifier, test, _ = _trained(cls)
    scores = classifier(test.X)
    if not isinstance(scores, Tensor) or scores.shape != (len(test), 3):
        return f"expected a tensor of shape {(len(test), 3)}, got {getattr(scores, 'shape', type(scores).__name__)}"
    if not torch.isfinite(scores).all():
        return "some scores are not finite"
    alone = torch.cat([classifier(test.X[index : index + 1]) for index in range(4)])
    if not torch.allclose(alone, scores[:4], rtol=1e-3, atol=1e-3):
        return "an image scored alone gets other scores than in a batch (batch statistics at test time?)"
    return ""


def _learns(cls: type[Method]) -> str:
    task, test = toy_task(n=200)
    training = cls().start(task, Budget(epochs=12))
    deadline = CellDeadline(Stopwatch("cpu"), None)
    while training.advance(deadline):
        pass
    right = 100 * float((training.classifier()(test.X).argmax(1).cpu() == test.y).double().mean())
    return (
        ""
        if right > CHANCE + 25
        else f"{right:.0f} % right, chance is {CHANCE:.0f} %, class means get 100 %"
    )


def _unchanged(cls: type[Method]) -> str:
    *_, changed = _trained(cls)
    return f"it changed {', '.join(changed)}: work on a copy" if changed else ""


def _repeats(cls: type[Method]) -> str:
    first = _trained(cls)[0](toy_task()[1].X)
    torch.rand(7)  # a method that draws from the global generator is found out here
    task, test = toy_task()
    second = _train(cls, task, between=test.X).classifier()(test.X)
    if torch.equal(first, second):
        return ""
    return f"scores differ by up to {float((first - second).abs().max()):.3g}: seed every generator from budget.seed"


def _snapshot(cls: type[Method]) -> str:
    task, test = toy_task()
    training = cls().start(task, Budget(epochs=EPOCHS))
    deadline = CellDeadline(Stopwatch("cpu"), None)
    more = training.advance(deadline)
    snapshot = training.classifier()
    before = snapshot(test.X).clone()
    while more:
        more = training.advance(deadline)
    return (
        ""
        if torch.equal(snapshot(test.X), before)
        else "its scores changed: classifier() must return a copy"
    )


def _size(cls: type[Method]) -> str:
    classifier, *_ = _trained(cls)
    size = classifier.size()
    if size.n_params is None or size.n_stored is None:
        return "" if size.reason else "the size is None without a reason"
    if size.n_params > size.n_stored:
        return f"n_params {size.n_params} is larger than n_stored {size.n_stored}"
    if isinstance(classifier, Keepable):
        kept = sum(tensor.numel() for tensor in classifier.state().values())
        told = size.n_stored + (size.n_buffers or 0)
        return "" if kept == told else f"size() says {told} numbers, state() holds {kept}"
    return ""


def _restores(cls: type[Method]) -> str:
    classifier, test, _ = _trained(cls)
    task, method = toy_task()[0], cls()
    if not (isinstance(classifier, Keepable) and isinstance(method, Restorable)):
        return ""
    nothing = Split(X=task.train.X[:0], y=task.train.y[:0])
    again = method.restore(
        classifier.state(), dataclasses.replace(task, train=nothing, val=nothing)
    )
    return (
        "" if torch.allclose(again(test.X), classifier(test.X), atol=1e-5) else "its scores differ"
    )


def _deadline(cls: type[Method]) -> str:
    task, _ = toy_task(n=300)
    begin = time.perf_counter()
    _train(cls, task, seconds=SECONDS)
    used = time.perf_counter() - begin
    return (
        ""
        if used < SECONDS + 3
        else f"used {used:.1f} s of {SECONDS} s: look at deadline.expired() more often"
    )


def _other_tasks(cls: type[Method]) -> str:
    task, test = toy_task(channels=3, side=16, val=0)
    scores = _train(cls, task).classifier()(test.X)
    return "" if scores.shape == (len(test), 3) else f"scores of shape {tuple(scores.shape)}"
