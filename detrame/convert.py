"""Q-metric ReLUs in place of the ReLUs of any network that torch.fx can trace."""

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.nn.modules import activation
from torch.nn.modules.conv import _ConvNd

from detrame.layer import QMetricReLU
from detrame.tracing import Mode, copied, examine, trace

ADDITION = (operator.add, operator.iadd, torch.add, "add", "add_")
ACTIVATIONS = {
    name.lower() for name in activation.__all__ if "Softm" not in name and "Multi" not in name
}


@dataclass(frozen=True)
class Site:
    """A call of an activation: its name, which is the one in `net.q_metrics`, and the module or function.

    channels: of its input. kernel: shorter side of the convolution before it, in pixels; 1 for a linear layer, or none.
    dense: its input is (n, channels). after_addition: its input is a sum. inside_block: it is not, and the call lies on
    one way to a sum whose other way goes past it. reason: why it was left as it is; "" if a Q-metric ReLU replaced it.
    """

    name: str
    what: str
    channels: int
    kernel: int
    dense: bool
    after_addition: bool
    inside_block: bool
    reason: str = ""


class Report(tuple[Site, ...]):
    """All activations of a network in the order of their calls; prints as a table."""

    def __str__(self) -> str:
        rows = [
            f"{site.name:40} {site.what:12} {site.reason or f'{site.channels} channels'}"
            for site in self
        ]
        n_replaced = sum(not site.reason for site in self)
        return "\n".join([f"{n_replaced} of {len(self)} activations are Q-metric ReLUs", *rows])


class Converted(fx.GraphModule):
    """A network with Q-metric ReLUs, in `q_metrics`; `report` tells what was replaced, what was not, and why."""

    report: Report

    def __deepcopy__(self, memo: dict[int, Any]) -> fx.GraphModule:
        copied = super().__deepcopy__(memo)
        # torch forgets the one, and older versions both
        vars(copied).update(
            report=self.report, _non_persistent_buffers_set={*self._non_persistent_buffers_set}
        )
        return copied


def convert(
    model: nn.Module,
    *,
    where: Literal["all", "inside-block"] | Callable[[Site], bool] = "all",
    kernel: int | Literal["same"] = 1,
    n_steps: int = 2,
    example: Tensor | tuple[Any, ...] | None = None,
    **options: Any,
) -> Converted:
    """U = ReLU(Z) becomes `n_steps` steps of equation (9), which start as a ReLU: a network that computes the same.

    Each call of a ReLU gets a Q-metric ReLU of its own. `model` stays as it is; its weights are copied, under their
    names; beside them are `q_metrics.NAME.*`. `print(net.report)` shows the names. Activation checkpointing is undone.

    Parameters
    ----------
    model: any network that torch.fx can trace. ReLUs of (n, channels) or (n, channels, height, width) count.
    where: "all"; "inside-block", those inside residual blocks and not after an addition, as in the DeTraMe-Net paper;
        or a function of a `Site` that says whether to replace it.
    kernel: side of W~, odd, in pixels; "same" as the convolution before it, less 1 where that is even. 1 where dense.
    example: an input, or the tuple of all inputs, to find the channels with; images of usual sizes if left out.
    n_steps, options: those of `QMetricReLU`.

    Raises ValueError for a network that cannot be copied or traced, takes another way in training, or needs `example`.
    """
    if not (callable(where) or where in ("all", "inside-block")):
        raise ValueError(
            f"convert(where={where!r}): must be 'all', 'inside-block', or a function of a Site"
        )
    if isinstance(kernel, str) and kernel != "same":
        raise ValueError(f"convert(kernel={kernel!r}): must be odd, or 'same'")
    caller = f"convert({type(model).__name__})"
    root = copied(model, caller).eval()
    graph = trace(root, caller)
    follow_mode(graph, trace(copied(model, caller).train(), caller), caller)
    metrics: nn.ModuleDict = getattr(root, "q_metrics", None) or nn.ModuleDict()
    root.q_metrics, root._mode = metrics, Mode()
    examine(root, graph, example, caller)
    report, refusal = [], "`where` says no" if callable(where) else "not inside a residual block"
    for node, site in list(sites(graph)):
        while site.name in metrics:
            site = replace(site, name=f"{site.name}_")
        side = (
            1 if site.dense else site.kernel - 1 + site.kernel % 2 if kernel == "same" else kernel
        )
        wanted = where(site) if callable(where) else where == "all" or site.inside_block
        report.append(site if site.reason or wanted else replace(site, reason=refusal))
        if not report[-1].reason:
            metrics[site.name] = QMetricReLU(site.channels, side, n_steps, **options).to(
                node.meta["like"]
            )
            with graph.inserting_after(node):
                node.replace_all_uses_with(
                    graph.call_module(f"q_metrics.{site.name}", (node.all_input_nodes[0],))
                )
            graph.erase_node(node)
    return assemble(root, graph, model, Report(report))


def assemble(root: nn.Module, graph: fx.Graph, model: nn.Module, report: Report) -> Converted:
    """The network in the modes of `model`, with what the graph does not mention: names and what is not saved stay."""
    root.train(model.training)
    for part, original in zip(root.modules(), model.modules(), strict=False):
        part.training = original.training
    converted = Converted(root, graph, type(model).__name__)
    constants = converted._buffers.keys() - root._buffers.keys()  # tensors made in forward
    converted._non_persistent_buffers_set = root._non_persistent_buffers_set | constants
    converted._buffers = {**root._buffers, **converted._buffers}
    converted._modules, converted._parameters = root._modules, root._parameters
    for path, part in list(root.named_modules()):
        if type(part) is nn.ReLU and not any(node.target == path for node in graph.nodes):
            converted.delete_submodule(path)
    converted.report = report
    return converted


def follow_mode(graph: fx.Graph, training: fx.Graph, caller: str) -> None:
    """Let arguments that tell the mode, in which `graph` and `training` differ, follow that of the network."""
    for node, other in zip_longest(list(graph.nodes), list(training.nodes)):
        line, wanted = (str(each and each.format_node()) for each in (node, other))
        if node and other and line != wanted:
            with graph.inserting_before(node):
                mode = graph.call_module("_mode")
            node.args = tuple(
                mode if (a, b) == (False, True) else a
                for a, b in zip(node.args, other.args, strict=False)
            )
            node.kwargs = {
                k: mode if (a, other.kwargs.get(k)) == (False, True) else a
                for k, a in node.kwargs.items()
            }
            line = str(node.format_node()).replace(f"%{mode}", "True")
        if line != wanted:
            raise ValueError(
                f"{caller}: its forward takes another way in training, at {node or other}"
            )


def sites(graph: fx.Graph) -> Iterator[tuple[fx.Node, Site]]:
    """The calls of activations; `reason` tells why one cannot be replaced."""
    follow_changes(graph)
    found, ways = [], residual(graph)
    for node in graph.nodes:
        layer, stack = (
            node.meta.get("layer"),
            [path for path, _ in node.meta.get("nn_module_stack", {}).values()],
        )
        what = type(layer).__name__ if layer else getattr(node.target, "__name__", str(node.target))
        if node.op.startswith("call_") and what.replace("_", "").lower() in ACTIVATIONS:
            name = str(node.target) if layer else ".".join([*stack[-1:], what])
            found.append((node, what, name.strip("._").replace(".", "_")))
    names = [name for _, _, name in found]
    for i, (node, what, name) in enumerate(found):
        before = source = node.all_input_nodes[0]
        while before.all_input_nodes and not isinstance(
            before.meta.get("layer"), _ConvNd | nn.Linear
        ):
            before = before.all_input_nodes[0]
        weight: tuple[int, ...] = (
            before.meta["layer"].weight.shape if "layer" in before.meta else ()
        )
        shape, added, reason = source.meta["shape"], source.target in ADDITION, ""
        if what.strip("_").lower() != "relu":
            reason = "not a ReLU"
        elif len(shape) not in (2, 4):
            reason = f"its input has {len(shape)} dimensions, not 2 or 4"
        elif len(shape) == 4 and len(weight) == 2 and weight[0] == shape[3]:
            reason = "its channels come last"
        elif node.meta.get("shared"):
            reason = "in place, and a view of its input is read later"
        name += f"_{names[: i + 1].count(name)}" if names.count(name) > 1 else ""
        channels, kernel = shape[1] if len(shape) > 1 else 0, min(weight[2:], default=1)
        yield (
            node,
            Site(
                name,
                what,
                channels,
                kernel,
                len(shape) == 2,
                added,
                node in ways and not added,
                reason,
            ),
        )


def residual(graph: fx.Graph) -> set[fx.Node]:
    """Nodes on one way to an addition whose other way goes past them."""
    behind, ways = dict[fx.Node, set[fx.Node]](), set[fx.Node]()
    for node in graph.nodes:
        before = [behind[source] for source in node.all_input_nodes if "shape" in source.meta]
        behind[node] = set() if node.op == "get_attr" else {node}.union(*before)
        if node.target in ADDITION and len(before) == 2 and before[0] & before[1]:
            ways |= before[0] ^ before[1]
    return ways


def follow_changes(graph: fx.Graph) -> None:
    """What reads a tensor after a change in place reads the result of the change, so that the call can be replaced.

    Not so where something later reads the same memory as another tensor: this is noted as `shared`.
    """
    nodes = list(graph.nodes)
    for at, node in enumerate(nodes):
        changes = node.target is torch.relu_ or (
            node.op == "call_method" and str(node.target).endswith("_")
        )
        if (
            changes
            or getattr(node.meta.get("layer"), "inplace", False)
            or node.kwargs.get("inplace")
        ):
            changed, later = node.all_input_nodes[0], nodes[at + 1 :]
            for reader in later:
                reader.replace_input_with(changed, node)
            read = {tensor for reader in later for tensor in reader.all_input_nodes}.intersection(
                nodes[:at]
            )
            node.meta["shared"] = any(
                tensor.meta["memory"] & changed.meta["memory"] for tensor in read
            )
