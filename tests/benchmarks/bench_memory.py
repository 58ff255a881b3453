"""Streaming and pooling the 36 million patches of 50,000 images of 32x32 takes little memory beside the images."""

import subprocess
import sys

from pytest_benchmark.fixture import BenchmarkFixture

SCRIPT = """
import sys
import torch
from baselines.patches import Whitening, extract, pool
from baselines.pursuit import encode_blocks
from ddl_bench.worker import peak_memory
from tests.benchmarks.bench_peers import dictionary, patches
D = dictionary(512, 50_000)
X = torch.randint(0, 256, (int(sys.argv[1]), 3, 32, 32), dtype=torch.uint8)
before = peak_memory()
whitening = Whitening.learn(extract(X[:200], 6, 1), contrast=0.01, regulariser=0.1)
signals = (whitening(extract(images, 6, 1)).numpy() for images in torch.split(X, 16))
codes = encode_blocks(signals, D, lmbd=0.2, sparse=True, tol=1e-3)
pooled = torch.cat([pool(it.codes, (27, 27), 2).half() for it in codes])
print((peak_memory() - before) / 2**30)
"""


def test_streaming_and_pooling_stay_below_two_gigabytes(benchmark: BenchmarkFixture) -> None:
    used = []

    def stream() -> None:
        command = [sys.executable, "-c", SCRIPT, "50000"]
        used.append(
            float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        )

    benchmark.pedantic(stream, rounds=1)
    benchmark.extra_info.update(gigabytes=used[0], bar=2)
    print(
        f"\n{benchmark.name}: {used[0]:.2f} GB above the images, pooled features of float16 included"
    )
    assert used[0] < 2
