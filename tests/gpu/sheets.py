"""CIFAR-10 from packed sheets, and generated images where there are none."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ddl_bench.api import Split, Task
from ddl_bench.data import ImageSet
from ddl_bench.data.splits import Splits, split

ROWS, COLUMNS, SIDE = 25, 40, 32  # of a sheet: tiles down and across, pixels of a tile
CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


def read(folder: Path, *, limit: int | None = None) -> ImageSet:
    """CIFAR-10 from FOLDER/train_NN.webp, test_NN.webp, train_labels.npy and test_labels.npy.

    A sheet holds 1,000 images, row by row, in the official order. Those are read whose sheets are
    there, from the first on, of each split at most `limit`. Raises ValueError where a sheet is
    missing between others, or has another size.
    """
    parts = [_split(folder, name, limit) for name in ("train", "test")]
    (x_train, y_train), (x_test, y_test) = parts
    return ImageSet(x_train, y_train, x_test, y_test, CLASSES, mirror=True)


def _split(
    folder: Path, name: str, limit: int | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    paths = sorted(folder.glob(f"{name}_[0-9][0-9].webp"))
    if not paths:
        raise ValueError(f"{folder}: no sheet {name}_00.webp")
    if limit is not None:
        paths = paths[: -(-limit // (ROWS * COLUMNS))]
    for at, path in enumerate(paths):
        if path.name != f"{name}_{at:02d}.webp":
            raise ValueError(f"{folder}: {name}_{at:02d}.webp is missing, {path.name} is there")
    images = np.concatenate([_sheet(path) for path in paths])[:limit]
    labels = np.load(folder / f"{name}_labels.npy").astype(np.int64)[: len(images)]
    if len(labels) != len(images):
        raise ValueError(f"{folder}: {len(images)} {name} images, {len(labels)} labels")
    return images, labels


def _sheet(path: Path) -> NDArray[np.uint8]:
    """(1000, 3, 32, 32)."""
    with Image.open(path) as image:
        grid = np.asarray(image.convert("RGB"))
    if grid.shape != (ROWS * SIDE, COLUMNS * SIDE, 3):
        raise ValueError(f"{path}: {grid.shape}; expected {(ROWS * SIDE, COLUMNS * SIDE, 3)}")
    tiles = grid.reshape(ROWS, SIDE, COLUMNS, SIDE, 3).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(tiles.reshape(-1, 3, SIDE, SIDE))


def generated(n_train: int, n_test: int, *, side: int = SIDE, seed: int = 0) -> ImageSet:
    """Noisy images of ten smooth patterns, which every network tells apart."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(40, 200, (10, 3, 4, 4))
    patterns = coarse.repeat(side // 4, 2).repeat(side // 4, 3)

    def draw(n: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        y = np.arange(n) % 10
        noise = rng.standard_normal((n, 3, side, side), np.float32)
        return np.clip(patterns[y] + 40 * noise, 0, 255).astype(np.uint8), y

    return ImageSet(*draw(n_train), *draw(n_test), CLASSES, mirror=True)


def task_of(images: ImageSet, name: str) -> tuple[Task, Split]:
    """All training images, none to validate, and the test images."""
    task, test, _ = split(name, images, Splits(val_fraction=0))
    return task, test
