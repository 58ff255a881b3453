"""Any scikit-learn classifier as a method, in one line."""

import copy
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields, make_dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddl_bench.api import Budget, Classifier, OneShot, Size, Task, Training


def pixels(X: Tensor) -> np.ndarray:
    """Images of shape (n, channels, height, width), uint8, as rows of shape (n, n_pixels), float32 in [0, 1]."""
    rows: np.ndarray = X.flatten(1).cpu().numpy().astype(np.float32) / 255
    return rows


@dataclass(frozen=True)
class FittedEstimator:
    """A fitted scikit-learn classifier: its decision function, else its probabilities, else its prediction as one-hot.

    A class of the task that the training set lacked scores one less than the lowest score of the batch.
    """

    model: Any
    n_classes: int

    def __call__(self, X: Tensor, /) -> Tensor:
        known = self._known_scores(pixels(X))
        scores = np.full((len(known), self.n_classes), known.min(initial=0.0) - 1)
        scores[:, self.model.classes_] = known
        return torch.from_numpy(scores)

    def _known_scores(self, rows: np.ndarray) -> np.ndarray:
        """Scores of shape (n, number of classes seen in training)."""
        classes = self.model.classes_
        if hasattr(self.model, "decision_function"):
            decision = np.asarray(self.model.decision_function(rows), dtype=np.float64)
            if decision.ndim == 1:
                decision = np.stack([-decision, decision], axis=1)
            if decision.shape[1] == len(classes):  # not so for one-against-one
                return decision
        if hasattr(self.model, "predict_proba"):
            return np.asarray(self.model.predict_proba(rows), dtype=np.float64)
        return (np.asarray(self.model.predict(rows))[:, None] == classes).astype(np.float64)

    def size(self) -> Size:
        """Coefficients and intercepts of a linear model; unknown for any other."""
        fitted = vars(self.model)
        if "coef_" not in fitted or "intercept_" not in fitted:  # a kernel machine computes `coef_`, it stores none
            return Size(
                n_params=None, n_stored=None, n_buffers=None, reason=f"size of {type(self.model).__name__} unknown"
            )
        n = int(np.size(fitted["coef_"])) + int(getattr(self.model, "fit_intercept", True)) * np.size(
            fitted["intercept_"]
        )
        return Size(n_params=n, n_stored=n)


def _start(make: Callable[..., Any], self: Any, task: Task, budget: Budget) -> Training:
    model = make(**{parameter.name: copy.deepcopy(getattr(self, parameter.name)) for parameter in fields(self)})
    for key, value in model.get_params().items():
        for parameter, given in (("random_state", budget.seed), ("n_jobs", budget.threads)):
            if value is None and key.split("__")[-1] == parameter:
                model.set_params(**{key: given})

    def fit() -> Classifier:
        return FittedEstimator(model.fit(pixels(task.train.X), task.train.y.cpu().numpy()), task.n_classes)

    return OneShot(fit)


def from_estimator(name: str, make: Callable[..., Any], **params: Any) -> type[Any]:
    """A method made of a scikit-learn classifier: `Forest = from_estimator("forest", RandomForestClassifier)`.

    name: name of the method in tables and on the command line.
    make: a classifier class, or a function that returns a classifier or a pipeline; each of its named parameters
        becomes a hyper-parameter of the method.
    params: defaults of hyper-parameters that differ from those of `make`.

    Features are pixels in [0, 1]. `random_state` and `n_jobs` that are left at None, at any depth of a pipeline, come
    from the budget. Raises ValueError for a parameter that `make` does not have or that has no value.
    """
    known = {key: value for key, value in inspect.signature(make).parameters.items() if value.kind != value.VAR_KEYWORD}
    if unknown := sorted(set(params) - set(known)):
        raise ValueError(f"from_estimator({name!r}): no parameter {unknown[0]!r}; known are {', '.join(known)}")
    values = {key: value.default for key, value in known.items()} | params
    for key, value in values.items():
        if value is inspect.Parameter.empty:
            raise ValueError(f"from_estimator({name!r}): parameter {key!r} has no default; give it a value")
    method = make_dataclass(
        f"From{getattr(make, '__name__', 'Estimator')}",
        [(key, Any, field(default_factory=partial(copy.deepcopy, value))) for key, value in values.items()],
        namespace={"name": name, "start": lambda self, task, budget: _start(make, self, task, budget)},
        frozen=True,
        kw_only=True,
    )
    method.__module__ = sys._getframe(1).f_globals.get("__name__", __name__)  # where a worker finds its source
    return method
