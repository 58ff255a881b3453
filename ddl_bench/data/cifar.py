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
    """CIFAR-10: colour 32x32 images of animals and vehicles, 50,000 to train, 10,000 to test."""
    return _read("CIFAR10", b"labels", data_dir, download, md5s)


def cifar100(data_dir: Path, download: bool = False, *, md5s: Md5s = None) -> ImageSet:
    """CIFAR-100: colour 32x32 images of a hundred kinds, 50,000 to train, 10,000 to test."""
    return _read("CIFAR100", b"fine_labels", data_dir, download, md5s)


def _read(kind: str, labels: bytes, data_dir: Path, download: bool, md5s: Md5s) -> ImageSet:
    """Read the data set that torchvision knows as `kind`, its labels under `labels`."""
    from torchvision import datasets

    known: Any = getattr(datasets, kind)
    # The first entry is the archive; the others lie in it: training batches, test batch, names.
    (_, archive_md5), *files = (md5s or _torchvision_md5s(known)).items()
    fetch = partial(
        datasets.utils.download_and_extract_archive, known.url, data_dir, md5=archive_md5
    )
    contents = []
    for file, md5 in files:
        name = f"{known.base_folder}/{file}"
        contents.append(_unpickle(published(data_dir, name, md5, fetch, download=download)))
    *train, test, meta = contents
    x_train = np.concatenate([batch[b"data"] for batch in train])
    return ImageSet(
        x_train.reshape(-1, 3, 32, 32),
        np.concatenate([batch[labels] for batch in train]),
        test[b"data"].reshape(-1, 3, 32, 32),
        np.array(test[labels]),
        class_names=tuple(name.decode() for name in meta[known.meta["key"].encode()]),
        mirror=True,
    )


def _torchvision_md5s(known: Any) -> dict[str, str]:
    """Return the MD5 of the archive, and of each file in it, by name."""
    archive = (known.filename, known.tgz_md5)
    names = (known.meta["filename"], known.meta["md5"])
    return dict([archive, *known.train_list, *known.test_list, names])


def _unpickle(path: Path) -> Any:
    return _Unpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()


class _Unpickler(pickle.Unpickler):
    """Reads files pickled by Python 2: only an array and its type can be made, nothing called."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "numpy.core.multiarray" and name == "_reconstruct":
            return np.ndarray.__new__
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise UserError(f"its pickle asks for {module}.{name}, which no CIFAR file needs")
