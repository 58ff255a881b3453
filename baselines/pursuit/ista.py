"""ISTA: FISTA without its momentum."""

from baselines.pursuit.fista import fista
from baselines.pursuit.objective import ArrayOrTensor, Problem


def ista(problem: Problem) -> tuple[ArrayOrTensor, float]:
    """Minimise the objective of `Problem` by plain proximal gradient steps.

    Returns
    -------
    Codes (n_samples, n_atoms), an array or tensor as the problem's, and the mean number of
    iterations for a sample.
    """
    return fista(problem, accelerated=False)
