"""SVHN, in torchvision's files."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from ddl_bench.data import ImageSet
from ddl_bench.data.download import RemoteFile
from ddl_bench.data.published import read_published

# The sums are those of tensorflow_datasets, and of other projects that keep their own.
SVHN = (
    RemoteFile(
        name="train_32x32.mat",
        sha256="435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        n_bytes=182_040_794,
        urls=("https://ufldl.stanford.edu/housenumbers/train_32x32.mat",),
    ),
    RemoteFile(
        name="test_32x32.mat",
        sha256="cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
        n_bytes=64_275_384,
        urls=("https://ufldl.stanford.edu/housenumbers/test_32x32.mat",),
    ),
)


def svhn(
    data_dir: Path, download: bool = False, *, files: tuple[RemoteFile, ...] = SVHN
) -> ImageSet:
    """SVHN: colour 32x32 images of digits on house numbers, 73,257 to train, 26,032 to test."""
    from scipy.io import loadmat

    arrays = []
    for file in files:
        content: Any = io.BytesIO(read_published(data_dir, file, download=download))
        stored = loadmat(content)
        arrays.append(np.ascontiguousarray(stored["X"].transpose(3, 2, 0, 1)))
        # The files label the digit 0 as 10.
        arrays.append(stored["y"].ravel().astype(np.int64) % 10)
    x_train, y_train, x_test, y_test = arrays
    return ImageSet(x_train, y_train, x_test, y_test, class_names=tuple("0123456789"))
