"""Conversion of networks to Q-metric ReLUs, and folding, against the network before."""

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torchvision.models.feature_extraction import create_feature_extractor

import detrame
from ddl_bench.training.backbones import PlainNet, ResNet
from detrame.convert import Site, convert
from detrame.fold import FoldedQMetricReLU, fold
from detrame.layer import QMetricReLU


class Mixed(nn.Module):
    """Mix a reused ReLU, functions, methods, changes in place, a skip, dropout, unused parts."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 5, padding=2)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.widen = nn.Conv2d(4, 6, 3, padding=1)
        self.back = nn.Conv2d(6, 4, 1)
        self.unused = nn.Linear(2, 2)
        self.dense = nn.Linear(4, 8)
        self.head = nn.Linear(8, 5)
        self.dense_norm = nn.BatchNorm1d(8)
        self.register_buffer("shift", torch.tensor(0.25), persistent=False)
        self.register_buffer("spare", torch.tensor(2.0))

    def forward(self, X: Tensor) -> Tensor:
        skip = self.relu(self.norm(self.stem(X)))
        U = self.relu(self.widen(skip))
        U = torch.relu(self.back(U)).relu() + skip * torch.tensor([0.5])
        V = U - self.shift
        V.relu_()
        U = F.relu(V + U).mean((2, 3)) + V.mean((2, 3))
        U = F.dropout(U, 0.5, self.training)
        scores: Tensor = self.head(F.relu(self.dense_norm(self.dense(U)), inplace=True))
        return scores


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Weights, biases, running statistics and metrics that an error shows in."""
    generator = torch.Generator().manual_seed(seed)

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator)

    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d):
                part.get_buffer("running_mean").copy_(0.3 * draw(part.bias))
                part.get_buffer("running_var").copy_(0.5 + draw(part.bias).abs())
                part.weight.copy_(1 + 0.2 * draw(part.weight))
                part.bias.copy_(0.2 * draw(part.bias))
            elif isinstance(part, QMetricReLU):
                for name, parameter in part.named_parameters():
                    size = (
                        0.3 / (part.channels * part.kernel**2) ** 0.5
                        if name not in ("h", "b")
                        else 0.2
                    )
                    parameter.add_(size * draw(parameter))
                part.project_()
            elif isinstance(part, nn.Conv2d | nn.Linear) and part.bias is not None:
                part.bias.copy_(0.2 * draw(part.bias))
    return model


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Begin with the same weights, whichever tests ran before."""
    torch.manual_seed(0)


def images(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_same(computed: Tensor, expected: Tensor) -> None:
    """To 1e-5 of the largest output, which differs between samples."""
    assert expected.std(0).max() > 0
    torch.testing.assert_close(
        computed, expected, rtol=0, atol=1e-5 * float(expected.detach().abs().max())
    )


def known(name: str) -> Any:
    """A network of torchvision for three classes; VGG with 8 dense units for 4,096, of 1 GB."""
    if not name.startswith("vgg"):
        return torchvision.models.get_model(name, num_classes=3)
    network = torchvision.models.get_model(name, num_classes=3, init_weights=False)
    network.classifier[0] = nn.Linear(512 * 49, 8)
    network.classifier[3] = nn.Linear(8, 8)
    network.classifier[6] = nn.Linear(8, 3)
    return network


def metrics(model: nn.Module) -> list[QMetricReLU]:
    return [part for part in model.modules() if isinstance(part, QMetricReLU)]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "densenet121", "vgg11_bn"])
def test_each_relu_of_a_known_network_is_replaced_and_its_outputs_are_kept(name: str) -> None:
    original = randomise(known(name)).eval()
    channels: list[int] = []
    for part in original.modules():
        if isinstance(part, nn.ReLU):
            part.register_forward_hook(lambda _, inputs, __: channels.append(inputs[0].shape[1]))
    X = images(2, 3, 64, 64)
    with torch.inference_mode():
        expected = original(X)
        called = channels + ([1024] if name == "densenet121" else [])  # the last is a function
        net = convert(original)
        assert_same(net(X), expected)
    assert (
        [site.channels for site in net.report]
        == [metric.channels for metric in metrics(net)]
        == called
    )
    assert len(called) == {"resnet18": 17, "resnet50": 49, "densenet121": 121, "vgg11_bn": 10}[name]
    assert not any(site.reason for site in net.report)
    assert not any(isinstance(part, nn.ReLU) for part in net.modules())
    assert [site.dense for site in net.report].count(True) == (2 if name == "vgg11_bn" else 0)


@pytest.mark.parametrize(
    ("name", "inside"), [("resnet18", ["relu_1"]), ("resnet50", ["relu_1", "relu_2"])]
)
def test_inside_block_is_neither_the_stem_nor_after_an_addition(
    name: str, inside: list[str]
) -> None:
    original = randomise(torchvision.models.get_model(name)).eval()
    net = convert(original, where="inside-block", kernel="same")
    blocks = [
        path.replace(".", "_") for path, part in original.named_modules() if hasattr(part, "bn2")
    ]
    assert {site.name for site in net.report if not site.reason} == {
        f"{b}_{relu}" for b in blocks for relu in inside
    }
    assert {site.name for site in net.report if site.after_addition} == {
        f"{b}_relu_{len(inside) + 1}" for b in blocks
    }
    expected = {"resnet18": [3] * 8, "resnet50": [1, 3] * 16}[name]
    assert [metric.kernel for metric in metrics(net)] == expected
    assert str(net.report).count("not inside a residual block") == len(net.report) - len(expected)
    X = images(2, 3, 32, 32)
    with torch.inference_mode():
        assert_same(net(X), original(X))


def test_the_residual_net_of_the_bench_gets_what_its_own_option_gives() -> None:
    made = ResNet(8, 3, 4, activation=QMetricReLU)
    net = convert(ResNet(8, 3, 4), where="inside-block", kernel="same")
    assert [(metric.channels, metric.kernel) for metric in metrics(net)] == [
        (16, 3),
        (32, 3),
        (64, 3),
    ]
    shapes = [
        sorted(tuple(parameter.shape) for parameter in model.parameters()) for model in (net, made)
    ]
    assert shapes[0] == shapes[1]
    assert len(metrics(convert(made))) == 3 + 4, (
        "a metric is no ReLU; those of the stem and after additions are"
    )


def test_own_network_keeps_its_functions_in_both_modes_its_names_and_itself() -> None:
    original = randomise(Mixed())
    reference = copy.deepcopy(original)
    net = detrame.convert(original)
    assert [site.name for site in net.report] == [f"relu_{i}" for i in range(1, 8)]
    assert [site.channels for site in net.report] == [4, 6, 4, 4, 4, 4, 8]
    assert [site.inside_block for site in net.report] == [
        False,
        True,
        True,
        True,
        True,
        False,
        False,
    ]
    old = original.state_dict()
    assert [name for name in net.state_dict() if not name.startswith("q_metrics.")] == list(old)
    X = images(5, 3, 7, 6)
    before = {name: value.clone() for name, value in old.items()}
    for training in (True, False, True):
        outputs = []
        for model in (net, reference):
            torch.manual_seed(3)
            outputs.append(model.train(training)(X))
            outputs[-1].square().sum().backward()
        assert_same(*outputs)
        for path, parameter in reference.named_parameters():
            torch.testing.assert_close(
                net.get_parameter(path).grad, parameter.grad, rtol=1e-4, atol=1e-4
            )
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(net.state_dict()[name], value)
    assert original.training
    assert all(torch.equal(value, before[name]) for name, value in original.state_dict().items())


def test_frozen_parts_stay_frozen() -> None:
    original = Mixed()
    original.norm.eval()
    net = convert(original)
    assert [path for path, part in net.named_modules() if not part.training] == ["norm"]
    assert not any(part.training for part in convert(original.eval()).modules())


def test_it_trains_and_can_be_copied_saved_and_loaded() -> None:
    torch.manual_seed(0)
    net = convert(Mixed(), n_steps=3)
    X = images(20, 3, 6, 6)
    y = torch.arange(20) % 5
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = F.cross_entropy(net(X), y)
        torch.autograd.backward(loss)
        optimiser.step()
        [metric.project_() for metric in metrics(net)]
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(metric.weight.any() and metric.b.any() for metric in metrics(net))
    expected = net.eval()(X)
    copied = copy.deepcopy(net)
    loaded = convert(Mixed(), n_steps=3).eval()
    buffer = io.BytesIO()
    assert copied.report == net.report
    torch.save(net.state_dict(), buffer)
    for other in (copied, loaded):
        buffer.seek(0)
        other.load_state_dict(torch.load(buffer, weights_only=True))
        assert torch.equal(other(X), expected)
    randomise(copied)
    assert torch.equal(net(X), expected), "a copy shares nothing"
    assert not torch.equal(copied.train()(X), copied(X)), "dropout follows the mode"


def test_what_is_left_is_named_with_its_reason() -> None:
    mobile = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.ReLU6(), nn.Conv2d(8, 8, 3, groups=8), nn.Hardswish(), nn.ReLU()
    )
    report = convert(mobile).report
    no = "not a ReLU"
    assert [(site.what, site.reason) for site in report] == [
        ("ReLU6", no),
        ("Hardswish", no),
        ("ReLU", ""),
    ]
    assert str(report).startswith("1 of 3 activations are Q-metric ReLUs\n1 ")
    assert [site.reason for site in convert(Wrong(lambda _, U: F.leaky_relu(U))).report] == [no, ""]
    biased = convert(
        Wrong(lambda me, U: F.relu(U) + me.conv.bias[:, None, None]), where="inside-block"
    ).report
    assert [(site.inside_block, site.after_addition) for site in biased] == [
        (False, False),
        (False, True),
    ]
    sequence = nn.Sequential(
        nn.Conv1d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 4), nn.ReLU()
    )
    assert [site.reason[:22] for site in convert(sequence).report] == ["its input has 3 dimens", ""]
    last = nn.Sequential(nn.Linear(3, 6), nn.ReLU())
    with pytest.warns(UserWarning, match="0 of 1"):
        (site,) = convert(last, example=torch.zeros(1, 5, 5, 3)).report
    assert site.reason == "its channels come last"


def test_a_predicate_chooses_by_the_record() -> None:
    seen: list[Site] = []

    def where(site: Site) -> bool:
        seen.append(site)
        return site.kernel == 3

    net = convert(Mixed(), where=where, kernel="same", structure="low-rank", rank=2, n_steps=4)
    assert [site.kernel for site in seen] == [5, 3, 1, 1, 1, 1, 1]
    (metric,) = metrics(net)
    assert (metric.channels, metric.kernel, metric.rank, metric.n_steps) == (6, 3, 2, 4)
    assert [site.reason for site in net.report] == ["`where` says no", "", *["`where` says no"] * 5]
    again = convert(net)
    assert len(metrics(again)) == 7, "what was left can follow, and no metric is lost"
    assert [other.rank for other in metrics(again)].count(2) == 1


class Checkpointed(Mixed):
    def forward(self, X: Tensor) -> Tensor:
        made: Tensor = checkpoint(super().forward, X, use_reentrant=False)
        return made


def test_checkpoints_are_undone() -> None:
    X = images(2, 3, 32, 32)
    efficient = torchvision.models.DenseNet(4, (2, 2), 8, num_classes=3, memory_efficient=True)
    for original in (randomise(Checkpointed()).eval(), randomise(efficient).eval()):
        assert_same(convert(original)(X), original(X))
    assert efficient.features.denseblock1.denselayer1.memory_efficient


def first_half(_: Any, U: Tensor) -> Tensor:
    torch.relu_(U[:, :1])
    return U


def whole(_: Any, U: Tensor) -> Tensor:
    V = U.view(-1, 3, 4, 4)
    U.relu_()
    return V - 1


def module_of_identity(me: Any, U: Tensor) -> Tensor:
    V = me.same(U)
    me.in_place(U)
    return V - 1  # type: ignore[no-any-return]


def part(_: Any, U: Tensor) -> Tensor:
    parts = U.chunk(3, 1)
    F.relu(U, inplace=True)
    return parts[1] - 1


@pytest.mark.parametrize("fault", [first_half, whole, module_of_identity, part])
def test_a_relu_in_place_stays_where_a_view_is_read_later(fault: Any) -> None:
    torch.manual_seed(1)
    original = randomise(Wrong(fault)).eval()
    X = images(2, 2, 6, 6)
    net = convert(original, example=X)
    reason = "in place, and a view of its input is read later"
    assert [site.reason for site in net.report] == [reason, ""]
    with torch.no_grad():
        assert_same(net(X), original(X))


def test_a_relu_in_place_is_replaced_where_no_view_is_read_later() -> None:
    original = randomise(Wrong(lambda _, U: U.view(-1, 1, 4, 4).relu_() - 1)).eval()
    X = images(2, 2, 6, 6)
    net = convert(original, example=X)
    assert [site.reason for site in net.report] == ["", ""]
    assert_same(net(X), original(X))


class Wrong(nn.Module):
    def __init__(self, fault: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.fault = fault
        self.same = nn.Identity()
        self.in_place = nn.ReLU(inplace=True)

    def forward(self, X: Tensor) -> Tensor:
        return F.relu(self.fault(self, self.conv(X)))


@pytest.mark.parametrize(
    ("fault", "options", "message"),
    [
        (
            lambda _, U: U if U.sum() > 0 else -U,
            {},
            r"convert\(Wrong\): torch.fx cannot trace it, .*control flow",
        ),
        (
            lambda me, U: U + 1 if me.training else U,
            {},
            r"convert\(Wrong\): its forward takes another way in training",
        ),
        (
            lambda _, U: U.view(-1, 7, 11, 13),
            {},
            r"convert\(Wrong\): pass example=, an input that it can run",
        ),
        (
            lambda _, U: U,
            {"where": "blocks"},
            r"convert\(where='blocks'\): must be 'all', 'inside-block', or a function",
        ),
        (lambda _, U: U, {"where": None}, r"convert\(where=None\): must be 'all'"),
        (lambda _, U: U, {"where": True}, r"convert\(where=True\): must be 'all'"),
        (lambda _, U: U, {"where": ["all"]}, r"convert\(where=\['all'\]\): must be 'all'"),
        (lambda _, U: U, {"kernel": "3x3"}, r"convert\(kernel='3x3'\): must be odd, or 'same'"),
        (lambda _, U: U, {"kernel": 2}, r"QMetricReLU\(kernel=2\): must be odd"),
        (lambda _, U: U, {"example": images(1, 5, 8, 8)}, "pass example=.*channels"),
    ],
)
def test_what_cannot_be_converted_is_told_in_a_line(
    fault: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        convert(Wrong(fault), **options)


@pytest.mark.parametrize("function", [convert, fold])
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: None, r"\(NoneType\): must be an nn.Module"),
        (lambda: 3, r"\(int\): must be an nn.Module"),
        (
            lambda: nn.Sequential(nn.LazyConv2d(4, 3)),
            r"\(Sequential\): run the network once before, its lazy layers",
        ),
        (lambda: nn.LazyBatchNorm2d(affine=False), r"\(LazyBatchNorm2d\): run the network once"),
        (
            lambda: Graphed(),
            r"\(Graphed\): it cannot be copied, RuntimeError\('Only Tensors created explicitly",
        ),
    ],
)
def test_what_cannot_be_copied_is_told_in_a_line(function: Any, model: Any, message: str) -> None:
    with pytest.raises(ValueError, match=function.__name__ + message) as caught:
        function(model())
    assert "\n" not in str(caught.value)


class Graphed(nn.Module):
    """A weight that is computed, as the older weight norm of torch has."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Parameter(torch.ones(3))
        self.weight = 2 * self.norm


@pytest.mark.parametrize("n_steps", [1, 2, 4])
@pytest.mark.parametrize("options", [{}, {"structure": "low-rank", "rank": 2}, {"tol": 0.01}])
@pytest.mark.parametrize(("depth", "batch_norm"), [(9, True), (12, False)])
def test_a_folded_plain_network_computes_the_same(
    depth: Any, batch_norm: bool, options: Any, n_steps: int
) -> None:
    def activation(channels: int, _: int) -> nn.Module:
        return QMetricReLU(channels, 1, n_steps, **options)

    made = PlainNet(depth, 3, 4, activation=activation, batch_norm=batch_norm, widths=(6, 8))
    original = randomise(made.to(memory_format=torch.channels_last)).eval()
    before = {name: value.clone() for name, value in original.state_dict().items()}
    X = (127 + 60 * images(4, 3, 10, 10)).clamp(0, 255).to(torch.uint8)
    folded = fold(original)
    assert_same(folded(X), original(X))
    assert sum(isinstance(part, FoldedQMetricReLU) for part in folded.modules()) == depth - 1
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert all(torch.equal(value, before[name]) for name, value in original.state_dict().items())
    assert_same(fold(folded)(X), original(X))


@pytest.mark.parametrize(
    ("name", "kernel", "n_folded"),
    [
        ("resnet18", 1, 9),
        ("resnet18", 3, 0),
        ("resnet50", 1, 33),
        ("densenet121", 1, 59),
        ("vgg11_bn", 1, 10),
    ],
)
def test_a_known_network_folded_or_read_again_computes_the_same(
    name: str, kernel: int, n_folded: int
) -> None:
    original = randomise(convert(known(name), kernel=kernel)).eval()
    again = convert(known(name), kernel=kernel).eval()
    again.load_state_dict(original.state_dict())
    folded = fold(original)
    X = images(2, 3, 64, 64)
    with torch.inference_mode():
        scores = original(X)
        assert_same(folded(X), scores)
        assert torch.equal(again(X), scores)
    assert sum(isinstance(part, FoldedQMetricReLU) for part in folded.modules()) == n_folded
    assert name == "densenet121" or not any(
        isinstance(part, nn.BatchNorm2d) for part in folded.modules()
    )


def test_folded_own_network_computes_the_same() -> None:
    original = randomise(convert(Mixed())).eval()
    X = images(5, 3, 7, 6)
    folded = fold(original)
    assert_same(folded(X), original(X))
    names = [path for path, part in folded.named_modules() if isinstance(part, FoldedQMetricReLU)]
    assert names == [f"q_metrics.relu_{i}" for i in (1, 2, 3, 7)], "the others follow no layer"
    assert not any(isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d) for part in folded.modules())
    with pytest.raises(
        ValueError, match=r"fold\(Mixed\): the network is in training mode, call its eval\(\) first"
    ):
        fold(original.train())


class Shared(nn.Module):
    """Have nothing to merge: two calls, other readers of weights and outputs, groups, sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.read, self.tied, self.grouped = (
            nn.Conv2d(4, 4, 3, padding=1, groups=g) for g in (1, 1, 1, 2)
        )
        self.norms = nn.ModuleList([nn.BatchNorm2d(4) for _ in range(3)])
        self.metrics = nn.ModuleList([QMetricReLU(4, 1) for _ in range(3)])
        self.tokens = nn.Linear(4, 4)
        self.token_norm = nn.BatchNorm1d(4)

    def forward(self, X: Tensor) -> Tensor:
        U = self.norms[0](self.twice(X)) + self.norms[0](self.twice(X + 1))
        V = self.norms[1](self.read(U))
        U = self.metrics[0](V) + V + F.conv2d(U, self.tied.weight)[:, :, :1, :1]
        U = self.metrics[1](self.grouped(U)) + self.norms[2](self.tied(U))
        tokens: Tensor = self.token_norm(self.tokens(self.metrics[2](U).flatten(2)[:, :, :4]))
        return tokens


def test_what_others_read_is_not_merged() -> None:
    original = randomise(Shared()).eval()
    X = images(3, 4, 5, 5)
    folded = fold(original, example=X)
    assert_same(folded(X), original(X))
    norms = [
        path
        for path, part in folded.named_modules()
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d)
    ]
    assert norms == ["norms.0", "norms.2", "token_norm"]
    assert not any(isinstance(part, FoldedQMetricReLU) for part in folded.modules())


def hooked_before(conv: nn.Module, _: nn.Module) -> None:
    conv.register_forward_pre_hook(lambda _, inputs: (inputs[0].abs(),))


def hooked_after(conv: nn.Module, _: nn.Module) -> None:
    conv.register_forward_hook(lambda _, __, U: U.abs())


def hooked_layer(_: nn.Module, layer: nn.Module) -> None:
    layer.register_forward_pre_hook(lambda _, inputs: (inputs[0].abs(),))


def normed(conv: nn.Module, _: nn.Module) -> None:
    nn.utils.spectral_norm(conv)


def parametrised(conv: nn.Module, _: nn.Module) -> None:
    nn.utils.parametrizations.weight_norm(conv)


@pytest.mark.parametrize("options", [{}, {"tol": 0.1, "n_steps": 5}, {"kernel": 3}])
def test_features_of_a_converted_network_are_extracted(options: Any) -> None:
    torch.manual_seed(0)
    net = convert(torchvision.models.resnet18(num_classes=4), **options).eval()
    X = torch.randn(2, 3, 32, 32)
    inner = "q_metrics.layer2_0_relu_1"
    features = create_feature_extractor(net, [inner, "flatten"])(X)
    maps: list[Tensor] = []
    net.get_submodule(inner).register_forward_hook(lambda *values: maps.append(values[-1]))
    head = net.get_submodule("fc")
    torch.testing.assert_close(head(features["flatten"]), net(X))
    torch.testing.assert_close(next(iter(features.values())), maps[0])


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.spectral_norm` is deprecated")
@pytest.mark.parametrize(
    "change", [hooked_before, hooked_after, hooked_layer, normed, parametrised]
)
@pytest.mark.parametrize("layer", [nn.BatchNorm2d(4), QMetricReLU(4, 1)])
def test_layers_with_hooks_are_not_merged(change: Any, layer: nn.Module) -> None:
    original = randomise(nn.Sequential(nn.Conv2d(3, 4, 3), copy.deepcopy(layer)))
    X = images(2, 3, 5, 5)
    change(*original.children())
    with torch.no_grad():
        original(X)  # some hooks set a weight then
    folded = fold(original.eval())
    assert_same(folded(X), original(X))
    assert type(folded.get_submodule("1")) is type(layer)


def add_one(part: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (inputs[0] + 1,)


def double(part: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    return 2 * output


def look(part: nn.Module, inputs: object, output: object) -> None:
    """Look at what passes, and change nothing."""


def nested() -> nn.Sequential:
    inner = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), inner)


@pytest.mark.parametrize("function", [convert, fold])
@pytest.mark.parametrize("path", ["0", "1", "2", "3", "3.0", "3.1", "3.2"])
@pytest.mark.parametrize(
    "register",
    [
        lambda part: part.register_forward_pre_hook(add_one),
        lambda part: part.register_forward_hook(double),
        lambda part: part.register_forward_hook(
            lambda part, inputs, options, output: 3 * output, with_kwargs=True
        ),
    ],
)
def test_hooks_that_change_values_stay(function: Any, path: str, register: Any) -> None:
    original = randomise(nested()).eval()
    register(original.get_submodule(path))
    X = images(2, 3, 5, 5)
    changed = function(original)
    assert_same(changed(X), original(X))
    assert_same(copy.deepcopy(changed)(X), original(X))


@pytest.mark.parametrize("function", [convert, fold])
@pytest.mark.parametrize("path", ["0", "1", "2", "3.0", "3.1", "3.2"])
@pytest.mark.parametrize("kind", ["forward", "full_backward"])
def test_hooks_that_look_at_a_layer_are_called(function: Any, path: str, kind: str) -> None:
    calls: list[nn.Module] = []
    original = randomise(nested()).eval()
    register = getattr(original.get_submodule(path), f"register_{kind}_hook")
    register(lambda part, *values: calls.append(part))
    changed = function(original)
    calls.clear()
    changed(images(2, 3, 5, 5).requires_grad_()).sum().backward()
    assert len(calls) == 1


@pytest.mark.parametrize("function", [convert, fold])
@pytest.mark.parametrize(
    ("path", "register", "name"),
    [
        ("", lambda part: part.register_forward_pre_hook(add_one), "hook add_one"),
        ("", lambda part: part.register_forward_hook(look), "hook look"),
        ("", lambda part: part.register_full_backward_hook(look), "hook look"),
        ("", lambda part: part.register_full_backward_pre_hook(look), "hook look"),
        ("", lambda part: part.register_load_state_dict_post_hook(look), "hook look"),
        ("3", lambda part: part.register_forward_hook(look), "hook look of 3"),
        ("3", lambda part: part.register_full_backward_hook(look), "hook look of 3"),
    ],
)
def test_a_hook_that_would_be_lost_is_named(
    function: Any, path: str, register: Any, name: str
) -> None:
    original = nested().eval()
    register(original.get_submodule(path))
    with pytest.raises(ValueError, match=rf"{function.__name__}\(Sequential\): .*{name} would"):
        function(original)


def test_a_hook_of_a_relu_in_place_sees_its_input_after_the_change() -> None:
    original = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
    original[1].register_forward_hook(lambda part, inputs, output: output + 2 * inputs[0])
    X = images(2, 3, 5, 5)
    assert_same(convert(original)(X), original(X))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("function", [convert, fold])
@pytest.mark.parametrize(
    ("wrap", "advice"),
    [
        (nn.DataParallel, r"\(net\.module\), then wrap"),
        (torch.compile, r"\(net\._orig_mod\), then wrap"),
        (torch.jit.script, "the network that it was made of, then script"),
        (lambda net: nn.Sequential(nn.DataParallel(net)), r"\(net\.0\.module\), then wrap"),
    ],
)
def test_a_wrapped_network_gets_advice_that_fits(function: Any, wrap: Any, advice: str) -> None:
    with pytest.raises(ValueError, match=function.__name__ + ".*" + advice):
        function(wrap(nested().eval()))


def test_auxiliary_heads_get_advice_that_fits() -> None:
    googlenet = torchvision.models.googlenet
    with pytest.raises(ValueError, match="auxiliary heads aux1, aux2, by aux_logits=False"):
        convert(googlenet(init_weights=False))
    assert convert(googlenet(init_weights=False, aux_logits=False)).report


def test_a_network_without_a_relu_gives_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"convert\(Sequential\): 0 of 1 activations"):
        convert(nn.Sequential(nn.Linear(3, 3), nn.GELU()))
