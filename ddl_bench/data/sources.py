"""A data set by its name, a user's own images by their path."""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from typing import TypeAlias

from ddl_bench.data import ImageSet, folder, npz
from ddl_bench.errors import UserError, nearest

Loader: TypeAlias = Callable[
    [Path, bool], ImageSet
]  # of (data_dir, download); its docstring begins with what it is
Md5s: TypeAlias = (
    Mapping[str, str] | None
)  # of files, in the order they are read in; None: torchvision's table


def load(
    spec: str,
    *,
    datasets: Mapping[str, Loader],
    data_dir: Path | None = None,
    download: bool = False,
    mirror: bool | None = None,
) -> ImageSet:
    """The images that `spec` names: a key of `datasets`, a path that ends in .npz, or a folder of class folders.

    `data_dir` (None: ~/.cache/ddl-bench) holds the files of published data sets; nothing is fetched without `download`.
    `mirror` replaces the data set's own setting. Raises UserError whose message begins with `spec`.
    """
    path = Path(spec).expanduser()
    try:
        if spec in datasets:
            images = datasets[spec](data_dir or Path.home() / ".cache/ddl-bench", download)
        elif path.is_dir():
            images = folder.read(path)
        elif path.is_file() and path.suffix == ".npz":
            images = npz.read(path)
        else:
            raise UserError(
                f"no such data set, file or folder; {nearest(spec, datasets)}, FILE.npz, FOLDER"
            )
    except UserError as error:
        raise UserError(f"{spec}: {error}") from None
    return images if mirror is None else replace(images, mirror=mirror)


def published(data_dir: Path, file: str, md5: str, fetch: Callable[[], object] | None) -> Path:
    """The path of `data_dir / file` once its MD5 is right; otherwise `fetch` is called, unless it is None.

    Raises UserError that says what was looked for, where, and how to mend it.
    """
    path = data_dir / file
    if path.is_file() and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == md5:
        return path
    if fetch is None:
        fault = "is damaged: its MD5 is wrong" if path.is_file() else "not found"
        raise UserError(
            f"{path} {fault}; fetch it by --download, or say by --data-dir which folder holds {file}"
        )
    try:
        fetch()
    except (OSError, RuntimeError, HTTPException) as error:
        raise UserError(f"download of {file} to {data_dir} failed: {error}") from None
    return published(data_dir, file, md5, fetch=None)


def default_data_dir() -> Path:
    """Where data sets are looked for: the environment variable DDL_BENCH_DATA, or a folder in the user's cache."""
    return Path(os.environ.get("DDL_BENCH_DATA", "~/.cache/ddl-bench")).expanduser()
