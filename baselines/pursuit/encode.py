"""Compute sparse codes: one function for all pursuits, and what it returns."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from baselines.pursuit.objective import (
    ArrayOrTensor,
    Problem,
    certify,
    check,
    is_tensor,
)

GREEDY = ("omp", "ormp")
METHODS = ("auto", "coordinate_descent", "fista", "ista", *GREEDY)
SINGLE = {"float32", "float16", "bfloat16"}  # types that single precision holds


@dataclass(frozen=True)
class Encoding:
    """Holds codes and how they were reached.

    Parameters
    ----------
    codes
        Shape (n_samples, n_atoms), dense or, on request, a CSR array.
    method
        The pursuit that ran.
    n_iter
        Its mean number of steps for a sample.
    problem
        What was minimised; None for the greedy pursuits.
    """

    codes: Any
    method: str
    n_iter: float
    problem: Problem | None = field(default=None, repr=False)

    @cached_property
    def _certificate(self) -> tuple[float, float]:
        if self.problem is None:
            return float("nan"), float("nan")
        return certify(self.problem, self.codes)

    @property
    def gap(self) -> float:
        """Total duality gap / total objective, computed in double precision when first asked for.

        NaN for the greedy pursuits, which minimise no such objective.
        """
        return self._certificate[0]

    @property
    def kkt(self) -> float:
        """Largest violation of an optimality condition; computed, and NaN, as `gap` is."""
        return self._certificate[1]


def encode(
    X: ArrayOrTensor,
    D: ArrayOrTensor,
    *,
    lmbd: Any = None,
    n_nonzero: int | None = None,
    alpha: float = 0.0,
    positive: bool = False,
    linear: ArrayOrTensor | None = None,
    method: str = "auto",
    tol: float = 1e-6,
    max_iter: int = 1000,
    n_threads: int | None = None,
    sparse: bool = False,
    warm: Any = None,
    gram: ArrayOrTensor | None = None,
) -> Encoding:
    """Minimise the objective below over `codes`, or, with `n_nonzero`, its first term greedily.

    0.5*norm(X - codes @ D.T)**2 + sum(lmbd*abs(codes)) + 0.5*alpha*norm(codes)**2
    + sum(linear*codes)

    The samples, rows of `X`, are independent of each other.

    Parameters
    ----------
    X
        Samples, shape (n_samples, n_features): an array, or a tensor on any device.
    D
        Dictionary, shape (n_features, n_atoms): an array or a tensor.
    lmbd
        Penalty, 0 or more: a number, or one for each atom (n_atoms,).
    n_nonzero
        Instead of `lmbd`: how many non-zeros each code may have; without alpha, positive, linear.
    alpha
        Weight of the ridge (elastic net), 0 or more.
    positive
        Allow only codes >= 0.
    linear
        Linear term, shape (n_atoms,) or (n_samples, n_atoms). Where it exceeds `lmbd` and alpha is
        0, dependent atoms make the problem unbounded, and `kkt` shows it.
    method
        "coordinate_descent", the fastest on a CPU; "fista", also for other devices; "ista"; for
        `n_nonzero` "omp", or "ormp", which takes the atom that lowers the error most after the
        refit. "auto" chooses, and the result says what ran.
    tol
        Total duality gap / total objective to stop at. In float32 rounding ends the descent at
        about 1e-6, or at 1e-4 where lmbd is small; `gap` shows it, and float64 goes on.
    max_iter
        Rounds of coordinate descent, or iterations, at most.
    n_threads
        Threads on the CPU; None for all cores that this process may use.
    sparse
        Return the codes as a CSR array.
    warm
        Codes to start from, (n_samples, n_atoms), dense or CSR.
    gram
        D'D, shape (n_atoms, n_atoms), where it is known.

    Returns
    -------
    Encoding
        The codes, (n_samples, n_atoms), of the kind of `X` (array or tensor), in float32, or in
        float64 where X or D needs it; with their duality gap and KKT residual.

    Raises
    ------
    ValueError
        If shapes do not fit, entries are not finite, a number is out of its range, or the method
        does not solve the problem asked for.

    References
    ----------
    Friedman, Hastie and Tibshirani, Regularization paths for generalized linear models via
    coordinate descent, 2010.
    Beck and Teboulle, A fast iterative shrinkage-thresholding algorithm, 2009.
    Rubinstein, Zibulevsky and Elad, Efficient implementation of the K-SVD algorithm using batch
    orthogonal matching pursuit, 2008.

    Examples
    --------
    Atoms that are orthonormal make the codes a soft threshold of the sample:

    >>> import numpy as np
    >>> from baselines.pursuit import encode
    >>> found = encode(np.array([[3.0, -0.2, -1.0]]), np.eye(3), lmbd=0.5)
    >>> found.codes.tolist()
    [[2.5, 0.0, -0.5]]
    >>> found.method
    'coordinate_descent'
    >>> found.gap < 1e-6
    True
    >>> encode(np.array([[3.0, -0.2, -1.0]]), np.eye(3), n_nonzero=1).codes.tolist()
    [[3.0, 0.0, 0.0]]
    """
    conversion = _conversion(X, D)
    data = conversion.convert(X)
    atoms = conversion.convert(D)
    gram = conversion.convert(gram)
    greedy = n_nonzero is not None
    if greedy == (lmbd is not None):
        raise ValueError("encode: give either lmbd or n_nonzero")
    if method not in METHODS or (method != "auto" and greedy != (method in GREEDY)):
        kind = "n_nonzero" if greedy else "lmbd"
        raise ValueError(f"encode: no method {method!r} for {kind}; methods: {', '.join(METHODS)}")
    if n_nonzero is not None:
        if positive or alpha or linear is not None or not isinstance(data, np.ndarray):
            raise ValueError(
                "encode: n_nonzero takes no positive, alpha or linear, and data on the CPU"
            )
        return _pursue(data, atoms, n_nonzero, method, n_threads, gram, X, sparse)
    if np.ndim(lmbd) == 0:
        lmbd = np.full(D.shape[1], float(lmbd))
    problem = Problem(
        data,
        atoms,
        conversion.convert(lmbd),
        alpha,
        positive,
        conversion.convert(linear),
        tol,
        max_iter,
        n_threads,
        warm,
        gram,
    )
    return _minimise(problem, method, X, sparse)


def encode_blocks(
    blocks: Iterable[ArrayOrTensor], D: ArrayOrTensor, **options: Any
) -> Iterator[Encoding]:
    """Encode one block of samples after the other: the codes of millions need not exist at once.

    Parameters
    ----------
    blocks
        Samples of each block, (n_samples, n_features).
    D
        Dictionary, (n_features, n_atoms).
    options
        Those of `encode`.
    """
    for X in blocks:
        same_type = isinstance(X, np.ndarray) and X.dtype == D.dtype in (np.float32, np.float64)
        if same_type and options.get("gram") is None:
            options["gram"] = D.T @ D
        yield encode(X, D, **options)


class _Conversion(NamedTuple):
    """Brings arrays and tensors to one floating type and one device.

    `device` is None for arrays on the CPU.
    """

    dtype: str
    device: Any

    def convert(self, A: ArrayOrTensor | None) -> ArrayOrTensor | None:
        """Return `A`, contiguous, as an array, or as a tensor on the device."""
        if A is None:
            return None
        if self.device is None and not is_tensor(A):
            return np.ascontiguousarray(A, self.dtype)
        import torch

        dtype = getattr(torch, self.dtype)
        if self.device is None:
            return np.ascontiguousarray(A.detach().cpu().to(dtype).numpy())
        return torch.as_tensor(A, dtype=dtype, device=self.device).detach().contiguous()


def _conversion(X: ArrayOrTensor, D: ArrayOrTensor) -> _Conversion:
    """Choose the floating type that holds both, and the device of `X`."""
    dtypes = set()
    for name, A in (("X", X), ("D", D)):
        if not (isinstance(A, np.ndarray) or is_tensor(A)):
            raise ValueError(
                f"encode: {name} is a {type(A).__name__}; expected an array or a tensor"
            )
        if "complex" in str(A.dtype) or str(A.dtype) == "object":
            raise ValueError(f"encode: {name} has numbers of type {A.dtype}; expected real ones")
        dtypes.add(str(A.dtype).rpartition(".")[2])
    dtype = "float32" if dtypes <= SINGLE else "float64"
    on_cpu = isinstance(X, np.ndarray) or X.device.type == "cpu"
    return _Conversion(dtype, None if on_cpu else X.device)


def _pursue(
    data: Any,
    D: Any,
    n_nonzero: int,
    method: str,
    n_threads: int | None,
    gram: Any,
    X: ArrayOrTensor,
    sparse: bool,
) -> Encoding:
    """Run a greedy pursuit; the codes are of the kind of `X`, or CSR."""
    check(data, D, gram, n_threads)
    if n_nonzero < 0:
        raise ValueError(f"encode: n_nonzero={n_nonzero} must be 0 or more")
    from baselines.pursuit.omp import omp

    if method == "auto":
        method = "omp"
    recursive = method == "ormp"
    codes = omp(data, D, n_nonzero, recursive=recursive, n_threads=n_threads, gram=gram)
    return Encoding(_present(codes, X, sparse), method, codes.nnz / max(len(data), 1))


def _minimise(problem: Problem, method: str, X: ArrayOrTensor, sparse: bool) -> Encoding:
    """Run a pursuit of the whole objective; the codes are of the kind of `X`, or CSR."""
    on_cpu = isinstance(problem.X, np.ndarray)
    if method == "auto":
        method = "coordinate_descent" if on_cpu else "fista"
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


def _present(codes: Any, X: ArrayOrTensor, sparse: bool) -> Any:
    """Return codes in the form asked for: CSR, or dense as X is, array or tensor."""
    if isinstance(codes, csr_array):
        if sparse:
            return codes
        codes = codes.toarray()
    if sparse:
        return csr_array(codes.cpu().numpy() if is_tensor(codes) else codes)
    if isinstance(codes, np.ndarray) and is_tensor(X):
        import torch

        return torch.from_numpy(codes)
    return codes
