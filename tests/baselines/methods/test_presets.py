"""Presets: published sizes and recipes beside the small defaults."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from baselines.layers.deep import DDLNet
from baselines.layers.transformer import CRATENet
from baselines.methods.crate_lite import CRATELite
from baselines.methods.csc_net import CSCNet
from baselines.methods.ddl import DDL
from baselines.methods.deq_sc import DEQSC
from baselines.methods.ml_csc import MLCNN, MLFISTA, MLISTA, MLLISTA
from baselines.methods.preset import PresetMethod, PresetName
from baselines.methods.scn import SCN
from baselines.methods.task_driven import TaskDriven
from ddl_bench.api import Budget, Split, Task
from ddl_bench.training.network import Network
from ddl_bench.training.recipe import RECIPES, RecipeOptions
from tests.conftest import DIGITS, Clock, fit

COLOUR = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
SPLIT = Split(X=COLOUR, y=torch.arange(2))
CIFAR = Task(name="cifar", class_names=tuple("0123456789"), train=SPLIT, val=SPLIT, mirror=True)
FEW = Split(X=DIGITS.train.X[:128], y=DIGITS.train.y[:128])
PUBLISHED: list[PresetMethod] = [
    CSCNet(preset="published"),
    DEQSC(preset="published"),
    SCN(preset="published"),
    DDL(preset="published"),
    MLISTA(preset="published"),
    MLFISTA(preset="published"),
    MLLISTA(preset="published"),
    MLCNN(preset="published"),
]
SIZES = {  # of the network for CIFAR-10, in parameters
    "csc-net": 11_000_138,
    "deq-sc": 11_000_138,
    "ml-ista": 4_005_866 + 3,  # and the steps
    "ml-fista": 4_005_866 + 3,
    "ml-lista": 4_005_866 + 32 * 3 * 16 + 64 * 32 * 16 + 128 * 64 * 16,
    "ml-cnn": 4_005_866 + 3,
    "scn": 695_402,  # penalties are constants
    "ddl": 1_369_738,  # the same
}


@pytest.mark.parametrize("method", PUBLISHED, ids=lambda method: method.name)
def test_the_preset_has_the_published_size(method: PresetMethod) -> None:
    assert Network(method.network(CIFAR)).size().n_params == SIZES[method.name]


@pytest.mark.parametrize("method", PUBLISHED, ids=lambda method: method.name)
def test_the_preset_has_a_recipe_whose_settings_can_be_changed(method: PresetMethod) -> None:
    published = method.training_recipe()
    assert published == method.presets["published"].recipe
    cls: Any = type(method)
    changed = cls(preset="published", recipe=RecipeOptions(lr=0.02)).training_recipe()
    assert changed.lr == 0.02
    assert changed.schedule == published.schedule
    assert changed.weight_decay == published.weight_decay
    small = cls()
    common = RECIPES | dict(small.recipes)
    assert small.training_recipe() == common["fast"] != published
    assert cls(preset="published", recipe="paper").training_recipe() == common["paper"]


@pytest.mark.parametrize("method", PUBLISHED, ids=lambda method: method.name)
def test_without_a_preset_the_options_stay(method: PresetMethod) -> None:
    small = type(method)()
    assert small.sized() is small
    for name, value in method.presets["published"].options.items():
        assert getattr(small, name) != value, "a preset fixes what differs from the default"


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (CSCNet, {"width": 32}),
        (CSCNet, {"relu": False}),
        (DEQSC, {"n_stages": 2}),
        (SCN, {"depth": 3}),
        (MLFISTA, {"n_steps": 3}),
        (DDL, {"layout": "0.35m"}),
    ],
)
def test_what_a_preset_fixes_cannot_be_given(cls: Any, options: dict[str, Any]) -> None:
    ((name, value),) = options.items()
    message = rf"{cls.__name__}\({name}={value!r}\): has no effect with preset='published'"
    with pytest.raises(ValueError, match=message):
        cls(preset="published", **options)


def test_options_are_checked_beside_what_the_preset_fixes() -> None:
    with pytest.raises(ValueError, match=r"DDL\(depth=5\): has no effect with layout='all-cnn-c'"):
        DDL(preset="published", depth=5)
    with pytest.raises(ValueError, match=r"CSCNet\(preset='large'\)"):
        CSCNet(preset="large")  # type: ignore[arg-type]
    assert CSCNet(preset="published", lmbd=0.2).sized().lmbd == 0.2


@pytest.mark.parametrize(("preset", "n_views"), [("small", 2), ("published", 1)])
def test_ml_ista_sees_no_mirror_images_where_its_authors_show_none(
    preset: PresetName, n_views: int
) -> None:
    method = MLISTA(preset=preset, recipe=RecipeOptions(mirror_views=True))
    task = replace(DIGITS, train=FEW, mirror=True)
    training: Any = method.start(task, Budget(epochs=1))
    classifier = training.classifier()
    assert classifier.n_views == n_views
    assert method.restore(classifier.state(), task).n_views == n_views  # type: ignore[attr-defined]


def test_a_published_network_learns() -> None:
    method = CSCNet(preset="published", recipe=RecipeOptions(batch_size=32))
    training: Any = method.start(replace(DIGITS, train=FEW), Budget(epochs=5))
    losses = []
    while training.advance(Clock()):
        losses.append(training.loss)
    assert training.loss < 0.5 * losses[0]


@pytest.mark.parametrize("cls", [DDL, TaskDriven])
@pytest.mark.parametrize("learns", [True, False])
def test_penalties_stay_where_they_are_not_learned(cls: Any, learns: bool) -> None:
    net = fit(cls(width=8, learn_penalty=learns)).module
    assert isinstance(net, DDLNet)
    for layer in net.codings:
        assert (layer.lmbd.item() != pytest.approx(0.1)) == learns
        assert (layer.alpha.item() != pytest.approx(0.5)) == learns
        assert layer.linear is not None
        assert layer.linear.abs().max().item() > 0, "the linear term is learned in both"


def test_crate_lite_by_adamw_looks_at_fewer_tokens() -> None:
    small = CRATELite().network(CIFAR)
    warmed = CRATELite(preset="adamw").network(CIFAR)
    assert isinstance(small, CRATENet)
    assert isinstance(warmed, CRATENet)
    assert (len(small.places), len(warmed.places)) == (64, 16)
    recipe = CRATELite(preset="adamw").training_recipe()
    assert recipe.optimiser == "adamw"
    rates = [recipe.rate(share, 5000) for share in (0.0, 0.1, 0.25, 0.9)]
    assert rates[0] < rates[1] < rates[2] > rates[3]
    assert CRATELite().training_recipe().optimiser == "sgd"
