"""SVHN, in torchvision's files."""

from functools import partial
from pathlib import Path

import numpy as np

from ddl_bench.data import ImageSet
from ddl_bench.data.sources import Md5s, published


def svhn(data_dir: Path, download: bool = False, *, md5s: Md5s = None) -> ImageSet:
    """SVHN: colour 32x32 images of digits on house numbers, 73,257 to train, 26,032 to test."""
    from scipy.io import loadmat
    from torchvision.datasets import SVHN, utils

    arrays = []
    for part in ("train", "test"):
        url, file, md5 = SVHN.split_list[part]
        if md5s:
            md5 = md5s[file]
        fetch = partial(utils.download_url, url, data_dir, md5=md5)
        stored = loadmat(published(data_dir, file, md5, fetch, download=download))
        arrays.append(np.ascontiguousarray(stored["X"].transpose(3, 2, 0, 1)))
        # The files label the digit 0 as 10.
        arrays.append(stored["y"].ravel().astype(np.int64) % 10)
    x_train, y_train, x_test, y_test = arrays
    return ImageSet(x_train, y_train, x_test, y_test, class_names=tuple("0123456789"))
