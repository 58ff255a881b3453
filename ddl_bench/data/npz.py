"""A user's own images in one .npz file."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddl_bench.data import ImageSet
from ddl_bench.errors import UserError
from ddl_bench.files import name_of, read_arrays, write_atomically

KEYS = ("x_train", "y_train", "x_test", "y_test")
MOST_CHANNELS = 4  # more on the last axis, and no more on the second: the axes are in another order


def read(path: Path) -> ImageSet:
    """Read the arrays of an .npz file; nothing is unpickled.

    ======================  ==================================================================
    array                   content
    ======================  ==================================================================
    `x_train`, `x_test`     uint8, (n, height, width) or (n, height, width, channels)
    `y_train`, `y_test`     (n,), any integers, or text; in increasing order they become 0, 1...
    `class_names`           optional, (n_classes,): names of the labels in that order
    `mirror`                optional, true or false: an image and its mirror image are one class
    ======================  ==================================================================

    Raises
    ------
    UserError
        For a file that is no .npz, or an array that is missing or of another type or shape.
    """
    try:
        arrays = read_arrays(path, (*KEYS, "class_names", "mirror"))
    except UserError as error:  # whoever asked for the file names it
        raise UserError(str(error).removeprefix(f"{name_of(path)}: ")) from None
    for key in KEYS:
        if key not in arrays:
            raise UserError(f"has no array {key}; expected {', '.join(KEYS)}")
    are_text = arrays["y_train"].dtype.kind == "U"
    for part in ("train", "test"):
        arrays[f"x_{part}"] = _channels_first(f"x_{part}", arrays[f"x_{part}"])
        _check_labels(f"y_{part}", arrays[f"y_{part}"], are_text)
    values, y_train = np.unique(arrays["y_train"], return_inverse=True)
    unseen = np.setdiff1d(arrays["y_test"], values)
    if len(unseen):
        raise UserError(f"y_test has the label {unseen[0]}, which y_train lacks")
    names = arrays.get("class_names", values)
    if names.dtype.kind not in "Uiu":
        raise UserError(f"class_names is {names.dtype}; expected texts")
    if names.shape != values.shape:
        raise UserError(
            f"class_names is {names.shape}; expected one name for each of the {len(values)} labels"
        )
    return ImageSet(
        arrays["x_train"],
        y_train,
        arrays["x_test"],
        np.searchsorted(values, arrays["y_test"]),
        class_names=tuple(map(str, names)),
        mirror=_truth("mirror", arrays.get("mirror", np.array(False))),
    )


def write(path: Path, images: ImageSet) -> None:
    """Write a data set as `read` takes it: four arrays, channels last, labels as numbers from 0.

    Class names and `mirror` are left out: whoever uses the file says FILE.npz[mirror=true]. The
    same images give the same bytes.

    Raises
    ------
    UserError
        For images that are made of known atoms, which such a file cannot hold, and for a class
        with test images alone, which `read` refuses.
    """
    unseen = np.setdiff1d(images.y_test, images.y_train)
    if len(unseen):
        name = images.class_names[unseen[0]]
        raise UserError(f"no training image of the class {name} is left; take more of them")
    if images.dictionary is not None:
        raise UserError("its images are made of known atoms, which an .npz file does not hold")
    arrays: dict[str, NDArray[Any]] = {}
    for part, x, y in (
        ("train", images.x_train, images.y_train),
        ("test", images.x_test, images.y_test),
    ):
        is_grey = x.shape[1] == 1
        arrays[f"x_{part}"] = x[:, 0] if is_grey else x.transpose(0, 2, 3, 1)
        arrays[f"y_{part}"] = y
    ordered: dict[str, Any] = {key: np.ascontiguousarray(arrays[key]) for key in KEYS}
    buffer = io.BytesIO()
    np.savez(buffer, **ordered)
    write_atomically(path, buffer.getvalue())


def _truth(key: str, stored: NDArray[Any]) -> bool:
    """Read true or false, also as 1 or 0; a text or a fraction would count as true unnoticed."""
    if stored.size != 1 or stored.dtype.kind not in "biu" or stored.item() not in (0, 1):
        text = f"{key} is {stored.dtype} {stored.tolist() if stored.size == 1 else stored.shape}"
        raise UserError(f"{text}; expected true or false")
    return bool(stored.item())


def _channels_first(key: str, x: NDArray[Any]) -> NDArray[np.uint8]:
    """Turn images (n, height, width[, channels]) into (n, channels, height, width)."""
    if x.ndim == 3:
        x = x[..., None]
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[1] <= MOST_CHANNELS < x.shape[3]:
        text = f"{key} is {x.dtype} {x.shape}; expected uint8 (n, height, width[, channels])"
        if x.ndim == 4 and x.shape[1] <= MOST_CHANNELS < x.shape[3]:
            text += ", channels last: x.transpose(0, 2, 3, 1)"
        raise UserError(text)
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def _check_labels(key: str, y: NDArray[Any], are_text: bool) -> None:
    allowed = "U" if are_text else "iu"
    if y.dtype.kind not in allowed or y.ndim != 1:
        raise UserError(
            f"{key} is {y.dtype} {y.shape}; expected (n,) integers, or text in both parts"
        )
