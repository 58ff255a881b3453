"""Cut a published data set into training, validation and test images, the same for every seed."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import StrictFloat, StrictInt

from ddl_bench.api import Split, Task
from ddl_bench.data import ImageSet
from ddl_bench.errors import UserError
from ddl_bench.options import check_options

VALIDATION_STREAM = 1  # of random numbers: validation images are drawn apart from limits


@dataclass(frozen=True)
class Splits:
    """Say what is cut from a data set, in this order.

    Parameters
    ----------
    test_from_train
        So many of the last training images become the test split. The data set's own test images
        are then scored apart.
    limit_train, limit_test
        Keep at most so many images, with the shares of the classes as they are; None for all.
    val_fraction
        Share of the training images left by then that is held out for validation.

    Raises
    ------
    ValueError
        For a value out of range, or of another type.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    test_from_train: StrictInt = 0
    val_fraction: StrictFloat = 0.1
    limit_train: StrictInt | None = None
    limit_test: StrictInt | None = None

    def __post_init__(self) -> None:
        check_options(self)
        for field, least in (("test_from_train", 0), ("limit_train", 1), ("limit_test", 1)):
            value = getattr(self, field)
            if value is not None and value < least:
                raise ValueError(f"{field}={value}: must be at least {least}")
        if not 0 <= self.val_fraction < 1:
            raise ValueError(f"val_fraction={self.val_fraction}: must be at least 0 and below 1")


class Cut(NamedTuple):
    """Indices of the samples that stay and of those cut off, each sorted."""

    rest: NDArray[np.intp]
    cut_off: NDArray[np.intp]


def cut(y: NDArray[np.int64], n: int, stream: int = 0) -> Cut:
    """Cut off `n` samples at random, with the shares of the classes as they are.

    Of a class, count * (n_samples - n) / n_samples samples stay, rounded up or down so that the sum
    is exact (largest remainders first), but at least one where that is possible. Only raw output of
    PCG64 is used, which is the same on every machine.

    Parameters
    ----------
    y
        Labels, shape (n_samples,), counted from 0.
    n
        How many samples to cut off.
    stream
        Seed of the random order.
    """
    counts = np.bincount(y)
    n_rest = len(y) - n
    quota = counts * n_rest // max(len(y), 1)
    remainders = counts * n_rest - quota * len(y)
    largest_first = np.argsort(-remainders, kind="stable")
    quota[largest_first[: n_rest - quota.sum()]] += 1
    if n_rest >= np.count_nonzero(counts):
        for absent in np.flatnonzero((counts > 0) & (quota == 0)):
            quota[np.argmax(quota)] -= 1
            quota[absent] += 1
    by_class = np.lexsort((np.random.PCG64(stream).random_raw(len(y)), y))
    first_of_class = np.cumsum(counts) - counts
    rank_in_class = np.arange(len(y)) - np.repeat(first_of_class, counts)
    stays = rank_in_class < np.repeat(quota, counts)
    return Cut(rest=np.sort(by_class[stays]), cut_off=np.sort(by_class[~stays]))


class TrainingPlaces(NamedTuple):
    """Indices of the training and validation images in a data set's training part."""

    train: NDArray[np.intp]
    val: NDArray[np.intp]


class Tests(NamedTuple):
    """Images that no method sees: the test split, and the published test images where apart."""

    test: Split
    official: Split | None


class Parts(NamedTuple):
    """Images of one run: the task, its test split, and the published test images where apart."""

    task: Task
    test: Split
    official: Split | None


def split(name: str, images: ImageSet, splits: Splits) -> Parts:
    """Cut a data set into the task, which methods see, and the test images, which none sees.

    `official` is the data set's own test part where `test_from_train` replaced it, else None.

    Raises
    ------
    UserError
        Where no test image, or no training image of some class, is left.
    """
    task = task_of(name, images, splits)
    return Parts(task, *tests_of(name, images, splits))


def task_of(name: str, images: ImageSet, splits: Splits) -> Task:
    """Cut the training and validation images out of a data set, see `split`."""
    places = training_places(name, images, splits)
    return Task(
        name=name,
        class_names=images.class_names,
        train=_tensors(images.x_train, images.y_train, places.train),
        val=_tensors(images.x_train, images.y_train, places.val),
        mirror=images.mirror,
    )


def training_places(name: str, images: ImageSet, splits: Splits) -> TrainingPlaces:
    """Say which images `task_of` takes, without the second that importing torch takes.

    Raises UserError where no training image of some class is left.
    """
    moved = splits.test_from_train
    y_train, y_moved = np.split(images.y_train, [_n_kept(images, splits)])
    lost = np.setdiff1d(y_moved, y_train)
    if len(lost):
        raise UserError(
            f"{name}: test_from_train={moved} of {len(images.y_train)} images "
            f"leaves no training image of class {images.class_names[lost[0]]!r}"
        )
    available = _at_most(splits.limit_train, y_train)
    classes = np.unique(y_train)
    lost = np.setdiff1d(classes, y_train[available])
    if len(lost):
        raise UserError(
            f"{name}: limit_train={splits.limit_train} leaves no training image of"
            f" {len(lost)} of {len(classes)} classes; expected more images"
        )
    # Every class keeps an image to train on.
    y = y_train[available]
    n_spare = len(y) - len(np.unique(y))
    n_val = min(round(splits.val_fraction * len(y)), n_spare)
    rest, held_out = cut(y, n_val, stream=VALIDATION_STREAM)
    return TrainingPlaces(train=available[rest], val=available[held_out])


def tests_of(name: str, images: ImageSet, splits: Splits) -> Tests:
    """Cut the test images out of a data set, see `split`."""
    check_tests(name, images, splits)
    published = _tensors(images.x_test, images.y_test, _at_most(splits.limit_test, images.y_test))
    if not splits.test_from_train:
        return Tests(published, None)
    n_kept = _n_kept(images, splits)
    x = images.x_train[n_kept:]
    y = images.y_train[n_kept:]
    test = _tensors(x, y, _at_most(splits.limit_test, y))
    return Tests(test, published if len(published) else None)


def check_tests(name: str, images: ImageSet, splits: Splits) -> None:
    """Raise UserError where no test image is left."""
    if not (splits.test_from_train or len(images.y_test)):
        raise UserError(
            f"{name}: no test images; take some of the training images by test_from_train"
        )


def _n_kept(images: ImageSet, splits: Splits) -> int:
    """Count the images of the training part that are not moved to the test split."""
    return max(len(images.y_train) - splits.test_from_train, 0)


def _at_most(limit: int | None, y: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the indices of at most `limit` images."""
    n_surplus = 0
    if limit is not None:
        n_surplus = max(len(y) - limit, 0)
    return cut(y, n_surplus).rest


def _tensors(x: NDArray[np.uint8], y: NDArray[np.int64], places: NDArray[np.intp]) -> Split:
    """Copy images and their labels into tensors."""
    import torch  # here, so that a track is checked without the second that importing takes

    return Split(X=torch.from_numpy(x[places]), y=torch.from_numpy(y[places]))
