"""LISTA in its forms, the sparse LSTM, the CNN that ends in LISTA, the white-box transformer."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from baselines.features.patches import Whitening, extract
from baselines.features.unrolled import Memory, SparseLSTMNet
from baselines.layers.cnn_lista import CNNLISTANet
from baselines.layers.transformer import Compress, CRATENet, Sparsify
from baselines.layers.unrolled import Form, LISTALayer, distil, error_curves
from baselines.methods.cnn_lista import CNNLISTA
from baselines.methods.crate_lite import CRATELite
from baselines.methods.lista import LISTA
from baselines.methods.sparse_lstm import SparseLSTM
from baselines.pursuit.encode import encode
from ddl_bench.errors import UserError
from ddl_bench.training.method import NetworkMethod
from tests.conftest import DIGITS, HELD_OUT, Clock, fit

FORMS: tuple[Form, ...] = ("shared", "tied", "untied", "coupled")


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def soft_threshold(v: Tensor, threshold: Tensor | float) -> Tensor:
    return v.sign() * (v.abs() - threshold).clamp(min=0)


def ista(X: Tensor, D: Tensor, lmbd: float, n_steps: int, momentum: float = 0.0) -> Tensor:
    """From 0, each step from codes + momentum * (codes - last codes)."""
    lipschitz = torch.linalg.eigvalsh(D.T @ D)[-1]
    codes = last = torch.zeros(len(X), D.shape[1], dtype=X.dtype)
    for _ in range(n_steps):
        z = codes + momentum * (codes - last)
        last, codes = codes, soft_threshold(z - (z @ D.T - X) @ D / lipschitz, lmbd / lipschitz)
    return codes


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=12)
@given(
    st.integers(1, 9), st.integers(1, 12), st.integers(1, 6), st.floats(0, 1), st.integers(0, 10**6)
)
def test_each_form_started_from_a_dictionary_is_ista_step_by_step(
    form: Form, n_features: int, n_atoms: int, n_steps: int, lmbd: float, seed: int
) -> None:
    X, D = draw(seed, 20, n_features), draw(seed + 1, n_features, n_atoms)
    layer = LISTALayer(n_features, n_atoms, n_steps, form).double()
    layer.start_from(D, lmbd)
    torch.testing.assert_close(
        layer.signal_codes(X), ista(X, D, lmbd, n_steps), atol=1e-9, rtol=1e-7
    )
    if form != "coupled" or n_atoms >= n_features:  # W has a left inverse
        torch.testing.assert_close(layer.dictionary(), D, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("form", FORMS)
def test_each_form_follows_its_recursion_with_any_weights(form: Form) -> None:
    layer = LISTALayer(5, 7, 4, form).double()
    X = draw(0, 30, 5)
    for seed, parameter in enumerate(layer.parameters()):
        parameter.data = 0.4 * draw(seed, *parameter.shape, 1)[..., 0]
    layer.project_()
    n_matrices = len(layer.W) // 7
    codes = torch.zeros(30, 7, dtype=torch.float64)
    for t in range(4):
        W = layer.W[t % n_matrices * 7 :][:7]
        threshold = layer.threshold.view(-1, 7)[t if form != "shared" else 0]
        if form in ("shared", "untied"):
            S = layer.S[7 * (t - 1) :][:7] if form == "untied" and t else layer.S[:7]
        else:
            S = torch.eye(7).double() - (
                W @ layer.D if form == "coupled" else layer.scale * W @ W.T
            )
        codes = soft_threshold(X @ W.T + codes @ S.T, threshold)
    torch.testing.assert_close(layer.signal_codes(X), codes)


def test_what_a_form_learns_is_what_its_size_says() -> None:
    learned = {
        form: sum(
            parameter.numel()
            for parameter in LISTALayer(5, 7, 4, form).parameters()
            if parameter.requires_grad
        )
        for form in FORMS
    }
    assert learned == {
        "shared": 35 + 49 + 7,
        "tied": 35 + 1 + 28,
        "untied": 4 * 35 + 3 * 49 + 28,
        "coupled": 4 * 35 + 28,
    }
    assert (
        sum(parameter.numel() for parameter in LISTALayer(5, 7, 4, "coupled").parameters())
        == 4 * 35 + 28 + 35
    )


@pytest.mark.usefixtures("one_thread")
def test_distilled_lista_needs_fewer_layers_than_ista_needs_iterations() -> None:
    generator = torch.Generator().manual_seed(0)
    D = F.normalize(torch.randn(16, 32, generator=generator), dim=0)
    active = torch.rand(2500, 32, generator=generator) < 0.15
    X = (torch.randn(2500, 32, generator=generator) * active) @ D.T
    curves = error_curves(D, 0.1, X[:2000], X[2000:], [2, 16], n_iter=250)
    exact = torch.as_tensor(encode(X[2000:], D, lmbd=0.1, tol=1e-7, max_iter=10_000).codes).double()
    plain = [ista(X[2000:].double(), D.double(), 0.1, n) for n in (2, 16, 64)]
    errors = [float((codes - exact).square().sum() / exact.square().sum()) for codes in plain]
    assert curves["ista"] == pytest.approx(errors[:2], rel=1e-3)
    assert curves["lista"][0] < errors[1]  # 2 layers: what ISTA does not reach in 16 iterations
    assert curves["lista"][1] < errors[2]  # 16 layers: what it does not reach in 64


def lstm(
    memory: Memory, n_steps: int, n_atoms: int, seed: int, lmbd: float
) -> tuple[SparseLSTMNet, Tensor]:
    shape: dict[str, Any] = {"channels": 2, "n_classes": 3, "patch": 2, "stride": 1, "n_cells": 1}
    net = SparseLSTMNet(memory=memory, n_steps=n_steps, n_atoms=n_atoms, **shape).double()
    D = draw(seed, 8, n_atoms)
    net.start_from(D, lmbd)
    return net, D


@settings(max_examples=20)
@given(
    st.sampled_from(["cell", "steps"]),
    st.integers(1, 8),
    st.integers(1, 12),
    st.floats(0, 1),
    st.floats(0, 0.95),
    st.integers(0, 10**6),
)
def test_held_gates_make_the_sparse_lstm_ista_and_ista_with_momentum(
    memory: Memory, n_steps: int, n_atoms: int, lmbd: float, momentum: float, seed: int
) -> None:
    net, D = lstm(memory, n_steps, n_atoms, seed, lmbd)
    X = draw(seed + 1, 15, 8)
    net.hold(input=1.0, forget=0.0)
    torch.testing.assert_close(net.signal_codes(X), ista(X, D, lmbd, n_steps), atol=1e-9, rtol=1e-7)
    torch.testing.assert_close(net.dictionary(), D, atol=1e-7, rtol=1e-7)
    net.hold(input=1.0, forget=momentum)
    if memory == "steps":
        wanted = ista(X, D, lmbd, n_steps, momentum)
    else:  # the published cell adds up, and forgets, the points that the gradient steps lead to
        lipschitz, cell = torch.linalg.eigvalsh(D.T @ D)[-1], torch.zeros(15, n_atoms).double()
        for _ in range(n_steps):
            codes = soft_threshold(cell, lmbd / lipschitz)
            cell = momentum * cell + codes - (codes @ D.T - X) @ D / lipschitz
        wanted = soft_threshold(cell, lmbd / lipschitz)
    torch.testing.assert_close(net.signal_codes(X), wanted, atol=1e-9, rtol=1e-6)


def test_free_gates_follow_the_cell_of_the_sparse_lstm_on_images() -> None:
    net, _ = lstm("cell", 3, 5, 0, 0.1)
    for seed, name in enumerate(("W", "S", "bias")):
        getattr(net, name).data = 0.5 * draw(seed, *getattr(net, name).shape)
    images = torch.randint(
        0, 256, (9, 2, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    net.mean.data, net.matrix.data = draw(3, 8), draw(4, 8, 8)
    net.floor.fill_(0.5)
    x = Whitening(net.mean, net.matrix, net.floor)(extract(images, 2, 1).double())
    cell = codes = torch.zeros(len(x), 5, dtype=torch.float64)
    for _ in range(3):
        enters, stays, step = (x @ net.W.T + codes @ net.S.T + F.pad(net.bias, (0, 5))).split(5, 1)
        cell = enters.sigmoid() * step + stays.sigmoid() * cell
        codes = soft_threshold(cell, net.threshold)
    torch.testing.assert_close(
        net.codes(images).permute(0, 2, 3, 1).flatten(0, 2), codes, atol=1e-6, rtol=1e-6
    )


def test_the_cnn_codes_its_own_features() -> None:
    net = CNNLISTANet(1, 3, [4, 8], 12, 3, "shared").eval().double()
    signals, codes, D = net.coded(HELD_OUT.X[:5])
    assert signals.shape == (5 * 16, 8)
    lipschitz = torch.linalg.eigvalsh(D.T @ D)[-1]
    torch.testing.assert_close(
        codes,
        ista(signals, D, float(net.threshold.detach()[0] * lipschitz), 3),
        atol=1e-5,
        rtol=1e-4,
    )
    maps = codes.view(5, 16, 12)
    pooled = torch.cat([maps.clamp(min=0), -maps.clamp(max=0)], 2).mean(1)
    torch.testing.assert_close(net(HELD_OUT.X[:5]), net.readout(pooled), atol=1e-6, rtol=1e-6)


@settings(max_examples=20)
@given(st.integers(1, 8), st.integers(0, 10**6), st.floats(0.01, 1), st.floats(0, 1))
def test_a_block_of_the_transformer_is_a_proximal_gradient_step(
    n: int, seed: int, step: float, lmbd: float
) -> None:
    block, tokens = Sparsify(n, step, lmbd).double(), draw(seed, 6, n)
    x = block.norm(tokens).detach()
    a = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(0.5 * (x - a @ block.D.T).square().sum(), a)
    wanted = (x - step * gradient - step * lmbd).clamp(
        min=0
    )  # the prox of step * lmbd * |a|_1 over a >= 0
    torch.testing.assert_close(block(tokens), wanted)


def test_the_compression_of_the_transformer_is_written_out_head_by_head() -> None:
    part, tokens = Compress(6, 3).double(), draw(0, 2, 5, 6)
    Z, added = part.norm(tokens), torch.zeros(2, 5, 6, dtype=torch.float64)
    for h in range(3):
        V = Z @ part.U.weight[2 * h : 2 * h + 2].T
        weights = (V @ V.transpose(1, 2) / 2**0.5).softmax(2)
        added = added + weights @ V @ part.O.weight[:, 2 * h : 2 * h + 2].T
    torch.testing.assert_close(part(tokens), tokens + added + part.O.bias)


def test_tokens_cover_the_image_and_their_places_matter() -> None:
    net = CRATENet((1, 9, 8), 3, patch=2, dim=8, depth=2, n_heads=2).eval()
    X = torch.randint(
        0, 256, (2, 1, 9, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    assert net.tokens(X)[1].shape == (2, 16, 8)
    assert not torch.allclose(net(X), net(X.flip(3)), atol=1e-3)
    x, codes, D = net.coded(X)
    torch.testing.assert_close(codes, (x - 0.1 * ((x @ D.T - x) @ D + 0.1)).clamp(min=0))
    with pytest.raises(
        UserError, match=r"CRATELite\(patch=9, dim=96, n_heads=8\): patches must fit 8"
    ):
        CRATELite(patch=9).network(DIGITS)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("method", "epochs", "bar"),
    [
        (LISTA(form="coupled"), 6, 0.97),
        (LISTA(distilled=True, form="tied"), 1, 0.98),
        (SparseLSTM(), 6, 0.97),
        (CNNLISTA(), 6, 0.97),
        (CRATELite(), 10, 0.95),
        (CRATELite(preset="adamw"), 10, 0.9),  # 91.1 to 93.9 % with seeds 0 to 3
    ],
)
def test_they_read_digits_and_count_their_codes(
    method: NetworkMethod, epochs: int, bar: float
) -> None:
    classifier = fit(method, epochs=epochs)
    assert float((classifier(HELD_OUT.X).argmax(1) == HELD_OUT.y).float().mean()) > bar
    stats = classifier.code_stats(HELD_OUT.X)
    signals, codes, D = classifier.module.coded(HELD_OUT.X)
    if isinstance(classifier.module, LISTALayer):
        torch.testing.assert_close(
            codes, classifier.module.signal_codes(signals), atol=1e-4, rtol=1e-3
        )
    assert (stats.n_nonzero, stats.n_entries) == ((codes != 0).sum(), codes.numel())
    assert stats.squared_error == pytest.approx(
        (signals - codes @ D.T).square().sum().item(), rel=1e-3
    )
    assert 0.05 < stats.n_nonzero / stats.n_entries < 0.8


def test_distillation_stops_at_the_deadline() -> None:
    moved = []
    for used in (0.9, 0.0):
        layer = LISTALayer(5, 7, 2)
        X = draw(0, 99, 5).float()
        D = draw(1, 5, 7).float()
        layer.start_from(D, 0.1)
        before = layer.W.detach().clone()
        distil(layer, X, encode(X, D, lmbd=0.1).codes, n_iter=50, seed=0, deadline=Clock(used))
        moved.append(float((layer.W.detach() - before).abs().max()))
    assert 0 < moved[0] < 0.0031 < moved[1]  # Adam's first step is its rate
