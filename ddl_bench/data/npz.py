"""A user's own images in one .npz file."""

from pathlib import Path
from zipfile import BadZipFile, ZipFile
from zlib import error as ZlibError

import numpy as np

from ddl_bench.data import ImageSet
from ddl_bench.errors import UserError

KEYS = ("x_train", "y_train", "x_test", "y_test")


def read(path: Path) -> ImageSet:
    """The arrays x_train, y_train, x_test, y_test of an .npz file; nothing is unpickled. Raises UserError.

    Images: uint8, (n, height, width) or (n, height, width, channels). Labels: (n,), any integers or text; in increasing
    order they become 0, 1, ... `class_names` (n_classes,) names them in that order; `mirror` is true or false.
    """
    try:
        with ZipFile(path), np.load(path, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in (*KEYS, "class_names", "mirror") if key in stored}
    except (OSError, EOFError, ValueError, BadZipFile, ZlibError) as error:
        raise UserError(f"cannot be read as an .npz file of plain arrays: {error}") from None
    for key in KEYS:
        if key not in arrays:
            raise UserError(f"has no array {key}; expected {', '.join(KEYS)}")
        array = arrays[key]
        if key.startswith("x"):
            array = array[..., None] if array.ndim == 3 else array
            if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1] <= 4 < array.shape[3]:
                raise UserError(
                    f"{key} is {array.dtype} {array.shape}; expected uint8 (n, height, width[, channels])"
                )
            arrays[key] = np.ascontiguousarray(array.transpose(0, 3, 1, 2))
        elif (
            array.dtype.kind not in ("U" if arrays["y_train"].dtype.kind == "U" else "iu")
            or array.ndim != 1
        ):
            raise UserError(
                f"{key} is {array.dtype} {array.shape}; expected (n,) integers, or text in both parts"
            )
    values, y_train = np.unique(arrays["y_train"], return_inverse=True)
    if len(unseen := np.setdiff1d(arrays["y_test"], values)):
        raise UserError(f"y_test has the label {unseen[0]}, which y_train lacks")
    names = arrays.get("class_names", values)
    if names.shape != values.shape:
        raise UserError(
            f"class_names is {names.shape}; expected one name for each of the {len(values)} labels"
        )
    y_test, mirror = (
        np.searchsorted(values, arrays["y_test"]),
        bool(np.all(arrays.get("mirror", False))),
    )
    return ImageSet(
        arrays["x_train"], y_train, arrays["x_test"], y_test, tuple(map(str, names)), mirror
    )
