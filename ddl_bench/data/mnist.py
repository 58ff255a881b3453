"""MNIST and FashionMNIST, in torchvision's files."""

import gzip
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddl_bench.data import ImageSet
from ddl_bench.data.sources import Md5s, published


def mnist(data_dir: Path, download: bool = False, *, md5s: Md5s = None) -> ImageSet:
    """MNIST: grey 28x28 images of handwritten digits, 60,000 to train, 10,000 to test."""
    return _read("MNIST", data_dir, download, md5s, mirror=False)


def fashion_mnist(data_dir: Path, download: bool = False, *, md5s: Md5s = None) -> ImageSet:
    """FashionMNIST: grey 28x28 images of clothes, 60,000 to train, 10,000 to test."""
    return _read("FashionMNIST", data_dir, download, md5s, mirror=True)


def _read(kind: str, data_dir: Path, download: bool, md5s: Md5s, *, mirror: bool) -> ImageSet:
    """Read the four files of a data set that torchvision knows as `kind`."""
    from torchvision import datasets

    known: Any = getattr(datasets, kind)
    arrays = []
    for file, md5 in (md5s or dict(known.resources)).items():
        url = known.mirrors[0] + file
        fetch = partial(datasets.utils.download_url, url, data_dir / kind / "raw", md5=md5)
        path = published(data_dir, f"{kind}/raw/{file}", md5, fetch, download=download)
        arrays.append(_parse_idx(gzip.decompress(path.read_bytes())))
    x_train, y_train, x_test, y_test = arrays
    return ImageSet(
        x_train[:, None],
        y_train.astype(int),
        x_test[:, None],
        y_test.astype(int),
        class_names=tuple(name.split(" - ")[0] for name in known.classes),
        mirror=mirror,
    )


def _parse_idx(raw: bytes) -> NDArray[np.uint8]:
    """Parse IDX: two zeros, the type (8 for uint8), the number of axes, their sizes, the values."""
    n_axes = raw[3]
    shape = np.frombuffer(raw, ">i4", count=n_axes, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * n_axes).reshape(shape)
