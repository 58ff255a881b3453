"""CIFAR-10 and CIFAR-100, in torchvision's files."""

import io
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ddl_bench.data import ImageSet
from ddl_bench.data.sources import Md5s, published
from ddl_bench.errors import UserError


def cifar10(data_dir: Path, download: bool = False, *, md5s: Md5s = None) -> ImageSet:
    """CIFAR-10: colour 32x32 images of ten kinds of animals and vehicles, 50,000 to train, 10,000 to test."""
    return _read("CIFAR10", b"labels", data_dir, download, md5s)


def cifar100(data_dir: Path, download: bool = False, *, md5s: Md5s = None) -> ImageSet:
    """CIFAR-100: colour 32x32 images of a hundred kinds of things, 50,000 to train, 10,000 to test."""
    return _read("CIFAR100", b"fine_labels", data_dir, download, md5s)


def _read(kind: str, labels: bytes, data_dir: Path, download: bool, md5s: Md5s) -> ImageSet:
    from torchvision import datasets

    known: Any = getattr(datasets, kind)
    names = known.meta["filename"], known.meta["md5"]
    table = md5s or dict(
        [(known.filename, known.tgz_md5), *known.train_list, *known.test_list, names]
    )
    (_, archive_md5), *files = table.items()
    fetch = partial(
        datasets.utils.download_and_extract_archive, known.url, data_dir, md5=archive_md5
    )
    paths = [
        published(data_dir, f"{known.base_folder}/{file}", md5, fetch if download else None)
        for file, md5 in files
    ]
    *train, test, meta = [
        _Unpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load() for path in paths
    ]
    x_train = np.concatenate([batch[b"data"] for batch in train]).reshape(-1, 3, 32, 32)
    y_train = np.concatenate([batch[labels] for batch in train])
    class_names = tuple(name.decode() for name in meta[known.meta["key"].encode()])
    x_test, y_test = test[b"data"].reshape(-1, 3, 32, 32), np.array(test[labels])
    return ImageSet(x_train, y_train, x_test, y_test, class_names, mirror=True)


class _Unpickler(pickle.Unpickler):
    """Knows what the files, which Python 2 pickled, need: an array and its type. Nothing else can be called."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "numpy.core.multiarray" and name == "_reconstruct":
            return np.ndarray.__new__
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise UserError(f"its pickle asks for {module}.{name}, which no CIFAR file needs")
