"""Compute sparse codes: one function for all pursuits, and what it returns."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from baselines.pursuit.objective import Problem, certify, check

METHODS = ("auto", "coordinate_descent", "fista", "ista", "omp", "ormp")


@dataclass(frozen=True)
class Encoding:
    """Codes and how they were reached: `codes` (n_samples, n_atoms), dense or, on request, a CSR array.

    `method`: the pursuit that ran. `n_iter`: its mean number of steps on a sample. `gap`, `kkt`: total duality gap /
    total objective, and the largest KKT residual; computed, in double precision, when first asked for, and NaN for the
    greedy pursuits, which minimise no such objective.
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
) -> Encoding:
    """Minimise 0.5*norm(x - D c)**2 + sum(lmbd*abs(c)) + 0.5*alpha*norm(c)**2 + linear.c over c for each row x of `X`.

    X: samples (n_samples, n_features); D: dictionary (n_features, n_atoms); arrays or tensors.
    lmbd: penalty, a number or one for each atom (n_atoms,).
    n_nonzero: instead of `lmbd`, how many non-zeros each code may have; without alpha, positive and linear.
    alpha: elastic-net term. positive: only codes >= 0. linear: linear term (n_atoms,) or (n_samples, n_atoms); where it
    exceeds lmbd and alpha is 0, dependent atoms make the problem unbounded, and `kkt` tells.
    method: "coordinate_descent", the fastest on a CPU; "fista", also for other devices; "ista"; "omp"; "ormp", which
    takes the atom that lowers the error most after the refit; "auto" chooses, and the result says what ran.
    tol: total duality gap / total objective to stop at. In float32 rounding ends the descent at about 1e-6, or at 1e-4
    where lmbd is small; `gap` tells, and float64 goes on. max_iter: rounds at most.
    n_threads: all cores by default. sparse: codes as CSR. warm: codes to start from. gram: D'D where it is known.
    """
    data, D, convert = _matrices(X, D)
    gram = convert(gram)
    greedy = n_nonzero is not None
    if greedy == (lmbd is not None):
        raise ValueError("encode: give either lmbd or n_nonzero")
    if method not in METHODS or (method != "auto" and greedy != (method in ("omp", "ormp"))):
        kind = "n_nonzero" if greedy else "lmbd"
        raise ValueError(f"encode: no method {method!r} for {kind}; methods: {', '.join(METHODS)}")
    if n_nonzero is not None:
        if positive or alpha or linear is not None or not isinstance(data, np.ndarray):
            raise ValueError(
                "encode: n_nonzero takes no positive, alpha or linear, and data on the CPU"
            )
        check(data, D, gram, n_threads)
        codes = _pursue(data, D, n_nonzero, method == "ormp", n_threads, gram)
        return Encoding(
            _present(codes, X, sparse), method.replace("auto", "omp"), codes.nnz / max(len(data), 1)
        )
    penalty = convert(np.full(D.shape[1], float(lmbd)) if np.ndim(lmbd) == 0 else lmbd)
    problem = Problem(
        data, D, penalty, alpha, positive, convert(linear), tol, max_iter, n_threads, warm, gram
    )
    return _minimise(problem, method, X, sparse)


def encode_blocks(blocks: Iterable[Any], D: Any, **options: Any) -> Iterator[Encoding]:
    """Encode one block of samples after the other, so that the codes of millions need not exist at once.

    The options are those of `encode`.
    """
    for X in blocks:
        if (
            options.get("gram") is None
            and isinstance(X, np.ndarray)
            and X.dtype == D.dtype in (np.float32, np.float64)
        ):
            options["gram"] = D.T @ D
        yield encode(X, D, **options)


def _matrices(X: Any, D: Any) -> tuple[Any, Any, Callable[[Any], Any]]:
    """Both in one floating type, as arrays, or as tensors where X is on another device; and what converts others."""
    for name, A in (("X", X), ("D", D)):
        if not (isinstance(A, np.ndarray) or hasattr(A, "detach")):
            raise ValueError(
                f"encode: {name} is a {type(A).__name__}; expected an array or a tensor"
            )
        if "complex" in str(A.dtype) or str(A.dtype) == "object":
            raise ValueError(f"encode: {name} has numbers of type {A.dtype}; expected real ones")
    kinds = {str(A.dtype).rpartition(".")[2] for A in (X, D)}
    kind = "float32" if kinds <= {"float32", "float16", "bfloat16"} else "float64"

    def convert(A: Any) -> Any:
        if A is None:
            return None
        if getattr(X, "device", "cpu") == "cpu" or X.device.type == "cpu":
            A = (
                A.detach().cpu().to(getattr(__import__("torch"), kind)).numpy()
                if hasattr(A, "detach")
                else A
            )
            return np.ascontiguousarray(A, kind)
        import torch

        return torch.as_tensor(A, dtype=getattr(torch, kind), device=X.device).detach().contiguous()

    return convert(X), convert(D), convert


def _pursue(
    X: Any, D: Any, n_nonzero: int, recursive: bool, n_threads: int | None, gram: Any
) -> csr_array:
    if n_nonzero < 0:
        raise ValueError(f"encode: n_nonzero={n_nonzero} must be 0 or more")
    from baselines.pursuit.omp import omp

    return omp(X, D, n_nonzero, recursive=recursive, n_threads=n_threads, gram=gram)


def _minimise(problem: Problem, method: str, X: Any, sparse: bool) -> Encoding:
    on_cpu = isinstance(problem.X, np.ndarray)
    method = method if method != "auto" else "coordinate_descent" if on_cpu else "fista"
    if method == "coordinate_descent":
        from baselines.pursuit.coordinate_descent import coordinate_descent as solve

        if not on_cpu:
            raise ValueError(
                f"encode: coordinate_descent runs on the CPU, X is on {problem.X.device}; use fista"
            )
    elif method == "fista":
        from baselines.pursuit.fista import fista as solve
    else:
        from baselines.pursuit.ista import ista as solve
    codes, n_iter = solve(problem)
    return Encoding(_present(codes, X, sparse), method, n_iter, problem)


def _present(codes: Any, X: Any, sparse: bool) -> Any:
    """Codes in the form asked for: CSR, or dense as X is, array or tensor."""
    if sparse:
        return (
            codes
            if isinstance(codes, csr_array)
            else csr_array(codes.cpu().numpy() if hasattr(codes, "cpu") else codes)
        )
    codes = codes.toarray() if isinstance(codes, csr_array) else codes
    if isinstance(codes, np.ndarray) and hasattr(X, "detach"):
        import torch

        return torch.from_numpy(codes)
    return codes
