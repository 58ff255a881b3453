"""The rules that every method keeps, each a function that raises where a method breaks it.

The message of `Broken` says what to mend, that of `NotTried` why nothing was tried.
"""

import dataclasses
import inspect
import time
import typing
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter
from torch import Tensor

from ddl_bench.api import (
    Budget,
    Classifier,
    Keepable,
    Method,
    Restorable,
    Split,
    Task,
    Training,
    size_of,
)
from ddl_bench.contract.toys import SHAPES, Shape, Toy, make_toy
from ddl_bench.harness.clock import CellDeadline, Stopwatch
from ddl_bench.registry import USABLE, fields, methods

EPOCHS = 2
TO_THE_END = Budget(epochs=EPOCHS)
SHORT = Budget(epochs=1)  # on images of further shapes
LEARNING_EPOCHS = 12
BUDGET_S = 1.5  # of the rule about a budget in seconds
OVERTIME_S = 3.0  # that a method may take beyond it
MOST_ADVANCES = 10_000
CHANCE = 100 / 3
MARGIN = 25  # percentage points above chance that a method must reach
ALONE = 4  # images that are scored alone, too


class Broken(Exception):
    """A rule of the contract is broken; the message says how."""


class NotTried(Exception):
    """A rule of the contract cannot be tried on this method; the message says why."""


def train(
    method: Method,
    task: Task,
    budget: Budget,
    *,
    after_step: Callable[[Training], object] = lambda training: None,
) -> Training:
    """Train to the end of a budget, calling `after_step` after each `advance`.

    Raises
    ------
    Broken
        Where `advance` always wants more.
    """
    training = method.start(task, budget)
    watch = Stopwatch("cpu")
    deadline = CellDeadline(watch, budget.seconds)
    for _ in range(MOST_ADVANCES):
        with watch:
            more = training.advance(deadline)
        after_step(training)
        if not more:
            return training
    raise Broken(f"advance() still wants more after {MOST_ADVANCES:,} calls; return False")


@dataclasses.dataclass(frozen=True)
class Trained:
    """A classifier trained on a toy task, and the names of what training changed of its images."""

    classifier: Classifier
    toy: Toy
    changed: list[str]


@cache
def _trained(cls: type[Method], shape: Shape, budget: Budget = TO_THE_END) -> Trained:
    small = shape == SHAPES[0]
    # Methods must do without validation images, too.
    toy = make_toy(shape) if small else make_toy(shape, n=48, val=0)
    images = {
        "train.X": toy.task.train.X,
        "train.y": toy.task.train.y,
        "val.X": toy.task.val.X,
        "the test images": toy.test.X,
    }
    copies = {name: tensor.clone() for name, tensor in images.items()}
    classifier = train(cls(), toy.task, budget).classifier()
    classifier(toy.test.X)
    changed = [name for name, tensor in images.items() if not torch.equal(tensor, copies[name])]
    return Trained(classifier, toy, changed)


def has_form(cls: type[Method]) -> None:
    """Whether a method can be made: a frozen dataclass with `start(task, budget)`."""
    options = getattr(cls, "__dataclass_params__", None)
    if options is None or not options.frozen:
        raise Broken("it is not decorated with @dataclass(frozen=True)")
    parameters = list(inspect.signature(cls.start).parameters)
    if parameters[1:] != ["task", "budget"]:
        raise Broken(f"start() takes {parameters[1:]}, expected (task, budget)")
    cls()


def has_types(cls: type[Method]) -> None:
    """Whether values of all options can be checked against their annotations."""
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except (NameError, AttributeError, TypeError) as error:
        raise Broken(f"{error}: import at the top of the file what annotations name") from None
    for name in fields(cls):
        try:
            TypeAdapter(hints[name])
        except (PydanticSchemaGenerationError, PydanticUserError):
            raise Broken(
                f"values of {name!r} cannot be checked against {hints[name]}: use int, float, str,"
                " bool, Literal or a tuple of them"
            ) from None


def _name(cls: type[Method]) -> None:
    if not USABLE.fullmatch(cls.name):
        raise Broken(f"{cls.name!r}: use letters, digits and _ . + - alone")
    known = methods().get(cls.name)
    value = getattr(known, "value", "")
    home, _, attribute = value.partition(":")
    if value and (home != cls.__module__ or not cls.__qualname__.endswith(attribute)):
        raise Broken(f"{cls.name!r} is the name of {value}: choose another")


def trains(cls: type[Method], shape: Shape, budget: Budget) -> None:
    """Train on images of a shape, and look at the scores of its test images."""
    trained = _trained(cls, shape, budget)
    test = trained.toy.test
    scores = trained.classifier(test.X)
    wanted = (len(test), 3)
    if not isinstance(scores, Tensor) or scores.shape != wanted:
        kind = getattr(scores, "shape", type(scores).__name__)
        raise Broken(f"expected a tensor of shape {wanted}, got {kind}")
    if not torch.isfinite(scores).all():
        raise Broken("some scores are not finite")
    spread = range(0, len(test), len(test) // ALONE)  # the first, the last and some between
    alone = torch.cat([trained.classifier(test.X[i : i + 1]) for i in spread])
    if not torch.allclose(alone, scores[list(spread)], rtol=1e-3, atol=1e-3):
        raise Broken(
            "an image scored alone gets other scores than in a batch (batch statistics at test"
            " time?)"
        )


def _learns(cls: type[Method], shape: Shape) -> None:
    toy = make_toy(shape, n=200)
    training = train(cls(), toy.task, Budget(epochs=LEARNING_EPOCHS))
    predicted = training.classifier()(toy.test.X).argmax(1).cpu()
    right = 100 * float((predicted == toy.test.y).double().mean())
    if right <= CHANCE + MARGIN:
        raise Broken(f"{right:.0f} % right, chance is {CHANCE:.0f} %, class means get 100 %")


def _unchanged(cls: type[Method], shape: Shape) -> None:
    changed = _trained(cls, shape).changed
    if changed:
        raise Broken(f"it changed {', '.join(changed)}: work on a copy")


def _repeats(cls: type[Method], shape: Shape) -> None:
    trained = _trained(cls, shape)
    images = trained.toy.test.X
    first = trained.classifier(images)
    torch.rand(7)  # a method that draws from the global generator is found out here
    again = train(
        cls(),
        trained.toy.task,
        TO_THE_END,
        after_step=lambda training: training.classifier()(images),
    )
    second = again.classifier()(images)
    if not torch.equal(first, second):
        most = float((first - second).abs().max())
        raise Broken(f"scores differ by up to {most:.3g}: seed every generator from budget.seed")


def _snapshot(cls: type[Method], shape: Shape) -> None:
    toy = make_toy(shape)
    snapshots: list[tuple[Classifier, Tensor]] = []

    def keep_first(training: Training) -> None:
        if not snapshots:
            classifier = training.classifier()
            snapshots.append((classifier, classifier(toy.test.X).clone()))

    train(cls(), toy.task, TO_THE_END, after_step=keep_first)
    classifier, before = snapshots[0]
    if not torch.equal(classifier(toy.test.X), before):
        raise Broken("its scores changed: classifier() must return a copy")


def _size(cls: type[Method], shape: Shape) -> None:
    classifier = _trained(cls, shape).classifier
    size = size_of(classifier)
    if size.n_params is None or size.n_stored is None:
        if not size.reason:
            raise Broken("the size is None without a reason")
        raise NotTried(size.reason)
    n_buffers = size.n_buffers or 0
    for name, number in vars(size).items():
        if name != "reason" and number is not None and not _is_count(number):
            raise Broken(f"{name} = {number!r}: expected a whole number, 0 or more")
    if size.n_params > size.n_stored:
        raise Broken(f"n_params {size.n_params} is larger than n_stored {size.n_stored}")
    said = size.n_stored + n_buffers
    if isinstance(classifier, Keepable):
        counted = sum(tensor.numel() for tensor in classifier.state().values())
        if counted != said:
            raise Broken(f"size() says {said} numbers, state() holds {counted}")
        return
    counted = _count(vars(classifier))
    if counted > said:
        raise Broken(f"size() says {said} numbers, its attributes hold {counted}")


def _is_count(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0


def _count(thing: Any) -> int:
    """The numbers in the arrays that an object holds as attributes, and in their lists."""
    if isinstance(thing, Tensor):
        return thing.numel()
    if isinstance(thing, np.ndarray):
        return int(thing.size)
    if isinstance(thing, list | tuple):
        return sum(_count(each) for each in thing)
    if isinstance(thing, dict):
        return _count(list(thing.values()))
    return 0


def _restores(cls: type[Method], shape: Shape) -> None:
    trained = _trained(cls, shape)
    method = cls()
    if not isinstance(trained.classifier, Keepable) or not isinstance(method, Restorable):
        raise NotTried("it has no state() and restore(), so --keep-models cannot keep it")
    task = trained.toy.task
    empty = Split(X=task.train.X[:0], y=task.train.y[:0])
    without_images = dataclasses.replace(task, train=empty, val=empty)
    again = method.restore(trained.classifier.state(), without_images)
    images = trained.toy.test.X
    if not torch.allclose(again(images), trained.classifier(images), atol=1e-5):
        raise Broken("its scores differ")


def _deadline(cls: type[Method], shape: Shape) -> None:
    toy = make_toy(shape, n=300)
    begin = time.perf_counter()
    train(cls(), toy.task, Budget(seconds=BUDGET_S))
    used = time.perf_counter() - begin
    if used >= BUDGET_S + OVERTIME_S:
        advice = "look at deadline.expired() more often"
        raise Broken(f"used {used:.1f} s of {BUDGET_S} s: {advice}")


NEEDED = (has_form, has_types)  # without which no further rule can be tried
FORM: dict[str, Callable[[type[Method]], None]] = {
    "is a frozen dataclass that can be made without arguments": has_form,
    "has options whose types can be resolved": has_types,
    "has a name of its own that can be given on a command line": _name,
}
RULES: dict[str, Callable[[type[Method], Shape], None]] = {
    "learns more than chance on three easy classes": _learns,
    "leaves the images it is given unchanged": _unchanged,
    "gives the same scores for the same seed, also when evaluated in between": _repeats,
    "keeps a snapshot as it was while training goes on": _snapshot,
    "counts its own size rightly": _size,
    "comes back from its kept state with the same scores": _restores,
    "keeps a budget in seconds": _deadline,
}
