"""What dictionary learning returns, where it starts, and which atoms it replaces."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]


@dataclass(frozen=True)
class Learned:
    """A dictionary under way: `D` (n_features, n_atoms), unit-norm columns, after `n_iter` iterations.

    `history`: objective per sample after each iteration. `memory`: arrays that a learner needs to go on from here.
    """

    D: Floats
    n_iter: int = 0
    history: tuple[float, ...] = ()
    memory: Mapping[str, Floats] = field(default_factory=dict)


def first_atoms(X: Floats, n_atoms: int, rng: np.random.Generator) -> Floats:
    """`n_atoms` samples, drawn without repetition while there are enough, of unit norm: (n_features, n_atoms)."""
    D = np.array(X[rng.choice(len(X), n_atoms, replace=len(X) < n_atoms)].T, order="C")
    noise = 1e-3 * rng.standard_normal(D.shape)
    D += (noise * (np.linalg.norm(D, axis=0) == 0)).astype(D.dtype)
    return np.asarray(D / np.linalg.norm(D, axis=0))
