"""From a published data set to training, validation and test images, by rules that are the same for every seed."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ddl_bench.api import Split, Task
from ddl_bench.data import ImageSet
from ddl_bench.errors import UserError


@dataclass(frozen=True)
class Splits:
    """What is cut, in this order; raises ValueError.

    `test_from_train`: so many of the last training images become the test split; the data set's own test images are
    then reported beside it. `limit_train`, `limit_test`: at most so many images, class shares kept.
    `val_fraction`: share of the training images left by then.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    test_from_train: int = 0
    val_fraction: float = 0.1
    limit_train: int | None = None
    limit_test: int | None = None

    def __post_init__(self) -> None:
        for field, least in (("test_from_train", 0), ("limit_train", 1), ("limit_test", 1)):
            if (value := getattr(self, field)) is not None and value < least:
                raise ValueError(f"Splits({field}={value}): must be at least {least}")
        if not 0 <= self.val_fraction < 1:
            raise ValueError(
                f"Splits(val_fraction={self.val_fraction}): must be at least 0 and below 1"
            )


def cut(y: NDArray[np.int64], n: int, stream: int = 0) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Cut `n` of the labels `y`, (n_samples,), off: sorted indices of those kept and of those cut.

    A class keeps count * (n_samples - n) / n_samples, rounded up or down to the exact sum (largest remainders first),
    but at least one image where that is possible. Only raw PCG64 output is used: the same on every machine.
    """
    counts, left = np.bincount(y), len(y) - n
    take = counts * left // max(len(y), 1)
    take[np.argsort(take * len(y) - counts * left, kind="stable")[: left - take.sum()]] += 1
    if left >= np.count_nonzero(counts):
        for absent in np.flatnonzero(counts * (take == 0)):
            take[[np.argmax(take), absent]] += [-1, 1]
    by_class = np.lexsort((np.random.PCG64(stream).random_raw(len(y)), y))
    rank = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = rank < np.repeat(take, counts)
    return np.sort(by_class[kept]), np.sort(by_class[~kept])


def split(name: str, images: ImageSet, splits: Splits) -> tuple[Task, Split, Split | None]:
    """The task, its test split, and the data set's own test images where `test_from_train` replaced them.

    Raises UserError where no test image, or no training image of some class, is left.
    """
    x, y, moved = images.x_train, images.y_train, splits.test_from_train
    n = max(len(y) - moved, 0)
    if len(lost := np.setdiff1d(y, y[:n])):
        leaves = f"leaves no training image of class {images.class_names[lost[0]]!r}"
        raise UserError(f"{name}: test_from_train={moved} of {len(y)} images {leaves}")
    own = _at_most(splits.limit_test, images.x_test, images.y_test)
    test = _at_most(splits.limit_test, x[n:], y[n:]) if moved else own
    if not len(test):
        raise UserError(
            f"{name}: no test images; take some of the training images by test_from_train"
        )
    train = _at_most(splits.limit_train, x[:n], y[:n])
    spare = len(train) - len(
        set(train.y.tolist())
    )  # so that every class keeps an image to train on
    parts = cut(train.y.numpy(), min(round(splits.val_fraction * len(train)), spare), stream=1)
    left, val = (Split(X=train.X[index], y=train.y[index]) for index in parts)
    task = Task(
        name=name, class_names=images.class_names, train=left, val=val, mirror=images.mirror
    )
    return task, test, own if moved and len(own) else None


def _at_most(limit: int | None, x: NDArray[np.uint8], y: NDArray[np.int64]) -> Split:
    import torch  # here, so that a track file is checked without the second that importing torch takes

    kept, _ = cut(y, max(len(y) - limit, 0) if limit else 0)
    return Split(X=torch.from_numpy(x[kept]), y=torch.from_numpy(y[kept]))
