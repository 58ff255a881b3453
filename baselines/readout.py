"""A linear readout on features, its penalty chosen on held-out rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional as F

from ddl_bench.api import Deadline

Floats = NDArray[np.float64]
Loss = Literal["hinge", "logistic"]
PENALTIES = tuple(float(penalty) for penalty in 10.0 ** np.arange(1.5, -4.1, -0.5))
BLOCK = 2048  # rows of features read at a time: float16 ones become float32 block by block


@dataclass(frozen=True)
class Readout:
    """Scores `features @ weight + bias`: weight (n_features, n_classes), bias (n_classes,)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        return torch.addmm(self.bias, features.float(), self.weight)


def loss_and_slope(scores: Tensor, y: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """Loss of each row, shape (n,), and its gradient in the scores, shape (n, n_classes).

    hinge: sum_k max(0, 1 - s_k*scores_k)**2 with s_k = 1 for the row's class and -1 for any other (one against all).
    logistic: -log softmax(scores)[y].
    """
    truth = F.one_hot(y, scores.shape[1]).to(scores.dtype)
    if loss == "hinge":
        signs = 2 * truth - 1
        slack = (1 - signs * scores).clamp(min=0)
        return slack.square().sum(1), -2 * signs * slack
    log_p = F.log_softmax(scores, 1)
    return -(truth * log_p).sum(1), log_p.exp() - truth


@dataclass(frozen=True)
class _Problem:
    """mean over `rows` of loss(features @ W + bias) + penalty/2 * norm(W)**2; `flat` holds W and below it the bias."""

    features: Tensor
    y: Tensor
    loss: Loss
    n_classes: int

    def readout(self, flat: Floats) -> Readout:
        stacked = torch.from_numpy(flat).float().to(self.features.device).view(-1, self.n_classes)
        return Readout(stacked[:-1], stacked[-1])

    def value(self, flat: Floats, rows: Tensor, penalty: float) -> tuple[float, Floats]:
        """Objective and gradient at `flat`."""
        readout, n, total = self.readout(flat), max(int(rows.sum()), 1), 0.0
        gradient = torch.zeros(len(flat) // self.n_classes, self.n_classes, device=self.features.device)
        for at in range(0, len(rows), BLOCK):
            part = slice(at, at + BLOCK)
            block, weight = self.features[part].float(), rows[part].float() / n
            value, slope = loss_and_slope(readout(block), self.y[part], self.loss)
            slope = slope * weight[:, None]
            total += float(value @ weight)
            gradient[:-1] += block.T @ slope
            gradient[-1] += slope.sum(0)
        gradient[:-1] += penalty * readout.weight
        return total + penalty / 2 * float(readout.weight.square().sum()), gradient.double().cpu().numpy().ravel()

    def solve(self, rows: Tensor, penalty: float, start: Floats, deadline: Deadline | None) -> Floats:
        def late(intermediate_result: object) -> None:
            if deadline and deadline.expired():
                raise StopIteration

        options = {"maxiter": 500, "ftol": 1e-6, "gtol": 1e-5}  # single precision carries no more
        found = minimize(self.value, start, (rows, penalty), "L-BFGS-B", True, callback=late, options=options)
        return np.asarray(found.x)

    def quality(self, rows: Tensor, flat: Floats) -> tuple[float, float]:
        """Number of rows classified rightly, and minus their loss."""
        scores, y = self.readout(flat)(self.features[rows]), self.y[rows]
        return float((scores.argmax(1) == y).sum()), -float(loss_and_slope(scores, y, self.loss)[0].sum())


def standardise_(features: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and scale `features` in place by their mean and deviation over `rows`; returns both, shape (n_features,).

    A tenth of a per cent of the mean variance is added to each, so that a hardly used feature is not blown up.
    """
    total, square = (torch.zeros(features.shape[1], dtype=torch.float64, device=features.device) for _ in range(2))
    for at in range(0, len(rows), BLOCK):
        block = features[at : at + BLOCK][rows[at : at + BLOCK]].double()
        total += block.sum(0)
        square += block.square().sum(0)
    mean = total / rows.sum()
    variance = (square / rows.sum() - mean**2).clamp(min=0)
    deviation = (variance + 1e-3 * variance.mean()).sqrt()
    deviation[deviation == 0] = 1
    features.sub_(mean).div_(deviation)
    return mean.float(), deviation.float()


def fit_readout(
    features: Tensor,
    y: Tensor,
    held_out: Tensor,
    n_classes: int,
    *,
    loss: Loss = "hinge",
    penalties: Sequence[float] = PENALTIES,
    refit: bool = False,
    deadline: Deadline | None = None,
) -> Readout:
    """Minimise mean loss(Z @ W + bias) + penalty/2 * norm(W)**2, Z the standardised features, folded into the weights.

    features: (n, n_features), float32 or float16; standardised in place. y: (n,), int64.
    held_out: (n,), bool: rows that choose the penalty, and are fitted only if `refit`.
    penalties: tried from the largest down, each from the solution before it, until held-out accuracy has fallen twice;
        equal accuracies are settled by the loss.
    deadline: once it has expired the best readout found so far is returned.

    With fewer rows than features the problem is solved in an orthonormal basis of the rows, with the same minimum.
    """
    mean, deviation = standardise_(features, ~held_out)
    basis = factor = features
    if len(features) < features.shape[1]:
        gram = sum(part.double() @ part.double().T for part in torch.split(features, BLOCK, 1))
        assert isinstance(gram, Tensor)
        gram.diagonal().mul_(1 + 1e-9).add_(1e-9)  # equal rows would make it singular
        factor = torch.linalg.cholesky(gram)
        basis = factor.float()
    problem = _Problem(basis, y, loss, n_classes)
    penalties = sorted(penalties, reverse=True) if held_out.any() else [1.0]
    best = flat = np.zeros((basis.shape[1] + 1) * n_classes)
    best_quality, chosen, falls = (-1.0, 0.0), penalties[0], 0
    for penalty in penalties:
        flat = problem.solve(~held_out, penalty, flat, deadline)
        quality = problem.quality(held_out, flat)
        if quality > best_quality:
            best, best_quality, chosen = flat, quality, penalty
        falls += quality < best_quality
        if falls == 2 or (deadline and deadline.expired()):
            break
    if refit and held_out.any() and not (deadline and deadline.expired()):
        best = problem.solve(torch.ones_like(held_out), chosen, best, deadline)
    weight, bias = problem.readout(best).weight, problem.readout(best).bias
    if basis is not features:
        weight = features.float().T @ torch.linalg.solve_triangular(factor.T, weight.double(), upper=True).float()
    weight = weight / deviation[:, None]
    return Readout(weight, bias - mean @ weight)
