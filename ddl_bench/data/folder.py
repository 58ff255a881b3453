"""A user's own images in a folder of class folders."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ddl_bench.data import ImageSet
from ddl_bench.data.splits import cut
from ddl_bench.errors import UserError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
TEST_SHARE = 1 / 5  # of the images, where the folder has no test part


def read(root: Path) -> ImageSet:
    """Read root/train/CLASS/* and root/test/CLASS/*, or else root/CLASS/*.

    Without a test folder, a fifth of the images, always the same, is the test part. Classes and
    files come in the order of their names. The first image decides whether all are read as grey
    or as RGB.

    Raises
    ------
    UserError
        For a folder without images, a file that is no image, or images of unequal size.
    """
    has_test = (root / "train").is_dir() and (root / "test").is_dir()
    if has_test:
        train_paths = _list_images(root / "train")
        paths = train_paths + _list_images(root / "test")
    else:
        paths = _list_images(root)
    names, y = np.unique([path.parent.name for path in paths], return_inverse=True)
    if has_test:
        train, test = np.split(np.arange(len(y)), [len(train_paths)])
    else:
        train, test = cut(y, round(len(y) * TEST_SHARE))
    unseen = np.setdiff1d(y[test], y[train])
    if len(unseen):
        raise UserError(f"test has the class {names[unseen[0]]}, which train lacks")
    x = pixels(paths)
    return ImageSet(x[train], y[train], x[test], y[test], class_names=tuple(map(str, names)))


def _list_images(root: Path) -> list[Path]:
    """List the images in the class folders of `root`, sorted; hidden files are passed over."""
    paths = sorted(path for path in root.glob("[!.]*/[!.]*") if path.suffix.lower() in SUFFIXES)
    folders = {folder for folder in root.glob("[!.]*") if folder.is_dir()}
    empty = folders - {path.parent for path in paths}
    if empty or not paths:
        where = min(empty, default=root)
        raise UserError(f"no image in {where}; expected CLASS/* with {', '.join(SUFFIXES)}")
    return paths


def pixels(paths: list[Path], mode: str | None = None) -> NDArray[np.uint8]:
    """Read image files of one size as an array (n_images, channels, height, width).

    Parameters
    ----------
    paths
        Image files of 8 bits a channel; transparency is dropped.
    mode
        "L" for grey or "RGB" for colour; None for whichever the first image is.

    Raises
    ------
    UserError
        That names a file which is no such image, or has another size than the first.
    """
    images = list[NDArray[np.uint8]]()
    for path in paths:
        try:
            with Image.open(path) as image:
                if mode is None:
                    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
                if image.mode.startswith(("I", "F")):
                    raise ValueError(f"mode {image.mode}; expected 8 bits a channel")
                array = np.asarray(image.convert(mode)).reshape(image.height, image.width, -1)
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(f"{path} cannot be read as an image: {error}") from None
        images.append(array)
        if array.shape != images[0].shape:
            size = "{1}x{0}".format(*array.shape)
            expected = "{1}x{0}".format(*images[0].shape)
            raise UserError(f"{path} is {size}; expected {expected} like {paths[0]}")
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))
