"""Any scikit-learn classifier as a method, in one line."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddl_bench.api import Budget, OneShot, Size, Task, Training
from ddl_bench.training.function import Array, rows
from ddl_bench.training.signature import (
    Option,
    annotations,
    make_method,
    parameters,
    require_factory,
    value_type,
)


@dataclass(frozen=True)
class FittedEstimator:
    """A fitted classifier: its decision function, else its probabilities, else its predictions.

    Predictions become scores of 0 and 1. A class of the task that the training set lacked scores
    one less than the lowest score of the batch.
    """

    model: Any
    n_classes: int

    def __call__(self, X: Tensor, /) -> Tensor:
        """Return scores (n, n_classes) of uint8 images."""
        known = self._known_scores(rows(X))
        scores = np.full((len(X), self.n_classes), known.min(initial=0) - 1)
        scores[:, self.model.classes_] = known
        return torch.from_numpy(scores)

    def _known_scores(self, X: Array) -> Array:
        """Scores of the classes that the model has seen."""
        decide = self._decide()
        if decide is not None:
            scores = np.asarray(decide(X), dtype=np.float64)
            if scores.ndim == 1:
                scores = np.stack([-scores, scores], axis=1)
            if scores.shape[1] == len(self.model.classes_):
                return scores
        predicted = np.asarray(self.model.predict(X))
        return np.asarray(predicted[:, None] == self.model.classes_, dtype=np.float64)

    def _decide(self) -> Callable[[Array], Array] | None:
        if "ovo" in map(str, self.model.get_params().values()):
            return None  # it has a column for each pair of classes
        for name in ("decision_function", "predict_proba"):
            decide: Callable[[Array], Array] | None = getattr(self.model, name, None)
            if decide is not None:
                return decide
        return None

    def size(self) -> Size:
        """Count coefficients and intercepts of a linear model; of any other the size is unknown."""
        fitted = vars(self.model)  # a kernel machine computes `coef_`, it stores none
        if not {"coef_", "intercept_"} <= fitted.keys():
            reason = f"the number of parameters of a {type(self.model).__name__} is not known"
            return Size(n_params=None, n_stored=None, n_buffers=None, reason=reason)
        n = int(np.size(fitted["coef_"]))
        if getattr(self.model, "fit_intercept", True):
            n += int(np.size(fitted["intercept_"]))
        return Size(n_params=n, n_stored=n)


def from_estimator(name: str, make: Callable[..., Any], **params: Any) -> type[Any]:
    """Make a method of a scikit-learn classifier.

    Features are pixels in [0, 1]. `random_state` and `n_jobs` left at None, at any depth of a
    pipeline, come from the budget.

    Parameters
    ----------
    name
        What the method is called in tables and on the command line.
    make
        A classifier class, or a function that returns a classifier or a pipeline; each of its
        named parameters becomes an option of the method, checked against its annotation, or
        without one against the type of its default.
    params
        Values of its parameters, in place of its own.

    Raises
    ------
    ValueError
        For a parameter that `make` does not have, or that has no value.

    Examples
    --------
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> Forest = from_estimator("forest", RandomForestClassifier, n_estimators=200)
    """
    require_factory(
        f"from_estimator({name!r})",
        make,
        "get_params",
        "a class or a function that returns a classifier",
    )
    known = parameters(make)
    values = {key: parameter.default for key, parameter in known.items()}
    given = values | params
    for key in [*params, *values]:
        if key not in values or given[key] is known[key].empty:
            wanted = ", ".join(values)
            raise ValueError(
                f"from_estimator({name!r}): give a value to each of {wanted}; got {key!r}"
            )

    def start(self: Any, task: Task, budget: Budget) -> Training:
        model = make(**{key: copy.deepcopy(getattr(self, key)) for key in given})
        _fill(model, {"random_state": budget.seed, "n_jobs": budget.threads})
        X = rows(task.train.X)
        y = task.train.y.cpu().numpy()
        return OneShot(lambda: FittedEstimator(model.fit(X, y), task.n_classes))

    about = f"scikit-learn's {getattr(make, '__name__', name)} on pixels in [0, 1]."
    hints = annotations(make)
    options = [
        Option(key, value_type(hints[key], value) if key in hints else kind_of(value), value)
        for key, value in given.items()
    ]
    return make_method(name, options, {"start": start, "__doc__": about}, depth=2)


def kind_of(default: Any) -> Any:
    """Return the type of values like a default, of a parameter without an annotation.

    scikit-learn annotates nothing, and takes more than the type of a default: a number also as a
    share or None, a word also as a number. A default that is neither says nothing.
    """
    kinds: dict[type, Any] = {
        bool: bool,
        int: int | float | None,
        float: float | None,
        str: str | bool | int | float | None,
    }
    return kinds.get(type(default), Any)


def _fill(model: Any, known: dict[str, Any]) -> None:
    """Set parameters that are None, at any depth of a pipeline, to known values by name."""
    unset = {}
    for key, value in model.get_params().items():
        last = key.split("__")[-1]
        if value is None and last in known:
            unset[key] = known[last]
    model.set_params(**unset)
