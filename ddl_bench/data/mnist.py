"""MNIST and FashionMNIST, in torchvision's files."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddl_bench.data import ImageSet
from ddl_bench.data.download import RemoteFile
from ddl_bench.data.published import read_published


def idx_files(
    folder: str, mirrors: tuple[str, ...], sums: dict[str, tuple[str, int]]
) -> tuple[RemoteFile, ...]:
    """List the files of a data set, of their SHA-256 and sizes by name."""
    files = []
    for name, (sha256, n_bytes) in sums.items():
        urls = tuple(mirror + name for mirror in mirrors)
        file = RemoteFile(name=f"{folder}/{name}", sha256=sha256, n_bytes=n_bytes, urls=urls)
        files.append(file)
    return tuple(files)


# The sums of both are those of tensorflow_datasets, and of other projects that keep their own.
MNIST = idx_files(
    "MNIST/raw",
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    {
        "train-images-idx3-ubyte.gz": (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            9_912_422,
        ),
        "train-labels-idx1-ubyte.gz": (
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            28_881,
        ),
        "t10k-images-idx3-ubyte.gz": (
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            1_648_877,
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            4_542,
        ),
    },
)
FASHION_MNIST = idx_files(
    "FashionMNIST/raw",
    (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
    {
        "train-images-idx3-ubyte.gz": (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            26_421_880,
        ),
        "train-labels-idx1-ubyte.gz": (
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            29_515,
        ),
        "t10k-images-idx3-ubyte.gz": (
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            4_422_102,
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            5_148,
        ),
    },
)


def mnist(
    data_dir: Path, download: bool = False, *, files: tuple[RemoteFile, ...] = MNIST
) -> ImageSet:
    """MNIST: grey 28x28 images of handwritten digits, 60,000 to train, 10,000 to test."""
    return _read("MNIST", data_dir, download, files, mirror=False)


def fashion_mnist(
    data_dir: Path, download: bool = False, *, files: tuple[RemoteFile, ...] = FASHION_MNIST
) -> ImageSet:
    """FashionMNIST: grey 28x28 images of clothes, 60,000 to train, 10,000 to test."""
    return _read("FashionMNIST", data_dir, download, files, mirror=True)


def _read(
    kind: str, data_dir: Path, download: bool, files: tuple[RemoteFile, ...], *, mirror: bool
) -> ImageSet:
    """Read the four files of a data set, whose classes torchvision knows."""
    from torchvision import datasets

    known: Any = getattr(datasets, kind)
    arrays = []
    for file in files:
        content = read_published(data_dir, file, download=download)
        arrays.append(_parse_idx(gzip.decompress(content)))
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
