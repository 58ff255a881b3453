"""The samples that a learner accepts, the unit it computes in, and atoms of unit norm.

A dictionary depends on the shape of the samples, not on their size, but squares of very small or
large samples leave the range of a floating type. Learners divide such samples by a power of two,
which rounds nothing, and multiply what they report.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from baselines.pursuit.compiled import Array
from baselines.pursuit.objective import is_tensor

Samples = Array | Iterable[Array]
PLAIN_EXPONENT = 10  # samples whose largest entry is within 2**-10 to 2**10 are used as they are


def check_counts(owner: str, least: int = 1, **counts: Any) -> None:
    """Raise ValueError, in the name of `owner`, unless all are whole numbers of at least `least`.

    Integers of numpy are such numbers; True, 2.0 and infinity are not.
    """
    for name, value in counts.items():
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not whole or int(value) < least:
            raise ValueError(f"{owner}: {name}={value!r} must be an int of at least {least}")


def check_weights(owner: str, **weights: Any) -> None:
    """Raise ValueError, in the name of `owner`, unless all are finite numbers of at least 0."""
    for name, value in weights.items():
        number = isinstance(value, Real) and not isinstance(value, bool)
        if not number or not 0 <= float(value) < math.inf:
            raise ValueError(f"{owner}: {name}={value!r} must be a finite number of at least 0")


def check_flags(owner: str, **flags: Any) -> None:
    """Raise ValueError, in the name of `owner`, unless all are True or False."""
    for name, value in flags.items():
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"{owner}: {name}={value!r} must be True or False")


def is_array(X: Any) -> bool:
    """Tell whether `X` holds all samples, as an array or a tensor; else it may be a stream."""
    return isinstance(X, np.ndarray) or is_tensor(X)


def as_floats(A: Array) -> Array:
    """Return a contiguous array of float32, or of float64 where single does not hold its type.

    `A` itself where it is one.
    """
    is_single = np.result_type(A.dtype, np.float32) == np.float32
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, which is refused later
        return np.ascontiguousarray(A, np.float32 if is_single else np.float64)


def as_matrix(A: Any, name: str, axes: str) -> Array:
    """Return an array or a tensor of real numbers as an array of its type, not copied.

    Parameters
    ----------
    A
        Two-dimensional, of real numbers.
    name, axes
        What an error calls it, and its two dimensions: "(n_samples, n_features)".

    Raises
    ------
    ValueError
        If it is anything else.
    """
    if not is_array(A):
        raise ValueError(
            f"learn: {name} is a {type(A).__name__}; expected an array or a tensor {axes}:"
            f" {_remedy(A)}"
        )
    if isinstance(A, np.ma.MaskedArray):
        raise ValueError(
            f"learn: {name} is a masked array; expected a plain one {axes}: {_remedy(A)}"
        )
    if is_tensor(A):
        A = _array_of(A, name, axes)
    if A.dtype.kind not in "biuf":
        raise ValueError(f"learn: {name} has entries of type {A.dtype}; expected real numbers")
    if A.ndim != 2 or A.shape[1] == 0:
        raise ValueError(f"learn: {name} has shape {A.shape}; expected {axes}")
    return np.asarray(A)


def _remedy(A: Any) -> str:
    """Return how to make an array of a container of numbers."""
    for method in ("toarray", "to_numpy", "filled"):
        if hasattr(A, method):
            return f"call its method {method}"
    return "call numpy.asarray on it, if it holds numbers"


def _array_of(A: Any, name: str, axes: str) -> Array:
    """Return a tensor as an array; of the short floating types numpy has float16 alone."""
    import torch

    if A.layout != torch.strided:
        raise ValueError(f"learn: {name} is a sparse tensor; expected a dense one {axes}")
    tensor = A.detach().cpu()
    if tensor.is_floating_point() and tensor.itemsize < 4:
        tensor = tensor.float()
    return np.asarray(tensor.resolve_conj().resolve_neg().numpy())


def as_samples(X: Any, name: str = "X", least: int = 1) -> Array:
    """Return samples (n_samples, n_features) as an array of their type, not copied.

    Raises
    ------
    ValueError
        If they are not samples, or fewer than `least`.
    """
    samples = as_matrix(X, name, "(n_samples, n_features)")
    if len(samples) < least:
        raise ValueError(f"learn: {name} has {len(samples)} samples; expected at least {least}")
    return samples


def check_stream(X: Any) -> None:
    """Raise ValueError unless `X` is an iterable, and no container of numbers or text itself."""
    is_container = hasattr(X, "__array__") or hasattr(X, "toarray")
    is_text_or_names = isinstance(X, str | bytes | Mapping)
    if is_container or is_text_or_names or not isinstance(X, Iterable):
        raise ValueError(
            f"learn: X is a {type(X).__name__}; expected an array or a tensor"
            f" (n_samples, n_features), or an iterable of such blocks: {_remedy(X)}"
        )


def as_stream(X: Any) -> Iterator[Array]:
    """Yield the blocks of a stream that have samples, each (n_samples, n_features), as arrays.

    A block may be alone in a list, as the batches of torch's `DataLoader` are.

    Raises
    ------
    ValueError
        If `X` is no iterable of arrays or tensors, or the number of features changes.
    """
    check_stream(X)
    n_features = None
    for index, item in enumerate(X):
        is_alone = isinstance(item, list | tuple) and len(item) == 1
        block = as_samples(item[0] if is_alone else item, f"block {index} of X", least=0)
        if n_features is None:
            n_features = block.shape[1]
        if block.shape[1] != n_features:
            raise ValueError(
                f"learn: block {index} of X has {block.shape[1]} features;"
                f" expected {n_features}, as in the first"
            )
        if len(block):
            yield block


def largest(X: Array, name: str = "X") -> float:
    """Compute the largest absolute value, 0 where there is none.

    Raises
    ------
    ValueError
        If some are not finite.
    """
    if X.size == 0:
        return 0.0
    peak = max(float(X.max()), -float(X.min()))
    if not math.isfinite(peak):
        raise ValueError(
            f"learn: {name} has entries that are not finite; expected finite ones:"
            " drop such samples, or fill them"
        )
    return peak


def unit_of(X: Array, name: str = "X") -> float:
    """Return the power of two by which to divide floats, so that their squares keep in range.

    It is 1 where they do anyway.

    Raises
    ------
    ValueError
        If some are not finite.
    """
    exponent = math.frexp(largest(X, name))[1]
    if abs(exponent) <= PLAIN_EXPONENT:
        return 1.0
    limit = -int(np.finfo(X.dtype).minexp)  # the inverse is a normal number, too
    return math.ldexp(1.0, max(-limit, min(exponent, limit)))


def in_unit(X: Array, unit: float) -> Array:
    """Return X / unit for a power of two; `X` itself for 1."""
    if unit == 1:
        return X
    return np.asarray(X * X.dtype.type(1 / unit))


def unit_columns(D: Array) -> Array:
    """Divide each column by its norm, however small or large; columns of zeros stay zero.

    In double precision, rounded once: learning is chaotic, and runs at two sizes of the samples
    should not part because their first atoms differ in more than the samples do.
    """
    exponents = np.frexp(np.abs(D).max(axis=0, initial=0))[1]
    near_one = np.ldexp(D, -exponents).astype(np.float64)
    norms = np.linalg.norm(near_one, axis=0)
    return np.asarray(near_one / np.where(norms > 0, norms, 1), D.dtype)
