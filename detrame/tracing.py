"""Trace networks as graphs of torch.fx, with the shapes of what flows through them."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from detrame.layer import QMetricReLU

CALL_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
"""Attributes of a module with the hooks that its calls run, the two for forward passes first."""

STATE_HOOKS = (
    "_state_dict_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
HOOK_OPTIONS = (
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
)

IMAGE_SIDES_PIXELS = (32, 28, 8, 16, 64, 96, 128, 224, 256, 299)
"""Sides of images to try as the input of a network, the usual ones first."""


class Mode(nn.Module):
    """Tell whether the network is in training mode, which a trace would make a constant."""

    def forward(self) -> bool:
        """Return whether this module, and so its network, is in training mode."""
        return self.training


class Tracer(fx.Tracer):
    """Trace a network, with each Q-metric ReLU as one node of the graph."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Say whether a module is one node, as torch.fx asks for each of them."""
        return isinstance(m, QMetricReLU | Mode) or super().is_leaf_module(m, module_qualified_name)


class Shapes(fx.Interpreter):
    """Run a graph, and note in the `meta` of each node what a conversion needs to know.

    layer
        The module that the node calls, if it calls one.
    memory
        The storages of its tensors, to find out which tensors are views of the same memory.
    shape
        The shape of its tensor, if it makes one.
    like
        An empty tensor of the same type and device.
    """

    def run_node(self, n: fx.Node) -> Any:
        """Run one node and note what it made."""
        value = super().run_node(n)
        if n.op == "call_module":
            n.meta["layer"] = self.submodules[str(n.target)]
        parts = value if isinstance(value, tuple | list) else (value,)
        tensors = [part for part in parts if isinstance(part, Tensor)]
        n.meta["memory"] = {tensor.untyped_storage()._cdata for tensor in tensors}
        if isinstance(value, Tensor):
            n.meta["shape"] = tuple(value.shape)
            n.meta["like"] = value.new_empty(0)
        return value


def copied(model: nn.Module, caller: str) -> nn.Module:
    """Copy a network. Raises ValueError, which begins with `caller`, where that is impossible."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"{caller}: must be an nn.Module")
    refuse_wrappers(model, caller)
    if any(map(is_lazy, [*model.parameters(), *model.buffers()])):
        raise ValueError(
            f"{caller}: run the network once before, its lazy layers have no weights yet"
        )
    for name in (*CALL_HOOKS, *STATE_HOOKS):
        for hook in getattr(model, name).values():
            raise ValueError(
                f"{caller}: its hook {name_of(hook)} would be lost; remove it, and register it on "
                "the network that is returned"
            )
    try:
        return copy.deepcopy(model)
    except Exception as error:  # the caller's code may raise anything
        raise ValueError(f"{caller}: it cannot be copied, {error!r:.200}") from error


def refuse_wrappers(model: nn.Module, caller: str) -> None:
    """Raise ValueError where a network, or a part of it, is wrapped or compiled; says what to do.

    `caller` begins the message.
    """
    function = caller.partition("(")[0]
    for path, part in model.named_modules():
        name = f"net.{path}" if path else "net"
        if isinstance(part, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = f"{name}.module"
        elif type(part).__name__ == "OptimizedModule":  # importing its module takes seconds
            inner = f"{name}._orig_mod"
        elif isinstance(part, torch.jit.ScriptModule):
            raise ValueError(
                f"{caller}: {name} is a ScriptModule; {function} the network that it was made of, "
                "then script the result"
            )
        else:
            continue
        raise ValueError(
            f"{caller}: {name} wraps a network in {type(part).__name__}; {function} that network, "
            f"as in {function}({inner}), then wrap the result"
        )


def name_of(hook: Callable[..., Any]) -> str:
    """Return the name of a hook."""
    return str(getattr(hook, "__qualname__", type(hook).__name__))


def has_hooks(part: nn.Module) -> bool:
    """Say whether calls of a module run hooks."""
    return any(getattr(part, name) for name in CALL_HOOKS)


def copy_hooks(source: nn.Module, target: nn.Module) -> None:
    """Let calls of `target` run the hooks of `source`."""
    for name in (*CALL_HOOKS, *HOOK_OPTIONS):
        getattr(target, name).update(getattr(source, name))
    vars(target)["_is_full_backward_hook"] = source._is_full_backward_hook


class LostHook(Exception):
    """A hook of a module would be lost in a trace; the message names it."""


@contextmanager
def watched_hooks(model: nn.Module, tracer: fx.Tracer) -> Iterator[None]:
    """Raise LostHook where a trace would lose a hook of a module that is no node of the graph.

    What a forward hook returns becomes part of the graph. One that returns nothing acts on
    something else, and would run once, while the network is traced. Backward hooks would not run.
    """
    originals: list[tuple[dict[int, Any], dict[int, Any]]] = []

    def watch(path: str, hook: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(hook)
        def watched(*arguments: Any, **options: Any) -> Any:
            returned = hook(*arguments, **options)
            if returned is None:
                raise LostHook(lost(path, hook))
            return returned

        return watched

    try:
        for path, part in model.named_modules():
            if not path or tracer.is_leaf_module(part, path):
                continue
            for hook in [*part._backward_pre_hooks.values(), *part._backward_hooks.values()]:
                raise LostHook(lost(path, hook))
            for hooks in (part._forward_pre_hooks, part._forward_hooks):
                originals.append((hooks, dict(hooks)))
                hooks.update({key: watch(path, hook) for key, hook in hooks.items()})
        yield
    finally:
        for hooks, before in originals:
            hooks.update(before)


def lost(path: str, hook: Callable[..., Any]) -> str:
    """Say which hook of a part would be lost, and what to do."""
    advice = "remove it, or let it return the new value"
    return f"the hook {name_of(hook)} of {path} would be lost; {advice}"


def trace(model: nn.Module, caller: str) -> fx.Graph:
    """Trace the forward pass of a network as a graph; undo checkpoints that depend on gradients.

    Raises ValueError, which begins with `caller`, where torch.fx cannot trace it.
    """
    for part in model.modules():
        if getattr(part, "memory_efficient", False):  # torchvision's name for such checkpoints
            vars(part)["memory_efficient"] = False
    tracer = Tracer()
    try:
        with watched_hooks(model, tracer):
            return tracer.trace(model)
    except LostHook as error:
        raise ValueError(f"{caller}: {error}") from None
    except Exception as error:  # the caller's code runs on symbols and may raise anything
        advice = "take the parts that it can, as in net.features = convert(net.features)"
        raise ValueError(f"{caller}: torch.fx cannot trace it, {error!r:.200}; {advice}") from error


def examine(
    model: nn.Module, graph: fx.Graph, example: Tensor | tuple[Any, ...] | None, caller: str
) -> None:
    """Run a graph on an example, or on one of usual size, so that its nodes know their shapes.

    Raises ValueError, which begins with `caller`, where the network runs on none of them.
    """
    failure = "it has no convolution or linear layer to tell the size"
    inputs = examples(model, graph) if example is None else [example]
    for given in inputs:
        arguments = given if isinstance(given, tuple) else (given,)
        try:
            with torch.no_grad():
                Shapes(model, graph=graph).run(*arguments)
        except Exception as error:  # the caller's code may raise anything
            failure = str(error).partition("\n")[0]
        else:
            return
    raise ValueError(f"{caller}: pass example=, an input that it can run ({failure})")


def examples(model: nn.Module, graph: fx.Graph) -> Iterator[Tensor]:
    """Make inputs of zeros that suit the first convolution or linear layer of a network."""
    layer = first_layer(model, graph)
    if layer is None:
        return
    if isinstance(layer, nn.Linear):
        yield layer.weight.new_zeros(2, layer.in_features)
        return
    n_sides = layer.weight.ndim - 2
    # Volumes of the larger sides would not fit into memory.
    sides = IMAGE_SIDES_PIXELS if n_sides < 3 else IMAGE_SIDES_PIXELS[:1]
    for side in sides:
        yield layer.weight.new_zeros(2, layer.in_channels, *[side] * n_sides)


def first_layer(model: nn.Module, graph: fx.Graph) -> _ConvNd | nn.Linear | None:
    """Return the first convolution or linear layer that a graph calls."""
    for node in graph.nodes:
        if node.op == "call_module":
            layer = model.get_submodule(str(node.target))
            if isinstance(layer, _ConvNd | nn.Linear):
                return layer
    return None
