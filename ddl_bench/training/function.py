"""Any function of numpy arrays as a method, in six lines."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddl_bench.api import Budget, Classifier, Deadline, Size, Stepwise, Task, Training
from ddl_bench.errors import UserError
from ddl_bench.training.signature import (
    call,
    docstring,
    make_method,
    options_of,
    parameters,
    require_factory,
)

Array = np.ndarray[Any, Any]
FILLED = ("seed", "n_classes", "image_shape", "epochs", "n_threads", "deadline")


def rows(X: Tensor) -> Array:
    """Flatten uint8 images (n, channels, height, width) to rows (n, n_features) in [0, 1]."""
    return np.asarray(X.flatten(1).cpu().numpy() / np.float32(255))


def unit_images(X: Tensor) -> Array:
    """Scale uint8 images (n, channels, height, width) to float32 in [0, 1]."""
    return np.asarray(X.cpu().numpy() / np.float32(255))


class FittedFunction:
    """A scoring function of arrays as a classifier."""

    def __init__(
        self, score: Callable[[Array], Array], convert: Callable[[Tensor], Array], n_classes: int
    ) -> None:
        self._score = score
        self._convert = convert
        self._n_classes = n_classes

    def __call__(self, X: Tensor, /) -> Tensor:
        """Return scores (n, n_classes) of uint8 images."""
        scores = np.array(self._score(self._convert(X)))
        wanted = (len(X), self._n_classes)
        if scores.shape != wanted:
            raise UserError(
                f"score(X) returned an array of shape {scores.shape}, expected {wanted}: a score"
                " for each image and class"
            )
        if scores.dtype.kind not in "biuf":
            raise UserError(f"score(X) returned an array of {scores.dtype}, expected real numbers")
        return torch.from_numpy(scores)

    def size(self) -> Size:
        """Say that the size is unknown."""
        reason = "a function hides its arrays; return (score, arrays) from fit to count them"
        return Size(n_params=None, n_stored=None, n_buffers=None, reason=reason)


class FittedArrays(FittedFunction):
    """A scoring function with the arrays that it uses, which are its size."""

    def __init__(self, arrays: Mapping[str, Array], *fitted: Any) -> None:
        super().__init__(*fitted)
        self._arrays = arrays

    def size(self) -> Size:
        """Count the numbers in the arrays."""
        n = sum(np.size(array) for array in self._arrays.values())
        return Size(n_params=n, n_stored=n)

    def state(self) -> dict[str, Tensor]:
        """Return the arrays."""
        return {name: torch.as_tensor(array) for name, array in self._arrays.items()}


def from_function(
    name: str, fit: Callable[..., Any], *, images: bool = False, **defaults: Any
) -> type[Any]:
    """Make a method of a function that learns from numpy arrays and returns a scoring function.

    `fit(X, y, ...)` gets X, float32 rows (n, n_features) in [0, 1], and y, int64 labels (n,); it
    returns `score`, where `score(X)` gives an array (n, n_classes), the largest number for the
    class that it predicts. Or it returns `(score, arrays)`, where `arrays` is a dictionary of the
    arrays that `score` uses: the size of the method.

    Parameters
    ----------
    name
        What the method is called in tables and on the command line.
    fit
        The function. Its parameters seed, n_classes, image_shape, epochs (None under a budget in
        seconds), n_threads and deadline are filled in; under a budget in seconds it should end
        once `deadline.expired()`. Every other parameter with a plain default is an option. Its
        docstring becomes that of the method.
    images
        X is images (n, channels, height, width), in place of rows.
    defaults
        Values of the function's parameters, in place of its own.

    Raises
    ------
    ValueError
        For a parameter without a value.

    Examples
    --------
    >>> def fit(X, y, n_classes, ridge: float = 1.0):
    ...     targets = np.eye(n_classes)[y]
    ...     W = np.linalg.solve(X.T @ X + ridge * np.eye(X.shape[1]), X.T @ targets)
    ...     return lambda X: X @ W
    >>> Ridge = from_function("ridge", fit)
    """
    require_factory(f"from_function({name!r})", fit, "predict", "a function fit(X, y, ...)")
    data = tuple(parameters(fit))[:2]
    options = options_of(f"from_function({name!r})", fit, defaults, (*FILLED, *data))
    asked = [each for each in parameters(fit) if each in FILLED]
    convert = unit_images if images else rows

    def start(self: Any, task: Task, budget: Budget) -> Training:
        X = convert(task.train.X)
        y = task.train.y.cpu().numpy()
        given: dict[str, Any] = {
            "seed": budget.seed,
            "n_classes": task.n_classes,
            "image_shape": task.image_shape,
            "epochs": budget.epochs,
            "n_threads": budget.threads,
        }
        values = {option.name: getattr(self, option.name) for option in options}

        def steps(deadline: Deadline) -> Any:
            known = given | {"deadline": deadline}
            filled = {each: known[each] for each in asked}
            yield _classifier(call(fit, filled | values, X, y), convert, task.n_classes)

        return Stepwise(steps)

    about = f"{getattr(fit, '__name__', name)}, a function of pixels in [0, 1]."
    namespace = {"start": start, "__doc__": docstring(fit) or about}
    return make_method(name, options, namespace, depth=2)


def _classifier(fitted: Any, convert: Callable[[Tensor], Array], n_classes: int) -> Classifier:
    if isinstance(fitted, tuple) and len(fitted) == 2 and isinstance(fitted[1], Mapping):
        score, arrays = fitted
        return FittedArrays(arrays, score, convert, n_classes)
    if not callable(fitted):
        kind = type(fitted).__name__
        raise UserError(f"fit returned a {kind}, expected a function `score`, or (score, arrays)")
    return FittedFunction(fitted, convert, n_classes)
