"""Deep dictionary learning, its one-layer and greedy forms, and the deep sparse coding network."""

from typing import Any

import numpy as np
import pytest
import torch

from baselines.layers.deep import DDLNet, DDLNetwork
from baselines.methods.ddl import DDL
from baselines.methods.ddl_greedy import DDLGreedy
from baselines.methods.scn import SCN
from baselines.methods.sdl import SDL
from baselines.methods.task_driven import TaskDriven
from baselines.pursuit.encode import encode
from ddl_bench.api import Flops, HasAtoms, HasCodes, Split, Task
from ddl_bench.errors import Diverged
from ddl_bench.training.recipe import RecipeOptions
from tests.conftest import HELD_OUT, fit


def images(n: int, shape: tuple[int, int, int], n_classes: int = 10) -> Task:
    generator = torch.Generator().manual_seed(0)
    X = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)
    names = tuple(str(label) for label in range(n_classes))
    train = Split(X=X, y=torch.arange(n) % n_classes)
    none = Split(X=X[:0], y=torch.arange(0))
    return Task(name="noise", class_names=names, train=train, val=none)


def accuracy(classifier: Any) -> float:
    return 100 * float((classifier(HELD_OUT.X).argmax(1) == HELD_OUT.y).double().mean())


@pytest.mark.parametrize(
    ("method", "epochs", "least"),
    [
        (DDL(width=24), 4, 92),
        (TaskDriven(), 3, 92),
        (SCN(width=4), 3, 80),
        (DDLGreedy(n_iter=20), 1, 97),
    ],
)
def test_digits_are_read(method: Any, epochs: int, least: float) -> None:
    classifier = fit(method, epochs=epochs)
    assert accuracy(classifier) >= least
    assert isinstance(classifier, HasCodes)
    assert isinstance(classifier, HasAtoms)
    stats = classifier.code_stats(HELD_OUT.X[:50])
    assert 0 < stats.n_nonzero < 0.6 * stats.n_entries, "sparse"
    assert 0 < stats.squared_error < 0.8 * stats.squared_norm, "and still a representation"


ALL_CNN_C = 1_369_738  # with its biases, which the linear terms stand for; the paper prints 1.4 M
SMALLER = 349_214  # the paper prints 0.35 M
PUBLISHED_SCN = 691_632  # weights of the dictionaries; published: 0.69 M


@pytest.mark.parametrize(
    ("layout", "expected"), [("all-cnn-c", ALL_CNN_C + 2 * 8), ("0.35m", SMALLER)]
)
def test_layouts_have_the_published_size(layout: Any, expected: int) -> None:
    net = DDL(layout=layout).network(images(2, (3, 32, 32)))
    assert isinstance(net, DDLNet)
    assert DDLNetwork(net).size().n_params == expected
    assert len(net.codings) == 8, "and the classifier is the ninth"
    with torch.no_grad():
        assert net.train()(images(2, (3, 16, 16)).train.X).shape == (2, 10)
    flops = 2 * sum(
        p * layer.D.numel()
        for p, layer in zip([1024] * 2 + [256] * 3 + [64] * 3, net.codings, strict=True)
    )
    assert DDLNetwork(net).flops() == Flops(flops + 2 * net.head.weight.numel(), "pursuits")


def test_the_published_scn_has_fourteen_layers_and_its_size() -> None:
    net = SCN(depth=7, width=16, first_stride=1).network(images(2, (3, 32, 32)))
    assert isinstance(net, DDLNet)
    assert len(net.codings) == 14
    assert sum(layer.D.numel() for layer in net.codings) == PUBLISHED_SCN
    assert [layer.lmbd.numel() for layer in net.codings] == [
        layer.layer.outputs for layer in net.codings
    ], "a penalty an atom"
    assert not any(layer.alpha.requires_grad or layer.lmbd.any() for layer in net.codings)
    assert [layer.layer.stride for layer in net.codings] == [
        1,
        1,
        1,
        1,
        1,
        1,
        2,
        1,
        1,
        1,
        2,
        1,
        1,
        1,
    ]


@pytest.mark.parametrize("depth", [1, 3, 23])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
def test_every_depth_fits_and_starts_from_the_data(depth: int, shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    task = images(12, shape)
    net = DDL(depth=depth, width=6).network(task)
    assert isinstance(net, DDLNet)
    assert len(net.codings) == depth
    net.train().initialise(task.train.X, torch.Generator())
    maps = net.normalise(task.train.X)
    for layer in net.codings:
        signals = layer.signals(maps)
        maps = layer(maps)
        torch.testing.assert_close(layer.D.norm(dim=0), torch.ones(layer.layer.outputs))
        assert (maps.detach().flatten(2).amax((0, 2)) > 0).double().mean() > 0.9, (
            "atoms that are used"
        )
        assert 0.2 < float(layer.patches(signals).detach().norm(dim=1).mean()) < 2, (
            "patches of about unit norm"
        )
    assert maps.shape[2] == (4 if depth > 1 else 8 if shape[1] == 8 else 16), (
        "halved from stage to stage"
    )


def test_codes_are_those_of_the_pursuit_and_add_up_over_layers() -> None:
    classifier = fit(DDL(depth=2, width=8), images(64, (2, 8, 8)), epochs=2)
    sums = np.zeros(4)
    net = classifier.module
    X = HELD_OUT.X[:10].expand(-1, 2, -1, -1)
    maps = net.normalise(X)
    for layer in net.codings:
        signals = layer.signals(maps).detach()
        maps = layer.codes(signals).detach()
        patches = layer.patches(signals).transpose(1, 2).flatten(0, 1).double()
        D = layer.D.detach().double()
        penalties = {"lmbd": layer.lmbd.item(), "alpha": layer.alpha.item()}
        codes = encode(patches, D, positive=True, linear=layer.linear, **penalties).codes
        torch.testing.assert_close(
            maps.permute(0, 2, 3, 1).reshape(codes.shape).double(), codes, atol=2e-3, rtol=2e-3
        )
        codes = maps.permute(0, 2, 3, 1).reshape(codes.shape).double()
        error = (patches - codes @ D.T).square().sum().item()
        sums += (int((codes != 0).sum()), codes.numel(), error, patches.square().sum().item())
    assert list(vars(classifier.code_stats(X)).values()) == pytest.approx(sums.tolist(), rel=1e-4)


def test_task_driven_is_ddl_with_one_layer_and_greedy_is_sdl() -> None:
    task = images(60, (1, 8, 8), 3)
    one_layer = DDL(depth=1, width=TaskDriven().width, recipe=RecipeOptions(lr=0.1))
    ours = fit(TaskDriven(), task, epochs=2)(HELD_OUT.X[:50])
    theirs = fit(one_layer, task, epochs=2)(HELD_OUT.X[:50])
    assert torch.equal(ours, theirs)
    assert torch.unique(ours).numel() > 3
    options: dict[str, Any] = {"n_layers": 1, "n_atoms": 16, "n_iter": 3, "n_samples": 1000}
    greedy, stacked = (fit(kind(**options), task)(HELD_OUT.X[:50]) for kind in (DDLGreedy, SDL))
    assert torch.equal(greedy, stacked)


def test_atoms_keep_their_norm_where_weights_are_averaged() -> None:
    """The tenth step, the last of two an epoch, is one that averages."""
    classifier = fit(
        DDL(width=8, recipe=RecipeOptions(lookahead=True, lr=1.0)), images(64, (1, 8, 8)), epochs=5
    )
    for layer in classifier.module.codings:
        torch.testing.assert_close(layer.D.norm(dim=0), torch.ones(layer.D.shape[1]))


def test_a_step_moves_every_parameter() -> None:
    task = images(40, (3, 8, 8))
    for method in (DDL(depth=3, width=8), SCN(width=4, depth=1)):
        before, after = (
            dict(fit(method, task, epochs=epochs).module.named_parameters()) for epochs in (1, 3)
        )
        moved = {name: bool((before[name] != value).any()) for name, value in after.items()}
        assert all(moved[name] == value.requires_grad for name, value in after.items()), moved


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (DDL, {"depth": 24}, r"DDL\(depth=24\): must be less than or equal to 23"),
        (DDL, {"depth": 0}, r"DDL\(depth=0\): must be greater than or equal to 1"),
        (DDL, {"layout": "all-cnn-c", "width": 9}, r"DDL\(width=9\): has no effect with layout"),
        (SCN, {"depth": 0}, r"SCN\(depth=0\): must be greater than or equal to 1"),
    ],
)
def test_an_option_that_does_not_fit_is_named(
    kind: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        kind(**options)


def test_a_rate_that_is_too_high_diverges_and_does_not_hang() -> None:
    with pytest.raises(Diverged):
        fit(DDL(width=8, recipe=RecipeOptions(lr=1e30)), images(64, (1, 8, 8)), epochs=30)
