"""Networks, functions and estimators of a user become methods; what such networks do is met."""

import copy
import math
from dataclasses import fields
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ddl_bench import describe, from_estimator, from_function, from_module
from ddl_bench.api import Budget, Keepable, Resumable, Split, Task, size_of
from ddl_bench.errors import UserError
from ddl_bench.params import make_method, nested, parse_spec
from ddl_bench.training.network import snapshot
from ddl_bench.training.optimiser import optimisers
from ddl_bench.training.recipe import RECIPES, Optimiser, Recipe, RecipeOptions
from tests.conftest import DIGITS, HELD_OUT, Clock, fit

SMALL = RecipeOptions(batch_size=16, shift=0.0)


def images(n: int = 48, shape: tuple[int, int, int] = (3, 8, 8), seed: int = 0) -> Task:
    generator = torch.Generator().manual_seed(seed)
    X = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)
    y = torch.arange(n) % 3
    none = Split(X=X[:0], y=y[:0])
    return Task(name="noise", class_names=("a", "b", "c"), train=Split(X=X, y=y), val=none)


def right(classifier: Any) -> float:
    return 100 * float((classifier(HELD_OUT.X).argmax(1) == HELD_OUT.y).double().mean())


class SparseCodes(nn.Module):
    """Sparse coding of images in the style of SDNet: a stored dictionary, codes kept, a penalty."""

    def __init__(
        self, channels: int, n_classes: int, n_atoms: int = 16, lmbd: float = 0.05
    ) -> None:
        super().__init__()
        self.D = nn.Parameter(torch.randn(n_atoms, channels, 3, 3))
        self.readout = nn.Linear(n_atoms, n_classes)
        self.lmbd = lmbd
        self.progress: list[float] = []
        self.formats: set[bool] = set()
        self.project_()

    @torch.no_grad()
    def project_(self) -> None:
        self.D.div_(self.D.flatten(1).norm(dim=1)[:, None, None, None])

    def before_step(self, progress: float) -> None:
        self.progress.append(progress)

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor]:
        self.formats.add(X.is_contiguous())
        flat = X.view(len(X), -1)  # which no channels-last images allow
        assert torch.isfinite(flat).all()
        self.codes = F.relu(F.conv2d(X, self.D, padding=1) - self.lmbd)
        self.kept = {"all": [self.codes]}
        return self.readout(self.codes.mean((2, 3))), self.lmbd * self.codes.abs().mean()


Codes = from_module("codes", SparseCodes, recipe={"optimiser": "adamw", "lr": 0.02})


# Networks


def test_a_network_learns_and_comes_with_everything() -> None:
    training: Any = Codes(n_atoms=32).start(DIGITS, Budget(epochs=6))
    while training.advance(Clock()):
        pass
    classifier = training.classifier()
    assert right(classifier) > 30, "chance is 10"
    kinds = isinstance(training, Resumable), isinstance(classifier, Keepable)
    assert kinds == (True, True)
    size = size_of(classifier)
    assert size.n_params == 32 * 9 + 33 * 10
    assert size.n_buffers == 2, "mean and deviation of the channel"
    again = Codes(n_atoms=32).restore(classifier.state(), DIGITS)
    torch.testing.assert_close(again(HELD_OUT.X), classifier(HELD_OUT.X))


def test_a_network_gets_standardised_contiguous_floats_and_its_hooks_are_called() -> None:
    task = images()
    training = Codes(recipe=SMALL).start(task, Budget(epochs=2))
    while training.advance(Clock()):
        pass
    module: Any = training.classifier().module
    net = module.net
    assert net.progress == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])
    assert net.formats == {True}
    torch.testing.assert_close(net.D.flatten(1).norm(dim=1), torch.ones(16))
    standard = module.normalise(task.train.X)
    torch.testing.assert_close(standard.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(standard.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


class Strided(nn.Module):
    """A convolution with a stride, whose output is read with `view`."""

    def __init__(self, channels: int, n_classes: int, /, width: int = 4) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, 3, padding=1, stride=2)
        self.readout = nn.LazyLinear(n_classes)

    def forward(self, X: Tensor) -> Tensor:
        Z = self.convolution(X)
        scores: Tensor = self.readout(Z.view(len(X), -1))
        return scores


@pytest.mark.parametrize("channels", [1, 3])
def test_view_works_on_grey_and_colour_images_and_arguments_may_have_no_name(channels: int) -> None:
    task = images(shape=(channels, 8, 8))
    method = from_module("strided", Strided, recipe=SMALL)
    classifier = fit(method(width=8), task)
    assert classifier(task.train.X).shape == (48, 3)


def test_channels_last_where_the_network_says_so() -> None:
    class Last(nn.Module):
        channels_last = True

        def __init__(self, channels: int, n_classes: int) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(channels, n_classes, 3)
            self.last: set[bool] = set()

        def forward(self, X: Tensor) -> Tensor:
            self.last.add(X.is_contiguous(memory_format=torch.channels_last))
            return torch.as_tensor(self.convolution(X).mean((2, 3)))

    classifier = fit(from_module("last", Last)(), images())
    classifier(images().train.X)
    assert classifier.module.net.last == {True}


def test_an_auxiliary_loss_is_added_in_training_and_ignored_in_evaluation() -> None:
    class Pulled(nn.Module):
        def __init__(self, n_classes: int, extra: str) -> None:
            super().__init__()
            self.scores = nn.Parameter(torch.zeros(n_classes))
            self.pulled = nn.Parameter(torch.ones(()))
            self.extra = extra

        def forward(self, X: Tensor) -> Any:
            scores = self.scores.expand(len(X), -1)
            square = self.pulled**2
            extras: dict[str, Any] = {
                "loss": square,
                "codes": {"codes": square},
                "vector": square.expand(2),
                "none": None,
            }
            return scores, extras[self.extra]

    moved = {}
    for extra in ("loss", "codes", "vector", "none"):
        method = from_module("pulled", Pulled, extra=extra)
        training: Any = method().start(images(), Budget(epochs=1))
        training.advance(Clock())
        moved[extra] = training.classifier().module.net.pulled.item() != 1
        assert training.classifier()(images().train.X).shape == (48, 3)
        if extra == "loss":
            assert training.loss > math.log(3) + 0.1
    assert moved == {"loss": True, "codes": False, "vector": False, "none": False}


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (lambda scores: {"scores": scores}, "returned a dict; expected scores"),
        (lambda scores: (scores, 0, 0), "returned a tuple of 3; expected scores"),
        (lambda scores: scores[:, :2], r"shape \(48, 2\), expected \(48, 3\)"),
    ],
)
def test_other_outputs_are_explained(output: Any, words: str) -> None:
    class Odd(nn.Module):
        def __init__(self, n_classes: int) -> None:
            super().__init__()
            self.scores = nn.Parameter(torch.zeros(n_classes))

        def forward(self, X: Tensor) -> Any:
            return output(self.scores.expand(len(X), -1))

    recipe = RecipeOptions(batch_size=64)
    with pytest.raises(UserError, match=words):
        from_module("odd", Odd)(recipe=recipe).start(images(), Budget(epochs=1))


def test_a_snapshot_of_a_network_that_keeps_its_graph() -> None:
    net = SparseCodes(3, 2)
    net(torch.rand(4, 3, 8, 8))
    copied: Any = snapshot(net)
    assert not copied.codes.requires_grad
    assert copied.kept["all"][0] is copied.codes, "what was shared is shared"
    torch.testing.assert_close(copied.codes, net.codes)
    assert copied.codes.data_ptr() != net.codes.data_ptr()
    assert net.codes.requires_grad, "the network itself is as it was"


def test_lazy_layers_and_tied_weights() -> None:
    class Tied(nn.Module):
        def __init__(self, n_classes: int) -> None:
            super().__init__()
            self.encode = nn.LazyLinear(24)
            self.middle = nn.Linear(24, 24)
            self.again = nn.Linear(24, 24)
            self.again.weight = self.middle.weight
            self.readout = nn.Linear(24, n_classes)

        def forward(self, X: Tensor) -> Tensor:
            codes = F.relu(self.encode(X.flatten(1)))
            return torch.as_tensor(self.readout(self.again(F.relu(self.middle(codes)))))

    method = from_module("tied", Tied)()
    classifier = fit(method, DIGITS)
    kept = classifier.state()
    assert "net.again.weight" not in kept
    size = classifier.size()
    assert size.n_stored + size.n_buffers == sum(tensor.numel() for tensor in kept.values())
    torch.testing.assert_close(method.restore(kept, DIGITS)(HELD_OUT.X), classifier(HELD_OUT.X))


def test_parameters_become_options() -> None:
    def factory(
        image_shape: tuple[int, int, int],
        num_classes: int,
        kind: Literal["small", "large"] = "small",
        width: Annotated[int, Field(ge=1)] = 4,
        scale: float = 0.5,
        layer: type[nn.Module] = nn.ReLU,
    ) -> nn.Module:
        assert image_shape == (3, 8, 8)
        assert layer is nn.ReLU
        readout = nn.Linear(math.prod(image_shape), num_classes)
        return nn.Sequential(nn.Flatten(), readout)

    method = from_module("made", factory, width=8)
    assert [each.name for each in fields(method)] == ["recipe", "compile", "kind", "width", "scale"]
    assert make_method(method, {"width": 3, "scale": 0.1}) == method(width=3, scale=0.1)
    assert method().width == 8
    for params in ({"kind": "medium"}, {"width": 0}, {"width": 1.5}, {"scale": "x"}):
        with pytest.raises(UserError, match="made, option"):
            make_method(method, params)
    fit(method(), images())


def test_mistakes_in_making_a_method_are_named() -> None:
    with pytest.raises(ValueError, match=r"from_module\('x'\): give a value .* as in depth="):
        from_module("x", lambda n_classes, depth: nn.Linear(depth, n_classes))
    with pytest.raises(ValueError, match=r"from_module\('x'\): no parameter 'dept'"):
        from_module("x", lambda n_classes, depth: nn.Linear(depth, n_classes), dept=3)
    with pytest.raises(ValueError, match="has a name that every method uses"):
        from_module("x", lambda n_classes, start=1: nn.Linear(start, n_classes))
    with pytest.raises(ValueError, match="must be greater than 0"):
        from_module("x", SparseCodes, recipe={"lr": -1})


# Recipes and optimisers


def test_options_of_a_recipe_are_those_of_a_recipe_and_are_listed() -> None:
    names = [each.name for each in fields(RecipeOptions)]
    assert names == ["base", *(each.name for each in fields(Recipe))]
    settings = describe.method("plainnet")["options"]["recipe"]["settings"]
    assert [name for name, setting in settings.items() if setting["meaning"]] == names


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_every_optimiser_trains(name: Any) -> None:
    class Deep(nn.Sequential):
        def __init__(self, n_classes: int) -> None:
            first = nn.Linear(64, 32)
            hidden = nn.Linear(32, 32)
            super().__init__(
                nn.Flatten(), first, nn.ReLU(), hidden, nn.ReLU(), nn.Linear(32, n_classes)
            )

    if name == "muon" and not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    method = from_module("deep", Deep, recipe={"optimiser": name})()
    assert right(fit(method, DIGITS, epochs=8)) > 60
    training: Any = method.start(DIGITS, Budget(epochs=2))
    training.advance(Clock())
    state = copy.deepcopy(training.state())
    training.advance(Clock())
    other: Any = method.start(DIGITS, Budget(epochs=2))
    other.load(state)
    other.advance(Clock())
    assert torch.equal(other.classifier()(HELD_OUT.X), training.classifier()(HELD_OUT.X))


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (nn.Flatten(), "the network has no parameters to train"),
        (nn.Linear(2, 2).requires_grad_(False), "the network has no parameters to train"),
        (nn.Linear(2, 2, dtype=torch.complex64), "the parameter 'weight' is torch.complex64"),
    ],
)
@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_what_cannot_be_trained_is_one_clear_line(
    net: nn.Module, words: str, name: Optimiser
) -> None:
    with pytest.raises(UserError, match=words):
        optimisers(net, RecipeOptions(optimiser=name).recipe())


needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")


@needs_muon
def test_muon_trains_the_hidden_matrices_and_convolutions_alone() -> None:
    net: Any = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.BatchNorm2d(4),
        nn.Flatten(),
        nn.Linear(4, 4),
        nn.Linear(4, 3),
    )
    recipe = RecipeOptions(optimiser="muon").recipe()
    muon, adamw = optimisers(net, recipe)
    (group,) = muon.param_groups
    assert [each.data_ptr() for each in group["params"]] == [
        net[1].weight.data_ptr(),
        net[5].weight.data_ptr(),
    ]
    n_others = sum(len(group["params"]) for group in adamw.param_groups)
    assert n_others == len(list(net.parameters())) - 2
    net[0].requires_grad_(False)  # a frozen first layer is the first one all the same
    assert len(optimisers(net, recipe)[0].param_groups[0]["params"]) == 2
    with pytest.raises(UserError, match="no matrix between its first and last weights"):
        optimisers(nn.Linear(3, 2), recipe)


@needs_muon
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_step_of_muon_is_that_on_the_matrix_of_a_convolution(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 5, 3), nn.Conv2d(5, 2, 3))
    start = net[1].weight.detach().clone()
    net = net.to(memory_format=layout)
    recipe = RecipeOptions(optimiser="muon").recipe()
    muon = optimisers(net, recipe)[0]
    matrix = nn.Parameter(start.reshape(5, -1).clone())
    expected = torch.optim.Muon(
        [matrix],
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        adjust_lr_fn="match_rms_adamw",
    )
    for seed in range(2):
        X = torch.randn(4, 2, 9, 9, generator=torch.Generator().manual_seed(seed))
        net(X).square().sum().backward()
        matrix.grad = net[1].weight.grad.reshape(5, -1).clone()
        muon.step()
        expected.step()
        assert net[1].weight.grad is None
        assert not torch.equal(net[1].weight, start)
        # orthogonalised in bfloat16, whose rounding depends on the order of the columns
        moved = (net[1].weight - start).detach().reshape(5, -1)
        assert (moved - (matrix - start.reshape(5, -1))).norm() < 0.02 * moved.norm()


def test_weight_decay_is_for_weights_alone() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    for name in ("sgd", "adamw"):
        recipe = RecipeOptions(optimiser=name, weight_decay=0.3, bias_rate=4.0).recipe()
        (optimiser,) = optimisers(net, recipe)
        decays = [group["weight_decay"] for group in optimiser.param_groups]
        assert decays == [0.3, 0, 0]
        assert [group["rate"] for group in optimiser.param_groups] == [1, 4, 1]
    (optimiser,) = optimisers(net, RECIPES["wrn-base"])
    assert [group["weight_decay"] for group in optimiser.param_groups] == [5e-4] * 3


def test_biases_in_a_list_have_the_rate_of_biases() -> None:
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, 2))
            self.biases = nn.ParameterList([torch.zeros(2), torch.zeros(3)])
            self.unbiased = nn.Parameter(torch.zeros(4))

    (optimiser,) = optimisers(Listed(), RecipeOptions(bias_rate=4.0).recipe())
    rates = {
        each.numel(): group["rate"]
        for group in optimiser.param_groups
        for each in group["params"]
        if each.ndim == 1
    }
    assert rates == {2: 4, 3: 4, 4: 1}


def test_a_recipe_is_chosen_and_changed() -> None:
    assert RecipeOptions().recipe() == RECIPES["fast"]
    assert RecipeOptions(base="paper").recipe() == RECIPES["wide-resnet"]
    changed = RecipeOptions(base="paper", weight_decay=0.0, lookahead=True).recipe()
    assert (changed.lr, changed.weight_decay, changed.lookahead) == (0.1, 0.0, True)
    assert changed.schedule == "steps"
    plain = RecipeOptions(momentum=0.0).recipe()
    assert (plain.momentum, plain.nesterov) == (0.0, False)
    own = {"fast": Recipe(lr=0.5), "paper": RECIPES["paper"]}
    assert RecipeOptions(momentum=0.5).recipe(own).lr == 0.5
    adam = RecipeOptions(optimiser="adamw").recipe(own)
    assert adam.lr == RecipeOptions(base="paper", optimiser="adamw").recipe().lr < 0.01
    assert RecipeOptions(optimiser="adamw", lr=0.3).recipe().lr == 0.3
    preset = {"fast": RecipeOptions(optimiser="adamw").recipe()}
    sgd = RecipeOptions(optimiser="sgd").recipe(preset)
    assert (sgd.lr, sgd.weight_decay) == (RECIPES["fast"].lr, RECIPES["fast"].weight_decay)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"base": "paper", "steps_per_epoch": 10}, "no effect with batch_size=128"),
        ({"batch_size": 8, "largest_batch": 16}, "no effect with batch_size=8"),
        ({"optimiser": "adamw", "nesterov": True}, "no effect with optimiser='adamw'"),
        ({"momentum": 0.0, "nesterov": True}, "needs momentum above 0"),
    ],
)
def test_a_setting_without_effect_is_refused_when_the_method_is_made(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Codes(recipe=RecipeOptions(**options))


@pytest.mark.parametrize(
    "wrong",
    [{"lr": 0}, {"momentum": 1.0}, {"batch_size": 0}, {"shift": 2}, {"label_smoothing": -1}],
)
def test_ranges_hold_from_python_too(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        RecipeOptions(**wrong)
    with pytest.raises(ValueError, match="must be"):
        Recipe(**{"lr": 0.1, **wrong})
    with pytest.raises(UserError, match=f"codes, option 'recipe.{next(iter(wrong))}'"):
        make_method(Codes, {"recipe": wrong})


def test_recipes_on_a_command_line_and_in_a_track() -> None:
    wanted = Codes(recipe=RecipeOptions(base="paper", lr=0.05))
    name, params = parse_spec("codes[recipe=paper, recipe.lr=0.05]")
    assert (name, params) == ("codes", {"recipe": {"base": "paper", "lr": 0.05}})
    assert make_method(Codes, params) == wanted
    assert make_method(Codes, {"recipe": "paper"} | {"recipe.lr": 0.05}) == wanted, "a grid"
    assert nested({"recipe.lr": 1, "recipe": "paper"}) == nested(
        {"recipe": "paper", "recipe.lr": 1}
    )
    for params, words in (
        (
            {"recipe": "papr"},
            "'recipe' = 'papr': Input should be 'fast', 'wide-resnet', ",
        ),
        ({"recipe": {"rate": 1}}, "no option 'recipe.rate'"),
        ({"lr": 1}, "did you mean 'recipe.lr'"),
    ):
        with pytest.raises(UserError, match=words):
            make_method(Codes, params)


# Functions


def ridge(X: Any, y: Any, n_classes: int, alpha: float = 1.0) -> Any:
    targets = np.eye(n_classes)[y]
    W = np.linalg.solve(X.T @ X + alpha * np.eye(X.shape[1]), X.T @ targets)
    return lambda X: X @ W


def test_a_function_of_rows() -> None:
    method = from_function("ridge", ridge)
    classifier = fit(method(alpha=0.1), DIGITS)
    assert right(classifier) > 85
    size = classifier.size()
    assert size.n_params is None
    assert "return (score, arrays)" in size.reason
    with pytest.raises(UserError, match="ridge, option 'alpha'"):
        make_method(method, {"alpha": "much"})


def test_a_function_gets_what_it_asks_for_and_its_arrays_are_counted() -> None:
    seen: dict[str, Any] = {}

    def learn(
        images: Any, labels: Any, seed: int, /, deadline: Any, epochs: Any, power: int = 2
    ) -> Any:
        seen.update(seed=seed, epochs=epochs, power=power, expired=deadline.expired())
        assert images.dtype == np.float32
        assert images.shape[1:] == (3, 8, 8)
        assert 0 <= images.min() < images.max() <= 1
        means = {"means": np.zeros((3, 5))}
        return (lambda X: np.tile(np.arange(3.0), (len(X), 1))), means

    method = from_function("learn", learn, images=True, power=3)
    classifier = fit(method(), images(), seed=4, epochs=7)
    assert seen == {"seed": 4, "epochs": 7, "power": 3, "expired": False}
    assert size_of(classifier).n_params == 15
    assert (classifier(images().train.X).argmax(1) == 2).all()


@pytest.mark.parametrize(
    ("fitted", "words"),
    [
        (None, "returned a NoneType, expected a function"),
        (lambda X: X[:, :2], r"shape \(48, 2\), expected \(48, 3\)"),
        (lambda X: np.ones((len(X), 3), complex), "an array of complex128, expected real numbers"),
    ],
)
def test_mistakes_of_a_function_are_named(fitted: Any, words: str) -> None:
    method = from_function("odd", lambda X, y: fitted)
    with pytest.raises(UserError, match=words):
        fit(method(), images())(images().train.X)


def test_the_docstring_of_a_network_or_a_function_describes_its_method() -> None:
    def ridge_on_pixels(X: Any, y: Any, alpha: float = 1.0) -> None:
        """Regress one-hot labels.

        Parameters
        ----------
        alpha
            Weight of the squared norm.
        """

    class Documented(nn.Sequential):
        """Read the pixels out."""

        def __init__(self, n_classes: int) -> None:
            super().__init__(nn.Flatten(), nn.LazyLinear(n_classes))

    described = describe.docstring(from_function("described", ridge_on_pixels))
    assert described.paragraphs == ("Regress one-hot labels.",)
    assert described.parameters == {"alpha": "Weight of the squared norm."}
    assert from_module("documented", Documented).__doc__ == "Read the pixels out."
    plain = from_module("plain", partial(Documented))
    assert plain.__doc__ == "plain, trained end to end as a classifier."


def test_methods_belong_to_the_module_that_makes_them() -> None:
    class Dummy:
        classes_ = np.arange(3)

        def fit(self, X: Any, y: Any) -> Any:
            return self

    made = [Codes, from_function("f", ridge), from_estimator("e", Dummy)]
    assert {cls.__module__ for cls in made} == {__name__}
    assert [cls.name for cls in made] == ["codes", "f", "e"]


def test_types_of_an_estimator_come_from_annotations_and_defaults() -> None:
    def make(C: Literal[1, 2] = 1, gamma="scale", tol=1e-3, dual=False, seed=None):  # type: ignore[no-untyped-def]
        return None

    cls = from_estimator("typed", make)
    make_method(cls, {"C": 2, "gamma": 0.5, "tol": 1, "dual": True, "seed": 3})
    make_method(cls, {"gamma": True})
    for wrong in ({"C": 3}, {"tol": True}, {"tol": "small"}, {"dual": 0.5}):
        with pytest.raises(UserError, match=f"typed, option '{next(iter(wrong))}'"):
            make_method(cls, wrong)
