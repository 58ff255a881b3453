"""Find data sets: a published one by its name, a user's own images by their path."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from ddl_bench.data import ImageSet, folder, npz
from ddl_bench.errors import UserError, nearest
from ddl_bench.files import brief, explained, name_of, user_path

# A function of (data_dir, download). The first line of its docstring says what the data set is.
Loader: TypeAlias = Callable[[Path, bool], ImageSet]


def default_data_dir() -> Path:
    """Return the folder of published data sets: $DDL_BENCH_DATA, or else ~/.cache/ddl-bench."""
    return user_path(os.environ.get("DDL_BENCH_DATA", "~/.cache/ddl-bench"))


def load(
    spec: str,
    *,
    datasets: Mapping[str, Loader],
    data_dir: Path | None = None,
    download: bool = False,
    mirror: bool | None = None,
) -> ImageSet:
    """Load the images that `spec` names.

    Parameters
    ----------
    spec
        A key of `datasets`, the path of an .npz file, or a folder of class folders.
    datasets
        The known data sets by name.
    data_dir
        Folder with the files of published data sets; None for `default_data_dir()`.
    download
        Whether a missing or damaged file may be fetched.
    mirror
        Replaces the data set's own setting, if given.

    Raises
    ------
    UserError
        For an unknown name, a missing or a damaged file; the message begins with `spec`.
    """
    name = name_of(spec)
    try:
        if spec in datasets:
            images = loaded(datasets[spec], data_dir or default_data_dir(), download=download)
        else:
            images = own_images(spec, datasets)
    except UserError as error:
        raise UserError(f"{name}: {str(error).removeprefix(f'{name}: ')}") from None
    if mirror is None:
        return images
    return replace(images, mirror=mirror)


def loaded(loader: Loader, folder: Path, *, download: bool) -> ImageSet:
    """Call the loader of a data set, which may be a plugin's.

    Raises UserError for whatever goes wrong in it, but for failures of the file system.
    """
    try:
        images: object = loader(folder, download)
    except (UserError, OSError):
        raise
    except Exception as error:
        raise UserError(f"cannot be loaded: {type(error).__name__}: {brief(error)}") from None
    if not isinstance(images, ImageSet):
        raise UserError(f"its loader returned {type(images).__name__}; expected an ImageSet")
    return images


def own_images(spec: str, datasets: Mapping[str, Loader]) -> ImageSet:
    """Read a user's own images, from an .npz file or a folder of class folders."""
    path = user_path(spec)
    with explained(spec):
        if path.is_dir():
            return folder.read(path)
        if path.exists() and path.suffix.lower() == ".npz":
            return npz.read(path)
        if path.exists():
            raise UserError("expected an .npz file, or a folder with a folder for each class")
    choice = nearest(spec[:LONGEST_NAME], datasets)
    raise UserError(f"no such data set, file or folder; {choice}, FILE.npz, FOLDER")


LONGEST_NAME = 100  # characters of a name that the nearest valid one is looked for
