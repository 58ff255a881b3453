"""Small tasks of three classes, with images of any shape, on which rules are tried."""

import dataclasses
import re
from typing import TypeAlias

import torch

from ddl_bench.api import Split, Task
from ddl_bench.data.declared import DECLARED
from ddl_bench.data.sources import default_data_dir, load
from ddl_bench.registry import datasets

Shape: TypeAlias = tuple[int, int, int]

SHAPES: tuple[Shape, ...] = ((1, 8, 8), (3, 16, 16), (1, 28, 28), (3, 32, 32))


@dataclasses.dataclass(frozen=True)
class Toy:
    """A small task of three classes, and the test images that belong to it."""

    task: Task
    test: Split


def toy_task(
    channels: int = 1, side: int = 8, n: int = 96, val: int = 24, seed: int = 0
) -> tuple[Task, Split]:
    """Make a task of three classes that a nearest-mean classifier solves, and its test split.

    Parameters
    ----------
    channels, side
        Of the images.
    n, val
        Training and validation images.
    """
    toy = make_toy((channels, side, side), n=n, val=val, seed=seed)
    return toy.task, toy.test


def make_toy(shape: Shape, *, n: int = 96, val: int = 24, seed: int = 0) -> Toy:
    """Make a task as `toy_task` does, of images of any shape (channels, height, width)."""
    channels, *sides = shape
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(3, channels, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=tuple(sides), mode="bilinear")
    patterns = smooth * 160 + 40

    def draw(count: int) -> Split:
        y = torch.arange(count) % 3
        noise = 20 * torch.randn(count, *shape, generator=generator)
        return Split(X=(patterns[y] + noise).clamp(0, 255).to(torch.uint8), y=y)

    task = Task(name="toy", class_names=("a", "b", "c"), train=draw(n), val=draw(val))
    return Toy(task, draw(30))


def shapes_like(text: str | None) -> tuple[Shape, ...]:
    """Return the shape of a data set's images as `shape_like` does; of None, those of `SHAPES`."""
    return (shape_like(text),) if text else SHAPES


def shape_like(text: str) -> Shape:
    """Return the shape (channels, height, width) of a data set's images.

    Parameters
    ----------
    text
        A data set's name, an .npz file, a folder of class folders, or a shape such as 3x32x32.

    Raises
    ------
    UserError
        Where there is no such data set.
    """
    given = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)", text)
    if given:
        channels, height, width = map(int, given.groups())
        return channels, height, width
    if text in DECLARED:
        return DECLARED[text].shape
    images = load(text, data_dir=default_data_dir(), datasets=datasets())
    channels, height, width = images.x_train.shape[1:]
    return channels, height, width
