"""Find data sets: a published one by its name, a user's own images by their path."""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from typing import TypeAlias

from ddl_bench.data import ImageSet, folder, npz
from ddl_bench.errors import UserError, nearest
from ddl_bench.files import brief, explained, name_of, user_path

# A function of (data_dir, download). The first line of its docstring says what the data set is.
Loader: TypeAlias = Callable[[Path, bool], ImageSet]

# The MD5 of each file by name, in the order in which they are read; None: torchvision's table.
Md5s: TypeAlias = Mapping[str, str] | None


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
            images = datasets[spec](data_dir or default_data_dir(), download)
        else:
            images = own_images(spec, datasets)
    except UserError as error:
        raise UserError(f"{name}: {str(error).removeprefix(f'{name}: ')}") from None
    if mirror is None:
        return images
    return replace(images, mirror=mirror)


def own_images(spec: str, datasets: Mapping[str, Loader]) -> ImageSet:
    """Read a user's own images, from an .npz file or a folder of class folders."""
    path = user_path(spec)
    with explained(spec):
        if path.is_dir():
            return folder.read(path)
        if path.exists() and path.suffix == ".npz":
            return npz.read(path)
    choice = nearest(spec[:LONGEST_NAME], datasets)
    raise UserError(f"no such data set, file or folder; {choice}, FILE.npz, FOLDER")


LONGEST_NAME = 100  # characters of a name that the nearest valid one is looked for


def published(
    data_dir: Path, file: str, md5: str, fetch: Callable[[], object], *, download: bool
) -> Path:
    """Return the path of a published file once its MD5 is right, fetching it where allowed.

    Parameters
    ----------
    data_dir, file
        Folder of the data sets, and the path of the file in it.
    md5
        The expected MD5 of the file, in hex.
    fetch
        Downloads the file.
    download
        Whether `fetch` may be called.

    Raises
    ------
    UserError
        For a file that is missing, damaged or cannot be downloaded, with what to do.
    """
    path = data_dir / file
    exists = path.is_file()
    if exists and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == md5:
        return path
    if not download:
        fault = "is damaged: its MD5 is wrong" if exists else "not found"
        raise UserError(
            f"{path} {fault}; "
            f"fetch it by --download, or say by --data-dir which folder holds {file}"
        )
    try:
        fetch()
    except (OSError, RuntimeError, HTTPException) as error:
        raise UserError(f"download of {file} to {data_dir} failed: {brief(error)}") from None
    return published(data_dir, file, md5, fetch, download=False)
