"""Image data sets as uint8 arrays: one file for each data set, one rule for splits."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddl_bench.errors import UserError
from ddl_bench.files import printable


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Hold a data set as published: a training part and a test part, which may be empty.

    Parameters
    ----------
    x_train, x_test
        Images, shape (n_images, channels, height, width), uint8, C-contiguous.
    y_train, y_test
        Labels, shape (n_images,), int64, counted from 0.
    class_names
        The name of each label.
    mirror
        Whether an image and its mirror image have the same class.
    note
        What a reader of its scores should know; shown by `ddl-bench datasets NAME`.
    dictionary
        Shape (n_atoms, channels, height, width), where the images are made of known atoms.
        No method sees it.

    Raises
    ------
    UserError
        For an array of another type or shape, a label without a class name, or a class name that
        is not UTF-8, is empty, has several lines or is that of another class.
    """

    x_train: NDArray[np.uint8]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.uint8]
    y_test: NDArray[np.int64]
    class_names: tuple[str, ...]
    mirror: bool = False
    note: str = ""
    dictionary: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        _check("train", self.x_train, self.y_train, len(self.class_names))
        _check("test", self.x_test, self.y_test, len(self.class_names))
        if not self.x_train.size or self.x_train.shape[1:] != self.x_test.shape[1:]:
            raise UserError(
                f"x_train is {self.x_train.shape}, x_test {self.x_test.shape}; "
                "expected images of one size"
            )
        for name in self.class_names:
            if printable(name) != name:
                raise UserError(f"the class name {printable(name)} is not UTF-8")
            if not name.strip() or not name.isprintable():
                raise UserError(f"the class name {name!r} is empty, or has more than one line")
        repeated = [name for name, n in Counter(self.class_names).items() if n > 1]
        if repeated:
            raise UserError(f"two classes have the name {repeated[0]!r}")


def _check(part: str, x: NDArray[np.uint8], y: NDArray[np.int64], n_classes: int) -> None:
    """Raise UserError for images or labels that no method could use."""
    if x.dtype != np.uint8 or x.ndim != 4 or not x.flags.c_contiguous:
        raise UserError(
            f"x_{part} is {x.dtype} {x.shape}; "
            "expected C-contiguous uint8 (n, channels, height, width)"
        )
    if y.dtype != np.int64 or y.shape != x.shape[:1]:
        raise UserError(f"y_{part} is {y.dtype} {y.shape}; expected int64 ({len(x)},)")
    if len(y) and not 0 <= y.min() <= y.max() < n_classes:
        raise UserError(f"y_{part} has {y.min()} to {y.max()}; expected 0 to {n_classes - 1}")


def fingerprint(images: ImageSet) -> str:
    """Compute the SHA-256, in hex, of everything in a data set that can change a result.

    That is the arrays, their shapes, the class names and `mirror`; the note does not count.
    """
    arrays: list[NDArray[Any]] = [images.x_train, images.y_train, images.x_test, images.y_test]
    if images.dictionary is not None:
        arrays.append(images.dictionary)
    shapes = [array.shape for array in arrays]
    digest = hashlib.sha256(repr((images.class_names, images.mirror, shapes)).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
