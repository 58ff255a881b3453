"""scikit-learn's handwritten digits."""

from importlib.metadata import distribution
from pathlib import Path

import numpy as np

from ddl_bench.data import ImageSet
from ddl_bench.data.splits import cut


def digits(data_dir: Path, download: bool = False) -> ImageSet:
    """1,797 grey 8x8 images of handwritten digits, which come with scikit-learn: 1,437 to train, 360 to test.

    Levels 0..16 become round(255 / 16 * level). The cut is random but fixed; the same people wrote both parts.
    """
    # importing sklearn.datasets instead takes a second
    file = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    table = np.loadtxt(str(file), delimiter=",", dtype=np.int64)
    x, y = np.rint(table[:, :-1] * 255 / 16).astype(np.uint8).reshape(-1, 1, 8, 8), table[:, -1]
    train, test = cut(y, 360)
    note = "the same people wrote the training and the test digits"
    return ImageSet(x[train], y[train], x[test], y[test], tuple("0123456789"), note=note)
