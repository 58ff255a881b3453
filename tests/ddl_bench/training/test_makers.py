"""What makes methods of classes and functions refuses instances, in words of the author."""

import pytest
from sklearn.linear_model import RidgeClassifier
from torch import nn

from ddl_bench.training.estimator import from_estimator
from ddl_bench.training.function import from_function
from ddl_bench.training.module import from_module


def test_an_instance_in_place_of_its_class_is_named() -> None:
    with pytest.raises(ValueError, match="got an instance of RidgeClassifier"):
        from_estimator("ridge", RidgeClassifier())
    with pytest.raises(ValueError, match="got an instance of Linear"):
        from_module("net", nn.Linear(3, 4))
    for wrong in (3, RidgeClassifier()):
        with pytest.raises(ValueError, match=r"a function fit\(X, y, ...\), got an instance"):
            from_function("fit", wrong)  # type: ignore[arg-type]


def test_classes_and_functions_are_taken() -> None:
    assert from_estimator("ridge", RidgeClassifier).name == "ridge"
    assert from_estimator("ridge", lambda alpha=1.0: RidgeClassifier(alpha=alpha)).name == "ridge"
