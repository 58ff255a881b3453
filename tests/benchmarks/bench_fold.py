"""Inference of a folded DeTraMe-PlainNet-9, with metrics of kernel 1, against the same before."""

import time

import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from ddl_bench.training.backbones import PlainNet
from detrame.fold import fold
from detrame.layer import QMetricReLU

BATCH = 64  # images of 32x32


def seconds(model: nn.Module, X: Tensor) -> float:
    """Time one forward pass."""
    begin = time.perf_counter()
    model(X)
    return time.perf_counter() - begin


def test_a_folded_network_takes_at_least_15_percent_less_time(benchmark: BenchmarkFixture) -> None:
    """On one thread, channels-last as in training; alternating, minimum of nine rounds."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    network = PlainNet(9, 3, 10, activation=lambda channels, _: QMetricReLU(channels, 1)).eval()
    network = network.to(memory_format=torch.channels_last)
    X = torch.randint(0, 256, (BATCH, 3, 32, 32), dtype=torch.uint8).contiguous(
        memory_format=torch.channels_last
    )
    folded = fold(network)
    times: list[tuple[float, float]] = []

    def pair() -> None:
        times.append((seconds(network, X), seconds(folded, X)))

    with torch.inference_mode():
        benchmark.pedantic(pair, rounds=9, warmup_rounds=2)
    torch.set_num_threads(n_threads)
    before, after = (min(each) for each in zip(*times, strict=True))
    benchmark.extra_info.update(ratio=after / before, bar=0.85)
    assert after <= 0.85 * before, times
