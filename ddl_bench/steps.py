"""A `Training` made of a function, or of a generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddl_bench.api import Classifier, Deadline


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
