"""Smaller images at the start of training."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ddl_bench.api import Budget
from ddl_bench.errors import UserError
from ddl_bench.training.loop import SGDTraining
from ddl_bench.training.recipe import RecipeOptions
from ddl_bench.training.resizing import resized, side_after
from tests.conftest import Clock
from tests.ddl_bench.training.test_networks import images

SMALL = RecipeOptions(batch_size=16, progressive_resizing=0.6)
TASK = images(32, (3, 16, 8))


class Sides(nn.Module):
    """A linear readout of the means of an image that remembers the sizes it has seen."""

    def __init__(self, channels: int, n_classes: int) -> None:
        super().__init__()
        self.readout = nn.Linear(channels, n_classes)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, X: Tensor) -> Tensor:
        self.seen.append(tuple(X.shape[2:]))
        scores: Tensor = self.readout(X.float().mean((2, 3)))
        return scores


class Halves(nn.Module):
    """A readout of maps that are halved and doubled, which need even sides."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, X: Tensor) -> Tensor:
        half = F.max_pool2d(X.float(), 2)
        scores: Tensor = (X - F.interpolate(half, scale_factor=2.0)).mean((2, 3)) * self.scale
        return scores


class OneSize(nn.Module):
    """A linear readout of the pixels, whose number it is told."""

    def __init__(self, image_shape: tuple[int, int, int], n_classes: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.readout = nn.Linear(channels * height * width, n_classes)

    def forward(self, X: Tensor) -> Tensor:
        scores: Tensor = self.readout(X.float().flatten(1))
        return scores


def train(module: nn.Module, recipe: RecipeOptions, epochs: int) -> SGDTraining:
    training = SGDTraining(module, TASK, Budget(epochs=epochs), recipe.recipe())
    while training.advance(Clock()):
        pass
    return training


def test_images_grow_while_the_training_goes_on() -> None:
    module = Sides(3, 3)
    training = train(module, SMALL, 10)
    first_of_each_epoch = module.seen[::2]
    assert first_of_each_epoch == 3 * [(10, 5)] + 3 * [(14, 7)] + 4 * [(16, 8)]
    classifier: Any = training.classifier()
    classifier(TASK.train.X)
    assert classifier.module.seen[-1] == (16, 8)
    plain = Sides(3, 3)
    train(plain, RecipeOptions(batch_size=16), 2)
    assert set(plain.seen) == {(16, 8)}


def test_the_share_is_of_the_whole_training() -> None:
    sides = [side_after(at, 0.5) for at in (0, 0.24, 0.25, 0.49, 0.5, 1)]
    assert sides == [0.625, 0.625, 0.875, 0.875, 1, 1]
    assert side_after(0, 0) == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_those_of_pillow(channels: int) -> None:
    X = torch.randint(0, 256, (2, channels, 32, 24), dtype=torch.uint8)
    small = resized(X, 0.625)
    assert small.dtype == torch.uint8
    assert small.shape == (2, channels, 20, 15)
    for image, found in zip(X.flatten(0, 1), small.flatten(0, 1), strict=True):
        wanted = Image.fromarray(image.numpy()).resize((15, 20), Image.Resampling.BILINEAR)
        assert (found.int() - torch.tensor(np.array(wanted, np.int32))).abs().max() <= 1


def test_memory_keeps_its_order_and_a_pixel_stays() -> None:
    X = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    assert resized(X, 0.875).is_contiguous()
    last = resized(X.contiguous(memory_format=torch.channels_last), 0.875)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert resized(X[:, :, :1, :1], 0.625).shape == (2, 3, 1, 1)


def test_compilation_meets_all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []

    def compiled(module: Sides, *_: object) -> Sides:
        module.seen = seen
        return module

    def warm_up(_: nn.Module, losses: list[Callable[[], Tensor]], __: str) -> None:
        for loss in losses:
            loss()

    monkeypatch.setattr("ddl_bench.training.loop.compiled", compiled)
    monkeypatch.setattr("ddl_bench.training.loop.warm_up", warm_up)
    budget = Budget(epochs=10)
    SGDTraining(Sides(3, 3), TASK, budget, SMALL.recipe(), compile="default")
    assert sorted(seen) == [(10, 5), (14, 7), (16, 8)]


@pytest.mark.parametrize("side", [24, 10])  # becomes 15 first; 6, then 9
def test_both_smaller_sizes_are_tried_before_training(side: int) -> None:
    budget = Budget(epochs=1)
    SGDTraining(Halves(), images(32, (3, 16, 16)), budget, SMALL.recipe())
    with pytest.raises(UserError, match="smaller images"):
        SGDTraining(Halves(), images(32, (3, side, side)), budget, SMALL.recipe())


def test_a_network_that_fails_anyway_is_not_blamed_on_the_size() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        train(OneSize((3, 9, 9), 3), SMALL, 1)


def test_a_network_for_one_size_is_named_in_one_line() -> None:
    with pytest.raises(UserError, match=r"recipe\.progressive_resizing=0\.6: the network") as error:
        train(OneSize((3, 16, 8), 3), SMALL, 2)
    assert "\n" not in str(error.value)
    train(OneSize((3, 16, 8), 3), RecipeOptions(batch_size=16), 1)
