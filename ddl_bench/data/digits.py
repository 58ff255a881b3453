"""scikit-learn's handwritten digits."""

from importlib.metadata import distribution
from pathlib import Path

import numpy as np

from ddl_bench.data import ImageSet
from ddl_bench.data.splits import cut

N_TEST = 360


def digits(data_dir: Path, download: bool = False) -> ImageSet:
    """1,797 grey 8x8 images of handwritten digits from scikit-learn: 1,437 to train, 360 to test.

    The levels 0 to 16 become round(255 / 16 * level). The cut is random but always the same.
    Nothing is downloaded: the file comes with scikit-learn.
    """
    # Importing sklearn.datasets takes a second; the file alone can be read at once.
    file = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    table = np.loadtxt(str(file), delimiter=",", dtype=np.int64)
    x = np.rint(table[:, :-1] * 255 / 16).astype(np.uint8).reshape(-1, 1, 8, 8)
    y = table[:, -1]
    train, test = cut(y, N_TEST)
    return ImageSet(
        x[train],
        y[train],
        x[test],
        y[test],
        class_names=tuple("0123456789"),
        note="the same people wrote the training and the test digits",
    )
