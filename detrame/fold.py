"""Networks as graphs of torch.fx: how they are traced, and how their layers are merged for inference."""

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from detrame.layer import QMetricReLU

MERGED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


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
        n.meta["memory"] = {part.untyped_storage()._cdata for part in parts if isinstance(part, Tensor)}
        if isinstance(value, Tensor):
            n.meta["shape"], n.meta["like"] = tuple(value.shape), value.new_empty(0)
        return value


def copied(model: nn.Module, caller: str) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise ValueError(f"{caller}: must be an nn.Module")
    if any(map(is_lazy, [*model.parameters(), *model.buffers()])):
        raise ValueError(f"{caller}: run the network once before, its lazy layers have no weights yet")
    try:
        return copy.deepcopy(model)
    except Exception as error:  # the caller's code may raise anything
        raise ValueError(f"{caller}: it cannot be copied, {error!r:.200}") from error


def trace(model: nn.Module, caller: str) -> fx.Graph:
    for part in model.modules():
        if getattr(part, "memory_efficient", False):  # torchvision's name for checkpoints that depend on gradients
            vars(part)["memory_efficient"] = False
    try:
        return Tracer().trace(model)
    except Exception as error:  # the caller's code runs on symbols and may raise anything
        advice = "take the parts that it can, as in net.features = convert(net.features)"
        raise ValueError(f"{caller}: torch.fx cannot trace it, {error!r:.200}; {advice}") from error


def examine(model: nn.Module, graph: fx.Graph, example: Tensor | tuple[Any, ...] | None, caller: str) -> None:
    failure = "it has no convolution or linear layer to tell the size"
    for inputs in examples(model, graph) if example is None else [example]:
        try:
            with torch.no_grad():
                Shapes(model, graph=graph).run(*(inputs if isinstance(inputs, tuple) else (inputs,)))
            return
        except Exception as error:  # as above
            failure = str(error).partition("\n")[0]
    raise ValueError(f"{caller}: pass example=, an input that it can run ({failure})")


def examples(model: nn.Module, graph: fx.Graph) -> Iterator[Tensor]:
    layers = (model.get_submodule(str(node.target)) for node in graph.nodes if node.op == "call_module")
    layer = next((layer for layer in layers if isinstance(layer, _ConvNd | nn.Linear)), None)
    if isinstance(layer, nn.Linear):
        yield layer.weight.new_zeros(2, layer.in_features)
    elif layer is not None:
        for side in (32, 28, 8, 16, 64, 96, 128, 224, 256, 299)[: 10 if layer.weight.ndim < 5 else 1]:  # pixels
            yield layer.weight.new_zeros(2, layer.in_channels, *[side] * (layer.weight.ndim - 2))


class FoldedQMetricReLU(QMetricReLU):
    """U_1 = ReLU(C), U_{t+1} = ReLU(C + W~ U_t), where the layer before has made C = h * Z - W~ Z - b."""

    def _constant(self, Z: Tensor) -> Tensor:
        return Z


@torch.no_grad()
def fold(model: nn.Module, *, example: Tensor | tuple[Any, ...] | None = None) -> fx.GraphModule:
    """A copy for inference that computes the same in less time.

    Batch norm becomes part of the convolution or linear layer before it, and so does C = (diag(h) - W~) Z - b, the
    first step of a Q-metric ReLU of kernel 1. Larger metrics stay, as the zeros that they see around Z are not those
    around the image, and so do what follows a layer whose output has another reader, and layers with forward hooks.

    Parameters
    ----------
    model: any network that torch.fx can trace, in evaluation mode. Outputs are kept up to rounding.
    example: an input, or the tuple of all inputs, to find shapes with after linear layers; images if left out.

    Raises ValueError in training mode, and for a network that cannot be copied or traced, or needs an `example`.
    """
    caller = f"fold({type(model).__name__})"
    root = copied(model, caller)
    if any(part.training for part in model.modules()):
        raise ValueError(f"{caller}: the network is in training mode, call its eval() first")
    graph, modules = trace(root, caller), dict(root.named_modules())
    uses = Counter(str(node.target).removesuffix(".weight").removesuffix(".bias") for node in graph.nodes)
    for node in [node for node in graph.nodes if node.op == "call_module" and node.all_input_nodes]:
        layer, before = modules[node.target], node.all_input_nodes[0]
        first: Any = modules[before.target] if before.op == "call_module" else None
        mixing, metric, linear = channel_map(layer), isinstance(layer, QMetricReLU), type(first) is nn.Linear
        shared = len(before.users) * uses[str(before.target)] * (uses[node.target] if metric else 1) > 1
        if mixing is None or shared or type(first) not in MERGED or (metric and getattr(first, "groups", 1) > 1):
            continue
        if any(part._forward_hooks or part._forward_pre_hooks for part in (layer, first)):
            continue
        if linear and "shape" not in before.meta:
            examine(root, graph, example, caller)
        if linear and len(before.meta["shape"]) > 2:  # the last dimension is not that of the channels
            continue
        merge(first, *mixing)
        if metric:
            layer.__class__ = FoldedQMetricReLU  # of the copy
        else:
            node.replace_all_uses_with(before)
            graph.erase_node(node)
    return fx.GraphModule(root, graph, type(model).__name__).eval().requires_grad_(False)


def channel_map(layer: nn.Module) -> tuple[Callable[[Tensor], Tensor], Tensor] | None:
    """X -> A X and c of the map A x + c of channels with which a layer begins."""
    if type(layer) is QMetricReLU and layer.kernel == 1:
        A = layer.h.double().diag() - layer.dense_weight()[:, :, 0, 0].double()
        return lambda X: A.to(X) @ X, -layer.b.double()
    if isinstance(layer, _BatchNorm) and layer.running_var is not None and layer.running_mean is not None:
        scale = (layer.running_var.double() + layer.eps).rsqrt() * (1 if layer.weight is None else layer.weight)
        shift = (0 if layer.bias is None else layer.bias) - layer.running_mean * scale
        return lambda X: (scale[:, None] * X).to(X), shift
    return None


def merge(first: Any, A: Callable[[Tensor], Tensor], c: Tensor) -> None:
    """Let a layer make A x + c of the x that it made before."""
    weight = first.weight
    shift = c if first.bias is None else c + A(first.bias.double()[:, None])[:, 0]
    # New parameters, as others may share the old ones; empty_like keeps the memory format.
    first.weight = nn.Parameter(torch.empty_like(weight).copy_(A(weight.flatten(1)).view_as(weight)))
    first.bias = nn.Parameter(shift.to(weight))
