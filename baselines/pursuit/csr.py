"""Sparse codes on their way into one CSR array."""

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from baselines.pursuit.compiled import Array


class SparseRows(NamedTuple):
    """The non-zeros of the codes of consecutive samples.

    Parameters
    ----------
    data, indices
        Values and atoms of the non-zeros, one sample after the other.
    counts
        How many non-zeros each sample has, shape (n_rows,).
    """

    data: Array
    indices: Array
    counts: Array


def join_rows(parts: list[SparseRows], shape: tuple[int, int], dtype: Any) -> csr_array:
    """Join the codes of consecutive blocks of samples into one CSR array."""
    if not parts:
        return csr_array(shape, dtype=dtype)
    data, indices, counts = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return csr_array((data, indices, np.append(0, np.cumsum(counts))), shape=shape)
