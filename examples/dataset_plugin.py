"""A data set: ddl-bench run --plugin examples/dataset_plugin.py --datasets bars"""

from pathlib import Path

import numpy as np

from ddl_bench.data import ImageSet

SIDE = 8


def bars(data_dir: Path, download: bool) -> ImageSet:
    """One bright bar in noise, in the left or the right half: 8x8, 2 classes, 300 images."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 100, (300, 1, SIDE, SIDE))
    y = np.arange(len(X)) % 2
    columns = rng.integers(0, SIDE // 2, len(X)) + y * SIDE // 2
    X[np.arange(len(X)), 0, :, columns] += 120
    X = X.astype(np.uint8)
    return ImageSet(
        x_train=X[:200],
        y_train=y[:200],
        x_test=X[200:],
        y_test=y[200:],
        class_names=("left", "right"),
    )


DATASETS = {"bars": bars}
