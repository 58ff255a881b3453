"""The fast network: its count, how it starts, its whitening and its rates."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from baselines.methods.fastnet import FastNet
from ddl_bench.api import Budget, Split, Task
from ddl_bench.data.digits import digits
from ddl_bench.data.splits import Splits, split
from ddl_bench.training.loop import SGDTraining
from ddl_bench.training.method import NetworkMethod
from ddl_bench.training.recipe import RecipeOptions
from detrame.layer import QMetricReLU
from detrame.methods.fastnet import DeTraMeFastNet


class Endless:
    """A deadline that never comes."""

    def fraction(self) -> float:
        return 0.0

    def expired(self) -> bool:
        return False

    def report(self, share: float) -> None:
        pass


def colour_task(n: int = 200) -> Task:
    generator = torch.Generator().manual_seed(0)
    X = F.avg_pool2d(torch.rand(n, 3, 34, 34, generator=generator) * 255, 3, 1).byte()
    train = Split(X=X, y=torch.arange(n) % 10)
    return Task(
        name="noise",
        class_names=tuple("abcdefghij"),
        train=train,
        val=Split(X=X[:0], y=train.y[:0]),
    )


def test_parameters() -> None:
    widths, convolutions = (
        (24, 64, 64, 256, 256, 256, 256),
        24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256,
    )
    relu = FastNet().network(colour_task(10))
    expected = (
        24 * 12 + 24 + 9 * convolutions + 2 * sum(widths[1:]) + 2560
    )  # the scales of batch norm are stored, at 1
    assert sum(parameter.numel() for parameter in relu.parameters()) == expected
    metric = DeTraMeFastNet().network(colour_task(10))
    assert sum(part.numel() for part in metric.parameters()) == expected + sum(
        it * it + 2 * it for it in widths
    )


def test_it_starts_with_whitened_patches_and_the_identity() -> None:
    task = colour_task()
    net = FastNet(activation="gelu").network(task)
    first = net.get_submodule("whitened")
    first.initialise(task.train.X, torch.Generator())  # type: ignore[operator]  # a Whitened
    with torch.no_grad():
        U = first(task.train.X).permute(1, 0, 2, 3).flatten(1).double()
    covariance = torch.cov(U)
    torch.testing.assert_close(covariance[:12, :12], torch.eye(12).double(), atol=0.1, rtol=0)
    torch.testing.assert_close(U[:12], -U[12:])
    convolution = next(part for part in net.modules() if isinstance(part, nn.Conv2d))
    maps = torch.randn(2, 24, 9, 9)
    torch.testing.assert_close(convolution(maps)[:, :24], maps)
    assert sum(isinstance(part, nn.GELU) for part in net.modules()) == 7
    assert (
        sum(isinstance(part, QMetricReLU) for part in DeTraMeFastNet().network(task).modules()) == 7
    )


def test_a_step_moves_what_learns_and_biases_faster() -> None:
    task = colour_task(64)
    training = DeTraMeFastNet(recipe=RecipeOptions(lr=0.01)).start(task, Budget(epochs=2))
    assert isinstance(training, SGDTraining)
    before = {name: value.clone() for name, value in training._module.named_parameters()}
    rates = {
        id(it): group["rate"]
        for group in training._optimisers[0].param_groups
        for it in group["params"]
    }
    training.advance(Endless())
    for name, parameter in training._module.named_parameters():
        still = torch.equal(parameter, before[name])
        kind = name.rpartition(".")[2]
        if name == "whitened.weight":
            assert not still, "the whitening is learned from the images, but by no gradient"
            assert id(parameter) not in rates
        elif kind == "weight" and parameter.ndim == 1:
            assert still, "a scale of batch norm"
        else:
            assert kind in ("h", "b") or not still, name
            assert rates[id(parameter)] == (64 if kind == "bias" else 1), name


@pytest.mark.parametrize(
    "method", [FastNet(), FastNet(activation="gelu"), DeTraMeFastNet(), DeTraMeFastNet(kernel=3)]
)
def test_it_reads_digits(method: NetworkMethod) -> None:
    task, test, _ = split("digits", digits(Path()), Splits(limit_train=600))
    training = method.start(task, Budget(epochs=4))
    while training.advance(Endless()):
        pass
    assert (training.classifier()(test.X).argmax(1) == test.y).double().mean() > 0.8


@pytest.mark.parametrize("side", [2, 3, 5, 28])
def test_images_of_any_size(side: int) -> None:
    X = torch.zeros(2, 1, side, side, dtype=torch.uint8)
    task = Task(
        name="x",
        class_names=("a", "b"),
        train=Split(X=X, y=torch.arange(2)),
        val=Split(X=X, y=torch.arange(2)),
    )
    assert FastNet().network(task).eval()(X).shape == (2, 2)
