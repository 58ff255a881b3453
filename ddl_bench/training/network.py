"""A trained network as a classifier, and what a network may be for the training loop."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ddl_bench.api import Size
from ddl_bench.errors import UserError

EVALUATION_BATCH = 256  # images; a layer of 96 channels at 32x32 then holds 100 MB


@runtime_checkable
class Initialises(Protocol):
    """A module that learns from the uint8 training images before the first step, on the clock.

    Examples
    --------
    >>> class Centre(nn.Module):
    ...     def initialise(self, X, generator):
    ...         self.mean.copy_(X.float().mean(0))
    """

    def initialise(self, X: Tensor, generator: torch.Generator, /) -> None:
        """Learn from images X (n, channels, height, width); draw from `generator` alone."""


@runtime_checkable
class BeforeStep(Protocol):
    """A module that is called before each step of training, with the share done so far, 0 to 1.

    Examples
    --------
    >>> class Annealed(nn.Module):
    ...     def before_step(self, progress):
    ...         self.lmbd = 0.1 * (1 - progress)
    """

    def before_step(self, progress: float, /) -> None:
        """Prepare for a step."""


@runtime_checkable
class Projects(Protocol):
    """A module with constraints, restored after each step.

    Examples
    --------
    >>> class UnitNorm(nn.Module):
    ...     @torch.no_grad()
    ...     def project_(self):
    ...         self.D /= self.D.norm(dim=0)
    """

    def project_(self) -> None:
        """Restore the constraints, in place, without a gradient."""


@runtime_checkable
class UsesThreads(Protocol):
    """A module that computes on threads of its own, apart from those of torch.

    Examples
    --------
    >>> class Solves(nn.Module):
    ...     def use_threads(self, n_threads):
    ...         self.n_threads = n_threads
    """

    def use_threads(self, n_threads: int, /) -> None:
        """Use so many threads of the CPU from now on."""


def split_output(output: Any) -> tuple[Tensor, Tensor | None]:
    """Return the scores and the auxiliary loss of what a network's forward returns.

    Scores alone, or `(scores, extra)`: an extra that is a tensor of one number and no dimensions
    is an auxiliary loss, added to cross-entropy in training. Any other extra, codes say, is
    ignored. Evaluation uses the scores alone.
    """
    if isinstance(output, Tensor):
        return output, None
    if isinstance(output, tuple | list) and len(output) == 2 and isinstance(output[0], Tensor):
        scores, extra = output
        is_loss = isinstance(extra, Tensor) and extra.ndim == 0 and extra.is_floating_point()
        return scores, extra if is_loss else None
    raise UserError(
        f"the network's forward returned {_kind(output)}; expected scores (n, n_classes), or a"
        " pair (scores, extra)"
    )


def _kind(output: Any) -> str:
    name = type(output).__name__
    return f"a {name} of {len(output)}" if isinstance(output, tuple | list) else f"a {name}"


def wants_channels_last(module: nn.Module) -> bool:
    """Whether a network computes in the channels-last format: unless its `channels_last` is False.

    That format is faster for convolutions, but `view` across channels fails in it.
    """
    return bool(getattr(module, "channels_last", True))


def on_device(module: nn.Module, device: str) -> nn.Module:
    """Move a module, in place; its convolutions channels-last where it wants that."""
    if not wants_channels_last(module):
        return module.to(device)
    untyped: Any = module  # whose stubs know no memory format
    moved: nn.Module = untyped.to(device, memory_format=torch.channels_last)
    return moved


def snapshot(module: nn.Module) -> nn.Module:
    """Copy a module; tensors of a graph that it keeps as attributes are copied without the graph.

    A forward that leaves its codes in `self.codes` leaves a tensor that copy.deepcopy refuses.
    """
    copies: dict[int, Any] = {}
    for part in module.modules():
        for tensor in _tensors(vars(part)):
            if not tensor.is_leaf:
                copies[id(tensor)] = tensor.detach().clone()
    return copy.deepcopy(module, copies)


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in a value, also within dictionaries, lists and tuples."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)


class Network:
    """A `Classifier` made of a module that maps uint8 images to scores; the module becomes its own.

    Entries that a module stores but that are zero by construction are counted by its attribute
    `n_structural_zeros`, parameters that nothing is learned of by `n_constants`.

    Parameters
    ----------
    module
        Maps images (n, channels, height, width) to scores (n, n_classes), or to a pair of them and
        anything else.
    device, precision
        As in a `Budget`.
    mirror
        Score images and their mirror images, and add.
    shift
        Score them also moved by a pixel, up to the left and down to the right, at half the weight
        each.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        device: str = "cpu",
        precision: str = "float32",
        mirror: bool = False,
        shift: bool = False,
    ) -> None:
        self.module = module.eval()
        self.place(device, precision)
        self._mirror = mirror
        self._shift = shift
        self.n_views = (2 if mirror else 1) * (3 if shift else 1)

    def place(self, device: str, precision: str) -> None:
        """Move to a device, and compute in a precision from now on."""
        self.module = on_device(self.module, device)
        self._device = torch.device(device)
        self._precision = precision

    def size(self) -> Size:
        """Count parameters, structural zeros and buffers; constants are buffers."""
        zeros = sum(int(getattr(part, "n_structural_zeros", 0)) for part in self.module.modules())
        constants = sum(int(getattr(part, "n_constants", 0)) for part in self.module.modules())
        n_held = sum(parameter.numel() for parameter in self.module.parameters())
        n_stored = n_held - constants
        n_buffers = sum(buffer.numel() for buffer in self.module.buffers()) + constants
        return Size(n_params=n_stored - zeros, n_stored=n_stored, n_buffers=n_buffers)

    def state(self) -> dict[str, Tensor]:
        """Return the module's state, without second names of the same tensor."""
        shared = tied(self.module)
        return {
            name: tensor.cpu().contiguous()
            for name, tensor in self.module.state_dict().items()
            if name not in shared
        }

    def load(self, state: Mapping[str, Tensor], /) -> None:
        """Take the state of a module of the same kind, as `state` returns it."""
        shared = {second: state[first] for second, first in tied(self.module).items()}
        self.module.load_state_dict(dict(state) | shared)

    def batches(self, X: Tensor) -> Iterator[Tensor]:
        """Split images into batches on the device, in the module's memory format."""
        last = wants_channels_last(self.module)
        layout = torch.channels_last if last else torch.contiguous_format
        for batch in torch.split(X, EVALUATION_BATCH):
            yield batch.to(self._device).contiguous(memory_format=layout)

    @torch.inference_mode()
    def __call__(self, X: Tensor, /) -> Tensor:
        """Return scores (n, n_classes) of images (n, channels, height, width), on the CPU."""
        scores = []
        low = self._precision == "bfloat16"
        with torch.autocast(self._device.type, torch.bfloat16, enabled=low):
            for batch in self.batches(X):
                total = self._scores(batch)
                if self._shift:
                    both = self._scores(moved(batch, 1)) + self._scores(moved(batch, -1))
                    total = total + 0.5 * both
                scores.append(total.cpu())
        return torch.cat(scores)

    def _scores(self, batch: Tensor) -> Tensor:
        """Return the scores of images as they are, or added to those of their mirror images."""
        scores = split_output(self.module(batch))[0].float()
        if self._mirror:
            scores = scores + split_output(self.module(batch.flip(3)))[0].float()
        return scores


def moved(X: Tensor, pixels: int) -> Tensor:
    """Move images up and to the left, or back, with the border reflected."""
    for axis in (2, 3):
        if X.shape[axis] == 1:
            continue
        index = reflect(torch.arange(X.shape[axis], device=X.device) + pixels, X.shape[axis])
        X = X.index_select(axis, index)
    return X


def reflect(index: Tensor, size: int) -> Tensor:
    """Map indices to pixels 0 to size - 1, reflecting those that are out by less than `size`."""
    return (size - 1) - ((size - 1) - index.abs()).abs()


def tied(module: nn.Module) -> dict[str, str]:
    """Return the second names of parameters in a module's state, with the first name of each."""
    first: dict[int, str] = {}
    seconds: dict[str, str] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if isinstance(tensor, nn.Parameter):
            known = first.setdefault(id(tensor), name)
            if known != name:
                seconds[name] = known
    return seconds
