"""ISTA: FISTA without its momentum."""

from baselines.pursuit.fista import fista
from baselines.pursuit.objective import Problem, Solution


def ista(problem: Problem) -> Solution:
    """Minimise the objective of `Problem` by plain proximal gradient steps."""
    return fista(problem, accelerated=False)
