"""Compute sparse codes: one function for all pursuits, and what it returns."""

import operator
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array, issparse

from baselines.pursuit.compiled import Array
from baselines.pursuit.objective import ArrayOrTensor, Problem, check, is_tensor, namespace

GREEDY = ("omp", "ormp")
METHODS = ("auto", "coordinate_descent", "active_set", "fista", "ista", *GREEDY)
DEFAULT_TOL = 1e-6
GRAM_ATOMS = 3072  # above, `encode_blocks` makes no Gram matrix for all blocks
SINGLE = {"float32", "float16", "bfloat16"}  # types that single precision holds


class ConvergenceWarning(UserWarning):
    """Codes did not reach the gap or the error asked for."""


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
    converged_samples
        Whether each sample reached what was asked for, (n_samples,): a duality gap of 10 times
        `tol` at most, a residual of `max_error` at most, or else as many atoms as asked for.
    problem
        What was minimised; None for the greedy pursuits.
    """

    codes: Any
    method: str
    n_iter: float
    converged_samples: Array = field(repr=False)
    problem: Problem | None = field(default=None, repr=False)

    @property
    def converged(self) -> bool:
        """Whether all samples reached what was asked for."""
        return bool(self.converged_samples.all())

    @cached_property
    def _certificate(self) -> tuple[float, float]:
        if self.problem is None:
            return float("nan"), float("nan")
        from baselines.pursuit.certify import certify

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
    max_error: float | None = None,
    alpha: float = 0.0,
    positive: bool = False,
    linear: ArrayOrTensor | None = None,
    method: str = "auto",
    tol: float | None = None,
    max_iter: int = 1000,
    n_threads: int | None = None,
    sparse: bool = False,
    warm: Any = None,
    gram: ArrayOrTensor | None = None,
) -> Encoding:
    """Minimise the objective below over `codes`, or its first term greedily.

    0.5*norm(X - codes @ D.T)**2 + sum(lmbd*abs(codes)) + 0.5*alpha*norm(codes)**2
    + sum(linear*codes)

    The samples, rows of `X`, are independent of each other.

    Parameters
    ----------
    X
        Samples, shape (n_samples, n_features): an array, or a tensor on any device.
    D
        Dictionary, shape (n_features, n_atoms): an array or a tensor. Atoms may have any norm.
    lmbd
        Penalty, 0 or more: a number, or one for each atom (n_atoms,).
    n_nonzero
        Instead of `lmbd`: how many non-zeros each code may have; without alpha, positive, linear.
    max_error
        Instead of `lmbd`, with or without `n_nonzero`: atoms are added to a code until the norm of
        its residual x - D c is at most this, as in denoising.
    alpha
        Weight of the ridge (elastic net), 0 or more.
    positive
        Allow only codes >= 0.
    linear
        Linear term, shape (n_atoms,) or (n_samples, n_atoms). Where it exceeds `lmbd` and alpha is
        0, dependent atoms make the problem unbounded, and `kkt` shows it.
    method
        "coordinate_descent", the fastest on a CPU; "active_set", the fastest on other devices;
        "fista"; "ista"; for `n_nonzero` and `max_error` "omp", or "ormp", which takes the atom that
        lowers the error most after the refit. "auto" chooses, and the result says what ran.
    tol
        Total duality gap / total objective to stop at, None for 1e-6. With a linear term, or with
        atoms without penalty, the largest violation of an optimality condition for atoms of norm 1,
        divided by the norm of the sample or the largest linear term. What single precision cannot
        reach, coordinate descent finishes in double precision.
    max_iter
        Rounds of coordinate descent, or iterations, at most.
    n_threads
        Threads on the CPU; None for all cores that this process may use.
    sparse
        Return the codes as a CSR array.
    warm
        Codes to start from, (n_samples, n_atoms), dense or CSR.
    gram
        D'D, shape (n_atoms, n_atoms), where it is known. Coordinate descent needs none for more
        than 3,072 atoms, the greedy pursuits make one. With X and D of zeros, `gram` and `linear`
        alone state a problem, for coordinate descent.

    Returns
    -------
    Encoding
        The codes, (n_samples, n_atoms), of the kind of `X` (array or tensor), in float32, or in
        float64 where X or D needs it; with their duality gap and KKT residual.

    Warns
    -----
    ConvergenceWarning
        If samples did not converge: the result says which. Not with `tol` 0, which asks for
        `max_iter` iterations.

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
    data = conversion.convert("X", X)
    atoms = conversion.convert("D", D)
    gram = conversion.convert("gram", gram)
    n_threads = _whole("n_threads", n_threads)
    check(data, atoms, gram, n_threads)
    greedy = n_nonzero is not None or max_error is not None
    if greedy == (lmbd is not None):
        raise ValueError("encode: give either lmbd, or n_nonzero or max_error")
    if method not in METHODS or (method != "auto" and greedy != (method in GREEDY)):
        kind = "n_nonzero or max_error" if greedy else "lmbd"
        raise ValueError(f"encode: no method {method!r} for {kind}; methods: {', '.join(METHODS)}")
    alpha = _number("alpha", alpha)
    if greedy:
        given = {"positive": positive, "alpha": alpha, "linear": linear is not None}
        given |= {"tol": tol is not None, "warm": warm is not None}
        without = [name for name, is_given in given.items() if is_given]
        if without:
            raise ValueError(
                f"encode: n_nonzero and max_error take no {', '.join(without)};"
                " a greedy pursuit stops at n_nonzero or at max_error"
            )
        encoding = _pursue(data, atoms, n_nonzero, max_error, method, n_threads, gram, X, sparse)
    else:
        problem = Problem(
            data,
            atoms,
            _penalty(lmbd, data, atoms),
            alpha,
            bool(positive),
            conversion.convert("linear", linear),
            DEFAULT_TOL if tol is None else _number("tol", tol),
            _whole("max_iter", max_iter),
            n_threads,
            conversion.convert_codes("warm", warm),
            gram,
        )
        encoding = _minimise(problem, method, X, sparse)
    if not encoding.converged and tol != 0:
        _warn(encoding, max_error)
    return encoding


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
    gram = options.pop("gram", None)
    own = None
    for X in blocks:
        same_type = isinstance(X, np.ndarray) and X.dtype == D.dtype in (np.float32, np.float64)
        if same_type and own is None and gram is None and D.shape[1] <= GRAM_ATOMS:
            own = D.T @ D
        known = own if gram is None and same_type else gram
        yield encode(X, D, gram=known, **options)


class _Conversion(NamedTuple):
    """Brings arrays and tensors to one floating type and one device.

    `device` is None for arrays on the CPU.
    """

    dtype: str
    device: Any

    def convert(self, name: str, A: Any) -> Any:
        """Return `A`, contiguous, as an array, or as a tensor on the device."""
        if A is None:
            return None
        require_real(name, A)
        if self.device is None and not is_tensor(A):
            return np.ascontiguousarray(A, self.dtype)
        import torch

        dtype = getattr(torch, self.dtype)
        if self.device is None:
            return np.ascontiguousarray(A.detach().cpu().to(dtype).numpy())
        return torch.as_tensor(A, dtype=dtype, device=self.device).detach().contiguous()

    def convert_codes(self, name: str, codes: Any) -> Any:
        """Return codes as `convert` does, or as they are if they are CSR."""
        return codes if issparse(codes) else self.convert(name, codes)


def require_real(name: str, A: Any) -> None:
    """Raise ValueError unless `A` is an array or tensor of real numbers, none of them masked."""
    if np.ma.isMaskedArray(A):
        raise ValueError(
            f"encode: {name} is a masked array; expected values for all entries,"
            f" for example {name}.filled(0)"
        )
    if issparse(A):
        raise ValueError(
            f"encode: {name} is a sparse {type(A).__name__}; expected a dense array:"
            f" {name}.toarray()"
        )
    if not (isinstance(A, np.ndarray) or is_tensor(A)):
        raise ValueError(f"encode: {name} is a {type(A).__name__}; expected an array or a tensor")
    if is_tensor(A) and str(A.layout) != "torch.strided":
        raise ValueError(
            f"encode: {name} is a sparse tensor; expected a dense one: {name}.to_dense()"
        )
    is_real = "complex" not in str(A.dtype) if is_tensor(A) else A.dtype.kind in "fiub"
    if not is_real:
        raise ValueError(f"encode: {name} has numbers of type {A.dtype}; expected real ones")


def _conversion(X: Any, D: Any) -> _Conversion:
    """Choose the floating type that holds both, and the device of `X`."""
    dtypes = set()
    for name, A in (("X", X), ("D", D)):
        require_real(name, A)
        dtypes.add(_type_name(A))
    dtype = "float32" if dtypes <= SINGLE else "float64"
    on_cpu = isinstance(X, np.ndarray) or X.device.type == "cpu"
    return _Conversion(dtype, None if on_cpu else X.device)


def _type_name(A: ArrayOrTensor) -> str:
    """Return the name of the type of the entries, whatever their byte order."""
    return A.dtype.name if isinstance(A, np.ndarray) else str(A.dtype).removeprefix("torch.")


def _number(name: str, value: Any) -> float:
    """Return a finite number, 0 or more, or raise ValueError."""
    if np.ndim(value) > 0:
        raise ValueError(f"encode: {name} has shape {np.shape(value)}; expected a number")
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not 0 <= number < np.inf:
        raise ValueError(f"encode: {name}={value!r} must be a finite number, 0 or more")
    return number


def _whole(name: str, value: Any) -> Any:
    """Return a whole number or None, or raise ValueError."""
    if value is None:
        return None
    if hasattr(value, "__index__") and not isinstance(value, bool):
        return operator.index(value)
    raise ValueError(f"encode: {name}={value!r} must be a whole number")


def _penalty(lmbd: Any, X: ArrayOrTensor, D: ArrayOrTensor) -> ArrayOrTensor:
    """Return the penalty of each atom in double precision, (n_atoms,), an array or tensor as X."""
    if is_tensor(lmbd):
        lmbd = lmbd.detach().cpu().double().numpy()
    if np.ndim(lmbd) == 0:
        penalty = np.full(D.shape[1], _number("lmbd", lmbd))
    else:
        lmbd = np.asarray(lmbd)
        require_real("lmbd", lmbd)
        penalty = lmbd.astype(np.float64)
    if isinstance(X, np.ndarray):
        return penalty
    return X.new_tensor(penalty, dtype=namespace(X).float64)


def _warn(encoding: Encoding, max_error: float | None) -> None:
    """Warn of samples that did not converge."""
    n_missing = int((~encoding.converged_samples).sum())
    if max_error is not None:
        missed = f"max_error={max_error:g} with the atoms allowed: raise n_nonzero"
    elif encoding.problem is not None:
        missed = f"tol={encoding.problem.tol:g}: raise max_iter or tol, or use float64"
    warnings.warn(
        f"encode: {n_missing} of {len(encoding.converged_samples)} samples did not reach {missed}",
        ConvergenceWarning,
        stacklevel=3,
    )


def _pursue(
    data: Any,
    D: Any,
    n_nonzero: Any,
    max_error: Any,
    method: str,
    n_threads: int | None,
    gram: Any,
    X: ArrayOrTensor,
    sparse: bool,
) -> Encoding:
    """Run a greedy pursuit; the codes are of the kind of `X`, or CSR."""
    n_nonzero = _whole("n_nonzero", n_nonzero)
    if n_nonzero is not None and n_nonzero < 0:
        raise ValueError(f"encode: n_nonzero={n_nonzero} must be 0 or more")
    if max_error is not None:
        max_error = _number("max_error", max_error)
    if method == "auto":
        method = "omp"
    recursive = method == "ormp"
    if is_tensor(data):
        from baselines.pursuit.batched_greedy import batched_omp

        batch = batched_omp(data, D, n_nonzero, max_error=max_error, recursive=recursive, gram=gram)
        codes = _present(batch.codes, X, sparse)
        return Encoding(codes, method, batch.n_iter, batch.converged)
    from baselines.pursuit.omp import omp

    found = omp(
        data,
        D,
        n_nonzero,
        max_error=max_error,
        recursive=recursive,
        n_threads=n_threads,
        gram=gram,
    )
    n_iter = found.codes.nnz / max(len(data), 1)
    return Encoding(_present(found.codes, X, sparse), method, n_iter, found.converged)


def _minimise(problem: Problem, method: str, X: ArrayOrTensor, sparse: bool) -> Encoding:
    """Run a pursuit of the whole objective; the codes are of the kind of `X`, or CSR."""
    on_cpu = isinstance(problem.X, np.ndarray)
    if method == "auto":
        method = "coordinate_descent" if on_cpu else "active_set"
    if method == "coordinate_descent":
        from baselines.pursuit.coordinate_descent import coordinate_descent as solve

        if not on_cpu:
            raise ValueError(
                f"encode: coordinate_descent runs on the CPU, X is on {problem.X.device};"
                " use active_set"
            )
    elif method == "active_set":
        from baselines.pursuit.batched_active_set import batched_active_set as solve
    elif method == "fista":
        from baselines.pursuit.fista import fista as solve
    else:
        from baselines.pursuit.ista import ista as solve
    found = solve(problem)
    codes = _present(found.codes, X, sparse)
    return Encoding(codes, method, found.n_iter, found.converged, problem)


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
