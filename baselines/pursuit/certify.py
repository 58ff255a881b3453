"""Proof of how far the codes of all samples are from the minimum."""

from dataclasses import replace
from typing import Any

import numpy as np

from baselines.pursuit.coordinate_descent import coordinate_descent
from baselines.pursuit.objective import ROUNDING, Problem, double, is_tensor
from baselines.pursuit.threads import split_rows

CERTIFIED_SAMPLES = 1024  # in double precision at a time
ENOUGH = 10  # times `tol`: a gap up to it needs no better dual point


def certify(problem: Problem, codes: Any) -> tuple[float, float]:
    """Compute the total duality gap / total objective, and the largest KKT residual.

    In double precision, for dense or CSR codes (n_samples, n_atoms). The dual point is the residual
    of the codes, scaled. Rounding the codes to single precision moves it further from the best dual
    point than the codes are from the best codes. So where the gap is not small already, the dual
    point is that of codes refined in double precision: any feasible point is a proof.
    """
    total = 0.0
    total_gap = 0.0
    kkt = 0.0
    rounding = 2.0**-23 if "32" in str(problem.X.dtype) else 2.0**-52
    for rows in split_rows(0, len(problem.X), CERTIFIED_SAMPLES):
        part = codes[rows]
        if hasattr(part, "toarray"):
            part = part.toarray()
        part = _as_array(part)
        exact = _on_cpu(problem.in_double(rows))
        certificate = exact.certificate(part)
        value = float(certificate.objective.sum())
        gap = certificate.gap
        for start in (None, part):  # where rounding is at its limits, either may end nearer
            if exact.linear is not None or float(gap.sum()) <= ENOUGH * problem.tol * value:
                break
            refined = coordinate_descent(replace(exact, warm=start)).codes.toarray()
            best = exact.certificate(refined)
            dual = best.objective - best.gap
            gap = np.minimum(gap, (certificate.objective - dual).clip(0))
        # an objective that is nothing but rounding errors of the samples has no relative gap
        nothing = max((ROUNDING * rounding) ** 2, ROUNDING * 2.0**-52) * np.square(exact.X).sum(1)
        gap = np.where(gap <= nothing, 0, gap)
        total += value
        total_gap += float(gap.sum())
        kkt = float(np.maximum(kkt, float(certificate.kkt.max())))
    relative_gap = total_gap / abs(total) if total_gap else 0.0
    return relative_gap, kkt


def _as_array(A: Any) -> Any:
    """Return an array or tensor as an array in double precision."""
    return A.double().cpu().numpy() if is_tensor(A) else double(A)


def _on_cpu(problem: Problem) -> Problem:
    """Return the problem with arrays in the place of tensors."""
    if isinstance(problem.X, np.ndarray):
        return problem
    return replace(
        problem,
        X=_as_array(problem.X),
        D=_as_array(problem.D),
        penalty=_as_array(problem.penalty),
        linear=None if problem.linear is None else _as_array(problem.linear),
        gram=None if problem.gram is None else _as_array(problem.gram),
    )
