"""Training on a device that is not the CPU: where tensors lie, what is waited for, compilation."""

from functools import partial
from importlib.metadata import entry_points
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.pursuit.encode import encode
from ddl_bench.api import Budget, HasAtoms, HasCodes, Task
from ddl_bench.contract.toys import toy_task
from ddl_bench.errors import Skip
from ddl_bench.harness.clock import CellDeadline, Stopwatch
from ddl_bench.params import make_method
from ddl_bench.registry import METHODS, load_method
from ddl_bench.training.loop import SGDTraining
from ddl_bench.training.method import NetworkMethod
from tests.gpu.pretend import DEVICE, Remote, pretend

EXTRAS = (
    "spams",
    "dpl",
)  # on the host, by packages that may be missing
NAMES = sorted({entry.name for entry in entry_points(group=METHODS)} - {*EXTRAS})
NETWORKS = [name for name in NAMES if issubclass(load_method(name), NetworkMethod)]
# Their codes are searched for until they are good enough, which the host decides.
SEARCHING = ("ddl", "deq-sc", "scn", "task-driven")
AVERAGED = {"lookahead": True}
OTHERS = [
    ("lista", {"form": "coupled"}),
    ("lista", {"form": "tied", "recipe": AVERAGED}),
    ("csc-net", {"layers": "all"}),
    ("detrame-plainnet", {"structure": "low-rank"}),
    ("detrame-plainnet", {"structure": "depthwise"}),
    ("fastnet", {"recipe": AVERAGED}),
    ("plainnet", {"recipe": "paper"}),
]


def deadline() -> CellDeadline:
    return CellDeadline(Stopwatch("cpu"), None)


def start(name: str, task: Task, device: str = "cpu", **options: Any) -> SGDTraining:
    method = make_method(load_method(name), options)
    training = method.start(task, Budget(epochs=2, device=device))
    assert isinstance(training, SGDTraining)
    return training


def finish(training: Any) -> Any:
    while training.advance(deadline()):
        pass
    return training.classifier()


def agree(found: Tensor, wanted: Tensor, name: str) -> None:
    """Other pursuits than the CPU's end within their tolerance."""
    torch.testing.assert_close(found, wanted, atol=1e-2 if name in SEARCHING else 1e-4, rtol=1e-4)


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in NETWORKS), *OTHERS])
def test_networks_keep_to_their_device(name: str, options: dict[str, Any]) -> None:
    task, test = toy_task(n=24)
    method = make_method(load_method(name), options)
    epochs = 1 if name in SEARCHING else 2
    wanted = finish(method.start(task, Budget(epochs=epochs)))(test.X)
    with pretend():
        classifier = finish(method.start(task, Budget(epochs=epochs, device=DEVICE)))
        scores = classifier(test.X)
        assert classifier.size().n_params > 0
        assert all(type(value) is Tensor for value in classifier.state().values())
        if isinstance(classifier, HasCodes):
            assert classifier.code_stats(test.X).n_entries > 0
        if isinstance(classifier, HasAtoms):
            assert isinstance(classifier.atoms(), np.ndarray)
    assert type(scores) is Tensor
    agree(scores, wanted, name)


@pytest.mark.parametrize("name", ["adl", "logistic", "nearest-mean", "sdl"])
def test_methods_of_the_host_take_a_device(name: str) -> None:
    task, test = toy_task(n=60)
    method = make_method(load_method(name), {})
    with pretend():
        scores = finish(method.start(task, Budget(epochs=2, device=DEVICE)))(test.X)
    assert torch.equal(scores, finish(method.start(task, Budget(epochs=2)))(test.X))


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in SEARCHING])
def test_nothing_is_waited_for_between_two_looks_at_the_loss(name: str) -> None:
    task, _ = toy_task(n=128)
    with pretend() as mode:
        training = start(name, task, DEVICE, recipe={"batch_size": 8})
        training.advance(deadline())
        mode.waits.clear()
        training.advance(deadline())
    # order and shifts go to the device, losses come back: however many steps there are
    assert mode.waits == {"to the device": 3, "_to_copy": 1}


@pytest.mark.filterwarnings("ignore:.*which is a no-op")  # it would be on torch's own meta device
@pytest.mark.parametrize("name", ["plainnet", "ml-ista"])
@pytest.mark.parametrize("there", [True, False])
def test_a_training_goes_on_on_another_device(name: str, there: bool) -> None:
    task, test = toy_task(n=48)
    wanted = finish(start(name, task, recipe=AVERAGED))(test.X)
    places = ("cpu", DEVICE) if there else (DEVICE, "cpu")
    with pretend():
        first = start(name, task, places[0], recipe=AVERAGED)
        first.advance(deadline())
        second = start(name, task, places[1], recipe=AVERAGED)
        second.load(first.state())
        agree(finish(second)(test.X), wanted, name)


def test_what_is_mixed_is_found() -> None:
    with pretend():
        there = torch.zeros(3, device=DEVICE)
        assert isinstance(there, Remote)
        with pytest.raises(RuntimeError, match="mixed"):
            there + torch.zeros(3)
        with pytest.raises(TypeError, match="call cpu"):
            there.numpy()


@pytest.mark.parametrize("method", ["active_set", "fista", "ista"])
@pytest.mark.parametrize("options", [{}, {"alpha": 0.5, "positive": True}])
def test_pursuits_of_a_device_reach_the_optimum_of_the_cpu(
    method: str, options: dict[str, Any]
) -> None:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(4, 8, generator=generator, dtype=torch.float64)
    D = torch.nn.functional.normalize(
        torch.randn(8, 16, generator=generator, dtype=torch.float64), dim=0
    )
    wanted = encode(X, D, lmbd=0.3, tol=1e-10, **options)
    with pretend():
        there = X.to(DEVICE)
        how: dict[str, Any] = {"method": method, "tol": 1e-6, "max_iter": 20_000, **options}
        found = encode(there, D.to(DEVICE), lmbd=0.3, **how)
        assert isinstance(found.codes, Remote)
        assert found.gap < 1e-5
        torch.testing.assert_close(found.codes.cpu() @ D.T, wanted.codes @ D.T, atol=3e-3, rtol=0)


# Compilation


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """torch.compile without a code generator, which takes a minute; the modes asked for."""
    asked, real = [], torch.compile

    def compile(module: Any, *, mode: str | None, dynamic: bool) -> Any:
        asked.append(str(mode))
        return real(module, backend="eager", dynamic=dynamic)

    monkeypatch.setattr(torch, "compile", compile)
    torch.compiler.reset()
    return asked


@pytest.mark.filterwarnings("ignore")  # of torch's tracer about itself
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plainnet", {}),
        ("detrame-plainnet", {}),
        ("detrame-plainnet", {"structure": "low-rank"}),
        ("fastnet", {"recipe": AVERAGED}),
        ("csc-net", {}),
        ("ml-ista", {}),
    ],
)
def test_compiled_training_is_the_same(
    name: str, options: dict[str, Any], traced: list[str]
) -> None:
    task, test = toy_task(n=50)
    recipe = {"batch_size": 16, **options.get("recipe", {})}  # two sizes of batches
    options = {**options, "recipe": recipe}
    plain = start(name, task, **options)
    compiled = start(name, task, **options, compile="default")
    assert traced == ["None"]
    for (key, value), (other, same) in zip(
        plain.state()["module"].items(), compiled.state()["module"].items(), strict=True
    ):
        assert key == other
        assert torch.equal(value, same), f"{key}: compiling changed it"
    with torch._dynamo.config.patch(error_on_recompile=True):
        classifier = finish(compiled)
    torch.testing.assert_close(classifier(test.X), finish(plain)(test.X))
    assert classifier.state().keys() == plain.classifier().state().keys()


def test_a_failing_compiler_is_a_reason_to_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no compiler\nfound")

    def compile(module: object, **_: object) -> Any:
        return partial(fail, module)

    monkeypatch.setattr(torch, "compile", compile)
    task, _ = toy_task(n=20)
    with pytest.raises(
        Skip, match=r"compile=default: torch.compile fails here: .*no compiler found"
    ):
        start("plainnet", task, compile="default")
    with pytest.raises(Skip, match="CUDA graphs need a CUDA device, not cpu"):
        start("plainnet", task, compile="reduce-overhead")
