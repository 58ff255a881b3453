"""What is right on the CPU is right on the device: layers, training, checkpoints, folding."""

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import entry_points
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from baselines.layers.convolutional import CodingLayer
from baselines.layers.equilibrium import EquilibriumLayer
from baselines.layers.implicit import sparse_code
from baselines.layers.unrolled import LISTALayer
from ddl_bench.api import Budget, Classifier, Method, Task, Training
from ddl_bench.contract.check import check
from ddl_bench.contract.toys import toy_task
from ddl_bench.harness.clock import CellDeadline, Stopwatch
from ddl_bench.params import make_method
from ddl_bench.registry import METHODS, load_method
from ddl_bench.results.rows import read_row
from ddl_bench.training.loop import SGDTraining
from ddl_bench.training.method import NetworkMethod
from ddl_bench.training.network import Initialises, Network
from detrame.convert import convert
from detrame.fold import fold
from detrame.layer import QMetricReLU
from detrame.methods.controls import Convolutions
from tests.gpu.setting import Job, Setting

CLOSE = 1e-6  # relative, in float64
LOOSE = 1e-2  # of codes that are searched for until they are good enough
HOST = ("logistic", "sdl")  # methods that keep to the host, two for all
REPEATED = (
    *("plainnet", "detrame-plainnet", "resnet", "fastnet", "detrame-fastnet"),
    *("csc-net", "ml-ista", "lista", "ddl"),
)
SEARCHING = ("ddl", "deq-sc", "scn", "task-driven")
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "Q-metric, full": lambda: QMetricReLU(6, 3, 3, std=0.1),
    "Q-metric, 1x1": lambda: QMetricReLU(6, 1, 3, std=0.1),
    "Q-metric, depthwise": lambda: QMetricReLU(6, 3, 3, structure="depthwise", std=0.1),
    "Q-metric, low-rank": lambda: QMetricReLU(6, 3, 3, structure="low-rank", rank=2, std=0.1),
    "Q-metric, tol": lambda: QMetricReLU(6, 3, 9, tol=1e-3, std=0.1),
    "convolutions": lambda: Convolutions(6, 3, 2, shared=True),
    "convolutional codes": lambda: CodingLayer(6, 5, 3, 1, lmbd=0.1, n_steps=3),
    "equilibrium": lambda: EquilibriumLayer(6, 5, 3, 1, lmbd=0.1, alpha=1.0, n_iter=200, tol=1e-10),
}


def jobs(setting: Setting) -> Iterator[tuple[str, Job]]:
    networks = network_methods()
    checked = ["plainnet", "lista"] if setting.tiny else [*networks, *HOST]
    names = [name for name in checked if f"contract of {name}" not in setting.done]
    n_processes = 1 if setting.tiny else max(1, min(6, (os.cpu_count() or 2) // 2))
    pool = ProcessPoolExecutor(n_processes, mp_context=get_context("spawn"))
    try:
        found = {name: pool.submit(contract, name, setting.device) for name in names}
        yield from here(setting, networks if not setting.tiny else ["plainnet", "lista"])
        for name in names:
            wait = partial(found[name].result, timeout=max(setting.seconds_left(), 1))
            yield f"contract of {name}", wait
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def here(setting: Setting, networks: list[str]) -> Iterator[tuple[str, Job]]:
    """The jobs that need not run apart."""
    for label, make in LAYERS.items():
        yield f"layer {label}", partial(layer, setting, make)
    for form in ("shared", "coupled"):
        yield f"layer LISTA, {form}", partial(lista, setting, form)
    for label in list(LAYERS)[:4]:
        yield f"gradcheck {label}", partial(gradients, setting, LAYERS[label])
    for name in networks:
        yield f"network {name}", partial(network, setting, name)
    for name in REPEATED[:1] if setting.tiny else REPEATED:
        yield f"same seed twice {name}", partial(repeated, setting, name)
    for name in ("plainnet", "ml-ista"):
        for places in (("cpu", setting.device), (setting.device, "cpu")):
            yield (
                f"checkpoint of {name} from {places[0]} to {places[1]}",
                partial(moved, name, places),
            )
    yield "folded plainnet", partial(folded, setting, "plainnet", {"depth": 3})
    yield "folded detrame-plainnet", partial(folded, setting, "detrame-plainnet", {"kernel": "1x1"})
    yield "converted resnet18", partial(converted, setting)
    yield "gradcheck sparse codes", partial(gradients_of_codes, setting)
    for name in () if setting.tiny else ("plainnet", "detrame-fastnet"):
        yield f"compiled {name}", partial(compiled, setting, name)
    yield "a cell of the harness", partial(cell, setting)


def network_methods() -> list[str]:
    """Names of the methods whose tensors go to the device."""
    names = []
    for entry in sorted(entry_points(group=METHODS), key=lambda entry: entry.name):
        try:
            cls = load_method(entry.name)
        except ImportError:
            continue
        if issubclass(cls, NetworkMethod):
            names.append(entry.name)
    return names


# The contract


def contract(name: str, device: str) -> dict[str, Any]:
    """The contract of a method on the device; raises AssertionError where it is broken."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False  # an image alone takes another kernel than in a batch
    begin = time.perf_counter()
    findings = check(on_device(load_method(name), device))
    rules = [finding for finding in findings if finding.status == "broken"]
    broken = [f"{finding.rule}: {finding.detail}" for finding in rules]
    assert not broken, "; ".join(broken)
    return {"n_rules": len(findings), "check_s": time.perf_counter() - begin}


def on_device(cls: type[Any], device: str) -> type[Method]:
    """The same method, started and restored on a device whatever the budget says."""

    def start(self: Any, task: Task, budget: Budget) -> Training:
        training: Training = cls.start(self, task, dataclasses.replace(budget, device=device))
        return training

    def restore(self: Any, state: Mapping[str, Tensor], task: Task) -> Classifier:
        classifier: Classifier = cls.restore(self, state, task)
        if isinstance(classifier, Network):
            classifier.module.to(device)
            classifier._device = torch.device(device)
        return classifier

    own: dict[str, Any] = {"start": start, "__module__": cls.__module__, "__doc__": cls.__doc__}
    if hasattr(cls, "restore"):
        own["restore"] = restore
    return type(cls.__name__, (cls,), own)


# Layers and networks


def compare(make: Callable[[], nn.Module], X: Tensor, device: str, limit: float) -> dict[str, Any]:
    """Outputs and gradients in float64, as shares of the largest of each."""
    found: list[dict[str, Tensor]] = []
    for place in ("cpu", device):
        torch.manual_seed(0)
        module = make().double().to(place)
        signals = X.to(place).requires_grad_(X.is_floating_point())
        scores: Tensor = module(signals)
        weights = torch.linspace(-1, 1, scores.numel(), dtype=torch.float64).view(scores.shape)
        torch.autograd.backward((scores * weights.to(place)).sum())
        parts = {"output": scores.detach().cpu()}
        if signals.grad is not None:
            parts["gradient of the input"] = signals.grad.cpu()
        for name, parameter in module.named_parameters():
            if parameter.grad is not None:
                parts[f"gradient of {name}"] = parameter.grad.cpu()
        found.append(parts)
    assert found[0].keys() == found[1].keys()
    off = {name: difference(found[1][name], found[0][name]) for name in found[0]}
    worst = max(off, key=lambda name: off[name])
    # Where a search ends decides on supports, and each support has its gradient.
    bounded = "output" if limit == LOOSE else worst
    assert off[bounded] <= limit, f"{bounded} differs by {off[bounded]:.3g} of its largest"
    return {"relative_difference": off[worst], "largest_in": worst, "limit": limit}


def difference(found: Tensor, wanted: Tensor) -> float:
    assert torch.isfinite(found).all(), "not finite"
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-12))


def maps(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def layer(setting: Setting, make: Callable[[], nn.Module]) -> dict[str, Any]:
    return compare(make, maps(4, 6, 9, 7), setting.device, CLOSE)


class Unrolled(nn.Module):
    """A LISTA layer on maps."""

    def __init__(self, form: Any) -> None:
        super().__init__()
        self.layer = LISTALayer(6, 10, 3, form)
        self.layer.start_from(torch.randn(6, 10), 0.1)

    def forward(self, X: Tensor) -> Tensor:
        return self.layer.signal_codes(X.permute(0, 2, 3, 1).flatten(0, 2))


def lista(setting: Setting, form: str) -> dict[str, Any]:
    return compare(partial(Unrolled, form), maps(4, 6, 9, 7), setting.device, CLOSE)


def gradients(setting: Setting, make: Callable[[], nn.Module]) -> dict[str, Any]:
    """torch's own comparison with finite differences."""
    torch.manual_seed(0)
    module = make().double().to(setting.device)
    Z = maps(2, 6, 4, 3).to(setting.device).requires_grad_()
    assert torch.autograd.gradcheck(module, (Z,), fast_mode=True)
    return {"n_inputs": Z.numel()}


def gradients_of_codes(setting: Setting) -> dict[str, Any]:
    """With a penalty at which no support changes in the differences' reach."""
    generator = torch.Generator().manual_seed(3)
    X, D = (
        torch.randn(shape, generator=generator, dtype=torch.float64).to(setting.device)
        for shape in ((3, 5), (5, 4))
    )
    lmbd = torch.tensor(0.3, dtype=torch.float64, device=setting.device)
    code = partial(sparse_code, alpha=0.5, tol=1e-12)
    inputs = tuple(it.requires_grad_() for it in (X, D, lmbd))
    assert torch.autograd.gradcheck(code, inputs, atol=1e-4, rtol=1e-3)
    return {"n_inputs": sum(it.numel() for it in inputs)}


def network(setting: Setting, name: str) -> dict[str, Any]:
    """A network as the method makes it, in training mode, its first layers learned from images."""
    task, _ = toy_task(n=48)
    method: Any = make_method(load_method(name), {})

    def make() -> nn.Module:
        net: nn.Module = method.network(task)
        for part in net.modules():
            if isinstance(part, Initialises):
                part.initialise(task.train.X, torch.Generator().manual_seed(0))
        return net

    limit = LOOSE if name in SEARCHING else CLOSE
    return compare(make, task.train.X[:24], setting.device, limit)


# Training


def begin(name: str, device: str, **settings: Any) -> tuple[SGDTraining, Tensor]:
    """A training of two epochs on three easy classes, and images to score."""
    task, test = toy_task(n=200, channels=3, side=16)
    method = make_method(load_method(name), {"recipe": {"batch_size": 16, **settings}})
    training = method.start(task, Budget(epochs=2, device=device))
    assert isinstance(training, SGDTraining)
    return training, test.X


def end(training: SGDTraining) -> Network:
    deadline = CellDeadline(Stopwatch("cpu"), None)
    while training.advance(deadline):
        pass
    return training.classifier()


def repeated(setting: Setting, name: str) -> dict[str, Any]:
    """In torch's deterministic mode, as a worker of the harness has it."""
    first, second = (end(begin(name, setting.device)[0]).state() for _ in range(2))
    differ = [key for key in first if not torch.equal(first[key], second[key])]
    assert not differ, f"{len(differ)} of {len(first)} differ, first {differ[0]}"
    return {"n_tensors": len(first)}


def moved(name: str, places: tuple[str, str]) -> dict[str, Any]:
    """A state of one device has the same weights on the other, and training goes on there."""
    source, X = begin(name, places[0], lookahead=True)
    source.advance(CellDeadline(Stopwatch("cpu"), None))
    target, _ = begin(name, places[1], lookahead=True)
    target.load(source.state())
    weights, same = (it.classifier().state() for it in (source, target))
    assert all(torch.equal(weights[key], same[key]) for key in weights)
    scores, wanted = (end(it)(X) for it in (target, source))
    off = difference(scores, wanted)
    agree = float((scores.argmax(1) == wanted.argmax(1)).double().mean())
    assert agree > 0.9, f"only {100 * agree:.0f} % of the predictions agree"
    return {"relative_difference": off, "same_predictions_percent": 100 * agree}


def compiled(setting: Setting, name: str) -> dict[str, Any]:
    """Of a compiled and of an ordinary training the scores agree as far as rounding lets them."""
    at = time.perf_counter()
    training, X = begin(name, setting.device, compile="default")
    warm_up_s = time.perf_counter() - at
    scores, wanted = end(training)(X), end(begin(name, setting.device)[0])(X)
    agree = float((scores.argmax(1) == wanted.argmax(1)).double().mean())
    assert agree > 0.9, f"only {100 * agree:.0f} % of the predictions agree"
    return {"warm_up_s": warm_up_s, "relative_difference": difference(scores, wanted)}


# Networks of other shapes


def folded(setting: Setting, name: str, options: dict[str, Any]) -> dict[str, Any]:
    task, test = toy_task(n=48)
    method: Any = make_method(load_method(name), options)
    torch.manual_seed(0)
    net = method.network(task).double().to(setting.device)
    X = test.X.to(setting.device)
    net(task.train.X.to(setting.device))  # statistics of batch norm
    net.eval()
    with torch.no_grad():
        off = difference(fold(net)(X).cpu(), net(X).cpu())
    assert off < CLOSE, f"folded and unfolded scores differ by {off:.3g}"
    return {"relative_difference": off}


def converted(setting: Setting) -> dict[str, Any]:
    """A ResNet-18 with Q-metrics for its ReLUs begins as it was; folded it stays so."""
    torch.manual_seed(0)
    net = torchvision.models.resnet18().double().to(setting.device).eval()
    X = maps(2, 3, 64, 64).to(setting.device)
    metrics = convert(net, where="inside-block", kernel="same")
    assert all(parameter.device.type == X.device.type for parameter in metrics.parameters())
    with torch.no_grad():
        wanted = net(X).cpu()
        off = max(difference(part(X).cpu(), wanted) for part in (metrics, fold(metrics.eval())))
    assert off < CLOSE, f"scores differ by {off:.3g}"
    return {
        "relative_difference": off,
        "n_metrics": sum(not site.reason for site in metrics.report),
    }


# The harness


def cell(setting: Setting) -> dict[str, Any]:
    """`ddl-bench run` with a worker of its own."""
    words = [
        "run",
        "quick",
        "--methods",
        "plainnet",
        "--seeds",
        "0",
        "--budget",
        "2e",
        "--no-report",
    ]
    with tempfile.TemporaryDirectory() as folder:
        words += ["--device", setting.device, "--threads", "1", "--out", folder]
        done = subprocess.run(
            [sys.executable, "-m", "ddl_bench", *words], capture_output=True, text=True, check=False
        )
        paths = list((Path(folder) / "cells").glob("*.json"))
        assert len(paths) == 1, f"{len(paths)} rows: {(done.stdout + done.stderr)[-500:]}"
        row = read_row(paths[0])
    assert row is not None
    assert row.status == "ok", f"{row.status}: {row.reason}"
    return {
        "accuracy_percent": row.measured.accuracy,
        "train_s": row.measured.train_s,
        "wall_s": row.wall_s,
    }
