"""Images a second of the networks, the cost of a Q-metric beside a ReLU, pursuits on the device.

OMP stands beside orthogonal-matching-pursuit-gpu where that package is installed. It needs a C
compiler to install (`pip install orthogonal-matching-pursuit-gpu==0.1.3`); its licence is
BSD-3-Clause.
"""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.features.patches import Whitening, extract
from baselines.learning.learner import learn
from baselines.learning.online import Online
from baselines.pursuit.batched_greedy import batched_omp
from baselines.pursuit.encode import encode
from ddl_bench.api import Budget, Task
from ddl_bench.harness.clock import CellDeadline, Stopwatch
from ddl_bench.params import make_method
from ddl_bench.registry import load_method
from ddl_bench.training.compiled import CompileMode, compiled
from ddl_bench.training.loop import SGDTraining
from detrame.layer import QMetricReLU
from tests.gpu import sheets
from tests.gpu.rows import Row
from tests.gpu.setting import Job, Setting

Precision = Literal["float32", "bfloat16"]
BATCH, N_BATCHES = 512, 20
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "fastnet": ("fastnet", {}),
    "detrame-fastnet": ("detrame-fastnet", {}),
    "plainnet-9": ("plainnet", {"depth": 9}),
    "detrame-plainnet-9": ("detrame-plainnet", {"depth": 9}),
    "detrame-plainnet-9, 1x1": ("detrame-plainnet", {"depth": 9, "kernel": "1x1"}),
    "detrame-plainnet-9, depthwise": ("detrame-plainnet", {"depth": 9, "structure": "depthwise"}),
    "detrame-plainnet-9, low-rank": ("detrame-plainnet", {"depth": 9, "structure": "low-rank"}),
    "resnet-20": ("resnet", {"depth": 20}),
    "csc-net": ("csc-net", {}),
    "ddl": ("ddl", {}),
}
NOT_COMPILED = ("ddl",)  # the host decides how long its codes are searched for
METRICS: dict[str, dict[str, Any]] = {
    "3x3": {"kernel": 3},
    "1x1": {"kernel": 1},
    "depthwise": {"kernel": 3, "structure": "depthwise"},
    "low-rank": {"kernel": 3, "structure": "low-rank", "rank": 8},
}
PEER = "orthogonal_matching_pursuit_gpu"  # BSD-3-Clause; compared with where it is installed


class Size(NamedTuple):
    """How large a greedy pursuit is."""

    n_features: int
    n_atoms: int
    n_nonzero: int
    n_samples: int


GREEDY = {  # the configurations of the peer's own comparison
    "image patches": Size(256, 1024, 32, 5000),
    "faces": Size(8064, 1207, 30, 1200),
    "audio": Size(512, 2048, 64, 5000),
}


def jobs(setting: Setting) -> Iterator[tuple[str, Job]]:
    networks = list(NETWORKS)[1:3] if setting.tiny else list(NETWORKS)
    for precision in get_args(Precision)[::-1]:
        for label in networks:
            yield f"{label}, {precision}", partial(network, setting, label, precision, "no")
    for layout in ("channels-last", "contiguous"):
        yield f"plainnet-9, {layout}", partial(memory_layout, setting, layout)
    yield "relu", partial(layer, setting, nn.ReLU(), {})
    for label, options in METRICS.items():
        metric = QMetricReLU(8 if setting.tiny else 96, **options | {"n_steps": 2})
        yield f"Q-metric, {label}", partial(layer, setting, metric, options)
    for where, method in (
        (setting.device, "active_set"),
        (setting.device, "fista"),
        (setting.device, "ista"),
        ("cpu", "fista"),
        ("cpu", "coordinate_descent"),
    ):
        yield f"{method} on {where}", partial(pursuit, setting, where, method)
    for method in ("active_set", "fista"):
        yield f"lasso of patches, {method}", partial(lasso, setting, method)
    for label in GREEDY:
        for method in ("omp", "ormp", *peers()):
            yield f"{label}, {method}", partial(greedy, setting, label, method)
    modes: tuple[CompileMode, ...] = ("default", "reduce-overhead")
    for label in [] if setting.tiny else [it for it in networks if it not in NOT_COMPILED]:
        for mode in modes:
            name = f"{label}, bfloat16, compile={mode}"
            yield name, partial(network, setting, label, "bfloat16", mode)


def noise(setting: Setting) -> Task:
    n, side = (24, 16) if setting.tiny else (BATCH * N_BATCHES, 32)
    return sheets.task_of(sheets.generated(n, 10, side=side), "generated")[0]


def network(
    setting: Setting, label: str, precision: Precision, mode: CompileMode
) -> dict[str, Any]:
    """Training as the harness does it, augmentation included; test images lie on the device."""
    name, options = NETWORKS[label]
    task = noise(setting)
    batch = 8 if setting.tiny else BATCH
    options = options | {"recipe": {"batch_size": batch}, "compile": mode}
    setting.peak_bytes()
    begin = time.perf_counter()
    budget = Budget(epochs=1000, device=setting.device, precision=precision)
    training = make_method(load_method(name), options).start(task, budget)
    assert isinstance(training, SGDTraining)
    warm_up_s = time.perf_counter() - begin
    deadline = CellDeadline(Stopwatch(setting.device), None)
    epoch_s = setting.seconds_of(lambda: training.advance(deadline), n_least=2)
    peak = setting.peak_bytes()
    module = training.classifier().module.eval()
    forward = compiled(module, mode, setting.device)
    X = task.train.X[:batch].to(setting.device)
    X = X.contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def score() -> None:
        with torch.autocast(X.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            forward(X)

    begin = time.perf_counter()
    score()
    first_s = time.perf_counter() - begin
    test_s = setting.seconds_of(score)
    return {
        "method": name,
        "options": options,
        "precision": precision,
        "n_batch": batch,
        "side": X.shape[-1],
        "warm_up_s": warm_up_s,
        "first_test_s": first_s,
        "train_images_per_s": len(task.train) / epoch_s,
        "test_images_per_s": batch / test_s,
        "peak_device_bytes": peak,
    }


def memory_layout(setting: Setting, layout: str) -> dict[str, Any]:
    """Forward and backward pass of a batch, in bfloat16 where it is a GPU."""
    task = noise(setting)
    method: Any = make_method(load_method("plainnet"), {"depth": 3 if setting.tiny else 9})
    net = method.network(task).to(setting.device)
    formats = {"channels-last": torch.channels_last, "contiguous": torch.contiguous_format}
    net.to(memory_format=formats[layout])
    X = task.train.X[:BATCH].to(setting.device).contiguous(memory_format=formats[layout])
    y = task.train.y[:BATCH].to(setting.device)

    def step() -> None:
        with torch.autocast(X.device.type, torch.bfloat16, enabled=not setting.tiny):
            scores = net(X)
        torch.autograd.backward(F.cross_entropy(scores.float(), y))
        net.zero_grad()

    return {"n_batch": len(X), "images_per_s": len(X) / setting.seconds_of(step)}


def layer(setting: Setting, module: nn.Module, options: dict[str, Any]) -> dict[str, Any]:
    """Forward and backward pass of maps (512, 96, 32, 32), two steps."""
    shape = (4, 8, 8, 8) if setting.tiny else (BATCH, 96, 32, 32)
    values: dict[str, Any] = {"options": options, "shape": shape}
    precisions: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    for name, kind in precisions.items():
        there = module.to(setting.device, kind)
        Z = torch.randn(shape, device=setting.device, dtype=kind)
        Z = Z.contiguous(memory_format=torch.channels_last).requires_grad_()
        seconds = setting.seconds_of(partial(both_ways, there, Z))
        values[f"{name}_ms"] = 1000 * seconds
    return values


def both_ways(module: nn.Module, Z: Tensor) -> None:
    module.zero_grad()
    Z.grad = None
    U: Tensor = module(Z)
    torch.autograd.backward(U.sum())


def pursuit(setting: Setting, where: str, method: str) -> dict[str, Any]:
    """Codes of 20,000 samples of 64 features in 256 atoms, to a gap of 1e-4 of the objective."""
    n, n_features, n_atoms = (50, 16, 32) if setting.tiny else (20_000, 64, 256)
    generator = torch.Generator().manual_seed(0)
    D = F.normalize(torch.randn(n_features, n_atoms, generator=generator), dim=0)
    sparse = torch.randn(n, n_atoms, generator=generator)
    sparse[torch.rand(n, n_atoms, generator=generator) > 0.05] = 0
    X = sparse @ D.T + 0.05 * torch.randn(n, n_features, generator=generator)
    X, D = X.to(where), D.to(where)

    def code() -> Any:
        return encode(X, D, lmbd=0.1, method=method, tol=1e-4, max_iter=5000)

    found = code()
    assert found.problem is not None
    seconds = timed(setting, code, where)
    codes = found.codes.numpy() if where == "cpu" else found.codes
    objective = found.problem.objective(codes)
    return {
        "n_samples": n,
        "n_features": n_features,
        "n_atoms": n_atoms,
        "lmbd": 0.1,
        "samples_per_s": n / seconds,
        "n_iter": found.n_iter,
        "objective_per_sample": float(objective.sum()) / n,
        "relative_gap": found.gap,
        "kkt": found.kkt,
        "n_cpu_threads": len(os.sched_getaffinity(0)) if where == "cpu" else None,
    }


def lasso(setting: Setting, method: str) -> dict[str, Any]:
    """Codes of 50,000 whitened 6x6 patches in 512 atoms learned from them, to a gap of 1e-6."""
    n, n_atoms, n_iter = (300, 32, 5) if setting.tiny else (50_000, 512, 100)
    task, _ = setting.images
    generator = torch.Generator().manual_seed(0)
    patches = extract(task.train.X[: n // 50 + 1], 6, 1)
    patches = patches[torch.randperm(len(patches), generator=generator)[:n]]
    X = Whitening.learn(patches, contrast=0.01, regulariser=0.1)(patches)
    X = F.normalize(X, dim=1, eps=1e-6)
    learner = Online(n_atoms=n_atoms, lmbd=0.2)
    D = torch.from_numpy(learn(learner, X.numpy(), n_iter=n_iter).D)
    X, D = X.to(setting.device), D.to(setting.device)
    code = partial(encode, X, D, lmbd=0.2, method=method, max_iter=5000)
    setting.peak_bytes()
    encoding = code()
    peak = setting.peak_bytes()
    seconds = timed(setting, code, setting.device)
    return {
        "n_samples": len(X),
        "n_features": X.shape[1],
        "n_atoms": n_atoms,
        "lmbd": 0.2,
        "samples_per_s": len(X) / seconds,
        "n_iter": encoding.n_iter,
        "n_nonzero": int((encoding.codes != 0).sum()) / len(X),
        "relative_gap": encoding.gap,
        "kkt": encoding.kkt,
        "peak_device_bytes": peak,
    }


def peers() -> list[str]:
    """Names of the other implementations of OMP that are installed."""
    return [f"{PEER}, {name}" for name in ("v0", "naive")] if find_spec(PEER) else []


def greedy(setting: Setting, label: str, method: str) -> dict[str, Any]:
    """Greedy codes of random samples in random atoms, by our pursuits or by the peer."""
    size = Size(16, 40, 4, 50) if setting.tiny else GREEDY[label]
    generator = torch.Generator().manual_seed(0)
    D = F.normalize(torch.randn(size.n_features, size.n_atoms, generator=generator), dim=0)
    X = torch.randn(size.n_samples, size.n_features, generator=generator)
    X, D = X.to(setting.device), D.to(setting.device)
    name, _, algorithm = method.partition(", ")

    def code() -> Tensor:
        if name == PEER:
            options = {"normalize": False, "fit_intercept": False, "alg": algorithm}
            found: Tensor = import_module(PEER).run_omp(D, X, size.n_nonzero, **options)
            return found
        return batched_omp(X, D, size.n_nonzero, recursive=name == "ormp").codes

    setting.peak_bytes()
    codes = code()
    peak = setting.peak_bytes()
    seconds = timed(setting, code, setting.device)
    return {
        **size._asdict(),
        "method": name,
        "samples_per_s": size.n_samples / seconds,
        "n_nonzero_most": int((codes != 0).sum(1).max()),
        "relative_error": float((X - codes @ D.T).norm() / X.norm()),
        "peak_device_bytes": peak,
    }


def timed(setting: Setting, step: Callable[[], object], where: str) -> float:
    return setting.seconds_of(step, n_least=3 if where != "cpu" else 1, least_s=0.2)


def describe(rows: list[Row]) -> list[str]:
    lines = []
    for row in rows:
        rates = [
            f"{key.removesuffix('_per_s').replace('_', ' ')} {value:,.0f} /s"
            for key, value in row.values.items()
            if key.endswith("_per_s")
        ]
        rates += [
            f"{key.removesuffix('_ms')} {value:.3g} ms"
            for key, value in row.values.items()
            if key.endswith("_ms")
        ]
        lines.append(f"{row.name}: {', '.join(rates)}")
    return lines
