"""The one interface between the harness and a method.

A `Method` is a frozen set of options. `Method.start` makes a `Training`, which holds everything
that changes; the harness pulls it along with `advance` and asks it for a `Classifier`, a snapshot
that maps images to class scores. The harness owns the clock, the test images and the score; a
method calls nothing back.

Everything else that a method, a training or a classifier may do is optional. Each optional feature
is a protocol below: whatever has its attributes has the feature.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from ddl_bench.errors import Diverged as Diverged
from ddl_bench.errors import Skip as Skip
from ddl_bench.errors import UserError as UserError

if TYPE_CHECKING:  # importing torch takes a second, which `ddl-bench show` does not need
    import numpy as np
    from torch import Tensor


API_VERSION = 1
"""Version of what plugins may rely on: this file, and how they register what they offer.

A plugin may name the one that it was made for, `DDL_BENCH_API = 1`. The number grows where a plugin
would have to change: not with what is added.
"""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images and their labels.

    Parameters
    ----------
    X
        Images, shape (n, channels, height, width), uint8.
    y
        Labels, shape (n,), int64, from 0.
    """

    X: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a method may see: training and validation images, never the test images.

    Parameters
    ----------
    name
        Name of the data set.
    class_names
        A name for each label.
    train
        The images to learn from.
    val
        Validation images; may be empty. A method that needs some then takes its own from `train`.
    mirror
        An image and its left-right mirror image belong to the same class, so that flipping is a
        legitimate augmentation.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    val: Split
    mirror: bool = False

    @property
    def n_classes(self) -> int:
        """Return the number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return (channels, height, width)."""
        _, channels, height, width = self.train.X.shape
        return channels, height, width


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much training a cell may do: a number of epochs or of seconds, exactly one of them.

    A method that has no epochs ignores their number and trains until it is done. The same seed and
    epochs give the same predictions on a CPU; a budget in seconds does not promise that.

    Parameters
    ----------
    epochs
        Passes over the training images.
    seconds
        Wall time of training.
    seed
        Seed of every random generator.
    device
        Where to compute: "cpu", "cuda", "cuda:1".
    threads
        CPU threads to use.
    precision
        Precision of the matrix products and convolutions of networks.
    """

    epochs: int | None = None
    seconds: float | None = None
    seed: int = 0
    device: str = "cpu"
    threads: int = 1
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.seconds is None):
            raise ValueError("Budget: give either epochs or seconds")
        if (self.epochs or self.seconds or 0) <= 0:
            raise ValueError(
                f"Budget: must be positive, got epochs={self.epochs}, seconds={self.seconds}"
            )


class Deadline(Protocol):
    """The harness's clock, which no method changes. `advance` looks at it at least every 5 s."""

    def fraction(self) -> float:
        """Return the share of a budget in seconds used so far, 0 to 1; 0 under one in epochs."""

    def expired(self) -> bool:
        """Whether a budget in seconds is used up; False under one in epochs."""

    def report(self, share: float) -> None:
        """Tell those who wait which share of the training is done, 0 to 1.

        It is for an `advance` that takes long under a budget in epochs, and changes nothing else.
        """


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers held by a classifier.

    Parameters
    ----------
    n_params
        Degrees of freedom that prediction uses; None where they cannot be known.
    n_stored
        The same with structural zeros.
    n_buffers
        Running statistics and other constants.
    reason
        Why a number is None.
    """

    n_params: int | None
    n_stored: int | None
    n_buffers: int | None = 0
    reason: str = ""


@dataclass(frozen=True)
class Flops:
    """Operations of a classifier for an image; multiply and add are two.

    Parameters
    ----------
    n
        Their number; None where it cannot be known.
    left_out
        What is not counted, as in "pursuits"; where n is None, why.
    """

    n: int | None
    left_out: str = ""


@dataclass(frozen=True, kw_only=True)
class CodeStats:
    """Sums over the codes of some images; those of several batches are added with `+`.

    Parameters
    ----------
    n_nonzero, n_entries
        Codes that are not zero, and all codes.
    squared_error
        Squared residual of the signals, sum((X - codes @ D.T)**2).
    squared_norm
        Squared norm of the signals, sum(X**2).
    """

    n_nonzero: float = 0.0
    n_entries: float = 0.0
    squared_error: float = 0.0
    squared_norm: float = 0.0

    @classmethod
    def of(cls, *, signals: Any, codes: Any, residual: Any) -> CodeStats:
        """Count one batch: arrays or tensors of any shapes; codes may be a sparse array."""
        n_nonzero = codes.nnz if hasattr(codes, "nnz") else int((codes != 0).sum())
        return cls(
            n_nonzero=n_nonzero,
            n_entries=math.prod(codes.shape),
            squared_error=float((residual**2).sum()),
            squared_norm=float((signals**2).sum()),
        )

    def __add__(self, other: CodeStats) -> CodeStats:
        return CodeStats(
            n_nonzero=self.n_nonzero + other.n_nonzero,
            n_entries=self.n_entries + other.n_entries,
            squared_error=self.squared_error + other.squared_error,
            squared_norm=self.squared_norm + other.squared_norm,
        )


class Classifier(Protocol):
    """A trained snapshot. Preprocessing belongs to it, so that its time is measured.

    The harness scores images in a random order, in batches of 1 to 1,000. The scores of an image
    must not depend on the others in its batch.
    """

    def __call__(self, X: Tensor, /) -> Tensor:
        """Return scores (n, n_classes) of uint8 images (n, channels, height, width)."""


class Training(Protocol):
    """One training in progress."""

    def advance(self, deadline: Deadline) -> bool:
        """Train for an epoch or to the deadline, whichever is first; True while more remains."""

    def classifier(self) -> Classifier:
        """Return a snapshot that later training does not change."""


class Method(Protocol):
    """A frozen dataclass of options, with a name."""

    name: ClassVar[str]

    def start(self, task: Task, budget: Budget) -> Training:
        """Move data to the device and warm up: timed apart, so nothing may be learned here."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What a method says about itself besides its docstring, whose first line says what it is.

    Parameters
    ----------
    family
        The methods that it is listed with.
    formula
        What it computes or minimises, in a line.
    references
        BibTeX keys, of a `references.bib` beside the method's file or the one of ddl_bench.
    published
        Published figures for classification, with their conditions.
    differs
        What is unlike the publication.
    needs
        Packages that it imports and that do not come with ddl-bench, by their import names.
    scores
        What the scores of its classifiers are: "logits", whose softmax are probabilities, or
        "probabilities"; empty where they only rank. Networks need not say it: theirs are logits.
    """

    family: str = ""
    formula: str = ""
    references: tuple[str, ...] = ()
    published: str = ""
    differs: str = ""
    needs: tuple[str, ...] = ()
    scores: Literal["", "logits", "probabilities"] = ""


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What a metric computes with: one finished training, and what it predicted.

    Parameters
    ----------
    targets, predictions
        The true and the predicted class of each test image, shape (n_test,), integers from 0.
    class_names
        A name for each class; empty where they were not kept.
    row
        All else that is known of the training, as in a row of `ddl_bench.load`: "label", "seed",
        "train_s", "n_params" ...
    """

    targets: np.ndarray
    predictions: np.ndarray
    class_names: tuple[str, ...]
    row: Mapping[str, Any]


@dataclass(frozen=True)
class Metric:
    """A column of the table that a plugin brings: `METRICS = {"name": Metric(function, ...)}`.

    The docstring's first line of the function says what the number means.

    Parameters
    ----------
    function
        Returns the number of a training, or None where it has none.
    title
        Heading of the column, without the unit; empty for the name.
    unit
        Of the number, as in "%".
    better
        Whether "higher" or "lower" numbers are better; empty where neither is.

    Examples
    --------
    >>> def errors(predicted):
    ...     \"\"\"Test images whose class is wrong.\"\"\"
    ...     return int((predicted.predictions != predicted.targets).sum())
    >>> METRICS = {"errors": Metric(errors, better="lower")}
    """

    function: Callable[[Predicted], float | None]
    title: str = ""
    unit: str = ""
    better: Literal["", "higher", "lower"] = ""

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"Metric(function={self.function!r}): expected a function")
        for name in ("title", "unit"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"Metric({name}={getattr(self, name)!r}): expected a text")
        if self.better not in ("", "higher", "lower"):
            raise ValueError(f"Metric(better={self.better!r}): expected 'higher' or 'lower'")

    @property
    def meaning(self) -> str:
        """Return the first line of the function's docstring."""
        text = self.function.__doc__
        return text.strip().partition("\n")[0] if isinstance(text, str) else ""


@runtime_checkable
class Described(Protocol):
    """A `Method` with facts for `ddl-bench methods`. They do not change a cell's ID.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class MyMethod:
    ...     about: ClassVar[About] = About(family="baseline", references=("me2026",))
    """

    about: ClassVar[About]


@runtime_checkable
class KeepsMemory(Protocol):
    """A `Method` whose worker keeps the memory that it frees, for training on a CPU.

    Where each step of training frees large arrays that the next one asks for, this saves the time
    to get them from the system anew; the resident peak grows.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class MyMethod:
    ...     keeps_memory: ClassVar[bool] = True
    """

    keeps_memory: ClassVar[bool]


@runtime_checkable
class CountsPasses(Protocol):
    """A `Training` that knows how often it has seen the training set.

    Examples
    --------
    >>> class MyTraining:
    ...     passes = 0.0
    ...
    ...     def advance(self, deadline):
    ...         self.passes += 1
    """

    passes: float


@runtime_checkable
class ReportsLoss(Protocol):
    """A `Training` that knows the mean loss of its last epoch, for the curves of a run.

    Examples
    --------
    >>> class MyTraining:
    ...     loss = float("nan")
    ...
    ...     def advance(self, deadline):
    ...         self.loss = self.epoch(deadline)
    """

    loss: float


@runtime_checkable
class KeepsEpochs(Protocol):
    """A `Training` whose classifiers of all epochs are scored on test images once it is over.

    The highest accuracy and its epoch become columns of the row. Nothing is chosen by them. The
    classifiers are `Keepable` and `Reloadable`.

    Examples
    --------
    >>> class MyTraining:
    ...     keeps_epochs = True
    """

    keeps_epochs: bool


@runtime_checkable
class Reloadable(Protocol):
    """A `Classifier` that takes other arrays in place of its own.

    Examples
    --------
    >>> class MyClassifier:
    ...     def load(self, state):
    ...         self.W = state["W"]
    """

    def load(self, state: Mapping[str, Tensor], /) -> None:
        """Take arrays as `state` returns them."""


@runtime_checkable
class Resumable(Protocol):
    """A `Training` that another process can resume, on a CPU with an identical result.

    Examples
    --------
    >>> class MyTraining:
    ...     def state(self):
    ...         return {"D": self.D, "generator": self.generator.get_state()}
    ...
    ...     def load(self, state):
    ...         self.D.copy_(state["D"])
    ...         self.generator.set_state(state["generator"])
    """

    def state(self) -> dict[str, Any]:
        """Return all that changes, as tensors and plain values, in dicts and lists.

        It is called between two calls of `advance`. Weights, optimiser, random generators, position
        and passes belong to it.
        """

    def load(self, state: dict[str, Any], /) -> None:
        """Restore a state, in a training that `start` made for the same task and budget."""


@runtime_checkable
class HasSize(Protocol):
    """A `Classifier` that counts its numbers; `state` is counted where it does not.

    Examples
    --------
    >>> class MyClassifier:
    ...     def size(self):
    ...         return Size(n_params=self.D.numel(), n_stored=self.D.numel())
    """

    def size(self) -> Size:
        """Count parameters, stored numbers and buffers."""


@runtime_checkable
class HasCodes(Protocol):
    """A `Classifier` that represents images by sparse codes: adds sparsity and error to the table.

    Examples
    --------
    >>> class MyClassifier:
    ...     def code_stats(self, X):
    ...         codes = self.encode(X)
    ...         signals = X.flatten(1).float()
    ...         residual = signals - codes @ self.D.T
    ...         return CodeStats.of(signals=signals, codes=codes, residual=residual)
    """

    def code_stats(self, X: Tensor, /) -> CodeStats:
        """Sum over the codes of uint8 images (n, channels, height, width)."""


@runtime_checkable
class HasAtoms(Protocol):
    """A `Classifier` with atoms that the report draws.

    Examples
    --------
    >>> class MyClassifier:
    ...     def atoms(self):
    ...         return self.D.T.reshape(-1, *self.image_shape).numpy()
    """

    def atoms(self) -> np.ndarray:
        """Return atoms, shape (n_atoms, channels, height, width)."""


@runtime_checkable
class HasDictionary(Protocol):
    """A `Classifier` with a dictionary in the units of the images: compared with planted atoms.

    Examples
    --------
    >>> class MyClassifier:
    ...     def dictionary(self):
    ...         return self.D.T.reshape(-1, *self.image_shape).numpy()
    """

    def dictionary(self) -> np.ndarray | None:
        """Return its atoms, shape (n_atoms, channels, height, width); None where it has none."""


@runtime_checkable
class AddsViews(Protocol):
    """A `Classifier` that may score several views of an image and add them, and says how many.

    Tables show the number: an image and its mirror image are two views, and take twice the time.

    Examples
    --------
    >>> class MyClassifier:
    ...     n_views = 2
    ...
    ...     def __call__(self, X):
    ...         return self.scores(X) + self.scores(X.flip(3))
    """

    n_views: int


@runtime_checkable
class CountsFlops(Protocol):
    """A `Classifier` that computes outside torch and declares its operations.

    Examples
    --------
    >>> class MyClassifier:
    ...     def flops(self):
    ...         return 2 * self.W.size

    Where a part of them is not counted, tables say which:

    >>> class MyOtherClassifier:
    ...     def flops(self):
    ...         return Flops(2 * self.D.size, left_out="pursuits")
    """

    def flops(self) -> int | Flops:
        """Return the operations for an image; multiply and add are two."""


@runtime_checkable
class Keepable(Protocol):
    """A `Classifier` whose arrays can be kept in a file, by `run --keep-models`.

    Examples
    --------
    >>> class MyClassifier:
    ...     def state(self):
    ...         return {"W": self.W, "means": self.means}
    """

    def state(self) -> dict[str, Tensor]:
        """Return all arrays that prediction uses."""


@runtime_checkable
class Restorable(Protocol):
    """A `Method` that rebuilds a kept classifier.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class MyMethod:
    ...     def restore(self, state, task):
    ...         return MyClassifier(state["W"], state["means"])
    """

    def restore(self, state: Mapping[str, Tensor], task: Task) -> Classifier:
        """Rebuild a classifier; `task` has empty splits, true shapes and class names."""


@runtime_checkable
class Placeable(Protocol):
    """A `Classifier` that `restore` rebuilds on the CPU in float32, and that can be placed anew.

    `ddl-bench time` needs it for models of other devices and precisions.

    Examples
    --------
    >>> class MyClassifier:
    ...     def place(self, device, precision):
    ...         self.W = self.W.to(device)
    """

    def place(self, device: str, precision: str) -> None:
        """Move to a device, and compute in a precision from now on."""


def size_of(classifier: Classifier) -> Size:
    """Return the size of a classifier: as it counts, else what its state holds, else unknown."""
    if isinstance(classifier, HasSize):
        return classifier.size()
    if isinstance(classifier, Keepable):
        n = sum(tensor.numel() for tensor in classifier.state().values())
        return Size(n_params=n, n_stored=n)
    reason = f"{type(classifier).__name__} has neither size() nor state()"
    return Size(n_params=None, n_stored=None, n_buffers=None, reason=reason)


class OneShot:
    """A `Training` made of one function that trains to its end and returns the classifier.

    Examples
    --------
    >>> def start(self, task, budget):
    ...     return OneShot(lambda: Means(task.train))
    """

    def __init__(self, fit: Callable[[], Classifier]) -> None:
        self._fit = fit
        self._classifier: Classifier | None = None

    def advance(self, deadline: Deadline) -> bool:
        """Train to the end."""
        self._classifier = self._fit()
        return False

    def classifier(self) -> Classifier:
        """Return what the function returned."""
        if self._classifier is None:
            raise RuntimeError("classifier() was asked for before the first advance()")
        return self._classifier


class Stepwise:
    """A `Training` made of a generator that trains up to each `yield` of a classifier.

    Parameters
    ----------
    steps
        Called once with a deadline, which stays valid in every later `advance`. It yields the
        classifier that it has after each step.

    Examples
    --------
    >>> def steps(deadline):
    ...     for D in learn(X):
    ...         yield MyClassifier(D.copy())
    >>> training = Stepwise(steps)
    """

    def __init__(self, steps: Callable[[Deadline], Iterator[Classifier]]) -> None:
        self._deadline: Deadline | None = None
        self._steps = steps(self)
        self._classifier: Classifier | None = None

    def fraction(self) -> float:
        """Return the share of the budget used so far, 0 to 1."""
        return 0.0 if self._deadline is None else self._deadline.fraction()

    def expired(self) -> bool:
        """Whether the budget is used up."""
        return self._deadline is not None and self._deadline.expired()

    def report(self, share: float) -> None:
        """Tell those who wait which share of the training is done, 0 to 1."""
        if self._deadline is not None:
            self._deadline.report(share)

    def advance(self, deadline: Deadline) -> bool:
        """Train up to the next classifier."""
        self._deadline = deadline
        classifier = next(self._steps, None)
        if classifier is None:
            return False
        self._classifier = classifier
        return not deadline.expired()

    def classifier(self) -> Classifier:
        """Return the classifier of the last step."""
        if self._classifier is None:
            raise RuntimeError("classifier() was asked for before the first advance()")
        return self._classifier
