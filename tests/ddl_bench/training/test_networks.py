"""Backbones, the training loop, and LISTA."""

import copy
import math
import platform
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.features.patches import Whitening, extract
from baselines.features.unrolled import LISTANet
from baselines.methods.lista import LISTA
from baselines.methods.plainnet import PlainNet as PlainNetMethod
from ddl_bench.api import AddsViews, Budget, Deadline, HasAtoms, HasCodes, Split, Task
from ddl_bench.errors import Diverged, UserError
from ddl_bench.training.backbones import Depth, Normalise, PlainNet
from ddl_bench.training.lookahead import Lookahead
from ddl_bench.training.loop import SGDTraining
from ddl_bench.training.losses import Losses
from ddl_bench.training.method import NetworkMethod
from ddl_bench.training.network import Network, moved, reflect
from ddl_bench.training.recipe import FAST, WIDE_RESNET, WRN_BASE, Recipe, RecipeOptions
from detrame.layer import QMetricReLU
from detrame.methods.plainnet import DeTraMePlainNet
from tests.conftest import HELD_OUT, fit


class Clock:
    """A deadline that expires after it was asked `steps` times; None: never."""

    def __init__(self, steps: int | None = None) -> None:
        self.steps, self.asked = steps, 0

    def fraction(self) -> float:
        return min(1.0, self.asked / self.steps) if self.steps else 0.0

    def expired(self) -> bool:
        self.asked += 1
        return self.steps is not None and self.asked > self.steps

    def report(self, share: float) -> None:
        pass


def images(
    n: int, shape: tuple[int, int, int] = (1, 8, 8), *, mirror: bool = False, seed: int = 0
) -> Task:
    generator = torch.Generator().manual_seed(seed)
    X = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)
    y = torch.arange(n) % 3
    return Task(
        name="noise",
        class_names=("a", "b", "c"),
        train=Split(X=X, y=y),
        val=Split(X=X[:0], y=y[:0]),
        mirror=mirror,
    )


def finish(training: Any, deadline: Deadline | None = None) -> Any:
    while training.advance(deadline or Clock()):
        pass
    return training.classifier()


class Linear(nn.Module):
    """The smallest classifier, with every kind of thing that a training loop must look after."""

    def __init__(self, shape: tuple[int, int, int] = (1, 8, 8), seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.norm = nn.BatchNorm2d(shape[0])
        self.weight = nn.Parameter(torch.randn(3, math.prod(shape), generator=generator) / 50)
        self.bias = nn.Parameter(torch.full((3,), 2.0))
        self.seen: list[Tensor] = []
        self.projections = 0

    def forward(self, X: Tensor) -> Tensor:
        self.seen.append(X)
        return F.linear(self.norm(X / 255).flatten(1), self.weight, self.bias)

    def project_(self) -> None:
        self.projections += 1


# Backbones


@pytest.mark.parametrize(
    ("depth", "kernel", "expected"),
    [(9, None, 1_369_738), (9, "same", 2_982_538), (12, "1x1", 2_411_626)],
)
def test_parameters_are_the_published_counts(
    depth: Depth, kernel: str | None, expected: int
) -> None:
    def activation(channels: int, size: int) -> nn.Module:
        return (
            nn.ReLU() if kernel is None else QMetricReLU(channels, size if kernel == "same" else 1)
        )

    net = PlainNet(depth, channels=3, n_classes=10, activation=activation, batch_norm=False)
    metrics = [module for module in net.modules() if isinstance(module, QMetricReLU)]
    assert len(metrics) == (0 if kernel is None else depth - 1)
    vectors = sum(metric.h.numel() + metric.b.numel() for metric in metrics)
    size = Network(net).size()
    assert size.n_stored is not None
    assert size.n_params is not None
    assert size.n_stored - vectors == expected
    assert size.n_stored - size.n_params == sum(metric.channels for metric in metrics)


@pytest.mark.parametrize("depth", [3, 6, 9, 12])
def test_scores_are_the_mean_of_class_maps(depth: Depth) -> None:
    net = PlainNet(depth, channels=2, n_classes=4, widths=(8, 12)).double().eval()
    for shape in [(8, 8), (28, 28), (9, 13), (1, 1)]:
        X = torch.rand(3, 2, *shape, dtype=torch.float64) * 255
        maps = F.conv2d(
            net.features(net.normalise(X)), net.head.weight[:, :, None, None], net.head.bias
        )
        torch.testing.assert_close(net(X), maps.mean((2, 3)))


def test_batch_norm_replaces_the_bias_and_an_unknown_depth_is_named() -> None:
    net = PlainNet(6, channels=1, n_classes=4)
    convolutions = [module for module in net.features if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 5
    assert all(module.bias is None for module in convolutions)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in net.features) == 5
    with pytest.raises(ValueError, match=r"PlainNet\(depth=7\): must be one of 3, 6, 9, 12"):
        PlainNet(7, channels=1, n_classes=4)  # type: ignore[arg-type]


def test_normalisation_learns_mean_and_deviation_of_each_channel() -> None:
    X = images(50, (3, 5, 7)).train.X
    X[:, 1] = 9
    normalise = Normalise(3)
    normalise.initialise(X, torch.Generator())
    Z = normalise(X)
    torch.testing.assert_close(Z.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(Z.std((0, 2, 3), correction=0), torch.tensor([1.0, 0.0, 1.0]))


# Recipes and augmentation


def test_schedules() -> None:
    plain = replace(WIDE_RESNET, batch_size=128)
    assert [
        plain.rate(at / 200, 10_000) for at in (0, 59, 60, 119, 120, 160, 199)
    ] == pytest.approx([0.1, 0.1, 0.02, 0.02, 0.004, 0.0008, 0.0008])
    rates = [FAST.rate(at / 100, 12_800) for at in range(101)]
    assert rates[20] == max(rates) == pytest.approx(FAST.lr)
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert np.diff(rates[:21]).min() > 0 > np.diff(rates[20:]).max()
    assert Recipe(lr=1.0, batch_size=32).rate(0.2, 10_000) == pytest.approx(0.5)
    assert [FAST.batch(n) for n in (10, 1300, 5000, 10**6)] == [10, 32, 50, 512]


def test_a_milestone_is_reached_by_a_sum_over_batches() -> None:
    """After 12 of 15 epochs of 1,293 images the sum is a little below 0.8."""
    passes = sum(size / 1293 for _ in range(12) for size in [130] * 3 + [129] * 7)
    assert passes / 15 < 0.8
    recipe = replace(WIDE_RESNET, batch_size=128)
    assert recipe.rate(passes / 15, 1293) == pytest.approx(0.1 * 0.2**3)


@given(size=st.integers(2, 40), data=st.data())
def test_reflection_is_that_of_padding(size: int, data: st.DataObject) -> None:
    shift = data.draw(st.integers(0, size - 1))
    padded = (
        F.pad(torch.arange(float(size)).view(1, 1, size), (shift, shift), mode="reflect")
        .long()
        .flatten()
    )
    assert torch.equal(reflect(torch.arange(-shift, size + shift), size), padded)


@settings(max_examples=20)
@given(mirror=st.booleans(), recipe=st.sampled_from([FAST, WIDE_RESNET]), seed=st.integers(0, 1000))
def test_an_epoch_shows_each_image_once_shifted_or_mirrored(
    mirror: bool, recipe: Recipe, seed: int
) -> None:
    task = images(10, (2, 8, 16), mirror=mirror, seed=seed)
    module = Linear((2, 8, 16))
    training = SGDTraining(module, task, Budget(epochs=2, seed=seed), replace(recipe, batch_size=4))
    dy, dx = math.ceil(recipe.shift * 8), math.ceil(recipe.shift * 16)
    padded = F.pad(task.train.X.float(), (dx, dx, dy, dy), mode="reflect").to(torch.uint8)
    windows = padded.unfold(2, 8, 1).unfold(3, 16, 1).permute(2, 3, 0, 1, 4, 5).flatten(0, 1)
    flips = []
    for _ in range(2):
        module.seen.clear()
        training.advance(Clock())
        shown = torch.cat(module.seen)
        views = (shown, shown.flip(3))
        straight, mirrored = (
            (windows[:, :, None] == view).flatten(3).all(3).any(0) for view in views
        )
        assert torch.equal((straight | mirrored).sum(0), torch.ones(10, dtype=torch.int64)), (
            "from one image"
        )
        assert torch.equal((straight | mirrored).sum(1), torch.ones(10, dtype=torch.int64)), (
            "each image once"
        )
        flips.append(mirrored.any(1))
    assert mirror or not (flips[0] | flips[1]).any()
    assert not (mirror and recipe.flip == "alternate") or torch.equal(flips[0], ~flips[1])


def test_zeros_come_in_where_images_are_shifted() -> None:
    task = images(30, (2, 8, 16), mirror=True)
    module = Linear((2, 8, 16))
    recipe = replace(WRN_BASE, batch_size=8)
    SGDTraining(module, task, Budget(epochs=1), recipe).advance(Clock())
    assert [len(X) for X in module.seen] == [8, 8, 8, 6], "a last batch of what remains"
    shown = torch.cat(module.seen)
    padded = F.pad(task.train.X, (2, 2, 1, 1))
    windows = padded.unfold(2, 8, 1).unfold(3, 16, 1).permute(2, 3, 0, 1, 4, 5).flatten(0, 1)
    views = torch.cat([windows, windows.flip(4)])
    matches = (views[:, :, None] == shown).flatten(3).all(3).any(0)
    assert torch.equal(matches.sum(0), torch.ones(30, dtype=torch.int64))


# The training loop


def test_the_base_trains_as_a_plain_loop_of_torch() -> None:
    """SGD with momentum, made anew each epoch, decay of all parameters: wide-resnet.pytorch."""
    task = images(16)
    module = Linear()
    plain = copy.deepcopy(module)
    recipe = replace(WRN_BASE, batch_size=6, shift=0.0)
    training = SGDTraining(module, task, Budget(epochs=10), recipe)
    while training.advance(Clock()):
        pass
    shown = iter(module.seen)
    for epoch in range(10):
        lr = recipe.lr * (6 / 128) ** 0.5 * 0.2 ** sum(epoch >= place for place in (3, 6, 8))
        sgd = torch.optim.SGD(plain.parameters(), lr, momentum=0.9, weight_decay=5e-4)
        for size in (6, 6, 4):
            X = next(shown)
            assert len(X) == size
            same = (X[:, None] == task.train.X).flatten(2).all(2).int().argmax(1)
            sgd.zero_grad()
            torch.autograd.backward(F.cross_entropy(plain(X), task.train.y[same]))
            sgd.step()
    for mine, theirs in zip(module.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_training_takes_the_steps_of_the_textbook() -> None:
    """v <- mu*v + g + wd*p; p <- p - lr*(g + wd*p + mu*v), with wd on the matrix alone."""
    task = images(20)
    module = Linear()
    weight, bias = (
        parameter.detach().clone().double() for parameter in (module.weight, module.bias)
    )
    recipe = Recipe(
        lr=0.5, momentum=0.8, weight_decay=0.1, batch_size=5, label_smoothing=0.3, shift=0.0
    )
    module.norm = nn.Identity()  # type: ignore[assignment]  # keeps the reference at a line
    training = SGDTraining(module, task, Budget(epochs=2), recipe)
    while training.advance(Clock()):
        pass
    speed = [torch.zeros_like(weight), torch.zeros_like(bias)]
    assert len(module.seen) == 8
    for step, X in enumerate(module.seen):
        same = (X[:, None] == task.train.X).flatten(2).all(2).int().argmax(1)
        A = X.flatten(1).double() / 255
        target = 0.7 * F.one_hot(task.train.y[same], 3) + 0.1
        slope = (torch.softmax(A @ weight.T + bias, 1) - target) / len(X)
        lr = recipe.rate(step / 8, 20)
        for i, (parameter, gradient, decay) in enumerate(
            [(weight, slope.T @ A, 0.1), (bias, slope.sum(0), 0.0)]
        ):
            gradient = gradient + decay * parameter
            speed[i] = 0.8 * speed[i] + gradient
            parameter -= lr * (gradient + 0.8 * speed[i])
    torch.testing.assert_close(module.weight.detach().double(), weight, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(module.bias.detach().double(), bias, atol=1e-5, rtol=1e-4)
    assert training.passes == pytest.approx(2)
    assert module.projections == 8


def test_the_average_follows_its_recursion_and_keeps_the_constraints() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average, slow = (
        Lookahead(module),
        [it.clone() for it in module.state_dict().values() if it.is_floating_point()],
    )
    for n_steps in range(1, 13):
        with torch.no_grad():
            module(torch.randn(4, 3))  # moves the statistics of batch norm
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter)).clamp_(0, 1)
        reached = [it.clone() for it in module.state_dict().values() if it.is_floating_point()]
        average.step(n_steps / 12)
        if n_steps % 5 == 0:
            decay = 0.95**5 * (n_steps / 12) ** 3
            slow = [decay * old + (1 - decay) * new for old, new in zip(slow, reached, strict=True)]
            reached = slow
        now = [it for it in module.state_dict().values() if it.is_floating_point()]
        torch.testing.assert_close(now, reached)
    assert all(parameter.min() >= 0 and parameter.max() <= 1 for parameter in module.parameters())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the GNU C library")
def test_freed_memory_is_kept_and_not_faulted_in_again() -> None:
    script = """
import resource, sys, torch
from ddl_bench.training.memory import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
for i in range(42):
    if i == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = [
        int(
            subprocess.run(
                [sys.executable, "-c", script, how], stdout=subprocess.PIPE, check=True, text=True
            ).stdout
        )
        for how in ("keep", "as is")
    ]
    assert faults[0] < faults[1] / 5


def test_making_a_training_learns_nothing() -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    module = Linear()
    before = copy.deepcopy(module.state_dict())
    SGDTraining(module, images(20), Budget(epochs=1), FAST)
    PlainNetMethod().start(images(20), Budget(epochs=1))
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert module.projections == 0
    assert not module.seen
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator is as it was"


@pytest.mark.parametrize(
    "method",
    [
        PlainNetMethod(recipe=RecipeOptions(batch_size=16)),
        DeTraMePlainNet(n_steps=2),
        LISTA(n_atoms=16),
    ],
)
def test_same_seed_same_scores_however_often_one_looks(method: NetworkMethod) -> None:
    task = images(48, mirror=True)

    def scores(seed: int, *, look: bool) -> Tensor:
        training = method.start(task, Budget(epochs=2, seed=seed))
        more = True
        while more:
            more = training.advance(Clock())
            if look:
                training.classifier()(task.train.X)
        return training.classifier()(task.train.X)

    assert torch.equal(scores(3, look=False), scores(3, look=True))
    assert not torch.equal(scores(3, look=False), scores(4, look=False))


def test_the_seed_shuffles() -> None:
    first = []
    for seed in (0, 1):
        module = Linear()
        SGDTraining(module, images(40), Budget(epochs=1, seed=seed), FAST).advance(Clock())
        first.append(module.seen[0])
    assert not torch.equal(*first)


def test_a_snapshot_stays_and_comes_back_from_its_state() -> None:
    task = images(40, (3, 9, 7), mirror=True)
    for method in (
        PlainNetMethod(recipe=RecipeOptions(mirror_views=True, shift_views=True)),
        DeTraMePlainNet(kernel="1x1"),
        LISTA(n_atoms=16),
    ):
        training = method.start(task, Budget(epochs=2))
        training.advance(Clock())
        snapshot: Any = training.classifier()
        scores = snapshot(task.train.X)
        training.advance(Clock())
        assert torch.equal(snapshot(task.train.X), scores)
        assert not torch.equal(training.classifier()(task.train.X), scores)
        empty = Split(X=task.train.X[:0], y=task.train.y[:0])
        again = method.restore(snapshot.state(), replace(task, train=empty, val=empty))
        torch.testing.assert_close(again(task.train.X), scores, atol=1e-5, rtol=1e-4)
        size = snapshot.size()
        assert size.n_stored + size.n_buffers == sum(
            value.numel() for value in snapshot.state().values()
        )


def test_mirrored_views_count_both() -> None:
    module = Linear()
    X = images(300).train.X
    single, double = Network(module), Network(module, mirror=True)
    torch.testing.assert_close(double(X), single(X) + single(X.flip(3)))
    assert (single.n_views, double.n_views) == (1, 2)
    assert isinstance(double, AddsViews)
    assert double(X).dtype == torch.float32


def test_moved_views_count_half_each() -> None:
    module = Linear()
    X = images(300).train.X
    single = Network(module)
    both = Network(module, shift=True)
    around = single(moved(X, 1)) + single(moved(X, -1))
    torch.testing.assert_close(both(X), single(X) + 0.5 * around)
    assert both.n_views == 3
    assert Network(module, mirror=True, shift=True).n_views == 6
    image = torch.arange(12).view(1, 1, 3, 4)
    assert moved(image, 1)[0, 0].tolist() == [[5, 6, 7, 6], [9, 10, 11, 10], [5, 6, 7, 6]]
    assert torch.equal(moved(image, -1), moved(image.flip(2, 3), 1).flip(2, 3))
    assert moved(image[:, :, :1, :1], 1).item() == 0


def test_a_seconds_budget_ends_inside_an_epoch_and_drives_the_schedule() -> None:
    task = images(40)
    module = Linear()
    recipe = Recipe(lr=0.1, batch_size=4)
    training = SGDTraining(module, task, Budget(seconds=1.0), recipe)
    rates: list[float] = []
    training._optimisers[0].register_step_pre_hook(
        lambda optimiser, *_: rates.append(optimiser.param_groups[0]["lr"])
    )
    clock = Clock(14)
    assert training.advance(clock)
    assert not training.advance(clock)
    assert training.passes == pytest.approx(1.3, abs=0.11)
    assert rates == pytest.approx(
        [recipe.rate(at / 14, 40) for at in [*range(1, 11), *range(12, 15)]]
    )


def test_initialisation_is_training_and_happens_once() -> None:
    class Learns(Linear):
        initialised = 0

        def initialise(self, X: Tensor, generator: torch.Generator) -> None:
            assert X.dtype == torch.uint8
            self.initialised += len(X)

    module = Learns()
    training = SGDTraining(module, images(20), Budget(epochs=3), FAST)
    assert module.initialised == 0
    finish(training)
    assert module.initialised == 20


def test_divergence_names_the_step() -> None:
    with pytest.raises(Diverged, match=r"step \d+: the loss is (nan|inf)"):
        finish(
            PlainNetMethod(recipe=RecipeOptions(lr=1e6, batch_size=8), batch_norm=False).start(
                images(40), Budget(epochs=20)
            )
        )


def losses(*values: float) -> list[Tensor]:
    return [torch.tensor(value) for value in values]


def test_losses_above_their_start_for_an_epoch_are_divergence() -> None:
    watch = Losses()
    watch.check(losses(2.0, *[2.5] * 29))
    watch.check(losses(1.9, *[2.5] * 29))
    with pytest.raises(Diverged, match=r"step 61: the loss is 2.5, above its start 2 for an epoch"):
        watch.check(losses(*[2.5] * 30))
    with pytest.raises(Diverged, match=r"step 2: the loss is nan"):
        Losses().check(losses(2.0, math.nan))
    few = Losses()
    for _ in range(19):
        few.check(
            losses(1.0 if few._sound == 0 else 3.0)
        )  # epochs of a single step may go up for a while
    few.check([])


@pytest.fixture
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("method", "epochs"), [(PlainNetMethod(), 12), (DeTraMePlainNet(), 8), (LISTA(), 8)]
)
def test_networks_read_digits(method: NetworkMethod, epochs: int) -> None:
    classifier = fit(method, epochs=epochs)
    right = classifier(HELD_OUT.X).argmax(1) == HELD_OUT.y
    accuracy = 100 * float(right.double().mean())
    assert accuracy >= 97


# LISTA


@settings(max_examples=15)
@given(
    channels=st.integers(1, 3),
    patch=st.integers(2, 4),
    stride=st.integers(1, 3),
    n_atoms=st.integers(2, 40),
    n_steps=st.integers(1, 8),
    lmbd=st.floats(0, 1),
    seed=st.integers(0, 10**6),
)
def test_started_from_a_dictionary_it_is_ista_step_by_step(
    channels: int, patch: int, stride: int, n_atoms: int, n_steps: int, lmbd: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    X = images(30, (channels, 7, 9), seed=seed).train.X
    shape: dict[str, Any] = {"patch": patch, "stride": stride, "n_atoms": n_atoms, "n_cells": 1}
    net = LISTANet(channels, 3, **shape, n_steps=n_steps).double()
    net.initialise(X, generator)
    D = torch.randn(channels * patch**2, n_atoms, generator=generator, dtype=torch.float64)
    net.start_from(D, lmbd)
    whitening = Whitening(net.mean, net.matrix, net.floor)
    signals = whitening(extract(X, patch, stride).double()).detach()

    codes = torch.zeros(len(signals), n_atoms, dtype=torch.float64)
    lipschitz = torch.linalg.eigvalsh(D.T @ D)[-1]
    for _ in range(n_steps):
        moved = codes - (codes @ D.T - signals) @ D / lipschitz
        codes = moved.sign() * (moved.abs() - lmbd / lipschitz).clamp(min=0)
    found = net.codes(X.double()).permute(0, 2, 3, 1).flatten(0, 2)
    torch.testing.assert_close(found, codes, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(net.dictionary(), D, atol=1e-8, rtol=1e-8)


def test_lista_tells_its_codes_and_atoms() -> None:
    task = images(60, (3, 8, 8))
    classifier = finish(LISTA(n_atoms=10, patch=3, n_steps=2).start(task, Budget(epochs=2)))
    kinds = HasCodes, HasAtoms
    assert all(
        isinstance(classifier, kind) and not isinstance(Network(Linear()), kind) for kind in kinds
    )
    net, X = classifier.module, task.train.X
    stats = classifier.code_stats(X)
    signals = Whitening(net.mean, net.matrix, net.floor)(extract(X, 3, 1)).detach().double()
    codes = net.codes(X).permute(0, 2, 3, 1).reshape(-1, 10).detach().double()
    D = torch.from_numpy(
        np.linalg.lstsq(
            net.W.detach().double().numpy(), np.eye(10) - net.S.detach().numpy(), rcond=None
        )[0]
    )
    assert stats.n_entries == codes.numel() == 60 * 36 * 10
    assert stats.n_nonzero == (codes != 0).sum()
    assert 0 < stats.n_nonzero < stats.n_entries
    assert stats.squared_error == pytest.approx(
        float((signals - codes @ D.T).square().sum()), rel=1e-3
    )
    assert stats.squared_norm == pytest.approx(float(signals.square().sum()), rel=1e-4)
    atoms = classifier.atoms()
    assert atoms.shape == (10, 3, 3, 3)
    assert np.linalg.norm(atoms.reshape(10, -1), axis=1).min() > 0


def test_lista_names_a_patch_that_does_not_fit() -> None:
    with pytest.raises(
        UserError, match=r"LISTA\(patch=9\): larger than the 8x8 images; use at most 8"
    ):
        LISTA(patch=9).start(images(20), Budget(epochs=1))
