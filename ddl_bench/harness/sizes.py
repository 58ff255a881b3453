"""Check what a classifier says of its size against the arrays that it holds."""

import numbers

from torch import Tensor

from ddl_bench import api


def checked_size(classifier: api.Classifier) -> api.Size:
    """Return the size of a classifier.

    Raises UserError where it is not a `Size` of whole numbers of at least 0, or None.
    """
    size = api.size_of(classifier)
    if not isinstance(size, api.Size):
        raise api.UserError(f"size() returned a {type(size).__name__}, expected a Size")
    for field in ("n_params", "n_stored", "n_buffers"):
        value = getattr(size, field)
        if value is None:
            continue
        is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not is_whole or value < 0:
            raise api.UserError(
                f"size() says {field} = {value!r}, expected a whole number of at least 0, "
                "or None with a reason"
            )
    return size


def numbers_held(classifier: api.Classifier) -> int | None:
    """Count the numbers in the arrays of a classifier's `state()`; None where there are none.

    An array that has several names counts once.
    """
    if not isinstance(classifier, api.Keepable):
        return None
    try:
        arrays = list(classifier.state().values())
    except Exception:  # only keeping the model needs them, and says what is wrong
        return None
    sizes: dict[tuple[int, tuple[int, ...]], int] = {}
    for tensor in arrays:
        if isinstance(tensor, Tensor):
            sizes[tensor.data_ptr(), tuple(tensor.shape)] = tensor.numel()
    return sum(sizes.values())
