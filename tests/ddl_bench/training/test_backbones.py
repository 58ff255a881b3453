"""Residual networks, networks with metrics, and the controls: counts, layout and starts."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import reports
from baselines.methods.plainnet import PlainNet
from baselines.methods.resnet import ResNet
from ddl_bench.api import Budget, Split, Task
from ddl_bench.contract.toys import toy_task
from ddl_bench.errors import UserError
from ddl_bench.harness.clock import CellDeadline, Stopwatch
from ddl_bench.params import make_method
from ddl_bench.registry import load_method
from ddl_bench.training import backbones
from ddl_bench.training.backbones import Block, Depth, ResNetDepth
from ddl_bench.training.method import NetworkMethod
from ddl_bench.training.network import Network
from ddl_bench.training.recipe import RecipeOptions
from detrame.layer import QMetricReLU
from detrame.methods.controls import Convolutions
from detrame.methods.metric_method import MetricMethod
from detrame.methods.plainnet import DeTraMePlainNet
from detrame.methods.plainnet_deep import PlainNetDeep
from detrame.methods.plainnet_extra import PlainNetExtra
from detrame.methods.plainnet_wide import METRIC_WIDTHS, PlainNetWide
from detrame.methods.resnet import DeTraMeResNet


def task(shape: tuple[int, int, int] = (3, 32, 32), n_classes: int = 10, n: int = 0) -> Task:
    images = Split(X=torch.zeros(n, *shape, dtype=torch.uint8), y=torch.arange(n) % n_classes)
    return Task(
        name="empty", class_names=tuple(map(str, range(n_classes))), train=images, val=images
    )


def on_meta(method: NetworkMethod, given: Task) -> nn.Module:
    """The network without its numbers: enough to count parameters and operations."""
    with torch.device("meta"):
        return method.network(given)


def n_params(method: NetworkMethod, given: Task) -> int:
    return Network(on_meta(method, given), device="meta").size().n_params or 0


def operations(method: NetworkMethod, given: Task) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        on_meta(method, given).eval()(torch.empty(1, *given.image_shape, device="meta"))
    return int(counter.get_total_flops())


# Counts


PUBLISHED = [
    (8, 75_290, 123_674),
    (20, 269_722, 414_874),
    (56, 853_018, 1_288_474),
    (110, 1_727_962, 2_598_874),
]


@pytest.mark.parametrize(("depth", "plain", "with_metrics"), PUBLISHED)
def test_parameters_of_residual_networks(depth: ResNetDepth, plain: int, with_metrics: int) -> None:
    assert n_params(ResNet(depth=depth), task()) == plain
    net = on_meta(DeTraMeResNet(depth=depth), task())
    metrics = [module for module in net.modules() if isinstance(module, QMetricReLU)]
    channels = sum(metric.channels for metric in metrics)
    assert len(metrics) == (depth - 2) // 2
    assert channels == (16 + 32 + 64) * len(metrics) // 3
    size = Network(net, device="meta").size()
    assert size.n_stored == with_metrics + 2 * channels, "h and b"
    assert size.n_params == with_metrics + channels, "less the diagonal of W~"


def test_parameters_of_all_cnn_c_with_metrics() -> None:
    """2,982,538 and 2,496 for h and b, which tests/test_networks.py counts for the bare network."""
    size = Network(
        on_meta(DeTraMePlainNet(depth=9, batch_norm=False), task()), device="meta"
    ).size()
    assert size.n_stored == 2_982_538 + 2_496
    assert size.n_params == 2_982_538 + 1_248


# Layout of the residual network


@settings(max_examples=25)
@given(
    sides=st.tuples(*[st.integers(1, 9)] * 2),
    inputs=st.integers(1, 4),
    more=st.integers(0, 4),
    stride=st.just(2),
)
@example(sides=(5, 4), inputs=3, more=0, stride=1)
def test_the_shortcut_skips_pixels_and_adds_channels_of_zeros(
    sides: tuple[int, int], inputs: int, more: int, stride: int
) -> None:
    block = Block(inputs, inputs + more, stride, backbones.relu).eval()
    last = block.residual[-1]
    assert isinstance(last, nn.BatchNorm2d)
    nn.init.constant_(last.weight, 0.0)
    nn.init.constant_(last.bias, -0.25)
    X = torch.randn(2, inputs, *sides, generator=torch.Generator().manual_seed(1))
    rows, columns = (range(0, side, stride) for side in sides)
    expected = torch.zeros(2, inputs + more, len(rows), len(columns))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            expected[:, :inputs, i, j] = (X[:, :, row, column] - 0.25).clamp(min=0)
    assert torch.equal(block(X), expected)


def textbook_resnet(weights: dict[str, Tensor], X: Tensor, n: int) -> Tensor:
    """He et al., section 4.2, with tanh inside each block; parameters by name, in order."""
    order = iter(weights.values())

    def convolve(U: Tensor, stride: int = 1) -> Tensor:
        kernel, scale, shift, mean, variance, _ = (next(order) for _ in range(6))
        return F.batch_norm(F.conv2d(U, kernel, None, stride, 1), mean, variance, scale, shift)

    U = (X - next(order)) / next(order)
    U = convolve(U).clamp(min=0)
    for stage in range(3):
        for block in range(n):
            stride = 2 if stage > 0 and block == 0 else 1
            V = convolve(convolve(U, stride).tanh())
            if stride == 2:
                U = torch.cat([U[:, :, ::2, ::2], torch.zeros_like(V[:, : U.shape[1]])], 1)
            U = (U + V).clamp(min=0)
    return U.mean((2, 3)) @ next(order).T + next(order)


@pytest.mark.parametrize(("depth", "shape"), [(8, (3, 32, 32)), (20, (2, 9, 14)), (8, (1, 1, 1))])
def test_activations_stand_inside_the_blocks_alone(
    depth: ResNetDepth, shape: tuple[int, int, int]
) -> None:
    seen = []

    def tanh(channels: int, kernel: int) -> nn.Module:
        seen.append((channels, kernel))
        return nn.Tanh()

    net = backbones.ResNet(depth, shape[0], 5, activation=tanh).double().eval()
    n = (depth - 2) // 6
    assert seen == [(channels, 3) for channels in (16, 32, 64) for _ in range(n)]
    generator = torch.Generator().manual_seed(0)
    for name, value in net.state_dict().items():
        if value.is_floating_point() and value.ndim == 1:
            drawn = torch.rand(value.shape, generator=generator, dtype=value.dtype)
            value.copy_(drawn + 0.5 if name.endswith(("var", "weight")) else drawn - 0.5)
    X = torch.randint(0, 256, (3, *shape), generator=generator, dtype=torch.uint8)
    torch.testing.assert_close(
        net(X), textbook_resnet(net.state_dict(), X, n), rtol=1e-9, atol=1e-9
    )


def test_a_wrong_option_is_named() -> None:
    with pytest.raises(ValueError, match=r"ResNet\(depth=9\): must be one of 8, 20, 56, 110"):
        backbones.ResNet(9, 1, 2)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"resnet, option 'depth' = 9"):
        make_method(load_method("resnet"), {"depth": 9})
    with pytest.raises(
        UserError,
        match=r"detrame-resnet, option 'n_steps' = -1: .*greater than or equal to 1",
    ):
        make_method(load_method("detrame-resnet"), {"n_steps": -1})


# Steps of the metrics


def test_steps_left_out_are_those_of_table_1() -> None:
    table = Path(next(iter(reports.__path__))) / "reference" / "table1.csv"
    cells = re.findall(
        r'(cifar100?),"(PlainNet|ResNet) (\d+), DeTraMe \((\d) iterations\)"', table.read_text()
    )
    assert len(cells) == 16
    for dataset, family, depth, iterations in cells:
        cls: Any = DeTraMePlainNet if family == "PlainNet" else DeTraMeResNet
        given = task((3, 8, 8), 100 if dataset == "cifar100" else 10)
        for n_steps, expected in [(None, int(iterations)), (4, 4)]:
            net = on_meta(cls(depth=int(depth), n_steps=n_steps, kernel="1x1"), given)
            assert {part.n_steps for part in net.modules() if isinstance(part, QMetricReLU)} == {
                expected
            }
    assert (DeTraMePlainNet().n_steps, DeTraMeResNet().n_steps) == (2, None)


# Controls


@pytest.mark.parametrize("kernel", ["same", "1x1"])
@pytest.mark.parametrize("depth", get_args(Depth))
@pytest.mark.parametrize(
    "given", [task(), task((1, 8, 8)), task((3, 32, 32), 100)], ids=["32", "8", "100 classes"]
)
def test_controls_are_as_large_as_what_they_control(given: Task, depth: Depth, kernel: Any) -> None:
    options: Any = {"depth": depth, "kernel": kernel, "batch_norm": depth != 6}
    steps: Any = {"n_steps": None}
    metric = DeTraMePlainNet(**options, **steps)
    parameters, work = n_params(metric, given), operations(metric, given)
    extra, deep = PlainNetExtra(**options, **steps), PlainNetDeep(**options, **steps)
    assert (n_params(extra, given), operations(extra, given)) == (parameters, work)
    assert operations(deep, given) == work
    assert n_params(deep, given) > parameters
    wanted: list[tuple[Any, Any, int]] = [
        ("parameters", n_params, parameters),
        ("operations", operations, work),
    ]
    for equal, count, expected in wanted:
        chosen = steps if equal == "operations" else {}
        wide = PlainNetWide(**options, **chosen, equal=equal)
        cost = wide.cost(METRIC_WIDTHS, given.image_shape, given.n_classes, with_metrics=True)
        assert cost == expected
        assert count(wide, given) == pytest.approx(expected, rel=0.01)


def test_the_wide_control_keeps_its_shape() -> None:
    net = on_meta(PlainNetWide(depth=9), task())
    widths = [module.out_channels for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert widths == [widths[0]] * 3 + [widths[-1]] * 5
    assert widths[-1] / widths[0] == pytest.approx(2, abs=0.13)


@pytest.mark.parametrize("shared", [True, False])
def test_convolutions_compute_their_formula(shared: bool) -> None:
    layer = Convolutions(2, 3, 3, shared=shared).double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    Z = torch.randn(2, 2, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    U = Z.clamp(min=0)
    for step in range(3):
        at = 0 if shared else step
        V, b = layer.weights[at].flatten(1), layer.biases[at]
        U = (V @ F.unfold(U, 3, padding=1) + b[:, None]).clamp(min=0).unflatten(2, (4, 5))
    torch.testing.assert_close(layer(Z), U)
    assert torch.autograd.gradcheck(layer, (Z,))


@pytest.mark.parametrize(
    "control", [PlainNetDeep(depth=6, n_steps=3), PlainNetExtra(depth=6, n_steps=3)]
)
def test_controls_start_as_the_plain_network(control: MetricMethod) -> None:
    X = torch.randint(
        0, 256, (5, 3, 12, 12), generator=torch.Generator().manual_seed(3), dtype=torch.uint8
    )
    scores = []
    for method in (PlainNet(depth=6), control):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            scores.append(method.network(task((3, 12, 12)))(X))
    torch.testing.assert_close(*scores)


# Training


TRAINED = [
    ResNet(depth=20),
    DeTraMeResNet(depth=8),
    DeTraMePlainNet(depth=12, kernel="1x1"),
    PlainNetDeep(depth=12, kernel="1x1"),
    PlainNetExtra(depth=3),
    PlainNetWide(depth=6),
]


@pytest.mark.parametrize("method", TRAINED, ids=lambda method: method.name)
def test_training_lowers_the_loss(method: NetworkMethod) -> None:
    given, test = toy_task()
    training: Any = replace(method, recipe=RecipeOptions(batch_size=16, lr=0.05)).start(
        given, Budget(epochs=3)
    )
    losses = [float(F.cross_entropy(training.classifier()(test.X), test.y))]
    deadline = CellDeadline(Stopwatch("cpu"), None)
    while training.advance(deadline):
        pass
    losses.append(float(F.cross_entropy(training.classifier()(test.X), test.y)))
    assert losses[1] < 0.7 * losses[0], losses
