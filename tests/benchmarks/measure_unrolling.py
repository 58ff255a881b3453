"""Measure what docs/unrolling.md shows: `python -m tests.benchmarks.measure_unrolling`, some minutes."""

import json

import torch
from torch.nn import functional as F

from baselines.methods.lista import error_curves
from baselines.pursuit import encode
from reports.documentation import UNROLLING, draw_unrolling, renew


def keep_unrolling(n_iter: int = 1000) -> None:
    """Measure what docs/unrolling.md shows, draw it, and renew the page; some minutes on one core."""
    generator = torch.Generator().manual_seed(0)
    D = F.normalize(torch.randn(64, 128, generator=generator), dim=0)
    planted = torch.randn(22_000, 128, generator=generator) * (
        torch.rand(22_000, 128, generator=generator) < 0.1
    )
    train, test = (planted @ D.T).split([20_000, 2_000])
    curves = error_curves(D, 0.1, train, test, depths := [1, 2, 4, 8, 16, 32], n_iter=n_iter)
    iterations = [*depths, 64, 128, 256]
    exact = torch.as_tensor(encode(test, D, lmbd=0.1, tol=1e-7, max_iter=10_000).codes)
    found = {"distilled LISTA": dict(zip(map(str, depths), curves["lista"], strict=True))}
    for name, method in (("ISTA", "ista"), ("FISTA", "fista")):
        codes = (
            encode(test, D, lmbd=0.1, method=method, tol=0, max_iter=n).codes for n in iterations
        )
        found[name] = {str(n): float((U - exact).square().sum() / exact.square().sum())
                       for n, U in zip(iterations, codes, strict=True)}  # fmt: skip
    UNROLLING.write_text(json.dumps(found, indent=1) + "\n")
    draw_unrolling(UNROLLING.parent)
    renew()


if __name__ == "__main__":
    keep_unrolling()
