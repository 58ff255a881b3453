"""CIFAR-10 and CIFAR-100, in torchvision's files."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from ddl_bench.data import ImageSet
from ddl_bench.data.download import RemoteFile
from ddl_bench.data.published import RemoteArchive, read_unpacked
from ddl_bench.errors import UserError

MIRRORS = ("https://www.cs.toronto.edu/~kriz/", "https://dataset.bj.bcebos.com/cifar/")

# Files are listed in the order in which they are read: to train, to test, the names of the classes.
# The sums of the archives are those of Keras, those of the files agree in independent projects.
CIFAR10 = RemoteArchive(
    file=RemoteFile(
        name="cifar-10-python.tar.gz",
        sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        n_bytes=170_498_071,
        urls=tuple(f"{mirror}cifar-10-python.tar.gz" for mirror in MIRRORS),
    ),
    sha256s={
        "cifar-10-batches-py/data_batch_1": (
            "54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd"
        ),
        "cifar-10-batches-py/data_batch_2": (
            "766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8"
        ),
        "cifar-10-batches-py/data_batch_3": (
            "0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9"
        ),
        "cifar-10-batches-py/data_batch_4": (
            "3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b"
        ),
        "cifar-10-batches-py/data_batch_5": (
            "d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154"
        ),
        "cifar-10-batches-py/test_batch": (
            "f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831"
        ),
        "cifar-10-batches-py/batches.meta": (
            "f962466ef690d46b226450fb9aadc74ba4bc64a76aa526b5827fe4bc5c7125cb"
        ),
    },
)
CIFAR100 = RemoteArchive(
    file=RemoteFile(
        name="cifar-100-python.tar.gz",
        sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        n_bytes=169_001_437,
        urls=tuple(f"{mirror}cifar-100-python.tar.gz" for mirror in MIRRORS),
    ),
    sha256s={
        "cifar-100-python/train": (
            "735e79b04f092ca3d2e6d07f368c0a7d70d48c48d28865950cc24454cf45129b"
        ),
        "cifar-100-python/test": (
            "4b67687d9933c4db8f0831104447f15b93774f4f464bd0516f0f0f2ac83b7864"
        ),
        "cifar-100-python/meta": (
            "a5d4786345c961390f865e93b434dbd5c6904ce880667e0cb888c97d449f28b9"
        ),
    },
)


def cifar10(
    data_dir: Path, download: bool = False, *, archive: RemoteArchive = CIFAR10
) -> ImageSet:
    """CIFAR-10: colour 32x32 images of animals and vehicles, 50,000 to train, 10,000 to test."""
    return _read(archive, "", data_dir, download)


def cifar100(
    data_dir: Path, download: bool = False, *, archive: RemoteArchive = CIFAR100
) -> ImageSet:
    """CIFAR-100: colour 32x32 images of a hundred kinds, 50,000 to train, 10,000 to test."""
    return _read(archive, "fine_", data_dir, download)


def _read(archive: RemoteArchive, prefix: str, data_dir: Path, download: bool) -> ImageSet:
    """Read the files of an archive, whose keys of labels begin with `prefix`."""
    contents = read_unpacked(data_dir, archive, download=download)
    *train, test, meta = map(_unpickle, contents)
    labels = f"{prefix}labels".encode()
    x_train = np.concatenate([batch[b"data"] for batch in train])
    return ImageSet(
        x_train.reshape(-1, 3, 32, 32),
        np.concatenate([batch[labels] for batch in train]),
        test[b"data"].reshape(-1, 3, 32, 32),
        np.array(test[labels]),
        class_names=tuple(name.decode() for name in meta[f"{prefix}label_names".encode()]),
        mirror=True,
    )


def _unpickle(content: bytes) -> Any:
    return _Unpickler(io.BytesIO(content), encoding="bytes").load()


class _Unpickler(pickle.Unpickler):
    """Reads files pickled by Python 2: only an array and its type can be made, nothing called."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "numpy.core.multiarray" and name == "_reconstruct":
            return np.ndarray.__new__
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise UserError(f"its pickle asks for {module}.{name}, which no CIFAR file needs")
