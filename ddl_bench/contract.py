"""The contract of a method, run on small generated tasks; every finding is a sentence.

A broken rule says what to mend, a skipped one says why nothing was tried.
"""

import dataclasses
import inspect
import re
import threading
import time
import traceback
import typing
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import psutil
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
from ddl_bench.data.sources import default_data_dir, load
from ddl_bench.errors import Skip, UserError
from ddl_bench.harness.clock import CellDeadline, Stopwatch
from ddl_bench.registry import USABLE, datasets, fields, load_method, methods, methods_in

Status: TypeAlias = Literal["held", "broken", "skipped"]
Shape: TypeAlias = tuple[int, int, int]

EPOCHS = 2
TO_THE_END = Budget(epochs=EPOCHS)
SHORT = Budget(epochs=1)  # on images of further shapes
LEARNING_EPOCHS = 12
BUDGET_S = 1.5  # of the rule about a budget in seconds
OVERTIME_S = 3.0  # that a method may take beyond it
LIMIT_S = 60.0  # after which a call of the method is said to hang
MOST_ADVANCES = 10_000
CHANCE = 100 / 3
MARGIN = 25  # percentage points above chance that a method must reach
ALONE = 4  # images that are scored alone, too

SHAPES: tuple[Shape, ...] = ((1, 8, 8), (3, 16, 16), (1, 28, 28), (3, 32, 32))
PUBLISHED: dict[str, Shape] = {  # data sets that need not be fetched to know their shape
    "mnist": (1, 28, 28),
    "fashion-mnist": (1, 28, 28),
    "svhn": (3, 32, 32),
    "cifar10": (3, 32, 32),
    "cifar100": (3, 32, 32),
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One rule of the contract, and how the method stands to it.

    Parameters
    ----------
    rule
        The rule, a sentence with the method's name as its subject.
    status
        "held", "broken", or "skipped" where it was not tried.
    detail
        What is broken and what to do, or why it was skipped.
    """

    rule: str
    status: Status
    detail: str = ""


class Broken(Exception):
    """A rule of the contract is broken; the message says how."""


class NotTried(Exception):
    """A rule of the contract cannot be tried on this method; the message says why."""


@dataclasses.dataclass(frozen=True)
class Toy:
    """A small task of three classes, and the test images that belong to it."""

    task: Task
    test: Split


def toy_task(
    channels: int = 1, side: int = 8, n: int = 96, val: int = 24, seed: int = 0
) -> tuple[Task, Split]:
    """Make a task of three classes that a nearest-mean classifier solves, and its test split.

    Parameters
    ----------
    channels, side
        Of the images.
    n, val
        Training and validation images.
    """
    toy = make_toy((channels, side, side), n=n, val=val, seed=seed)
    return toy.task, toy.test


def make_toy(shape: Shape, *, n: int = 96, val: int = 24, seed: int = 0) -> Toy:
    """Make a task as `toy_task` does, of images of any shape (channels, height, width)."""
    channels, *sides = shape
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(3, channels, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=tuple(sides), mode="bilinear")
    patterns = smooth * 160 + 40

    def draw(count: int) -> Split:
        y = torch.arange(count) % 3
        noise = 20 * torch.randn(count, *shape, generator=generator)
        return Split(X=(patterns[y] + noise).clamp(0, 255).to(torch.uint8), y=y)

    task = Task(name="toy", class_names=("a", "b", "c"), train=draw(n), val=draw(val))
    return Toy(task, draw(30))


def shape_like(text: str) -> Shape:
    """Return the shape (channels, height, width) of a data set's images.

    Parameters
    ----------
    text
        A data set's name, an .npz file, a folder of class folders, or a shape such as 3x32x32.

    Raises
    ------
    UserError
        Where there is no such data set.
    """
    given = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)", text)
    if given:
        channels, height, width = map(int, given.groups())
        return channels, height, width
    if text in PUBLISHED:
        return PUBLISHED[text]
    images = load(text, data_dir=default_data_dir(), datasets=datasets())
    channels, height, width = images.x_train.shape[1:]
    return channels, height, width


def check(
    target: str | type[Method], like: str | None = None, *, limit_s: float = LIMIT_S
) -> Iterator[Finding]:
    """Run the contract on a method, and yield each finding as it is made.

    Parameters
    ----------
    target
        A class, the name of a known method, or a plugin file: all methods in it.
    like
        A data set whose shape of images to try, or a shape such as 3x32x32; None tries 1x8x8,
        3x16x16, 1x28x28 and 3x32x32.
    limit_s
        Seconds after which a rule that is still being tried counts as broken.

    Raises
    ------
    UserError
        Where there is nothing to check.

    Examples
    --------
    >>> [each.rule for each in check("nearest-mean", "1x8x8") if each.status == "broken"]
    []
    """
    shapes = (shape_like(like),) if like else SHAPES
    before = set(psutil.Process().children(recursive=True))
    try:
        for cls in classes(target):
            yield from _findings(cls, shapes, limit_s)
    finally:
        for child in set(psutil.Process().children(recursive=True)) - before:
            child.kill()


def classes(target: str | type[Method]) -> list[type[Method]]:
    """Return the classes that a target of `check` stands for."""
    if not isinstance(target, str):
        return [target]
    if not target.endswith(".py"):
        return [load_method(target)]
    found = list(methods_in(Path(target)).values())
    if not found:
        raise UserError(
            f"{target}: no method in it: expected a frozen dataclass with `name` and"
            " `start(task, budget)`, or what from_module, from_function or from_estimator returns"
        )
    return found


def _findings(cls: type[Method], shapes: tuple[Shape, ...], limit_s: float) -> Iterator[Finding]:
    examiner = Examiner(limit_s)
    for words, form_rule in FORM.items():
        finding = examiner.judge(f"{cls.name} {words}", form_rule, cls)
        yield finding
        if finding.status == "broken" and form_rule in (_shape, _annotations):
            return
    tried: dict[Shape, Finding] = {}
    budget = TO_THE_END
    for shape in shapes:
        size = "x".join(map(str, shape))
        sentence = f"{cls.name} trains on {size} images and scores them"
        tried[shape] = examiner.judge(sentence, _trains, cls, shape, budget)
        yield tried[shape]
        if tried[shape].status != "skipped":
            budget = SHORT
    if all(finding.status == "skipped" for finding in tried.values()):
        examiner.obstacle = f"the method skips these images: {tried[shapes[-1]].detail}"
        advice = "give images that it is made for: ddl-bench check --like DATASET"
        yield Finding(f"{cls.name} trains on some of these images", "broken", advice)
    shape = _best(tried)
    for words, rule in RULES.items():
        yield examiner.judge(f"{cls.name} {words}", rule, cls, shape)


def _best(tried: dict[Shape, Finding]) -> Shape:
    """The first shape that the method trains on, or else the first that it does not skip."""
    for status in ("held", "broken", "skipped"):
        for shape, finding in tried.items():
            if finding.status == status:
                return shape
    raise AssertionError("there is a shape to try")


class Examiner:
    """Tries rules one after the other, each for so many seconds.

    A rule that takes longer is left behind in its thread, and no other is tried beside it.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.obstacle = ""  # why no further rule can be tried

    def judge(self, sentence: str, rule: Callable[..., None], *arguments: Any) -> Finding:
        """Try a rule and return the finding."""
        if self.obstacle:
            return Finding(sentence, "skipped", self.obstacle)
        outcome: list[Finding] = []
        n_threads = torch.get_num_threads()

        def attempt() -> None:
            torch.set_num_threads(n_threads)  # which is a setting of each thread
            outcome.append(_try(sentence, rule, *arguments))

        thread = threading.Thread(target=attempt, daemon=True)
        thread.start()
        thread.join(self.limit_s)
        if outcome:
            return outcome[0]
        self.obstacle = "a call of the method is still running"
        advice = "advance() should return, and be False at the end"
        return Finding(sentence, "broken", f"still running after {self.limit_s:g} s: {advice}")


def _try(sentence: str, rule: Callable[..., None], *arguments: Any) -> Finding:
    try:
        rule(*arguments)
    except (NotTried, Skip) as error:
        return Finding(sentence, "skipped", str(error))
    except Broken as error:
        return Finding(sentence, "broken", str(error))
    except BaseException as error:  # of a thread, so none is meant for this process
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}, line {last.lineno}"
        problem = f"raised {type(error).__name__}: {error} ({place})"
        return Finding(sentence, "broken", problem)
    return Finding(sentence, "held")


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


def _shape(cls: type[Method]) -> None:
    options = getattr(cls, "__dataclass_params__", None)
    if options is None or not options.frozen:
        raise Broken("it is not decorated with @dataclass(frozen=True)")
    parameters = list(inspect.signature(cls.start).parameters)
    if parameters[1:] != ["task", "budget"]:
        raise Broken(f"start() takes {parameters[1:]}, expected (task, budget)")
    cls()


def _annotations(cls: type[Method]) -> None:
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


def _trains(cls: type[Method], shape: Shape, budget: Budget) -> None:
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


FORM: dict[str, Callable[[type[Method]], None]] = {
    "is a frozen dataclass that can be made without arguments": _shape,
    "has options whose types can be resolved": _annotations,
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
