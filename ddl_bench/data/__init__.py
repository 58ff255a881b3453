"""Image data sets as uint8 arrays: one file a data set, one rule for splits."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddl_bench.errors import UserError


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A data set as published: a training part and a test part, which may be empty. Raises UserError.

    `x_*`: (n, channels, height, width), uint8, C-contiguous. `y_*`: (n,), int64, from 0.
    `mirror`: an image and its mirror image have the same class. `note`: what a reader of its scores should know.
    `dictionary`: (n_atoms, channels, height, width), where the images are made of known atoms; no method sees it.
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
        for part, x, y in (
            ("train", self.x_train, self.y_train),
            ("test", self.x_test, self.y_test),
        ):
            if x.dtype != np.uint8 or x.ndim != 4 or not x.flags.c_contiguous:
                raise UserError(
                    f"x_{part} is {x.dtype} {x.shape}; expected C-contiguous uint8 (n, channels, height, width)"
                )
            if y.dtype != np.int64 or y.shape != x.shape[:1]:
                raise UserError(f"y_{part} is {y.dtype} {y.shape}; expected int64 ({len(x)},)")
            if len(y) and not 0 <= y.min() <= y.max() < len(self.class_names):
                raise UserError(
                    f"y_{part} has {y.min()} to {y.max()}; expected 0 to {len(self.class_names) - 1}"
                )
        if not self.x_train.size or self.x_train.shape[1:] != self.x_test.shape[1:]:
            raise UserError(
                f"x_train is {self.x_train.shape}, x_test {self.x_test.shape}; expected images of one size"
            )


def fingerprint(images: ImageSet) -> str:
    """SHA-256, in hex, of all that can change a result: the arrays, their shapes, the class names and `mirror`."""
    arrays: list[NDArray[Any]] = [images.x_train, images.y_train, images.x_test, images.y_test]
    if images.dictionary is not None:
        arrays.append(images.dictionary)
    digest = hashlib.sha256(
        repr((images.class_names, images.mirror, [array.shape for array in arrays])).encode()
    )
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
