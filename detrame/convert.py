"""Q-metric ReLUs in place of the ReLUs of any network that torch.fx can trace."""

import operator
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn.modules import activation
from torch.nn.modules.conv import _ConvNd

from detrame.layer import QMetricReLU
from detrame.tracing import Mode, copied, copy_hooks, examine, trace

ADDITION = (operator.add, operator.iadd, torch.add, "add", "add_")
ACTIVATIONS = {
    name.lower() for name in activation.__all__ if "Softm" not in name and "Multi" not in name
}

Where = Literal["all", "inside-block"] | Callable[["Site"], bool]


@dataclass(frozen=True)
class Site:
    """Describe one call of an activation in a network.

    Parameters
    ----------
    name
        Name of the call, and of its Q-metric ReLU in `net.q_metrics`.
    what
        Name of the module or function that is called.
    channels
        Channels of its input.
    kernel
        Shorter side of the convolution before it, in pixels; 1 for a linear layer, or for none.
    dense
        Whether its input has the shape (n, channels).
    after_addition
        Whether its input is a sum.
    inside_block
        Whether it is not, and the call lies on one way to a sum whose other way goes past it.
    reason
        Why the call was left as it is; "" if a Q-metric ReLU replaced it.
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
    """List all activations of a network in the order of their calls; print as a table."""

    def __str__(self) -> str:
        lines = []
        for site in self:
            outcome = site.reason or f"{site.channels} channels"
            lines.append(f"{site.name:40} {site.what:12} {outcome}")
        n_replaced = len([site for site in self if not site.reason])
        return "\n".join([f"{n_replaced} of {len(self)} activations are Q-metric ReLUs", *lines])


class Converted(fx.GraphModule):
    """Hold a network with Q-metric ReLUs in `q_metrics`; `report` lists each activation."""

    report: Report

    def __deepcopy__(self, memo: dict[int, Any]) -> fx.GraphModule:
        copied = super().__deepcopy__(memo)
        # torch forgets the second of these attributes, and older versions forget both
        vars(copied)["report"] = self.report
        vars(copied)["_non_persistent_buffers_set"] = {*self._non_persistent_buffers_set}
        return copied


def convert(
    model: nn.Module,
    *,
    where: Where = "all",
    kernel: int | Literal["same"] = 1,
    n_steps: int = 2,
    example: Tensor | tuple[Any, ...] | None = None,
    **options: Any,
) -> Converted:
    """Return a network with Q-metric ReLUs for ReLUs that computes the same until it is trained.

    U = ReLU(Z) becomes `n_steps` steps of equation (9) of the DeTraMe-Net paper, which start as a
    ReLU. Each call of a ReLU gets a Q-metric ReLU of its own. `model` stays as it is: its weights
    are copied, under their names; beside them are `q_metrics.NAME.*`. `print(net.report)` shows the
    names. Activation checkpointing is undone. The hooks of a ReLU are those of its Q-metric ReLU.
    A network without a ReLU that could be replaced gives a warning.

    Parameters
    ----------
    model
        Any network that torch.fx can trace. ReLUs of inputs (n, channels) or
        (n, channels, height, width) can be replaced.
    where
        "all"; "inside-block" for those inside residual blocks and not after an addition, as in the
        DeTraMe-Net paper; or a function of a `Site` that says whether to replace it.
    kernel
        Side of W~ in pixels, odd; "same" as the convolution before it, less 1 where that is even.
        Always 1 where the input is dense.
    n_steps
        Number of steps of each Q-metric ReLU.
    example
        An input, or the tuple of all inputs, to find the channels with. None tries images of usual
        sizes.
    options
        Other options of `QMetricReLU`.

    Raises
    ------
    ValueError
        For a network that cannot be copied or traced, that takes another way in training, or that
        needs an `example`; for hooks that the result would not have; for options out of range.

    Examples
    --------
    >>> net = convert(nn.Sequential(nn.Linear(3, 8), nn.ReLU()))
    >>> print(net.report)
    1 of 1 activations are Q-metric ReLUs
    1                                        ReLU         8 channels
    """
    check_options(where, kernel)
    caller = f"convert({type(model).__name__})"
    root = copied(model, caller).eval()
    graph = trace(root, caller)
    training = trace(copied(model, caller).train(), caller)
    try:
        follow_mode(graph, training, caller)
    except ValueError as error:
        raise ValueError(f"{error}{advice_on_heads(model)}") from None
    metrics: nn.ModuleDict = getattr(root, "q_metrics", None) or nn.ModuleDict()
    root.q_metrics = metrics
    root._mode = Mode()
    examine(root, graph, example, caller)
    report = []
    nodes = dict(sites(graph))
    candidates = nodes.values()
    for node, candidate in nodes.items():
        name = candidate.name
        while name in metrics:
            name += "_"
        site = replace(candidate, name=name)
        excluded = refusal(site, where)
        site = replace(site, reason=site.reason or excluded)
        report.append(site)
        if not site.reason:
            metric = QMetricReLU(site.channels, kernel_of(site, kernel), n_steps, **options)
            carry_hooks(node, metric)
            metrics[site.name] = metric.to(node.meta["like"])
            with graph.inserting_after(node):
                call = graph.call_module(f"q_metrics.{site.name}", (node.all_input_nodes[0],))
                node.replace_all_uses_with(call)
            graph.erase_node(node)
    if not metrics and all(site.reason for site in candidates):
        text = f"{caller}: 0 of {len(report)} activations are Q-metric ReLUs; the report says why"
        warnings.warn(text, stacklevel=2)
    return assemble(root, graph, model, Report(report))


class AfterChange:
    """A forward hook of a ReLU in place, which sees its input only after the change."""

    def __init__(self, hook: Callable[..., Any]) -> None:
        self._hook = hook

    def __call__(self, part: nn.Module, inputs: tuple[Tensor, ...], *others: Any) -> Any:
        return self._hook(part, (inputs[0].relu(),), *others)


def carry_hooks(node: fx.Node, metric: QMetricReLU) -> None:
    """Let a Q-metric ReLU run the hooks of the module whose call it replaces."""
    layer = node.meta.get("layer")
    if layer is None:
        return
    copy_hooks(layer, metric)
    if changes_in_place(node):
        hooks = metric._forward_hooks
        hooks.update({key: AfterChange(hook) for key, hook in hooks.items()})


def check_options(where: object, kernel: object) -> None:
    """Raise ValueError for an unknown `where` or `kernel` of `convert`."""
    if not (callable(where) or where in ("all", "inside-block")):
        raise ValueError(
            f"convert(where={where!r}): must be 'all', 'inside-block', or a function of a Site"
        )
    if isinstance(kernel, str) and kernel != "same":
        raise ValueError(f"convert(kernel={kernel!r}): must be odd, or 'same'")


def refusal(site: Site, where: Where) -> str:
    """Return why `where` excludes a call; "" if it does not."""
    if callable(where):
        return "" if where(site) else "`where` says no"
    return "" if where == "all" or site.inside_block else "not inside a residual block"


def kernel_of(site: Site, kernel: int | Literal["same"]) -> int:
    """Return the side of W~ at a call, in pixels."""
    if site.dense:
        return 1
    if kernel == "same":
        return site.kernel - 1 + site.kernel % 2  # the odd side that is not larger
    return kernel


def assemble(root: nn.Module, graph: fx.Graph, model: nn.Module, report: Report) -> Converted:
    """Make the network, in the modes of `model`, with what the graph does not mention.

    A graph module has only the modules and parameters that its graph uses. The others stay here,
    under their names, and so does the list of buffers that are not saved.
    """
    root.train(model.training)
    for part, original in zip(root.modules(), model.modules(), strict=False):
        part.training = original.training
    converted = Converted(root, graph, type(model).__name__)
    constants = converted._buffers.keys() - root._buffers.keys()  # tensors made in forward
    converted._non_persistent_buffers_set = root._non_persistent_buffers_set | constants
    converted._buffers = {**root._buffers, **converted._buffers}
    converted._modules = root._modules
    converted._parameters = root._parameters
    called = {str(node.target) for node in graph.nodes}
    for path, part in list(root.named_modules()):
        if type(part) is nn.ReLU and path not in called:
            converted.delete_submodule(path)
    converted.report = report
    return converted


def follow_mode(graph: fx.Graph, training: fx.Graph, caller: str) -> None:
    """Let arguments that differ between `graph` and `training` follow the mode of the network.

    These are traces of the same network in evaluation and in training, where dropout, for one, has
    the arguments False and True. Raises ValueError where they differ in anything else.
    """
    for node, other in zip_longest(list(graph.nodes), list(training.nodes)):
        line = text_of(node)
        wanted = text_of(other)
        if node and other and line != wanted:
            with graph.inserting_before(node):
                mode = graph.call_module("_mode")
            node.args = tuple(
                mode if pair == (False, True) else pair[0]
                for pair in zip(node.args, other.args, strict=False)
            )
            node.kwargs = {
                key: mode if (value, other.kwargs.get(key)) == (False, True) else value
                for key, value in node.kwargs.items()
            }
            line = text_of(node).replace(f"%{mode}", "True")
        if line != wanted:
            place = node or other
            raise ValueError(f"{caller}: its forward takes another way in training, at {place}")


def advice_on_heads(model: nn.Module) -> str:
    """Return what to do about auxiliary heads, which run in training alone; "" without any."""
    heads = [name for name, _ in model.named_children() if name.lower().startswith("aux")]
    if not heads:
        return ""
    return f"; build it without its auxiliary heads {', '.join(heads)}, by aux_logits=False"


def text_of(node: fx.Node | None) -> str:
    """Return what a node calls, with its arguments, as one line."""
    return str(node and node.format_node())


class Call(NamedTuple):
    """Hold a node that calls an activation, what it calls, and a name for it."""

    node: fx.Node
    what: str
    name: str


def sites(graph: fx.Graph) -> Iterator[tuple[fx.Node, Site]]:
    """Yield the calls of activations; `reason` says why one cannot be replaced."""
    follow_changes(graph)
    ways = residual(graph)
    calls = list(activation_calls(graph))
    n_calls = Counter(call.name for call in calls)
    n_before: Counter[str] = Counter()
    for node, what, call_name in calls:
        name = call_name
        if n_calls[call_name] > 1:
            n_before[call_name] += 1
            name = f"{call_name}_{n_before[call_name]}"
        source = node.all_input_nodes[0]
        shape = source.meta["shape"]
        weight = weight_shape_before(source)
        added = source.target in ADDITION
        site = Site(
            name=name,
            what=what,
            channels=shape[1] if len(shape) > 1 else 0,
            kernel=min(weight[2:], default=1),
            dense=len(shape) == 2,
            after_addition=added,
            inside_block=node in ways and not added,
            reason=why_not(node, what, weight),
        )
        yield node, site


def activation_calls(graph: fx.Graph) -> Iterator[Call]:
    """Yield the nodes that call an activation, named by their module or by that around them."""
    for node in graph.nodes:
        layer = node.meta.get("layer")
        what = type(layer).__name__
        if layer is None:
            what = getattr(node.target, "__name__", str(node.target))
        if not node.op.startswith("call_") or what.replace("_", "").lower() not in ACTIVATIONS:
            continue
        if layer is None:
            around = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
            name = ".".join([*around[-1:], what])
        else:
            name = str(node.target)
        yield Call(node, what, name.strip("._").replace(".", "_"))


def weight_shape_before(source: fx.Node) -> tuple[int, ...]:
    """Return the weight's shape of the last convolution or linear layer up to a node, or ()."""
    before = source
    while before.all_input_nodes and not isinstance(before.meta.get("layer"), _ConvNd | nn.Linear):
        before = before.all_input_nodes[0]
    if "layer" not in before.meta:
        return ()
    return tuple(before.meta["layer"].weight.shape)


def why_not(node: fx.Node, what: str, weight: tuple[int, ...]) -> str:
    """Return why a Q-metric ReLU cannot replace a call; "" where it can."""
    shape = node.all_input_nodes[0].meta["shape"]
    if what.strip("_").lower() != "relu":
        return "not a ReLU"
    if len(shape) not in (2, 4):
        return f"its input has {len(shape)} dimensions, not 2 or 4"
    if len(shape) == 4 and len(weight) == 2 and weight[0] == shape[3]:
        return "its channels come last"
    if node.meta.get("shared"):
        return "in place, and a view of its input is read later"
    return ""


def residual(graph: fx.Graph) -> set[fx.Node]:
    """Return the nodes on one way to an addition whose other way goes past them."""
    behind: dict[fx.Node, set[fx.Node]] = {}  # a node and all that it is computed from
    ways: set[fx.Node] = set()
    for node in graph.nodes:
        before = [behind[source] for source in node.all_input_nodes if "shape" in source.meta]
        behind[node] = set() if node.op == "get_attr" else {node}.union(*before)
        if node.target in ADDITION and len(before) == 2 and before[0] & before[1]:
            ways |= before[0] ^ before[1]
    return ways


def follow_changes(graph: fx.Graph) -> None:
    """Let what reads a tensor after a change in place read the result of the change.

    The call can then be replaced. Not so where something later reads the same memory as another
    tensor: the node is then marked as `shared`.
    """
    nodes = list(graph.nodes)
    for index, node in enumerate(nodes):
        if not changes_in_place(node):
            continue
        changed = node.all_input_nodes[0]
        later = nodes[index + 1 :]
        for reader in later:
            reader.replace_input_with(changed, node)
        read = {tensor for reader in later for tensor in reader.all_input_nodes}
        read_from_before = read.intersection(nodes[:index])
        memory = changed.meta["memory"]
        node.meta["shared"] = any(tensor.meta["memory"] & memory for tensor in read_from_before)


def changes_in_place(node: fx.Node) -> bool:
    """Say whether a node changes its input in place."""
    if node.target is torch.relu_ or node.kwargs.get("inplace"):
        return True
    if node.op == "call_method" and str(node.target).endswith("_"):
        return True
    return bool(getattr(node.meta.get("layer"), "inplace", False))
