"""Streaming and pooling the 36 million patches of 50,000 images takes little memory beside them."""

import subprocess
import sys

from pytest_benchmark.fixture import BenchmarkFixture

SCRIPT = """
import sys
import torch
from baselines.features.patches import Whitening, extract, pool
from baselines.pursuit import encode_blocks
from ddl_bench.harness.worker import peak_memory
from tests.benchmarks.peers import dictionary, patches
D = dictionary(512, 50_000)
X = torch.randint(0, 256, (int(sys.argv[1]), 3, 32, 32), dtype=torch.uint8)
before = peak_memory()
whitening = Whitening.learn(extract(X[:200], 6, 1), contrast=0.01, regulariser=0.1)
signals = (whitening(extract(images, 6, 1)).numpy() for images in torch.split(X, 16))
codes = encode_blocks(signals, D, lmbd=0.2, sparse=True, tol=1e-3)
pooled = torch.cat([pool(encoding.codes, (27, 27), 2).half() for encoding in codes])
print((peak_memory() - before) / 2**30)
"""


def test_streaming_and_pooling_stay_below_two_gigabytes(benchmark: BenchmarkFixture) -> None:
    command = [sys.executable, "-c", SCRIPT, "50000"]

    def stream() -> float:
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return float(output)

    gigabytes = benchmark.pedantic(stream, rounds=1)
    benchmark.extra_info.update(gigabytes=gigabytes, bar=2)
    print(f"\n{benchmark.name}: {gigabytes:.2f} GB above the images, pooled features included")
    assert gigabytes < 2
