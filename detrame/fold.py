"""Merge the layers of a network for inference: batch norm and Q-metric ReLUs into convolutions."""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from detrame.layer import QMetricReLU
from detrame.tracing import copied, examine, has_hooks, trace

MERGED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""Layers that an affine map of their channels can become part of."""


class FoldedQMetricReLU(QMetricReLU):
    """Compute U_1 = ReLU(C), U_{t+1} = ReLU(C + W~ U_t) of C = h * Z - W~ Z - b.

    C is the input: the layer before has made it, in place of Z.
    """

    is_constant = True


class ChannelMap(NamedTuple):
    """Hold the affine map A x + c of the channels x of a pixel.

    Parameters
    ----------
    matrix_product
        The function X -> A X of matrices X, shape (channels, n).
    shift
        c, shape (channels,).
    """

    matrix_product: Callable[[Tensor], Tensor]
    shift: Tensor


@torch.no_grad()
def fold(model: nn.Module, *, example: Tensor | tuple[Any, ...] | None = None) -> fx.GraphModule:
    """Return a copy for inference that computes the same in less time.

    Batch norm becomes part of the convolution or linear layer before it. So does the first step of
    a Q-metric ReLU of kernel 1, C = (diag(h) - W~) Z - b. Larger metrics stay, because the zeros
    that they see around Z are not those around the image. So does what follows a layer whose output
    has another reader, and so do layers with hooks.

    Parameters
    ----------
    model
        Any network that torch.fx can trace, in evaluation mode.
    example
        An input, or the tuple of all inputs, to find shapes with after linear layers. None tries
        images of usual sizes.

    Returns
    -------
    fx.GraphModule
        Computes the outputs of `model` up to rounding; its parameters need no gradient.

    Raises
    ------
    ValueError
        In training mode, for a network that cannot be copied or traced, or needs an `example`, and
        for hooks that the result would not have.

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
    >>> [type(layer).__name__ for layer in fold(network).children()]
    ['Conv2d', 'ReLU']
    """
    caller = f"fold({type(model).__name__})"
    root = copied(model, caller)
    if any(part.training for part in model.modules()):
        raise ValueError(f"{caller}: the network is in training mode, call its eval() first")
    graph = trace(root, caller)
    modules = dict(root.named_modules())
    n_uses = count_uses(graph)
    for node in list(graph.nodes):
        if node.op != "call_module" or not node.all_input_nodes:
            continue
        before = node.all_input_nodes[0]
        if before.op != "call_module" or not has_one_reader(node, before, modules, n_uses):
            continue
        layer = modules[node.target]
        first = modules[before.target]
        channel_map = channel_map_of(layer)
        if channel_map is None or not can_take(first, layer):
            continue
        if type(first) is nn.Linear:
            if "shape" not in before.meta:
                examine(root, graph, example, caller)
            if len(before.meta["shape"]) > 2:  # then its channels are not the second dimension
                continue
        merge(first, channel_map)
        if isinstance(layer, QMetricReLU):
            layer.__class__ = FoldedQMetricReLU  # of the copy
        else:
            node.replace_all_uses_with(before)
            graph.erase_node(node)
    return fx.GraphModule(root, graph, type(model).__name__).eval().requires_grad_(False)


def count_uses(graph: fx.Graph) -> Counter[str]:
    """Count the nodes that call each module or read its weight or bias."""
    names = (str(node.target) for node in graph.nodes)
    return Counter(name.removesuffix(".weight").removesuffix(".bias") for name in names)


def has_one_reader(
    node: fx.Node, before: fx.Node, modules: dict[str, nn.Module], n_uses: Counter[str]
) -> bool:
    """Say whether this node alone uses the layer before it, and is the only call of a metric."""
    if len(before.users) > 1 or n_uses[str(before.target)] > 1:
        return False
    is_metric = isinstance(modules[str(node.target)], QMetricReLU)
    return not is_metric or n_uses[str(node.target)] == 1


def can_take(first: nn.Module, layer: nn.Module) -> bool:
    """Say whether `first` can take the affine map with which `layer`, right after it, begins."""
    if type(first) not in MERGED:
        return False
    if isinstance(layer, QMetricReLU) and getattr(first, "groups", 1) > 1:
        return False  # a metric mixes channels of different groups
    return not (has_hooks(layer) or has_hooks(first))


def channel_map_of(layer: nn.Module) -> ChannelMap | None:
    """Return the affine map of channels with which a layer begins; None where there is none."""
    if type(layer) is QMetricReLU and layer.kernel == 1:
        A = layer.h.double().diag() - layer.dense_weight()[:, :, 0, 0].double()
        return ChannelMap(lambda X: A.to(X) @ X, -layer.b.double())
    if not isinstance(layer, _BatchNorm):
        return None
    if layer.running_var is None or layer.running_mean is None:
        return None
    scale = (layer.running_var.double() + layer.eps).rsqrt()
    if layer.weight is not None:
        scale = scale * layer.weight
    shift = -layer.running_mean * scale
    if layer.bias is not None:
        shift = layer.bias + shift
    return ChannelMap(lambda X: (scale[:, None] * X).to(X), shift)


def merge(first: Any, channel_map: ChannelMap) -> None:
    """Change a layer so that it makes A x + c of the x that it made before."""
    weight = first.weight
    shift = channel_map.shift
    if first.bias is not None:
        shift = shift + channel_map.matrix_product(first.bias.double()[:, None])[:, 0]
    mapped = channel_map.matrix_product(weight.flatten(1)).view_as(weight)
    # New parameters, as others may share the old ones; empty_like keeps the memory format.
    first.weight = nn.Parameter(torch.empty_like(weight).copy_(mapped))
    first.bias = nn.Parameter(shift.to(weight))
