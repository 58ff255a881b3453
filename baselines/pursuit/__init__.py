"""Sparse codes of samples in a dictionary: X ~ codes @ D.T."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from baselines.pursuit.objective import Problem, certify


@dataclass(frozen=True)
class Encoding:
    """Codes and how they were reached: `codes` (n_samples, n_atoms), dense or, on request, a CSR array.

    `method`: the pursuit that ran. `n_iter`: mean steps of a sample. `kkt`, `gap`: largest KKT residual, and total duality gap
    over total objective; computed when first asked for, NaN for a greedy pursuit, which minimises no such objective.
    """

    codes: Any
    method: str
    n_iter: float
    problem: Problem | None = field(default=None, repr=False)

    @cached_property
    def _certificate(self) -> tuple[float, float]:
        return certify(self.problem, self.codes) if self.problem else (float("nan"), float("nan"))

    @property
    def gap(self) -> float:
        return self._certificate[0]

    @property
    def kkt(self) -> float:
        return self._certificate[1]


def encode(
    X: Any,
    D: Any,
    *,
    lmbd: Any = None,
    n_nonzero: int | None = None,
    alpha: float = 0.0,
    positive: bool = False,
    linear: Any = None,
    method: str = "auto",
    tol: float = 1e-6,
    max_iter: int = 1000,
    n_threads: int | None = None,
    sparse: bool = False,
    warm: Any = None,
    gram: Any = None,
    certified: bool = True,
) -> Encoding:
    """Minimise 0.5*norm(x - D c)**2 + sum(lmbd*abs(c)) + 0.5*alpha*norm(c)**2 + linear.c for each row x of `X`."""
    X, D = _checked(X), _checked(D)
    if (lmbd is None) == (n_nonzero is None):
        raise ValueError("encode: give either lmbd or n_nonzero")
    if n_nonzero is not None:
        from baselines.pursuit.omp import omp

        codes = omp(X, D, n_nonzero, recursive=method == "ormp", n_threads=n_threads)
        return Encoding(codes if sparse else codes.toarray(), "omp", n_nonzero)
    lam = np.broadcast_to(np.asarray(lmbd, X.dtype), (D.shape[1],)).copy()
    problem = Problem(X, D, lam, alpha, positive, linear, tol, max_iter, n_threads, warm, gram)
    from baselines.pursuit.coordinate_descent import coordinate_descent

    codes, n_iter = coordinate_descent(problem)
    return Encoding(codes if sparse else codes.toarray(), "coordinate_descent", n_iter, problem)


def encode_blocks(blocks: Iterable[Any], D: Any, **options: Any) -> Iterator[Encoding]:
    """Encode one block of samples after the other; the options are those of `encode`."""
    for X in blocks:
        yield encode(X, D, **options)


def _checked(A: Any) -> Any:
    A = np.asarray(A)
    return np.ascontiguousarray(A, np.float32 if A.dtype == np.float32 else np.float64)
