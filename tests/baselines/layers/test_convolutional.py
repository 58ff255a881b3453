"""Convolutional sparse coding against dense matrices: ML-ISTA, csc-net and deq-sc too."""

import math
from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.layers.convolutional import CodingLayer, CodingNetwork, Dictionary, unit_norm
from baselines.layers.equilibrium import (
    EquilibriumLayer,
    FixedPoint,
    anderson_weights,
    equilibrium,
    equilibrium_codes,
)
from baselines.layers.multilayer import BOUND_EVERY_STEPS, CodedMaps, Layout, MultiLayerNet
from baselines.layers.residual import CodingResNet
from baselines.methods.csc_net import CSCNet
from baselines.methods.deq_sc import DEQSC
from baselines.methods.ml_csc import LAYOUTS, MLCNN, MLFISTA, MLISTA, MLLISTA
from ddl_bench.api import HasCodes, Split, Task
from ddl_bench.errors import UserError
from ddl_bench.training.method import NetworkMethod
from tests.conftest import DIGITS, HELD_OUT, fit

Array = NDArray[np.float64]
THREE = Layout((CodedMaps(5, 4, 2, 1), CodedMaps(6, 3, 1, 0), CodedMaps(4, 2, 2, 0)))


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def matrix(dictionary: Dictionary, sides: tuple[int, ...]) -> Array:
    """The matrix (channels * height * width, n_atoms * rows * columns), cut at the borders."""
    D = dictionary.D.detach().double().numpy()
    stride = dictionary.stride
    padding = dictionary.padding
    n_atoms, channels, kernel, _ = D.shape
    rows, columns = ((side + 2 * padding - kernel) // stride + 1 for side in sides)
    made = np.zeros((channels, *sides, n_atoms, rows, columns))
    for atom, row, column, i, j in product(*map(range, (n_atoms, rows, columns, kernel, kernel))):
        y = row * stride - padding + i
        x = column * stride - padding + j
        if 0 <= y < sides[0] and 0 <= x < sides[1]:
            made[:, y, x, atom, row, column] += D[atom, :, i, j]
    return made.reshape(channels * math.prod(sides), -1)


def pursue(x: Array, D: Array, *, step: float, lmbd: Any, n_steps: int, fista: bool) -> Array:
    """Non-negative ISTA or FISTA from 0, one column of x a sample."""
    codes = z = np.zeros((D.shape[1], x.shape[1]))
    t = 1.0
    for _ in range(n_steps):
        before, codes = codes, np.maximum(z - step * (D.T @ (D @ z - x) + lmbd), 0)
        t_next = (1 + math.sqrt(1 + 4 * t * t)) / 2
        z = codes + (t - 1) / t_next * (codes - before) if fista else codes
        t = t_next
    return codes


def columns(maps: Tensor) -> Array:
    return np.asarray(maps.detach().flatten(1).T, dtype=np.float64)


def task_of(shape: tuple[int, int, int], n: int = 12) -> Task:
    X = torch.randint(
        0, 256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    some = Split(X=X, y=torch.arange(n) % 10)
    return Task(
        name="noise", class_names=tuple("0123456789"), train=some, val=Split(X=X[:0], y=some.y[:0])
    )


# The dictionary


@st.composite
def dictionaries(draw: st.DrawFn) -> Dictionary:
    limits = (1, 4), (1, 3), (1, 4), (1, 4), (0, 2), (0, 99)
    n_atoms, channels, kernel, stride, padding, seed = (draw(st.integers(*ends)) for ends in limits)
    return Dictionary(
        randn(n_atoms, channels, kernel, kernel, seed=seed), stride, min(padding, kernel - 1)
    )


@given(dictionaries(), st.integers(4, 7), st.integers(4, 7))
@settings(max_examples=40)
def test_dictionary_and_adjoint_are_a_matrix_and_its_transpose(
    dictionary: Dictionary, height: int, width: int
) -> None:
    X = randn(2, dictionary.D.shape[1], height, width, seed=1)
    D = matrix(dictionary, (height, width))
    correlations = dictionary.adjoint(X)
    np.testing.assert_allclose(columns(correlations), D.T @ columns(X), atol=1e-10)
    codes = randn(*correlations.shape, seed=2)
    synthesis = dictionary(codes, X.shape[2:])
    np.testing.assert_allclose(columns(synthesis), D @ columns(codes), atol=1e-10)


@given(dictionaries(), st.integers(4, 8))
@settings(max_examples=60)
def test_lipschitz_is_no_less_than_the_largest_eigenvalue(
    dictionary: Dictionary, side: int
) -> None:
    largest = np.linalg.norm(matrix(dictionary, (side, side)), 2) ** 2
    bound = float(dictionary.lipschitz())
    assert bound >= largest * (1 - 1e-12)
    if dictionary.stride >= dictionary.D.shape[-1] and dictionary.padding == 0:
        assert bound == pytest.approx(largest)  # atoms do not overlap: nothing is lost


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (6, 2), (4, 2), (2, 1)])
def test_lipschitz_holds_for_the_worst_codes_and_is_tight(kernel: int, stride: int) -> None:
    dictionary = Dictionary(torch.ones(1, 1, kernel, kernel, dtype=torch.float64), stride)
    # The largest on an endless plane: an atom of ones has it for constant codes.
    plane = kernel**4 / stride**2
    assert plane <= float(dictionary.lipschitz()) <= plane * 4 / 3 * (1 + 1e-12)


def test_lipschitz_holds_where_the_worst_codes_lie_between_the_frequencies_looked_at() -> None:
    """Atoms turn by 30 degrees a pixel, half the distance of the frequencies: 2**4 is largest."""
    c = math.cos(math.pi / 6)
    s = math.sin(math.pi / 6)
    turn = torch.tensor([[c, s], [-s, c]], dtype=torch.float64)
    D = torch.stack([torch.eye(2).double(), turn, turn, turn @ turn], 2).view(2, 2, 2, 2)
    dictionary = Dictionary(D)
    largest = np.linalg.norm(matrix(dictionary, (20, 20)), 2) ** 2
    assert 15.5 < largest < 16 <= float(dictionary.lipschitz()) <= 16 * 4 / 3


# Multi-layer sparse coding


def multi(
    layout: Layout, *, n_steps: int, seed: int = 0, side: int = 10, **options: bool
) -> MultiLayerNet:
    """In double precision, with random thresholds and, where they are apart, analysis filters.

    Filters and steps that start small are enlarged: else there would be no code.
    """
    torch.manual_seed(seed)
    net = MultiLayerNet((2, side, side), 3, layout, n_steps=n_steps, **options).double()
    with torch.no_grad():
        for bias in net.bias:
            bias.copy_(-0.1 * randn(len(bias), seed=seed).abs())
        if net.free_steps:
            for W, bias in zip(net.W, net.bias, strict=True):
                W.mul_(8)
                bias.neg_()
        for depth, step in enumerate(net.step):
            step.fill_(0.5 + 0.2 * depth)
        for B in net.B:
            B.add_(0.1 * randn(*B.shape, seed=seed))
    net.find_lipschitz()
    return net


@pytest.mark.parametrize("momentum", [False, True])
@pytest.mark.parametrize("n_steps", [0, 1, 2, 3, 10])
def test_one_layer_is_ista_or_fista(n_steps: int, momentum: bool) -> None:
    net = multi(Layout((CodedMaps(6, 4, 2, 1),)), n_steps=n_steps, momentum=momentum)
    W = Dictionary(net.W[0], 2, 1)
    step = float(W.lipschitz())  # of W = step * D, and so of D too: 1 / lipschitz(D)
    X = 255 * torch.rand(
        2, 2, 10, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    D = matrix(W, (10, 10)) / step
    lmbd = np.repeat(-net.bias[0].detach().numpy(), 25)[:, None] / step
    signals, codes = net.codes(X)
    options: dict[str, Any] = {
        "step": step,
        "lmbd": lmbd,
        "n_steps": n_steps + 1,
        "fista": momentum,
    }
    np.testing.assert_allclose(columns(codes), pursue(columns(signals), D, **options), atol=1e-10)
    assert np.linalg.norm(D, 2) ** 2 <= 1 / step  # so that the step is a sound one
    np.testing.assert_allclose(matrix(net.first_codes(X)[0], (10, 10)), D)


def reference(net: MultiLayerNet, x: Array, sides: list[tuple[int, ...]]) -> list[Array]:
    """Codes of all layers by the published updates, through each effective dictionary."""
    n = len(net.coded)
    step = net.lipschitz.numpy()[0]
    free = [each.item() for each in net.step] or [1.0] * n
    areas = [math.prod(side) for side in sides[1:]]
    W = [matrix(*pair) for pair in zip(net.dictionaries(net.W), sides[:-1], strict=True)]
    filters = net.dictionaries(net.B or net.W)
    B = [matrix(*pair) for pair in zip(filters, sides[:-1], strict=True)]
    D = [each / bound for each, bound in zip(W, step, strict=True)]
    back = [each / bound for each, bound in zip(B, net.lipschitz.numpy()[-1], strict=True)]
    bias = []
    for each, area in zip(net.bias, areas, strict=True):
        bias.append(np.repeat(each.detach().numpy(), area)[:, None])
    codes = [x]
    for i in range(n):
        codes.append(np.maximum(free[i] * B[i].T @ codes[i] + bias[i], 0))
    before = codes[n]
    t = 1.0
    for _ in range(net.n_steps):
        t_before = t
        t = (1 + math.sqrt(1 + 4 * t * t)) / 2
        z = codes[n]
        if net.momentum:
            z = z + (t_before - 1) / t * (codes[n] - before)
        before = codes[n]
        for i in range(n):
            hat = z
            for above in reversed(range(i + 1, n)):
                hat = back[above] @ hat
            pulled = step[i] * D[i].T @ (D[i] @ hat)
            moved = free[i] * (pulled - B[i].T @ codes[i])
            codes[i + 1] = np.maximum(hat - moved + bias[i], 0)
    return codes


@pytest.mark.parametrize("free_steps", [False, True], ids=["bounded", "as-the-authors"])
@pytest.mark.parametrize(
    "options", [{}, {"momentum": True}, {"free": True}], ids=["ista", "fista", "lista"]
)
@pytest.mark.parametrize("n_steps", [0, 1, 3, 6])
def test_layers_follow_the_published_update(
    options: dict[str, bool], n_steps: int, free_steps: bool
) -> None:
    net = multi(THREE, n_steps=n_steps, free_steps=free_steps, **options)
    assert len(net.step) == (3 if free_steps and "free" not in options else 0)
    X = 255 * torch.rand(
        3, 2, 10, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    codes = net.codes(X)
    expected = reference(net, columns(codes[0]), [tuple(maps.shape[2:]) for maps in codes])
    for ours, theirs in zip(codes, expected, strict=True):
        np.testing.assert_allclose(columns(ours), theirs, atol=1e-10)
        assert np.count_nonzero(theirs)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
def test_without_unfolding_it_is_the_convolutional_network(shape: tuple[int, int, int]) -> None:
    task = task_of(shape, 3)
    torch.manual_seed(0)
    net = MLCNN().network(task)
    ista = MLISTA(n_steps=0).network(task)
    ista.load_state_dict(net.state_dict())
    assert isinstance(net, MultiLayerNet)
    maps = net.normalise(task.train.X)
    for weight, bias, (_, _, stride, padding) in zip(
        net.W, net.bias, LAYOUTS[shape[1]].coded, strict=True
    ):
        maps = F.relu(F.conv2d(maps, weight, bias, stride, padding))
    for depth, convolution in enumerate(net.plain):
        maps = F.max_pool2d(F.relu(convolution(maps)), 2 if depth else 1)
    torch.testing.assert_close(net(task.train.X), net.head(maps.flatten(1)))
    torch.testing.assert_close(ista(task.train.X), net(task.train.X))


@pytest.mark.parametrize("n_steps", [0, 2])
def test_free_steps_start_small_and_leave_the_deepest_codes_as_they_are(n_steps: int) -> None:
    X = torch.randint(0, 256, (3, 2, 10, 10), generator=torch.Generator().manual_seed(0))
    large = Layout((CodedMaps(400, 4, 2, 1),))
    nets = []
    for free_steps in (False, True):
        torch.manual_seed(0)
        nets.append(MultiLayerNet((2, 10, 10), 3, large, n_steps=n_steps, free_steps=free_steps))
    bounded, free = nets
    assert free.W[0].std().item() == pytest.approx(0.1 / 32**0.5, rel=0.02)
    assert bounded.W[0].std().item() == pytest.approx((2 / 32) ** 0.5, rel=0.02)
    torch.testing.assert_close(free.features(X), free.codes(X)[-1].flatten(1))
    torch.testing.assert_close(bounded.features(X), bounded.codes(X)[-1].flatten(1) / (n_steps + 1))
    assert [step.item() for step in free.step] == [1.0]
    assert torch.equal(free.lipschitz, torch.ones(1, 1))


def test_sizes_are_the_published_ones_and_small_images_are_named() -> None:
    tasks = (task_of((1, 28, 28), 1), task_of((3, 32, 32), 1))
    made = [method.network(task) for task in tasks for method in (MLISTA(), MLLISTA())]
    mnist = 64 * 36 + 128 * 64 * 36 + 512 * 128 * 16  # numbers of the filters
    cifar = 32 * 3 * 16 + 64 * 32 * 16 + 128 * 64 * 16
    sizes = [
        mnist + 704 + 5130,
        2 * mnist + 704 + 5130,
        4_005_866,
        4_005_866 + cifar,
    ]  # "4.0 M"
    assert [CodingNetwork(net).size().n_params for net in made] == sizes
    with pytest.raises(UserError, match="ml-fista: images are 6x9; they must be at least 8x8"):
        MLFISTA().network(task_of((1, 6, 9)))


def test_csc_net_has_the_size_of_a_resnet_18_without_weights_in_its_shortcuts() -> None:
    net = CSCNet(width=64, n_blocks=2, n_stages=4).network(task_of((3, 32, 32), 1))
    widths = [3, *[64] * 5, *[128] * 4, *[256] * 4, *[512] * 4]
    size = (
        sum(9 * inputs * outputs + 2 * outputs for inputs, outputs in pairwise(widths)) + 513 * 10
    )
    assert (
        CodingNetwork(net).size().n_params == size == pytest.approx(11_173_962, rel=0.02)
    )  # with weights there


def test_few_images_are_learned_in_small_batches() -> None:
    assert [MLISTA.recipes["fast"].batch(n) for n in (len(DIGITS.train), 60_000)] == [32, 128]


@torch.no_grad()
def test_unfoldings_stay_stable_however_large_the_filters_grow() -> None:
    net = multi(THREE, n_steps=50)
    X = 255 * torch.rand(3, 2, 10, 10, dtype=torch.float64)
    small = float(net.codes(X)[-1].max())
    for W in net.W:
        W.mul_(30)
    assert not net.codes(X)[-1].isfinite().all()
    for n_calls in range(1, BOUND_EVERY_STEPS + 1):
        net.project_()
        assert bool(net.codes(X)[-1].isfinite().all()) == (n_calls == BOUND_EVERY_STEPS)
    assert small < float(net.codes(X)[-1].max()) < 2 * 30**3 * small


# csc-net


@pytest.mark.parametrize("n_steps", [1, 2, 3, 7, 40])
def test_a_coding_layer_is_fista_whose_gradient_is_at_the_extrapolated_point(n_steps: int) -> None:
    torch.manual_seed(0)
    layer = CodingLayer(2, 6, 3, 2, lmbd=0.05, n_steps=n_steps).double()
    layer.project_()
    X = randn(3, 2, 7, 8)
    D = matrix(layer.dictionary, (7, 8))
    expected = pursue(columns(X), D, step=float(layer.step), lmbd=0.05, n_steps=n_steps, fista=True)
    np.testing.assert_allclose(columns(layer(X)), expected, atol=1e-12)
    assert 0 < np.count_nonzero(expected) < expected.size


@pytest.mark.parametrize(("layers", "n_fewer"), [("first", 1), ("all", 4)])
def test_published_coding_layers_have_no_relu_behind_their_batch_norm(
    layers: Any, n_fewer: int
) -> None:
    task = task_of((3, 9, 9))
    counts = []
    for relu in (True, False):
        net = CSCNet(layers=layers, relu=relu).network(task)
        counts.append(sum(isinstance(part, nn.ReLU) for part in net.modules()))
    assert counts[0] - counts[1] == n_fewer
    bare: Any = CSCNet(layers=layers, relu=False).network(task)
    assert bare.features[:2](bare.normalise(task.train.X)).min().item() < 0


@torch.no_grad()
def test_the_step_is_about_a_quarter_shorter_than_by_power_iteration() -> None:
    """As the method declares: SDNet takes 0.9 / the largest eigenvalue of D'D on the image."""
    torch.manual_seed(0)
    layer = CodingLayer(3, 64)
    codes = torch.randn(1, 64, 32, 32)
    eigenvalue = 0.0
    for _ in range(50):
        image = layer.dictionary.adjoint(layer.dictionary(codes, torch.Size((32, 32))))
        eigenvalue = float(image.norm() / codes.norm())
        codes = image / image.norm()
    assert 0.7 < float(layer.step) * eigenvalue / 0.9 < 0.85


def test_atoms_and_step_are_restored() -> None:
    net = CSCNet(layers="all").network(task_of((3, 9, 9)))
    layers = [part for part in net.modules() if isinstance(part, CodingLayer)]
    assert len(layers) == 7
    assert not any(isinstance(part, nn.Conv2d) for part in net.modules())
    for layer in layers:
        layer.weight.data *= 3
        layer.project_()
        torch.testing.assert_close(
            layer.weight.flatten(1).norm(dim=1), torch.ones(len(layer.weight))
        )
        assert float(layer.step) == pytest.approx(0.9 / float(layer.dictionary.lipschitz()))
    with pytest.raises(ValueError, match="must be one of first, all"):
        CodingResNet(1, 2, width=4, n_blocks=1, coding=CodingLayer, layers="last")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"CodingLayer\(n_steps=0, lmbd=0.1\)"):
        CodingLayer(1, 2, n_steps=0)


# deq-sc


def problem(
    stride: int = 1, n: int = 3, **options: Any
) -> tuple[Tensor, Dictionary, Tensor, FixedPoint]:
    dictionary = Dictionary(unit_norm(randn(5, 2, 3, 3)), stride, 1)
    values: dict[str, Any] = {"lmbd": 0.3, "alpha": 0.2, "n_iter": 500, "tol": 1e-12}
    values |= options
    step = 1 / (dictionary.lipschitz() + values["alpha"])
    return randn(n, 2, 6, 7, seed=1), dictionary, step, FixedPoint(**values)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_equilibrium_is_the_minimiser(stride: int) -> None:
    X, dictionary, step, point = problem(stride)
    codes = equilibrium(X, dictionary, step, point)
    # KKT: 0 where codes > 0, elsewhere not below 0.
    slope = dictionary.gradient(codes, X, alpha=point.alpha) + point.lmbd
    assert float(slope[codes > 0].abs().max()) < 1e-9
    assert float(slope.min()) > -1e-9
    assert 0.05 < float((codes > 0).double().mean()) < 0.95


def unrolled(X: Tensor, D: Tensor, step: Tensor, point: FixedPoint, n_steps: int) -> Tensor:
    dictionary = Dictionary(D, 1, 1)
    codes = F.relu(step * (dictionary.adjoint(X) - point.lmbd))
    for _ in range(n_steps):
        codes = dictionary.ista_step(codes, X, step=step, lmbd=point.lmbd, alpha=point.alpha)
    return codes


def test_codes_and_gradients_are_those_of_the_unrolled_layer_in_the_limit() -> None:
    X, dictionary, step, point = problem()
    leaves = X.requires_grad_(), dictionary.D.detach().requires_grad_()
    found = equilibrium_codes(*leaves, step, 1, 1, point)
    limit = unrolled(*leaves, step, point, 1500)
    torch.testing.assert_close(found, limit, atol=1e-9, rtol=0)
    g = randn(*limit.shape, seed=5)
    ours, theirs = (torch.autograd.grad((g * codes).sum(), leaves) for codes in (found, limit))
    torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=0)


def test_gradients_agree_with_differences() -> None:
    X, dictionary, step, point = problem(tol=1e-13)
    leaves = X[:1, :, :4, :3].clone().requires_grad_(), dictionary.D.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda X, D: equilibrium_codes(X, D, step, 1, 1, point), leaves, eps=1e-4
    )


def test_memory_does_not_grow_with_iterations() -> None:
    def saved(n_iter: int, layer: Any) -> int:
        X, dictionary, step, point = problem(n_iter=n_iter, tol=0.0)
        sizes: list[int] = []

        def keep(tensor: Tensor) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            layer(X, dictionary.D.requires_grad_(), step, point)
        return sum(sizes)

    implicit = [
        saved(n, lambda X, D, step, point: equilibrium_codes(X, D, step, 1, 1, point))
        for n in (10, 100, 1000)
    ]
    assert implicit[0] == implicit[1] == implicit[2] > 0
    steps = [
        saved(n, lambda X, D, step, point: unrolled(X, D, step, point, point.n_iter))
        for n in (10, 100)
    ]
    assert steps[1] > 5 * steps[0] > 5 * implicit[0]


def test_anderson_is_faster_than_plain_steps() -> None:
    X, dictionary, step, point = problem(n_iter=79, tol=0.0)
    point = replace(point, alpha=0.01)
    step = 1 / (dictionary.lipschitz() + 0.01)
    limit = equilibrium(X, dictionary, step, replace(point, n_iter=5000))
    ours, plain = (
        equilibrium(X, dictionary, step, point),
        unrolled(X, dictionary.D, step, point, 79),
    )
    assert float((ours - limit).norm()) < float((plain - limit).norm()) / 100


def test_steps_never_grow_where_atoms_are_alike() -> None:
    dictionary = Dictionary(unit_norm(randn(16, 1, 3, 3, seed=2).abs()), 1, 1)
    X = 3 * randn(1, 1, 6, 6, seed=52)
    step = 0.9 / dictionary.lipschitz()
    point = FixedPoint(lmbd=0.5, alpha=0.0, n_iter=1, tol=0.0)
    lengths = []
    for n_iter in range(1, 41):
        codes = equilibrium(X, dictionary, step, replace(point, n_iter=n_iter))
        lengths.append(
            float((dictionary.ista_step(codes, X, step=step, lmbd=point.lmbd) - codes).norm())
        )
    assert all(later <= 1.01 * earlier for earlier, later in pairwise(lengths))
    assert lengths[-1] < 0.2 * lengths[0]


@torch.no_grad()
def test_the_layer_takes_a_step_short_enough_for_its_ridge() -> None:
    layer = EquilibriumLayer(2, 5, 3, 1, lmbd=0.3, alpha=40.0, n_iter=200, tol=1e-9).double()
    X = randn(2, 2, 6, 7)
    layer.project_()
    codes = layer(X)
    slope = layer.dictionary.gradient(codes, X, alpha=40.0) + 0.3
    assert float(slope[codes > 0].abs().max()) < 1e-6
    assert float(slope.min()) > -1e-6


def test_a_sample_does_not_depend_on_its_batch() -> None:
    X, dictionary, step, point = problem(n=4, tol=1e-3)
    X = X * torch.tensor([0.1, 1.0, 10.0, 0.0])[:, None, None, None]
    alone = torch.cat([equilibrium(sample[None], dictionary, step, point) for sample in X])
    torch.testing.assert_close(
        equilibrium(X, dictionary, step, point), alone, atol=1e-12, rtol=1e-9
    )


@given(st.integers(1, 6), st.integers(0, 10**6))
@settings(max_examples=40)
def test_weights_make_the_mixture_shortest(m: int, seed: int) -> None:
    steps = randn(1, 6, 9, seed=seed)
    held = torch.zeros(1, 6, dtype=torch.bool)
    held[0, torch.randperm(6, generator=torch.Generator().manual_seed(seed))[:m]] = True
    w = anderson_weights(steps @ steps.mT, held)
    assert float(w.sum()) == pytest.approx(1)
    assert int(w[~held].count_nonzero()) == 0
    inner = (
        steps[0, held[0]] @ (w @ steps[0])[0]
    )  # at the minimum under sum w = 1 it is the same for all
    torch.testing.assert_close(inner, inner.mean().expand_as(inner), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("method", "epochs", "least"),
    [
        (MLCNN(), 6, 93),
        (MLISTA(), 4, 90),
        (MLFISTA(), 4, 90),
        (MLLISTA(), 4, 90),
        (CSCNet(), 3, 90),
        (CSCNet(relu=False), 3, 90),
        (DEQSC(), 2, 80),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_digits_are_learned_and_codes_counted(
    method: NetworkMethod, epochs: int, least: float
) -> None:
    classifier = fit(method, epochs=epochs)
    assert 100 * float((classifier(HELD_OUT.X).argmax(1) == HELD_OUT.y).double().mean()) >= least
    assert isinstance(classifier, HasCodes)
    stats = classifier.code_stats(HELD_OUT.X)
    module: Any = vars(classifier)["module"]
    dictionary, signals, codes = module.first_codes(HELD_OUT.X)
    x = columns(signals)
    error = x - matrix(dictionary, (8, 8)) @ columns(codes)
    expected = (codes.count_nonzero(), codes.numel(), (error**2).sum(), (x**2).sum())
    assert tuple(vars(stats).values()) == pytest.approx(list(map(float, expected)), rel=1e-3)
    assert 0.02 < stats.n_nonzero / stats.n_entries < 0.7
    assert stats.squared_error < stats.squared_norm
