"""Networks as graphs of torch.fx: how they are traced, and how their layers are merged for inference."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from detrame.layer import QMetricReLU
from detrame.tracing import copied, examine, trace

MERGED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


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
    uses = Counter(
        str(node.target).removesuffix(".weight").removesuffix(".bias") for node in graph.nodes
    )
    for node in [node for node in graph.nodes if node.op == "call_module" and node.all_input_nodes]:
        layer, before = modules[node.target], node.all_input_nodes[0]
        first: Any = modules[before.target] if before.op == "call_module" else None
        mixing, metric, linear = (
            channel_map(layer),
            isinstance(layer, QMetricReLU),
            type(first) is nn.Linear,
        )
        shared = (
            len(before.users) * uses[str(before.target)] * (uses[node.target] if metric else 1) > 1
        )
        if (
            mixing is None
            or shared
            or type(first) not in MERGED
            or (metric and getattr(first, "groups", 1) > 1)
        ):
            continue
        if any(part._forward_hooks or part._forward_pre_hooks for part in (layer, first)):
            continue
        if linear and "shape" not in before.meta:
            examine(root, graph, example, caller)
        if (
            linear and len(before.meta["shape"]) > 2
        ):  # the last dimension is not that of the channels
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
    if (
        isinstance(layer, _BatchNorm)
        and layer.running_var is not None
        and layer.running_mean is not None
    ):
        scale = (layer.running_var.double() + layer.eps).rsqrt() * (
            1 if layer.weight is None else layer.weight
        )
        shift = (0 if layer.bias is None else layer.bias) - layer.running_mean * scale
        return lambda X: (scale[:, None] * X).to(X), shift
    return None


def merge(first: Any, A: Callable[[Tensor], Tensor], c: Tensor) -> None:
    """Let a layer make A x + c of the x that it made before."""
    weight = first.weight
    shift = c if first.bias is None else c + A(first.bias.double()[:, None])[:, 0]
    # New parameters, as others may share the old ones; empty_like keeps the memory format.
    first.weight = nn.Parameter(
        torch.empty_like(weight).copy_(A(weight.flatten(1)).view_as(weight))
    )
    first.bias = nn.Parameter(shift.to(weight))
