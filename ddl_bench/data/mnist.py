"""MNIST and FashionMNIST, in torchvision's files."""

import gzip
from functools import partial
from pathlib import Path

import numpy as np

from ddl_bench.data import ImageSet
from ddl_bench.data.sources import Md5s, published


def mnist(data_dir: Path, download: bool = False, *, md5s: Md5s = None) -> ImageSet:
    """MNIST: grey 28x28 images of handwritten digits, 60,000 to train, 10,000 to test."""
    return _read("MNIST", data_dir, download, md5s, mirror=False)


def fashion_mnist(data_dir: Path, download: bool = False, *, md5s: Md5s = None) -> ImageSet:
    """FashionMNIST: grey 28x28 images of clothes, 60,000 to train, 10,000 to test."""
    return _read("FashionMNIST", data_dir, download, md5s, mirror=True)


def _read(kind: str, data_dir: Path, download: bool, md5s: Md5s, mirror: bool) -> ImageSet:
    from torchvision import datasets

    known, arrays = getattr(datasets, kind), []
    for file, md5 in (md5s or dict(known.resources)).items():
        fetch = partial(
            datasets.utils.download_url, known.mirrors[0] + file, data_dir / kind / "raw", md5=md5
        )
        path = published(data_dir, f"{kind}/raw/{file}", md5, fetch if download else None)
        raw = gzip.decompress(
            path.read_bytes()
        )  # IDX: 0, 0, type (8: uint8), number of axes, the size of each, values
        shape = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
        arrays.append(np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape))
    x_train, y_train, x_test, y_test = arrays
    names = tuple(name.split(" - ")[0] for name in known.classes)
    return ImageSet(
        x_train[:, None], y_train.astype(int), x_test[:, None], y_test.astype(int), names, mirror
    )
