"""Measure what docs/unrolling.md shows: `python -m tests.benchmarks.measure_unrolling`."""

import json

import torch
from torch.nn import functional as F

from baselines.layers.unrolled import error_curves
from baselines.pursuit import encode
from reports.documentation import UNROLLING, draw_unrolling, renew

DEPTHS = [1, 2, 4, 8, 16, 32]
N_SAMPLES = 22_000
N_TEST = 2_000
LMBD = 0.1


def keep_unrolling(n_iter: int = 1000) -> None:
    """Measure, draw, and renew docs/unrolling.md; some minutes on one core."""
    generator = torch.Generator().manual_seed(0)
    D = F.normalize(torch.randn(64, 128, generator=generator), dim=0)
    values = torch.randn(N_SAMPLES, 128, generator=generator)
    is_used = torch.rand(N_SAMPLES, 128, generator=generator) < 0.1
    planted = values * is_used
    train, test = (planted @ D.T).split([N_SAMPLES - N_TEST, N_TEST])
    lista = error_curves(D, LMBD, train, test, DEPTHS, n_iter=n_iter)["lista"]
    exact = torch.as_tensor(encode(test, D, lmbd=LMBD, tol=1e-7, max_iter=10_000).codes)
    curves = {"distilled LISTA": dict(zip(map(str, DEPTHS), lista, strict=True))}
    for name, method in (("ISTA", "ista"), ("FISTA", "fista")):
        curves[name] = {}
        for n in (*DEPTHS, 64, 128, 256):
            codes = encode(test, D, lmbd=LMBD, method=method, tol=0, max_iter=n).codes
            error = (codes - exact).square().sum() / exact.square().sum()
            curves[name][str(n)] = float(error)
    UNROLLING.write_text(json.dumps(curves, indent=1) + "\n")
    draw_unrolling(UNROLLING.parent)
    renew()


if __name__ == "__main__":
    keep_unrolling()
