"""The rules that every method keeps, each a function that raises where a method breaks it.

The message of `Broken` says what to mend, that of `NotTried` why nothing was tried.
"""

import dataclasses
import inspect
import os
import time
import typing
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
import psutil
import torch
from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter
from torch import Tensor

from ddl_bench.api import (
    Budget,
    Classifier,
    Deadline,
    HasSize,
    Keepable,
    Method,
    Restorable,
    Split,
    Task,
    Training,
)
from ddl_bench.contract.toys import SHAPES, Shape, Toy, make_toy
from ddl_bench.errors import UserError
from ddl_bench.harness.clock import CellDeadline, Stopwatch
from ddl_bench.harness.sizes import checked_size, numbers_held
from ddl_bench.params import options_of
from ddl_bench.registry import USABLE, methods

EPOCHS = 2
TO_THE_END = Budget(epochs=EPOCHS)
SHORT = Budget(epochs=1)  # on images of further shapes
LEARNING_EPOCHS = 12
BUDGET_S = 1.5  # of the rule about a budget in seconds
OVERTIME_S = 3.0  # that a method may take beyond it
MOST_ADVANCES = 10_000
CHANCE = 100 / 3
MARGIN = 25  # percentage points above chance that a method must reach
ALONE = 4  # images that are scored alone, too, from the first on, besides the last
OUTSIDE_SHARE = 0.2  # of the CPU time inside advance() that a method may use outside of it
OUTSIDE_S = 0.5  # and so many seconds, for what every method does once
REST_TRIES = 2
PAUSE_S = 0.4  # after advance(), in which nothing of a method may compute
BUSY_S = 0.05  # CPU time that the process may use meanwhile


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
    return pull(method.start(task, budget), budget, after_step=after_step)


def pull(
    training: Training,
    budget: Budget,
    *,
    after_step: Callable[[Training], object] = lambda training: None,
) -> Training:
    """Pull a training to its end as `train` does."""
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
class ToyTraining:
    """A classifier trained on a toy task, and what training changed besides.

    Parameters
    ----------
    classifier, toy
        The classifier and its task.
    changed
        Names of the images that are not as they were.
    folder
        The folder to which the method moved its process; "" for none.
    """

    classifier: Classifier
    toy: Toy
    changed: list[str]
    folder: str


def _trained(cls: type[Method], shape: Shape, budget: Budget = TO_THE_END) -> ToyTraining:
    return _trained_once(cls, shape, budget)


@cache
def _trained_once(cls: type[Method], shape: Shape, budget: Budget) -> ToyTraining:
    small = shape == SHAPES[0]
    # Methods must do without validation images, too.
    toy = make_toy(shape) if small else make_toy(shape, n=24, val=0)
    images = {
        "train.X": toy.task.train.X,
        "train.y": toy.task.train.y,
        "val.X": toy.task.val.X,
        "the test images": toy.test.X,
    }
    copies = {name: tensor.clone() for name, tensor in images.items()}
    before = os.getcwd()
    try:
        classifier = train(cls(), toy.task, budget).classifier()
        classifier(toy.test.X)
    finally:
        after = os.getcwd()
        os.chdir(before)
    folder = "" if after == before else after
    changed = [name for name, tensor in images.items() if not torch.equal(tensor, copies[name])]
    return ToyTraining(classifier, toy, changed, folder)


def has_form(cls: type[Method]) -> None:
    """Raise Broken unless a method is a frozen dataclass with `start(task, budget)`; make it."""
    options = getattr(cls, "__dataclass_params__", None)
    if options is None or not options.frozen:
        raise Broken("it is not decorated with @dataclass(frozen=True)")
    parameters = list(inspect.signature(cls.start).parameters)
    if parameters[1:] != ["task", "budget"]:
        raise Broken(f"start() takes {parameters[1:]}, expected (task, budget)")
    cls()


def has_types(cls: type[Method]) -> None:
    """Raise Broken unless values of all options can be checked against their annotations."""
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except Exception as error:  # an annotation may be any expression
        raise Broken(f"{error}: import at the top of the file what annotations name") from None
    for name in options_of(cls):
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
    if not torch.isfinite(scores.amax(1)).all():  # -inf excludes a class
        raise Broken("some images have scores that are not finite")
    spread = [*range(0, len(test), len(test) // ALONE), len(test) - 1]
    alone = torch.cat([trained.classifier(test.X[i : i + 1]) for i in spread])
    if not _alike(alone, scores[spread]):
        raise Broken(
            "an image scored alone gets other scores than in a batch (batch statistics at test"
            " time?)"
        )


def _alike(scores: Tensor, others: Tensor) -> bool:
    """Whether scores differ by rounding alone."""
    return torch.allclose(scores, others, rtol=1e-3, atol=1e-3)


def _follows(cls: type[Method], shape: Shape) -> None:
    trained = _trained(cls, shape)
    images = trained.toy.test.X.clone()
    scores = trained.classifier(images).clone()
    images.copy_(images.flip(0))  # the same tensor with other contents
    if not _alike(trained.classifier(images), scores.flip(0)):
        raise Broken("other images in the same places get the old scores: keep no answers")
    company = torch.cat([images[:1]] * 8 + [images[1:4]])
    if not _alike(trained.classifier(company)[-3:], scores.flip(0)[1:4]):
        raise Broken("an image gets other scores beside other images, or in another place")


def _stays(cls: type[Method], shape: Shape) -> None:
    folder = _trained(cls, shape).folder
    if folder:
        raise Broken(f"it moved the process to {folder}: do not call os.chdir")


class Metered:
    """A training that counts the CPU time inside `advance`."""

    def __init__(self, training: Training) -> None:
        self.inside_s = 0.0
        self._training = training

    def advance(self, deadline: Deadline) -> bool:
        """Advance, and count."""
        began = cpu_seconds()
        more = self._training.advance(deadline)
        self.inside_s += cpu_seconds() - began
        return more

    def classifier(self) -> Classifier:
        """Return the classifier so far."""
        return self._training.classifier()


def cpu_seconds() -> float:
    """Return the CPU time of this process, all its threads, and its children, in seconds."""
    times = os.times()
    seconds = times.user + times.system + times.children_user + times.children_system
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            used = child.cpu_times()
            seconds += used.user + used.system
    return seconds


def _on_the_clock(cls: type[Method], shape: Shape) -> None:
    toy = make_toy(shape)
    _trained(cls, shape)  # what is compiled once is compiled by now
    began = cpu_seconds()
    metered = Metered(cls().start(toy.task, TO_THE_END))
    pull(metered, TO_THE_END)
    classifier = metered.classifier()
    classifier(toy.test.X)
    first = cpu_seconds()
    classifier(toy.test.X)
    scoring_s = cpu_seconds() - first
    outside_s = first - began - metered.inside_s - scoring_s
    if outside_s > max(OUTSIDE_S, OUTSIDE_SHARE * metered.inside_s):
        raise Broken(
            f"it computes {outside_s:.1f} s in start(), classifier() or the first scoring, and "
            f"{metered.inside_s:.1f} s in advance(): learn in advance() alone, which is timed"
        )


def _rests(cls: type[Method], shape: Shape) -> None:
    for _ in range(REST_TRIES):  # on a loaded machine libraries take long to come to rest
        train(cls(), make_toy(shape).task, TO_THE_END)
        time.sleep(PAUSE_S)  # threads of libraries may wait busily for a moment
        began = cpu_seconds()
        time.sleep(PAUSE_S)
        used = cpu_seconds() - began
        if used <= BUSY_S:
            return
    raise Broken(
        f"a thread or child computes for {used:.2f} s in {PAUSE_S} s after advance() returned:"
        " end it, or wait for it, in advance()"
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
    try:
        size = checked_size(classifier)
    except UserError as error:
        raise Broken(str(error)) from None
    if size.n_params is None or size.n_stored is None:
        if not size.reason:
            raise Broken("the size is None without a reason")
        raise NotTried(size.reason)
    if size.n_params > size.n_stored:
        raise Broken(f"n_params {size.n_params} is larger than n_stored {size.n_stored}")
    if not isinstance(classifier, HasSize):
        return  # its size is that of its state
    said = size.n_stored + (size.n_buffers or 0)
    held = numbers_held(classifier)
    if held is not None and held != said:
        raise Broken(f"size() says {said} numbers, state() holds {held}")
    counted = _count(vars(classifier)) if held is None else held
    if counted > said:
        raise Broken(f"size() says {said} numbers, its attributes hold {counted}")


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
    "scores images alike in any place and company, and keeps no answers": _follows,
    "learns in advance() alone": _on_the_clock,
    "computes nothing after advance() has returned": _rests,
    "stays in the folder of its process": _stays,
    "gives the same scores for the same seed, also when evaluated in between": _repeats,
    "keeps a snapshot as it was while training goes on": _snapshot,
    "counts its own size rightly": _size,
    "comes back from its kept state with the same scores": _restores,
    "keeps a budget in seconds": _deadline,
}
