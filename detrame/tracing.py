"""Trace networks as graphs of torch.fx, with the shapes of what flows through them."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from detrame.layer import QMetricReLU


class Mode(nn.Module):
    """Whether it is in training mode, which a trace would make a constant."""

    def forward(self) -> bool:
        return self.training


class Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, QMetricReLU | Mode) or super().is_leaf_module(m, module_qualified_name)


class Shapes(fx.Interpreter):
    """Notes in each node its module, the memory of its tensors, the shape of one, and an empty tensor like it."""

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op == "call_module":
            n.meta["layer"] = self.submodules[str(n.target)]
        parts = value if isinstance(value, tuple | list) else (value,)
        n.meta["memory"] = {
            part.untyped_storage()._cdata for part in parts if isinstance(part, Tensor)
        }
        if isinstance(value, Tensor):
            n.meta["shape"], n.meta["like"] = tuple(value.shape), value.new_empty(0)
        return value


def copied(model: nn.Module, caller: str) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise ValueError(f"{caller}: must be an nn.Module")
    if any(map(is_lazy, [*model.parameters(), *model.buffers()])):
        raise ValueError(
            f"{caller}: run the network once before, its lazy layers have no weights yet"
        )
    try:
        return copy.deepcopy(model)
    except Exception as error:  # the caller's code may raise anything
        raise ValueError(f"{caller}: it cannot be copied, {error!r:.200}") from error


def trace(model: nn.Module, caller: str) -> fx.Graph:
    for part in model.modules():
        if getattr(
            part, "memory_efficient", False
        ):  # torchvision's name for checkpoints that depend on gradients
            vars(part)["memory_efficient"] = False
    try:
        return Tracer().trace(model)
    except Exception as error:  # the caller's code runs on symbols and may raise anything
        advice = "take the parts that it can, as in net.features = convert(net.features)"
        raise ValueError(f"{caller}: torch.fx cannot trace it, {error!r:.200}; {advice}") from error


def examine(
    model: nn.Module, graph: fx.Graph, example: Tensor | tuple[Any, ...] | None, caller: str
) -> None:
    failure = "it has no convolution or linear layer to tell the size"
    for inputs in examples(model, graph) if example is None else [example]:
        try:
            with torch.no_grad():
                Shapes(model, graph=graph).run(
                    *(inputs if isinstance(inputs, tuple) else (inputs,))
                )
            return
        except Exception as error:  # as above
            failure = str(error).partition("\n")[0]
    raise ValueError(f"{caller}: pass example=, an input that it can run ({failure})")


def examples(model: nn.Module, graph: fx.Graph) -> Iterator[Tensor]:
    layers = (
        model.get_submodule(str(node.target)) for node in graph.nodes if node.op == "call_module"
    )
    layer = next((layer for layer in layers if isinstance(layer, _ConvNd | nn.Linear)), None)
    if isinstance(layer, nn.Linear):
        yield layer.weight.new_zeros(2, layer.in_features)
    elif layer is not None:
        for side in (32, 28, 8, 16, 64, 96, 128, 224, 256, 299)[
            : 10 if layer.weight.ndim < 5 else 1
        ]:  # pixels
            yield layer.weight.new_zeros(2, layer.in_channels, *[side] * (layer.weight.ndim - 2))
