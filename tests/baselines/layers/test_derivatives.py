"""Implicit layers under all that torch does to functions: each is right, or refused in a line."""

import copy
import pickle
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, fx, nn
from torch.func import grad, hessian, jacfwd, jacrev, vmap
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from baselines.layers import derivatives, implicit
from baselines.layers.cnn_lista import CNNLISTANet
from baselines.layers.convolutional import CodingLayer, Dictionary, unit_norm
from baselines.layers.equilibrium import EquilibriumLayer, FixedPoint, equilibrium_codes
from baselines.layers.implicit import ImplicitCoding, sparse_code
from baselines.layers.unrolled import Form
from baselines.methods.ddl import DDL
from baselines.pursuit import threads
from ddl_bench import registry
from ddl_bench.api import Budget
from ddl_bench.training.backbones import ConvolutionPlan
from ddl_bench.training.method import NetworkMethod
from tests.conftest import DIGITS

pytestmark = [
    # Of torch's own use of itself, in forward mode and in torch.compile.
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]
Code = Callable[..., Tensor]
DIFFERENCES: Any = {"eps": 1e-5, "atol": 1e-5, "fast_mode": True}


def randn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def patch_codes(
    X: Tensor, D: Tensor, lmbd: Tensor, alpha: Tensor, linear: Tensor, positive: bool = True
) -> Tensor:
    return sparse_code(X, D, lmbd, alpha=alpha, linear=linear, positive=positive, tol=1e-13)


def map_codes(X: Tensor, D: Tensor, stride: int = 1) -> Tensor:
    point = FixedPoint(lmbd=0.3, alpha=0.2, n_iter=200, tol=1e-12)
    step = 1 / (Dictionary(D.detach(), stride, 1).lipschitz() + point.alpha)
    return equilibrium_codes(X, D, step, stride, 1, point)


PATCHES = (
    randn(3, 6),
    F.normalize(randn(6, 8, seed=1), dim=0),
    0.1 + 0.02 * torch.arange(8, dtype=torch.float64),
    torch.tensor(0.3, dtype=torch.float64),
    0.1 * randn(8, seed=2),
)
MAPS = (randn(2, 1, 4, 3), unit_norm(randn(3, 1, 3, 3, seed=1)))
functions = pytest.mark.parametrize(
    ("code", "values"),
    [
        pytest.param(patch_codes, PATCHES, id="patches"),
        pytest.param(partial(patch_codes, positive=False), PATCHES, id="signed patches"),
        pytest.param(map_codes, MAPS, id="maps"),
    ],
)


def leaves(values: tuple[Tensor, ...]) -> list[Tensor]:
    return [value.clone().requires_grad_() for value in values]


@functions
def test_derivatives_of_first_and_second_order_are_finite_differences(
    code: Code, values: tuple[Tensor, ...]
) -> None:
    assert 0.1 < float((code(*values) != 0).double().mean()) < 0.9
    of = leaves(values)
    assert torch.autograd.gradcheck(code, of, check_forward_ad=True, **DIFFERENCES)
    assert torch.autograd.gradgradcheck(code, of, check_fwd_over_rev=True, **DIFFERENCES)


def test_strided_maps_have_second_derivatives() -> None:
    code = partial(map_codes, stride=2)
    of = leaves(MAPS)
    assert torch.autograd.gradgradcheck(code, of, check_fwd_over_rev=True, **DIFFERENCES)


def by_grad(penalty: Tensor, D: Tensor) -> Tensor:
    return torch.autograd.grad(penalty, D)[0]


def by_backward_to_inputs(penalty: Tensor, D: Tensor) -> Tensor:
    penalty.backward(inputs=[D])
    assert D.grad is not None
    return D.grad


def by_backward(penalty: Tensor, D: Tensor) -> Tensor:
    penalty.backward()
    assert D.grad is not None
    return D.grad


@functions
@pytest.mark.parametrize("differentiate", [by_grad, by_backward_to_inputs, by_backward])
def test_a_penalty_of_the_gradient_is_differentiated_in_every_way(
    code: Code, values: tuple[Tensor, ...], differentiate: Any
) -> None:
    X, D, *rest = leaves(values)

    def penalty(atoms: Tensor) -> Tensor:
        (slope,) = torch.autograd.grad(code(X, atoms, *rest).square().sum(), X, create_graph=True)
        return slope.square().sum()

    direction = randn(*D.shape, seed=3)
    ahead = penalty(D + 1e-6 * direction)
    behind = penalty(D - 1e-6 * direction)
    wanted = (ahead - behind).item() / 2e-6
    computed = float((differentiate(penalty(D), D) * direction).sum())
    assert abs(wanted) > 0.1
    assert computed == pytest.approx(wanted, rel=1e-5)


@functions
def test_transforms_of_functions_agree(code: Code, values: tuple[Tensor, ...]) -> None:
    X, D, *rest = values
    close = partial(torch.testing.assert_close, atol=1e-9, rtol=1e-9)
    which = tuple(range(len(values)))
    close(jacrev(code, which)(*values), jacfwd(code, which)(*values))

    def energy(atoms: Tensor, X: Tensor = X) -> Tensor:
        return code(X, atoms, *rest).square().sum()

    close(hessian(energy)(D), jacrev(jacrev(energy))(D))
    close(vmap(lambda x: code(x[None], *values[1:])[0])(X), code(*values))
    scaled = [torch.stack([value, 1.1 * value]) for value in values]
    each = [code(*(value[i] for value in scaled)) for i in range(2)]
    close(vmap(code)(*scaled), torch.stack(each))
    by_sample = vmap(grad(energy), (None, 0))(D, X[:, None])
    close(by_sample.sum(0), grad(energy)(D))
    atoms = D.clone().requires_grad_()
    codes = code(X, atoms, *rest)
    weights = randn(2, *codes.shape, seed=4)
    (together,) = torch.autograd.grad(codes, atoms, weights, is_grads_batched=True)
    for gradient, weight in zip(together, weights, strict=True):
        close(gradient, grad(lambda D, w=weight: (code(X, D, *rest) * w).sum())(D))


def patch_layer() -> nn.Module:
    torch.manual_seed(1)
    plan = ConvolutionPlan(2, 7, 3, 1)
    return ImplicitCoding(plan, lmbd=0.05, alpha=0.1, per_atom=False, batch_norm=True).eval()


def map_layer() -> nn.Module:
    torch.manual_seed(1)
    return EquilibriumLayer(2, 5, 3, 1, lmbd=0.1, alpha=1.0, n_iter=100, tol=1e-4).eval()


layers = pytest.mark.parametrize("make", [patch_layer, map_layer])
X = randn(4, 2, 8, 8).float()


@layers
def test_copies_modes_and_layouts_do_not_change_the_codes(make: Any) -> None:
    layer = make()
    expected = layer(X)
    assert torch.equal(copy.deepcopy(layer)(X), expected)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(X), expected)
    with torch.no_grad():
        assert torch.equal(layer(X), expected)
    with torch.inference_mode():
        assert torch.equal(layer(X), expected)
    for strided in (X.repeat_interleave(2, 3)[..., ::2], X.mT.contiguous().mT):
        assert not strided.is_contiguous()
        torch.testing.assert_close(layer(strided), expected)
    assert layer.to("meta")(X.to("meta")).shape == expected.shape


@layers
def test_an_empty_batch_has_empty_codes_and_gradients_of_zero(make: Any) -> None:
    layer = make()
    empty = X[:0].clone().requires_grad_()
    codes = layer(empty)
    assert codes.shape == (0, *layer(X).shape[1:])
    codes.sum().backward()
    assert empty.grad is not None
    assert not any(p.grad.any() for p in layer.parameters() if p.grad is not None)


@layers
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_solved_in_single(make: Any, dtype: torch.dtype) -> None:
    expected = make()(X)
    half = make().to(dtype)
    codes = half(X.to(dtype))
    assert codes.dtype == dtype
    torch.testing.assert_close(codes.float(), expected, atol=0.05, rtol=0.05)
    codes.sum().backward()
    half.project_()
    gradients = [p.grad for p in half.parameters() if p.grad is not None]
    assert gradients
    assert all(g.dtype == dtype and g.isfinite().all() for g in gradients)
    layer = make()
    with torch.autocast("cpu", dtype):
        codes = layer(X)
        codes.sum().backward()  # also where the context still is open
    torch.testing.assert_close(codes, expected, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64])
def test_a_dictionary_of_integers_is_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=rf"^D is a tensor of {dtype}: must be of floating point"):
        sparse_code(X.flatten(1), torch.ones(128, 3, dtype=dtype), torch.tensor(0.1))


@layers
def test_changed_codes_or_atoms_are_refused_by_the_backward_pass(make: Any) -> None:
    layer = make()
    codes = layer(X)
    codes.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        codes.sum().backward()
    codes = layer(X)
    for parameter in layer.parameters():
        parameter.data.mul_(2)  # not counted as a change
        with torch.no_grad():
            parameter.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        codes.sum().backward()


def gradients(layer: nn.Module, call: Any) -> dict[str, Tensor]:
    layer.zero_grad()
    call(X).square().sum().backward()
    named = layer.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


@layers
def test_compiled_traced_and_checkpointed_layers_are_the_layer(make: Any) -> None:
    layer = make()
    expected = gradients(layer, layer)
    torch.compiler.reset()
    calls = [
        torch.compile(layer, backend="aot_eager"),
        fx.symbolic_trace(layer),
        pickle.loads(pickle.dumps(fx.symbolic_trace(layer))),
        lambda X: checkpoint(layer, X, use_reentrant=False),
    ]
    for call in calls:
        owner = call if isinstance(call, fx.GraphModule) else layer
        torch.testing.assert_close(gradients(owner, call), expected)


@layers
def test_an_exported_layer_solves_for_other_maps(make: Any) -> None:
    layer = make()
    sizes = {0: torch.export.Dim("n", min=2)}
    exported = torch.export.export(layer, (X,), dynamic_shapes=(sizes,)).module()
    others = randn(7, 2, 8, 8, seed=5).float()
    torch.testing.assert_close(exported(others), layer(others))


def test_threads_are_those_of_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    over_blocks = threads.over_blocks

    def count(work: Any, n_samples: int, n_threads: int | None, *rest: Any) -> Any:
        seen.add(n_threads)
        return over_blocks(work, n_samples, n_threads, *rest)

    monkeypatch.setattr(implicit, "over_blocks", count)
    training: Any = DDL().start(DIGITS, Budget(epochs=1, threads=3))
    X, y = next(training._batches())
    training._step(X, y, progress=0.0)
    assert seen == {3}
    assert training.classifier().module.codings[0].n_threads == 3


def test_layers_solve_in_several_python_threads() -> None:
    layer = patch_layer()
    expected = layer(X)
    results: list[Tensor] = []
    callers = [threading.Thread(target=lambda: results.append(layer(X))) for _ in range(4)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert len(results) == 4
    assert all(torch.equal(result, expected) for result in results)


def test_half_a_float_finds_its_bound() -> None:
    layer = CodingLayer(2, 5).bfloat16()
    layer.project_()
    assert layer.step.dtype == torch.bfloat16
    expected = 0.9 / float(Dictionary(layer.weight.float(), 1, 1).lipschitz())
    assert float(layer.step) == pytest.approx(expected, rel=0.01)


def test_other_devices_keep_their_types() -> None:
    with torch.autocast("cpu", torch.bfloat16), derivatives.without_autocast(torch.device("cpu")):
        assert (X[0, 0] @ X[0, 0]).dtype == torch.float32


@pytest.mark.parametrize("form", get_args(Form))
def test_an_unrolled_layer_of_each_form_is_traced(form: Form) -> None:
    torch.manual_seed(0)
    net = CNNLISTANet(1, 3, [4, 6], n_atoms=5, n_steps=3, form=form).eval()
    images = 255 * torch.rand(2, 1, 8, 8)
    assert torch.equal(fx.symbolic_trace(net)(images), net(images))


def test_networks_of_all_methods_are_traced() -> None:
    X = DIGITS.train.X[:5]
    n_networks = 0
    for name in registry.methods():
        method = registry.load_method(name)
        if not issubclass(method, NetworkMethod):
            continue
        n_networks += 1
        net = method().network(DIGITS).eval()
        expected = net(X)
        torch.testing.assert_close(fx.symbolic_trace(net)(X), expected, msg=name)
    assert n_networks > 15
