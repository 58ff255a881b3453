"""A user's own images in a folder of class folders."""

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ddl_bench.data import ImageSet
from ddl_bench.data.splits import cut
from ddl_bench.errors import UserError
from ddl_bench.files import (
    brief,
    check_size,
    explained,
    memory_limit,
    name_of,
    open_regular,
    printable,
)

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# Pillow would open a dozen more formats whatever the name says, and run Ghostscript for some.
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MOST_PIXELS = 64_000_000  # of an image
TEST_SHARE = 1 / 5  # of the images, where the folder has no test part


def read(root: Path) -> ImageSet:
    """Read root/train/CLASS/* and root/test/CLASS/*, or else root/CLASS/*.

    Without a test folder, a fifth of the images, always the same, is the test part. Classes and
    files come in the order of their names. All are read as RGB if one is in colour, else as grey.
    The note says how many files have other endings, and are passed over.

    Raises
    ------
    UserError
        For a folder without images, a file that is no image, or images of unequal size.
    """
    with explained(root):
        has_test = (root / "train").is_dir() and (root / "test").is_dir()
        if not has_test and is_of_classes(root / "train"):
            raise UserError(
                f"{root}: train/ has folders of classes, and there is no test/ beside it; name the"
                " folder of the test images test/"
            )
        folders = [root / "train", root / "test"] if has_test else [root]
        listed = [_list_images(folder) for folder in folders]
        note = note_on_others(folders)
    train_paths = listed[0]
    paths = [path for part in listed for path in part]
    names, y = np.unique([path.parent.name for path in paths], return_inverse=True)
    if has_test:
        train, test = np.split(np.arange(len(y)), [len(train_paths)])
    else:
        train, test = cut(y, round(len(y) * TEST_SHARE))
    unseen = np.setdiff1d(y[test], y[train])
    if len(unseen):
        raise UserError(f"test has the class {names[unseen[0]]}, which train lacks")
    x = pixels(paths)
    class_names = tuple(printable(str(name)) for name in names)
    return ImageSet(x[train], y[train], x[test], y[test], class_names, note=note)


def is_of_classes(folder: Path) -> bool:
    """Whether a folder has folders with images, and none of its own: it is no class itself."""
    if not folder.is_dir() or any(is_image(path) for path in folder.iterdir()):
        return False
    return any(is_image(path) for path in folder.glob("[!.]*/[!.]*"))


def is_image(path: Path) -> bool:
    """Whether a file has the ending of an image."""
    return path.suffix.lower() in SUFFIXES


def note_on_others(folders: Iterable[Path]) -> str:
    """Say how many files of class folders have other endings; empty where none has."""
    files = [path for folder in folders for path in folder.glob("[!.]*/[!.]*") if path.is_file()]
    others = [path.suffix.lower() or "none" for path in files if not is_image(path)]
    if not others:
        return ""
    endings = ", ".join(sorted(set(others)))
    noun = "file was" if len(others) == 1 else "files were"
    return f"{len(others)} {noun} passed over, whose endings are of no image: {endings}"


def _list_images(root: Path) -> list[Path]:
    """List the images in the class folders of `root`, sorted; hidden files are passed over."""
    paths = sorted(path for path in root.glob("[!.]*/[!.]*") if is_image(path))
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
        "L" for grey or "RGB" for colour; None for colour if one of them has some.

    Raises
    ------
    UserError
        That names a file which is no such image, or has another size than the first.
    """
    images = list[NDArray[np.uint8]]()
    limit = memory_limit()
    for path in paths:
        name = name_of(path)
        try:
            with silent(), open_regular(path) as file:
                array = _pixels_of(file, mode)
                if mode is None and images and array.shape[2] > images[0].shape[2]:
                    return pixels(paths, "RGB")
        except FileNotFoundError:
            raise UserError(f"{name}: no such file") from None
        except UnidentifiedImageError:  # its message has the address of the open file in memory
            formats = ", ".join(FORMATS)
            raise UserError(f"{name} cannot be read as an image: expected {formats}") from None
        except (Exception, MemoryError) as error:  # damage makes its decoders raise anything
            reason = brief(error).removeprefix(f"{name}: ")
            raise UserError(f"{name} cannot be read as an image: {reason}") from None
        images.append(array)
        if len(images) == 1:
            if array.shape[2] > 1:
                mode = "RGB"
            check_size("the images", len(paths) * array.nbytes, limit)
        if array.shape != images[0].shape:
            size = "{1}x{0}".format(*array.shape)
            expected = "{1}x{0}".format(*images[0].shape)
            raise UserError(f"{name} is {size}; expected {expected} like {name_of(paths[0])}")
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))


def _pixels_of(file: IO[bytes], mode: str | None) -> NDArray[np.uint8]:
    """Decode one image as an array (height, width, channels), once its size is known."""
    with Image.open(file, formats=FORMATS) as image:
        if image.width * image.height > MOST_PIXELS:
            pixels = f"{image.width}x{image.height}"
            raise ValueError(f"{pixels} pixels; at most {MOST_PIXELS:,} are read")
        if mode is None:
            mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"mode {image.mode}; expected 8 bits a channel")
        return np.asarray(image.convert(mode)).reshape(image.height, image.width, -1)


@contextmanager
def silent() -> Iterator[None]:
    """Keep Pillow and libtiff, which writes to standard error itself, from warning of an image.

    What is wrong with the image is said in the error, or does not matter.
    """
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
