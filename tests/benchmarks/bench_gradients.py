"""What implicit gradients of sparse codes cost beside the codes: layers of `ddl` and `deq-sc`."""

import statistics
import time
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch.nn import functional as F

from baselines.layers.deep import DDLNet
from baselines.methods.ddl import DDL
from baselines.methods.deq_sc import DEQSC
from ddl_bench.api import Split, Task
from ddl_bench.training.method import NetworkMethod

BATCH_IMAGES = 64
ROUNDS = 9
BAR = 1.5  # the backward pass / the forward pass, at most


@pytest.mark.parametrize("method", [DDL(), DEQSC()], ids=lambda method: method.name)
def test_a_backward_pass_beside_the_forward_pass(
    benchmark: BenchmarkFixture, method: NetworkMethod
) -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = F.interpolate(
        torch.rand(BATCH_IMAGES, 3, 8, 8, generator=generator), scale_factor=4, mode="bilinear"
    )
    X = (255 * (0.8 * coarse + 0.2 * torch.rand(BATCH_IMAGES, 3, 32, 32, generator=generator))).to(
        torch.uint8
    )
    part = Split(X=X, y=torch.arange(BATCH_IMAGES) % 10)
    net: Any = method.network(
        Task(name="generated", class_names=tuple("abcdefghij"), train=part, val=part)
    )
    net.normalise.initialise(X, generator)
    if isinstance(net, DDLNet):
        net.initialise(X, generator)
    layers = net.layers if isinstance(net, DDLNet) else net.features[0]
    maps = net.normalise(X)
    times: list[tuple[float, float]] = []

    def both() -> None:
        begin = time.perf_counter()
        codes = layers(maps)
        middle = time.perf_counter()
        codes.square().sum().backward()
        times.append((middle - begin, time.perf_counter() - middle))

    both()
    benchmark.pedantic(both, rounds=ROUNDS)
    ratio = statistics.median(backward / forward for forward, backward in times)
    benchmark.extra_info.update(ratio=ratio, bar=BAR)
    print(f"\n{benchmark.name}: backward {ratio:.2f} times forward, bar {BAR}")
    assert ratio <= BAR
