"""A user's own images in a folder of class folders."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ddl_bench.data import ImageSet
from ddl_bench.data.splits import cut
from ddl_bench.errors import UserError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def read(root: Path) -> ImageSet:
    """The images root/train/CLASS/* and root/test/CLASS/*; or root/CLASS/*, of which a fixed fifth is the test part.

    Classes and files come in the order of their names. The first image decides whether all are read as grey or as RGB.
    """
    is_cut = (root / "train").is_dir() and (root / "test").is_dir()
    paths, tests = (
        (_listing(root / "train"), _listing(root / "test")) if is_cut else (_listing(root), [])
    )
    names, y = np.unique([path.parent.name for path in paths + tests], return_inverse=True)
    train, test = np.split(np.arange(len(y)), [len(paths)]) if is_cut else cut(y, round(len(y) / 5))
    if len(unseen := np.setdiff1d(y[test], y[train])):
        raise UserError(f"test has the class {names[unseen[0]]}, which train lacks")
    x = pixels(paths + tests)
    return ImageSet(x[train], y[train], x[test], y[test], tuple(map(str, names)))


def _listing(root: Path) -> list[Path]:
    paths = sorted(path for path in root.glob("[!.]*/[!.]*") if path.suffix.lower() in SUFFIXES)
    empty = {folder for folder in root.glob("[!.]*") if folder.is_dir()} - {
        path.parent for path in paths
    }
    if empty or not paths:
        raise UserError(
            f"no image in {min(empty, default=root)}; expected CLASS/* with {', '.join(SUFFIXES)}"
        )
    return paths


def pixels(paths: list[Path], mode: str = "") -> NDArray[np.uint8]:
    """Image files of one size as (n, channels, height, width); transparency is dropped.

    `mode`: "L" (grey) or "RGB"; "": as the first image is. Raises UserError that names the file.
    """
    images = list[NDArray[np.uint8]]()
    for path in paths:
        try:
            with Image.open(path) as image:
                mode = mode or ("L" if image.mode in ("1", "L", "LA") else "RGB")
                if image.mode.startswith(("I", "F")):
                    raise ValueError(f"mode {image.mode}; expected 8 bits a channel")
                images.append(
                    np.asarray(image.convert(mode)).reshape(image.height, image.width, -1)
                )
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(f"{path} cannot be read as an image: {error}") from None
        if images[-1].shape != images[0].shape:
            (h, w, _), (height, width, _) = images[-1].shape, images[0].shape
            raise UserError(f"{path} is {w}x{h}; expected {width}x{height} like {paths[0]}")
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))
