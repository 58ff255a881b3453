"""One rule for the size of every method, checked against the arrays of its `state`; operations.

Running statistics, the mean and deviation of pixels, and numbers that nothing is learned of are
buffers; all else is stored. Parameters are what is stored without structural zeros, and without
what follows from the rest.
"""

import dataclasses
from importlib.metadata import entry_points
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

from ddl_bench import describe
from ddl_bench.api import Budget, Classifier, Flops, HasSize, Keepable, Split, Task, size_of
from ddl_bench.contract.rules import train
from ddl_bench.contract.toys import toy_task
from ddl_bench.harness.operations import flops
from ddl_bench.registry import METHODS, load_method
from ddl_bench.training.fastnet import shift_norm
from ddl_bench.training.network import Network

NAMES = sorted(entry.name for entry in entry_points(group=METHODS))
TASK, HELD_OUT = toy_task()
STATISTICS = ("running_mean", "running_var", "num_batches_tracked", "std")
OF_SOLVERS = ("floor", "lipschitz", "n_projected")
WITH_PURSUITS = (
    "adl", "adl-sdl", "d-ksvd", "ddl", "ddl-greedy", "dpl", "lc-ksvd", "scn", "sdl", "spams", "src",
    "task-driven",
)  # fmt: skip
LEFT_OUT = {"deq-sc": "solve_equilibrium"}
FOLLOWING = ("gram", "ends")  # arrays that are constants, or a product of others
N_FOLLOWING = {"nearest-mean": TASK.n_classes}  # its biases follow from its means


def fitted(name: str, seed: int = 0, task: Task = TASK) -> Classifier:
    for package in describe.method(name)["needs"]:
        pytest.importorskip(package, reason=f"the extra `{package}` is not installed")
    return train(load_method(name)(), task, Budget(epochs=1, seed=seed)).classifier()


def fixed_names(classifier: Classifier, name: str) -> set[str]:
    """Parameters that training leaves alone and that are the same for other images."""
    if not isinstance(classifier, Network):
        return set()
    named = dict(classifier.module.named_parameters())
    frozen = {key for key, parameter in named.items() if not parameter.requires_grad}
    if not frozen:
        return set()
    noise = torch.randint(40, TASK.train.X.shape, generator=torch.Generator().manual_seed(0))
    images = Split(X=TASK.train.X // 2 + noise.to(torch.uint8), y=TASK.train.y)
    other = fitted(name, seed=1, task=dataclasses.replace(TASK, train=images))
    assert isinstance(other, Network)
    others = dict(other.module.named_parameters())
    return {key for key in frozen if torch.equal(named[key], others[key])}


def is_buffer(key: str, tensor: Tensor, module: nn.Module | None) -> bool:
    """Whether an array of a state is no parameter, by the rule."""
    last = key.rpartition(".")[2]
    is_of_pixels = last == "mean" and tensor.ndim == 3
    is_step = last == "step" and module is not None and key in dict(module.named_buffers())
    return last in (*STATISTICS, *OF_SOLVERS) or is_of_pixels or is_step


@pytest.mark.parametrize("name", NAMES)
def test_size_and_operations_follow_the_rules(name: str) -> None:
    classifier = fitted(name)
    size = size_of(classifier)
    assert isinstance(classifier, HasSize)
    assert size.n_params is not None
    assert size.n_stored is not None
    operations = flops(classifier, HELD_OUT.X[:1])
    assert operations.left_out == LEFT_OUT.get(name, "pursuits" if name in WITH_PURSUITS else "")
    assert operations.n is not None
    if not isinstance(classifier, Keepable):
        assert size == size_of_arrays(classifier)
        return
    state = classifier.state()
    module = getattr(classifier, "module", None)
    fixed = fixed_names(classifier, name)
    buffers = {key for key, tensor in state.items() if is_buffer(key, tensor, module)} | fixed
    n_buffers = sum(state[key].numel() for key in buffers)
    n_held = sum(tensor.numel() for tensor in state.values())
    assert size.n_buffers == n_buffers
    assert size.n_stored == n_held - n_buffers
    n_zeros = structural_zeros(module) if module is not None else N_FOLLOWING.get(name, 0)
    assert size.n_params == size.n_stored - n_zeros


def structural_zeros(module: nn.Module) -> int:
    """Count the entries of Q-metrics that link a channel with itself, in the arrays themselves."""
    n_zeros = 0
    for part in module.modules():
        if hasattr(part, "n_structural_zeros"):
            weights = [tensor for key, tensor in part.named_parameters(recurse=False) if key != "b"]
            n_zeros += sum(int((tensor == 0).sum()) for tensor in weights)
    return n_zeros


def size_of_arrays(classifier: Any) -> Any:
    """Count the arrays of a discriminative dictionary: all are parameters but labels of atoms."""
    if hasattr(classifier, "model"):
        parts = [*classifier.model.dictionaries_, classifier.model.encoders_]
    else:
        kept = {key: value for key, value in vars(classifier).items() if key not in FOLLOWING}
        parts = [value for value in kept.values() if isinstance(value, np.ndarray)]
    labels = np.size(getattr(classifier, "ends", ()))
    n = sum(np.size(part) for part in parts)
    size = size_of(classifier)
    for layer in classifier.view.layers:
        n += layer.whitening.mean.numel() + layer.whitening.matrix.numel() + layer.D.numel()
        labels += layer.whitening.floor.numel()
    n_stored = n + np.size(getattr(classifier, "gram", ()))
    return type(size)(n_params=n, n_stored=n_stored, n_buffers=labels)


def test_constants_are_buffers() -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 1), shift_norm(3), nn.Flatten(), nn.LazyLinear(2))
    net(torch.zeros(2, 1, 2, 2))
    size = Network(net).size()
    assert size.n_params == size.n_stored == (3 + 3) + 3 + (12 * 2 + 2)
    assert size.n_buffers == 3 + (3 + 3 + 1)


class Declared:
    """A classifier that knows its operations, as a number or with what is left out."""

    def __init__(self, answer: int | Flops) -> None:
        self.answer = answer

    def __call__(self, X: Tensor, /) -> Tensor:
        return torch.zeros(len(X), 2)

    def flops(self) -> int | Flops:
        return self.answer


def test_declared_operations_are_taken() -> None:
    assert flops(Declared(12), HELD_OUT.X[:1]) == Flops(12)
    assert flops(Declared(Flops(7, "sorting")), HELD_OUT.X[:1]) == Flops(7, "sorting")
    assert flops(lambda X: torch.zeros(len(X), 2), HELD_OUT.X[:1]) == Flops(None)
    assert flops(lambda X: X.flatten(1).float() @ torch.ones(64, 2), HELD_OUT.X[:1]) == Flops(256)


@torch.library.custom_op("tests::product_of_a_library", mutates_args=())
def product_of_a_library(X: Tensor, W: Tensor) -> Tensor:
    return X @ W


def test_operators_of_other_libraries_are_left_out_by_name() -> None:
    W = torch.ones(64, 2)

    def classifier(X: Tensor) -> Tensor:
        product: Tensor = product_of_a_library(X.flatten(1).float(), W)
        return product @ W[:2]

    assert flops(classifier, HELD_OUT.X[:1]) == Flops(8, "product_of_a_library")
    register_flop_formula(torch.ops.tests.product_of_a_library)(lambda *_, **__: 256)
    assert flops(classifier, HELD_OUT.X[:1]) == Flops(264)
