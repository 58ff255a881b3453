"""ISTA: FISTA without its momentum."""

from baselines.pursuit.fista import fista
from baselines.pursuit.objective import Array, Problem


def ista(problem: Problem) -> tuple[Array, float]:
    """Codes (n_samples, n_atoms), array or tensor as the problem's, and the mean number of iterations of a sample."""
    return fista(problem, accelerated=False)
