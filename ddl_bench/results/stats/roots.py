"""Roots of increasing functions, element by element."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import elementwise


def root(
    function: Callable[..., np.ndarray], least: np.ndarray, most: np.ndarray, *constants: np.ndarray
) -> np.ndarray:
    """Return x with function(x, *constants) = 0 between `least` and `most`, each element alone.

    Parameters
    ----------
    function
        Of arrays of one shape.
    least, most
        Where it is below zero, and above.
    constants
        Further arguments, of the shape of `least` and `most`.
    """
    tolerances: Any = {"xrtol": 1e-6, "fatol": 1e-7}
    found = elementwise.find_root(function, (least, most), args=constants, tolerances=tolerances)
    return np.asarray(found.x)
