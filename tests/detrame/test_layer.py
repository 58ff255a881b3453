"""The Q-metric ReLU against its definition and finite differences, in all structures."""

import pickle
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn import functional as F

from ddl_bench.api import Budget, Split, Task
from ddl_bench.training.recipe import RecipeOptions
from detrame.layer import QMetricReLU
from detrame.methods.metric_method import MetricMethod
from detrame.methods.plainnet import DeTraMePlainNet
from detrame.methods.plainnet_deep import PlainNetDeep
from detrame.methods.plainnet_extra import PlainNetExtra
from detrame.methods.plainnet_wide import PlainNetWide
from tests.conftest import Clock

RANKS = {"full": None, "depthwise": None, "low-rank": 2}
structures = pytest.mark.parametrize("structure", RANKS)


def new(channels: int, kernel: int, n_steps: int, structure: Any, tol: Any = None) -> QMetricReLU:
    kernel = max(kernel, 3 if structure == "depthwise" else 1)
    return QMetricReLU(
        channels, kernel, n_steps, structure=structure, rank=RANKS[structure], tol=tol
    )


def layer(
    channels: int, kernel: int, n_steps: int, structure: str, tol: Any = None, seed: int = 0
) -> QMetricReLU:
    """A layer in float64 whose projections are active in places."""
    made = new(channels, kernel, n_steps, structure, tol).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(
                0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            )
        made.h.add_(0.8)
    made.project_()
    return made


def signal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def equation_9(Z: Tensor, made: QMetricReLU, n_steps: int) -> Tensor:
    """Compute the recursion as printed, tap by tap, on (n, channels, height, width)."""
    h = made.h[:, None, None]
    b = made.b[:, None, None]
    U = torch.zeros_like(Z)
    pad = made.kernel // 2
    height, width = Z.shape[2:]
    for _ in range(n_steps):
        V = F.pad(U - Z, (pad, pad, pad, pad))
        mixed = torch.zeros_like(Z)
        for i in range(made.kernel):
            for j in range(made.kernel):
                tap = off_diagonal(made, i, j)
                mixed = mixed + torch.einsum(
                    "ck,nkhw->nchw", tap, V[:, :, i:, j:][..., :height, :width]
                )
        U = (h * Z + mixed - b).clamp(min=0)
    return U


def off_diagonal(made: QMetricReLU, i: int, j: int) -> Tensor:
    """W~ at one tap, (channels, channels), from the parameters."""
    if made.structure == "low-rank":
        tap = made.up[:, :, 0, 0] @ made.down[:, :, i, j]
    else:
        tap = (
            made.weight[:, :, i, j]
            if made.structure == "full"
            else torch.diag(made.weight[:, 0, i, j])
        )
    return tap - torch.diag(tap.diagonal()) if i == j == made.kernel // 2 else tap


@settings(max_examples=60)
@given(
    arguments=st.tuples(
        st.integers(2, 5),
        st.sampled_from([1, 3, 5]),
        st.integers(1, 6),
        st.sampled_from(list(RANKS)),
    ),
    size=st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    seed=st.integers(0, 10**6),
)
def test_it_computes_equation_9(
    arguments: Any, size: tuple[int, int, int], dtype: torch.dtype, seed: int
) -> None:
    channels, kernel, n_steps, structure = arguments
    made = layer(channels, kernel, n_steps, structure, seed=seed)
    Z = signal(size[0], channels, *size[1:], seed=seed)
    expected = equation_9(Z, made, n_steps).detach()
    taps = range(made.kernel)
    kernels = [off_diagonal(made, i, j) for i in taps for j in taps]
    torch.testing.assert_close(
        made.dense_weight().flatten(2).movedim(2, 0), torch.stack(kernels), rtol=0, atol=1e-14
    )
    untouched = Z.to(dtype)
    computed = made.to(dtype)(untouched)
    assert computed.dtype == dtype
    tolerance = 1e-11 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(
        computed.double(), expected, rtol=tolerance, atol=tolerance * float(1 + expected.max())
    )
    assert torch.equal(untouched, Z.to(dtype))
    assert made.n_steps_used == n_steps


@structures
def test_the_memory_format_is_kept_and_autocast_is_not_in_its_way(structure: str) -> None:
    made = layer(4, 3, 3, structure).float().to(memory_format=torch.channels_last)
    Z = signal(2, 4, 6, 6).float().contiguous(memory_format=torch.channels_last).requires_grad_()
    U = made(Z)
    U.sum().backward()
    assert U.is_contiguous(memory_format=torch.channels_last)
    assert Z.grad is not None
    assert Z.grad.is_contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(made(Z).float(), U, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("structure", ["full", "low-rank"])
def test_dense_inputs_are_images_of_one_pixel(structure: str) -> None:
    made = layer(6, 1, 4, structure)
    Z = signal(7, 6)
    torch.testing.assert_close(made(Z), equation_9(Z[:, :, None, None], made, 4).flatten(1))


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize(("n_steps", "tol"), [(3, None), (30, 0.1)])
@structures
def test_gradients_match_finite_differences(
    structure: str, n_steps: int, tol: float | None, kernel: int
) -> None:
    made = layer(3, kernel, n_steps, structure, tol)
    with torch.no_grad():
        [factor.mul_(0.6) for name, factor in made.named_parameters() if name in ("weight", "up")]
    names = [name for name, _ in made.named_parameters()]

    def run(Z: Tensor, *values: Tensor) -> Tensor:
        output: Tensor = functional_call(made, dict(zip(names, values, strict=True)), (Z,))
        return output

    assert torch.autograd.gradcheck(run, (signal(2, 3, 4, 4).requires_grad_(), *made.parameters()))
    assert made.n_steps_used == 3 if tol is None else 2 <= made.n_steps_used < 30


@structures
def test_with_a_tolerance_it_stops_at_the_first_step_that_meets_it_in_each_sample(
    structure: str,
) -> None:
    Z = signal(4, 3, 5, 5)
    Z[1] = -abs(Z[1])  # next to no code there
    with torch.no_grad():
        made = layer(3, 3, 200, structure, tol=1e-4)
        [parameter.mul_(0.6) for parameter in made.parameters()]
        U = made(Z)
        steps = [equation_9(Z, made, n) for n in range(made.n_steps_used + 1)]
        torch.testing.assert_close(U, steps[-1])
        change = [
            ((b - a).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)).max()
            for a, b in pairwise(steps)
        ]
    assert change[-1] <= 1e-4 < min(change[:-1])
    assert 2 < made.n_steps_used < 200
    assert (made(torch.zeros_like(Z)) == 0).all()
    assert made.n_steps_used == 2, "0 is a fixed point, and no division by 0"


@structures
def test_projection_is_the_nearest_feasible_point_and_spares_the_rest(structure: str) -> None:
    made = new(4, 3, 2, structure)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(2 * signal(*parameter.shape, seed=parameter.numel()))
    before = {name: parameter.detach().clone() for name, parameter in made.named_parameters()}
    made.project_()
    expected = before | {"h": before["h"].clamp(0, 1), "b": before["b"].clamp(min=0)}
    if structure != "low-rank":
        own = (
            torch.eye(4, dtype=torch.bool)
            if structure == "full"
            else torch.ones(4, 1, dtype=torch.bool)
        )
        expected["weight"][:, :, 1, 1] = torch.where(own, 0.0, before["weight"][:, :, 1, 1])
        assert own.sum() == made.n_structural_zeros
    for name, parameter in made.named_parameters():
        assert torch.equal(parameter, expected[name])
    assert (made.dense_weight()[:, :, 1, 1].diagonal() == 0).all()


@pytest.mark.parametrize(
    ("channels", "kernel", "rank"), [(2, 1, 1), (4, 1, 2), (5, 1, 3), (3, 3, 2), (3, 3, 3)]
)
def test_low_rank_counts_the_dimensions_of_the_metrics_it_reaches(
    channels: int, kernel: int, rank: int
) -> None:
    made = QMetricReLU(channels, kernel, structure="low-rank", rank=rank, std=1.0).double()
    factors = made.up, made.down
    rows = [
        torch.autograd.grad(entry, factors, retain_graph=True)
        for entry in made.dense_weight().flatten()
    ]
    jacobian = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
    assert made.n_structural_zeros == jacobian.shape[1] - int(torch.linalg.matrix_rank(jacobian))


@structures
def test_a_new_layer_is_a_relu_that_learns_at_once_and_h_and_b_do_not_decay(structure: str) -> None:
    made = new(5, 3, 2, structure)
    Z = signal(3, 5, 4, 4).float()
    assert torch.equal(made(Z), Z.clamp(min=0))
    made(Z).square().sum().backward()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            assert parameter.grad is not None
            assert (parameter.ndim > 1) == (name not in "hb"), (
                "the recipes decay tensors of two or more dimensions"
            )
            assert (parameter.grad.abs().max() > 0) == (name != "down"), "it waits for `up`"
            parameter.sub_(1e-3 * parameter.grad)
    assert made.dense_weight().abs().max() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 0}, r"channels=0\): must be at least 1"),
        ({"kernel": 2}, r"kernel=2\): must be odd"),
        ({"n_steps": 0}, r"n_steps=0\): must be at least 1"),
        (
            {"structure": "sparse"},
            r"structure='sparse'\): must be one of full, depthwise, low-rank",
        ),
        (
            {"structure": "depthwise", "kernel": 1},
            r"kernel=1\): a depthwise W~ would be zero, use at least 3",
        ),
        ({"structure": "low-rank", "rank": 0}, r"rank=0\): must be 1 to 3"),
        ({"structure": "low-rank", "rank": 4}, r"rank=4\): must be 1 to 3"),
        ({"rank": 2}, r"rank=2\): must be None unless structure is 'low-rank'"),
        ({"tol": 0.0}, r"tol=0.0\): must be between 0 and 1"),
        ({"channels": None}, r"channels=None\): must be a whole number"),
        ({"kernel": 2.5}, r"kernel=2.5\): must be a whole number"),
        ({"n_steps": 2.5}, r"n_steps=2.5\): must be a whole number"),
        ({"structure": "low-rank", "rank": 1.5}, r"rank=1.5\): must be a whole number"),
        ({"std": -0.1}, r"std=-0.1\): must be at least 0 and finite"),
        ({"std": float("nan")}, r"std=nan\): must be at least 0 and finite"),
        ({"std": float("inf")}, r"std=inf\): must be at least 0 and finite"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"QMetricReLU\({message}"):
        QMetricReLU(**{"channels": 3} | arguments)


@pytest.mark.parametrize(("kernel", "shape"), [(3, (2, 4)), (3, (2, 5, 6, 6)), (1, (4,))])
def test_a_wrong_input_is_named(kernel: int, shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"QMetricReLU\(channels=4\): expected \(n, 4, height, width\)"
    ):
        QMetricReLU(4, kernel)(torch.zeros(shape))


@pytest.mark.parametrize("tol", [None, 0.1])
@structures
def test_it_is_one_node_for_a_tracer_and_steps_are_counted_outside(
    structure: str, tol: float | None
) -> None:
    made = layer(3, 3, 4, structure, tol).float()
    traced = pickle.loads(pickle.dumps(fx.symbolic_trace(nn.Sequential(made))))
    assert [node.op for node in traced.graph.nodes].count("call_function") == 2, "and its codes"
    assert made.n_steps_used == 0
    for seed in (1, 2):
        Z = 10 * signal(2, 3, 6, 6, seed=seed).float()
        assert torch.equal(traced(Z), made(Z))
    assert 2 <= made.n_steps_used <= 4
    if tol is None:
        sizes = {0: torch.export.Dim("n", min=2)}
        exported = torch.export.export(made, (Z,), dynamic_shapes=(sizes,)).module()
        torch.testing.assert_close(exported(Z.repeat(3, 1, 1, 1)), made(Z.repeat(3, 1, 1, 1)))
        torch.compiler.reset()
        compiled = torch.compile(made, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(Z), made(Z))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's forward mode
@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of vmap
@structures
def test_derivatives_are_transformed_one_parameter_at_a_time(structure: str) -> None:
    made = layer(3, 3, 3, structure)
    Z = signal(2, 3, 4, 4)
    values = {name: parameter.detach() for name, parameter in made.named_parameters()}
    for name, value in values.items():

        def energy(changed: Tensor, name: str = name) -> Tensor:
            output: Tensor = functional_call(made, values | {name: changed}, (Z,))
            return output.square().sum()

        gradient = grad(energy)(value)
        change = jvp(energy, (value,), (torch.ones_like(value),))[1]
        torch.testing.assert_close(change, gradient.sum())
        both = torch.stack([value, 0.9 * value])
        expected = torch.stack([energy(each) for each in both])
        torch.testing.assert_close(vmap(energy)(both), expected)


def levels() -> Task:
    """Images of three classes, by their brightness."""
    y = torch.arange(120) % 3
    X = (60 * y[:, None, None, None] + 120 * signal(120, 1, 8, 8).sigmoid()).to(torch.uint8)
    return Task(
        name="levels",
        class_names=("a", "b", "c"),
        train=Split(X=X, y=y),
        val=Split(X=X[:0], y=y[:0]),
    )


def test_training_keeps_the_constraints_and_moves_the_metric() -> None:
    task = levels()
    training = DeTraMePlainNet(recipe=RecipeOptions(batch_size=40)).start(task, Budget(epochs=3))
    while training.advance(Clock()):
        pass
    state = training.classifier().state()  # type: ignore[attr-defined]  # Network is Keepable
    metrics = [name.removesuffix(".h") for name in state if name.endswith(".h")]
    assert len(metrics) == 2
    for name in metrics:
        weight, h, b = (state[f"{name}.{part}"] for part in ("weight", "h", "b"))
        assert weight[:, :, 1, 1].diagonal().abs().max() == 0
        assert weight.abs().max() > 0
        assert 0 <= h.min() < h.max() <= 1
        assert 0 <= b.min() < b.max()


def test_without_the_elastic_net_h_stays_1_and_is_no_parameter() -> None:
    made = QMetricReLU(4, 1, elastic_net=False)
    made(torch.randn(5, 4)).square().sum().backward()
    assert made.h.grad is None
    assert made.weight.grad is not None
    sizes = []
    for elastic_net in (True, False):
        method = DeTraMePlainNet(elastic_net=elastic_net)
        training = method.start(levels(), Budget(epochs=1))
        training.advance(Clock())
        sizes.append(training.classifier().size())  # type: ignore[attr-defined]  # Network has it
    n_channels = sizes[0].n_params - sizes[1].n_params
    assert n_channels > 0
    assert sizes[1].n_buffers - sizes[0].n_buffers == n_channels
    assert sizes[1].n_stored == sizes[0].n_stored - n_channels


def test_the_tolerance_of_a_method_ends_the_steps_of_its_metrics() -> None:
    task = levels()
    network = DeTraMePlainNet(depth=3, n_steps=50, tol=0.5).network(task)
    network(torch.zeros(2, *task.image_shape))
    used = [layer.n_steps_used for layer in network.modules() if isinstance(layer, QMetricReLU)]
    assert used == [2, 2]


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (DeTraMePlainNet, {"n_steps": 0}, r"n_steps=0\): must be .* 1, or None"),
        (DeTraMePlainNet, {"rank": 4}, r"rank=4\): has no effect without structure='low-rank'"),
        (
            DeTraMePlainNet,
            {"structure": "depthwise", "kernel": "1x1"},
            r"kernel='1x1'\): has no effect where structure='depthwise'",
        ),
        (PlainNetDeep, {"structure": "depthwise"}, r"structure='depthwise'\): must be 'full'"),
        (PlainNetExtra, {"elastic_net": False}, r"elastic_net=False\): has no effect without a me"),
        (PlainNetWide, {"tol": 0.1}, r"tol=0.1\): has no effect without a metric"),
        (DeTraMePlainNet, {"tol": 1.0}, r"tol=1.0\): must be less than 1"),
        (PlainNetWide, {"n_steps": 3}, r"n_steps=3\): has no effect where equal='parameters'"),
    ],
)
def test_an_option_out_of_range_or_without_effect_is_refused(
    method: type[MetricMethod], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"{method.__name__}\({message}"):
        method(**options)
