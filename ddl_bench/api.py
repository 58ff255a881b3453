"""The one interface between the harness and a method.

A `Method` is a frozen set of hyper-parameters. `Method.start` makes a `Training`, which holds everything that changes;
the harness pulls it along with `advance` and asks it for a `Classifier`, a snapshot that maps images to class scores.
The harness owns the clock, the test images and the score; a method calls nothing back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from ddl_bench.errors import Diverged as Diverged
from ddl_bench.errors import Skip as Skip
from ddl_bench.errors import UserError as UserError

if TYPE_CHECKING:  # importing torch takes a second, which `ddl-bench show` does not need
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images and labels: `X` of shape (n, channels, height, width), uint8; `y` of shape (n,), int64."""

    X: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a method may see: training and validation images, never the test images.

    `val` may be empty; a method that needs a validation set then cuts its own from `train`. `mirror` says that an image
    and its left-right mirror image belong to the same class, so that flipping is a legitimate augmentation.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    val: Split
    mirror: bool = False

    @property
    def n_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        _, channels, height, width = self.train.X.shape
        return channels, height, width


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much training a cell may do: a number of `epochs` or of `seconds`, exactly one of them.

    A method without epochs takes an epoch budget as "train to your own end". Same seed and same epochs give the same
    predictions on a CPU; a budget in seconds does not promise that.
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
    """Read-only view of the harness's clock. `advance` looks at it at least every 5 s."""

    def fraction(self) -> float:
        """Share of a seconds budget used so far, 0 to 1; always 0 under an epoch budget."""

    def expired(self) -> bool:
        """True once the seconds budget is used up; always False under an epoch budget."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers held by a classifier.

    `n_params`: degrees of freedom that prediction uses. `n_stored`: the same with structural zeros. `n_buffers`:
    running statistics and other constants. A foreign estimator whose size cannot be known has None and a `reason`.
    """

    n_params: int | None
    n_stored: int | None
    n_buffers: int | None = 0
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class CodeStats:
    """Sums over the codes of some images: non-zero entries, entries, squared residual, squared norm of the signals."""

    n_nonzero: float
    n_entries: float
    squared_error: float
    squared_norm: float


class Classifier(Protocol):
    """A trained snapshot. Preprocessing belongs to it, so that its time is measured."""

    def size(self) -> Size: ...

    def __call__(self, X: Tensor, /) -> Tensor:
        """Scores of shape (n_samples, n_classes) for uint8 images of shape (n_samples, channels, height, width)."""


class Training(Protocol):
    """One training run in progress."""

    def advance(self, deadline: Deadline) -> bool:
        """Train to the end of an epoch or to the deadline, whichever is first; True while more remains."""

    def classifier(self) -> Classifier:
        """A snapshot that later training does not change."""


class Method(Protocol):
    """A frozen dataclass of hyper-parameters."""

    name: ClassVar[str]

    def start(self, task: Task, budget: Budget) -> Training:
        """Move data to the device and warm up (compile, allocate): timed apart, so nothing is learned here."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What a method tells of itself besides its docstring, whose first line says what it is.

    family: of the methods that it is listed with. formula: what it computes or minimises, in a line.
    references: BibTeX keys, of a `references.bib` beside the method's file or of the one that comes with ddl_bench.
    published: figures for classification, with their conditions. differs: what is unlike the publication.
    needs: packages that it imports and that do not come with ddl-bench, by the names that they are imported under.
    """

    family: str = ""
    formula: str = ""
    references: tuple[str, ...] = ()
    published: str = ""
    differs: str = ""
    needs: tuple[str, ...] = ()


@runtime_checkable
class Described(Protocol):
    """A `Method` that tells of itself in `ddl-bench methods`; a subclass for itself. It does not change a cell's ID."""

    about: ClassVar[About]


@runtime_checkable
class CountsPasses(Protocol):
    """A `Training` that knows how often it has seen the training set."""

    passes: float


@runtime_checkable
class ReportsLoss(Protocol):
    """A `Training` that knows the mean loss of its last step or epoch, for the curves of a run.

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
class Resumable(Protocol):
    """A `Training` that goes on in another process to the end it would have had, on a CPU bit by bit.

    `state` is asked for between two `advance`: weights, optimiser, generators, position, passes, as tensors and plain
    values, in dicts and lists. `load` puts it into what `start` made of the same task and budget.
    """

    def state(self) -> dict[str, Any]: ...

    def load(self, state: dict[str, Any], /) -> None: ...


@runtime_checkable
class HasCodes(Protocol):
    """A `Classifier` that represents images by sparse codes."""

    def code_stats(self, X: Tensor, /) -> CodeStats: ...


@runtime_checkable
class HasArtefacts(Protocol):
    """A `Classifier` with something to draw: "atoms" of shape (n_atoms, channels, height, width), say."""

    def artefacts(self) -> dict[str, np.ndarray]: ...


@runtime_checkable
class CountsFlops(Protocol):
    """A `Classifier` that computes outside torch and declares its operations an image (multiply and add are two)."""

    def flops(self) -> int: ...


@runtime_checkable
class Keepable(Protocol):
    """A `Classifier` whose arrays can be kept in a file."""

    def state(self) -> dict[str, Tensor]: ...


@runtime_checkable
class Restorable(Protocol):
    """A `Method` that rebuilds a kept classifier; `task` has empty splits, and its true shapes and class names."""

    def restore(self, state: Mapping[str, Tensor], task: Task) -> Classifier: ...


class OneShot:
    """A `Training` made of one function that trains to its end and returns the classifier."""

    def __init__(self, fit: Callable[[], Classifier]) -> None:
        self._fit = fit
        self._classifier: Classifier | None = None

    def advance(self, deadline: Deadline) -> bool:
        self._classifier = self._fit()
        return False

    def classifier(self) -> Classifier:
        if self._classifier is None:
            raise RuntimeError("classifier() was asked for before the first advance()")
        return self._classifier


class Stepwise:
    """A `Training` made of a generator that trains up to each `yield` and yields the classifier it has by then.

    `steps` is called with a deadline that always shows the one of the `advance` under way.
    """

    def __init__(self, steps: Callable[[Deadline], Iterator[Classifier]]) -> None:
        self._deadline: Deadline | None = None
        self._steps = steps(self)
        self._classifier: Classifier | None = None

    def fraction(self) -> float:
        return self._deadline.fraction() if self._deadline else 0.0

    def expired(self) -> bool:
        return self._deadline.expired() if self._deadline else False

    def advance(self, deadline: Deadline) -> bool:
        self._deadline = deadline
        following = next(self._steps, None)
        if following is not None:
            self._classifier = following
        return following is not None and not deadline.expired()

    def classifier(self) -> Classifier:
        if self._classifier is None:
            raise RuntimeError("classifier() was asked for before the first advance()")
        return self._classifier
