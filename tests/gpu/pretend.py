"""A device that there is not: tensors that compute on the CPU and refuse to be mixed with its own.

Code that runs here without an error makes its tensors where it should, and hands none to the wrong
place. What a real device may still refuse are operations that it lacks.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = "meta"  # the one device besides the CPU that torch knows everywhere
MOVES = ("_to_copy", "copy_", "_foreach_copy_")  # may have tensors of two devices
READS = ("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select")
INDEXED = ("index", "index_put_", "index_put", "_index_put_impl_")  # indices may lie on the CPU


class Remote(Tensor):
    """A tensor on the device that there is not; its numbers are `held`."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Remote":
        made: Remote = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(DEVICE),
        )
        made.held = held
        return made

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("a tensor on a device has no array: call cpu() first")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch's stub has another function there
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return dispatch(func, args, kwargs or {}, Counter())


def dispatch(func: Any, args: Any, kwargs: dict[str, Any], waits: Counter[str]) -> Any:
    """Do on the CPU what `func` would do on the device; `waits` counts what the host waits for."""
    name = func.overloadpacket.__name__
    leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    remote = any(isinstance(leaf, Remote) for leaf in leaves)
    inner_args, inner_kwargs = tree_map_only(Remote, lambda it: it.held, (args, kwargs))
    if remote and name not in MOVES:
        operands = tree_leaves(args[0]) if name in INDEXED else leaves
        for leaf in operands:
            if isinstance(leaf, Tensor) and not isinstance(leaf, Remote) and leaf.ndim > 0:
                raise RuntimeError(f"{func}: tensors on the device and on the CPU are mixed")
    target = kwargs.get("device")
    stays = remote if target is None else torch.device(target).type == DEVICE
    if target is not None:
        inner_kwargs["device"] = torch.device("cpu")
    if remote and (name in READS or (name == "_to_copy" and not stays)):
        waits[name] += 1
    if name in MOVES and len({isinstance(leaf, Remote) for leaf in leaves}) > 1:
        waits[name] += 1
    if remote and name in INDEXED:
        indices = [leaf for leaf in tree_leaves(args[1]) if isinstance(leaf, Tensor)]
        if any(index.dtype == torch.bool for index in indices):
            waits["index by a mask"] += 1
    if name == "_to_copy" and stays and not remote:
        waits["to the device"] += 1
    if name == "_to_copy" and target is not None and not stays and remote:
        return func(*inner_args, **inner_kwargs).clone()
    made = func(*inner_args, **inner_kwargs)
    if not stays or name in ("_local_scalar_dense", "is_nonzero", "equal"):
        return made
    if "out" in kwargs:
        return kwargs["out"]
    if inner_args and made is inner_args[0]:  # an operation in place
        return args[0]
    with torch.inference_mode(False):  # views of weights cannot be made within it
        return tree_map_only(Tensor, Remote, made)


class Pretend(TorchDispatchMode):
    """While it is on, tensors made for `DEVICE` are `Remote`; `waits` counts what is waited for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if torch.is_inference_mode_enabled():  # there, torch takes no operation apart by itself
            with self:
                made = func.decompose(*args, **kwargs or {})
            if made is not NotImplemented:
                return made
        return dispatch(func, args, kwargs or {}, self.waits)


@contextmanager
def pretend() -> Iterator[Pretend]:
    """`DEVICE` stands for a GPU: torch's own checks let it pass, and casting by itself is off."""
    supported: Callable[..., Any] = lambda *_: ["cpu", DEVICE]  # noqa: E731
    fused = "torch.optim.optimizer._get_fused_kernels_supported_devices"
    off = lambda *_, **__: nullcontext()  # noqa: E731
    with mock.patch(fused, supported), mock.patch("torch.autocast", off), Pretend() as mode:
        yield mode
