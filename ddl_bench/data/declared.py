"""What is known of published data sets without their files."""

from typing import NamedTuple

import numpy as np

from ddl_bench.data import ImageSet


class Declared(NamedTuple):
    """Sizes of a published data set.

    Parameters
    ----------
    n_train, n_test, n_classes
        Images to train and to test, and classes.
    shape
        Of an image: (channels, height, width).
    n_bytes
        Of the files that a download fetches.
    """

    n_train: int
    n_test: int
    n_classes: int
    shape: tuple[int, int, int]
    n_bytes: int

    def stand_in(self) -> ImageSet:
        """Return a set of as many images of a single pixel, with classes of equal size."""

        def images(n: int) -> np.ndarray:
            return np.zeros((n, 1, 1, 1), np.uint8)

        names = tuple(map(str, range(self.n_classes)))
        y_train = np.arange(self.n_train) % self.n_classes
        y_test = np.arange(self.n_test) % self.n_classes
        return ImageSet(images(self.n_train), y_train, images(self.n_test), y_test, names)


DECLARED = {
    "mnist": Declared(60_000, 10_000, 10, (1, 28, 28), 11_594_722),
    "fashion-mnist": Declared(60_000, 10_000, 10, (1, 28, 28), 30_878_645),
    "svhn": Declared(73_257, 26_032, 10, (3, 32, 32), 246_316_178),
    "cifar10": Declared(50_000, 10_000, 10, (3, 32, 32), 170_498_071),
    "cifar100": Declared(50_000, 10_000, 100, (3, 32, 32), 169_001_437),
}
UNREAD = "not downloaded"  # in place of the hash of images that are not at hand
