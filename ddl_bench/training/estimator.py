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

from ddl_bench.api import Budget, OneShot, Size, Task, Training


def pixels(X: Tensor) -> np.ndarray:
    """Images (n, channels, height, width), uint8, as rows (n, n_pixels), float32 in [0, 1]."""
    return np.asarray(X.flatten(1).cpu().numpy() / np.float32(255))


@dataclass(frozen=True)
class FittedEstimator:
    """A fitted classifier: its decision function, else its probabilities, else its prediction as one-hot scores.

    A class of the task that the training set lacked scores one less than the lowest score of the batch.
    """

    model: Any
    n_classes: int

    def __call__(self, X: Tensor, /) -> Tensor:
        rows, classes = pixels(X), self.model.classes_
        decide = getattr(self.model, "decision_function", None) or getattr(
            self.model, "predict_proba", None
        )
        decide = (
            None if "ovo" in map(str, self.model.get_params().values()) else decide
        )  # a column a pair
        known = np.asarray(decide(rows) if decide else np.empty((len(rows), 0)), dtype=np.float64)
        if known.ndim == 1:
            known = np.stack([-known, known], axis=1)
        if known.shape[1] != len(classes):
            known = (np.asarray(self.model.predict(rows))[:, None] == classes).astype(np.float64)
        scores = np.full((len(rows), self.n_classes), known.min(initial=0) - 1)
        scores[:, classes] = known
        return torch.from_numpy(scores)

    def size(self) -> Size:
        """Coefficients and intercepts of a linear model; of any other the size is unknown."""
        fitted = vars(self.model)  # a kernel machine computes `coef_`, it stores none
        if not {"coef_", "intercept_"} <= fitted.keys():
            return Size(
                n_params=None,
                n_stored=None,
                n_buffers=None,
                reason=f"{type(self.model).__name__} does not tell",
            )
        n = np.size(fitted["coef_"]) + np.size(fitted["intercept_"]) * bool(
            getattr(self.model, "fit_intercept", True)
        )
        return Size(n_params=int(n), n_stored=int(n))


def from_estimator(name: str, make: Callable[..., Any], **params: Any) -> type[Any]:
    """A method made of a scikit-learn classifier: `Forest = from_estimator("forest", RandomForestClassifier)`.

    name: what the method is called in tables and on the command line.
    make: a classifier class, or a function that returns a classifier or a pipeline; each of its named parameters
        becomes a hyper-parameter of the method, with `params` as defaults in place of its own.

    Features are pixels in [0, 1]. `random_state` and `n_jobs` left at None, at any depth of a pipeline, come from the
    budget. Raises ValueError for a parameter that `make` does not have, or that has no value.
    """
    known = inspect.signature(make).parameters
    values = {
        key: parameter.default
        for key, parameter in known.items()
        if parameter.kind != parameter.VAR_KEYWORD
    }
    for key in [*params, *values]:
        if key not in values or (values | params)[key] is inspect.Parameter.empty:
            raise ValueError(
                f"from_estimator({name!r}): give a value to each of {', '.join(values)}; got {key!r}"
            )

    def start(self: Any, task: Task, budget: Budget) -> Training:
        model = make(
            **{field.name: copy.deepcopy(getattr(self, field.name)) for field in fields(self)}
        )
        known = {"random_state": budget.seed, "n_jobs": budget.threads}
        unset = [
            key
            for key, value in model.get_params().items()
            if value is None and key.split("__")[-1] in known
        ]
        model.set_params(**{key: known[key.split("__")[-1]] for key in unset})
        X, y = pixels(task.train.X), task.train.y.cpu().numpy()
        return OneShot(lambda: FittedEstimator(model.fit(X, y), task.n_classes))

    about = f"scikit-learn's {getattr(make, '__name__', name)} on pixels in [0, 1]."
    method = make_dataclass(
        name,
        [
            (key, Any, field(default_factory=partial(copy.copy, value)))
            for key, value in (values | params).items()
        ],
        namespace={
            "name": name,
            "start": start,
            "__doc__": about,
            "__module__": sys._getframe(1).f_globals["__name__"],
        },
        frozen=True,
        kw_only=True,
    )
    return method
