"""A linear readout of features, its penalty chosen on held-out rows."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ddl_bench.api import Deadline, Size, Task

PENALTIES = [10.0 ** (power / 2) for power in range(1, -11, -1)]
STANDARDISING_ROWS = 4096  # which the mean and the deviation of features are taken from
CACHED_NUMBERS = 2**20  # of the features read at a time, so that they are still cached when reused
MAX_ITER = 500  # of L-BFGS
REMEMBERED_STEPS = 10
LEAST_GAIN = 1e-6  # of the loss, relative: single precision carries no smaller change
ABSENT = -1e9  # score of a class without training images


@dataclass(frozen=True)
class Linear:
    """Score images or features: X.flatten(1) @ weight + bias.

    Parameters
    ----------
    weight, bias
        Shapes (n_features, n_classes) and (n_classes,).
    n_params
        Degrees of freedom; None where they are as many as the numbers stored.
    """

    weight: Tensor
    bias: Tensor
    n_params: int | None = None

    def __call__(self, X: Tensor, /) -> Tensor:
        """Return scores (n, n_classes) of images or features (n, ...)."""
        return torch.addmm(self.bias, X.flatten(1).to(self.weight), self.weight)

    def size(self) -> Size:
        """Count weights and biases."""
        n_stored = self.weight.numel() + self.bias.numel()
        n_params = n_stored if self.n_params is None else self.n_params
        return Size(n_params=n_params, n_stored=n_stored)

    def state(self) -> dict[str, Tensor]:
        """Return the arrays that a file keeps."""
        return {"weight": self.weight, "bias": self.bias}


class Shuffled(NamedTuple):
    """Images and labels in random order, and a mask of those that are held out."""

    X: Tensor
    y: Tensor
    held_out: Tensor


class Choice(NamedTuple):
    """The strength that `search` chose, and the readout that it leads to."""

    strength: float
    readout: Linear


def shuffled(task: Task, seed: int) -> Shuffled:
    """Put training and validation images in random order.

    Held out, to choose penalties, are the validation images, or a tenth of the training images
    where there are none.
    """
    n = len(task.train)
    n_val = len(task.val)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(n + n_val))
    held_out = order >= n if n_val else order < max(n // 10, 1)
    X = torch.cat([task.train.X, task.val.X])[order]
    y = torch.cat([task.train.y, task.val.y])[order]
    return Shuffled(X, y, held_out)


def search(
    fit: Callable[[float], Linear],
    strengths: Sequence[float],
    X: Tensor,
    y: Tensor,
    deadline: Deadline,
    *,
    done: float = 0.0,
) -> Choice:
    """Choose the strength whose readout has the least loss on rows X with labels y.

    Strengths are tried in turn until the loss rises twice running or time is over. `done` is the
    share of the training that lies before.
    """
    losses: list[float] = []
    readouts: list[Linear] = []
    for strength in strengths:
        readout = fit(strength)
        readouts.append(readout)
        losses.append(float(F.cross_entropy(readout(X), y, reduction="sum")))
        deadline.report(done + (1 - done) * len(losses) / (len(strengths) + 1))  # and a last fit
        rising = len(losses) > 2 and losses[-3:] == sorted(losses[-3:])
        if rising or deadline.expired():
            break
    best = int(np.argmin(losses))
    return Choice(strengths[best], readouts[best])


def fit_readout(
    features: Tensor,
    y: Tensor,
    held_out: Tensor,
    n_classes: int,
    deadline: Deadline,
    *,
    refit: bool = False,
    done: float = 0.0,
) -> Linear:
    """Minimise mean(-log softmax(Z @ W + bias)[y]) + penalty/2 * norm(W)**2 by L-BFGS.

    Z are the standardised features. The returned weights take features as they were:
    standardisation is folded in.

    Parameters
    ----------
    features
        Shape (n, n_features), float32 or float16; standardised in place.
    y
        Labels, shape (n,), int64.
    held_out
        Shape (n,), bool: rows that choose the penalty by `search`, and are not fitted.
    refit
        Whether to fit all rows once the penalty is chosen.
    done
        Share of the training that lies before, for those who wait.
    """
    some = features[torch.nonzero(~held_out)[:STANDARDISING_ROWS, 0]].float()
    variance, mean = torch.var_mean(some, 0, correction=0)
    # A feature that hardly varies is not blown up.
    deviation = (variance + 1e-3 * variance.mean() + 1e-12).sqrt()
    for block in _blocks(features):  # at once, float16 would take three times the memory
        block.sub_(mean).div_(deviation)
    # The bias comes last; each fit starts from the one before.
    W = torch.zeros(n_classes, features.shape[1] + 1)

    def fit(penalty: float, rows: Tensor = ~held_out) -> Linear:
        nonlocal W
        W = _minimise(lambda V: _loss_and_gradient(V, features, y, rows, penalty), W, deadline)
        return Linear(W[:, :-1].T.contiguous(), W[:, -1])

    penalty, readout = search(fit, PENALTIES, features[held_out], y[held_out], deadline, done=done)
    if refit and not deadline.expired():
        readout = fit(penalty, torch.ones_like(held_out))
    weight = readout.weight / deviation[:, None]
    return Linear(weight, readout.bias - mean @ weight)


def _blocks(Z: Tensor) -> tuple[Tensor, ...]:
    return torch.split(Z, _block_rows(Z))


def _block_rows(Z: Tensor) -> int:
    """How many rows to read at a time: a block becomes float32 and serves twice."""
    return max(CACHED_NUMBERS // Z.shape[1], 16)


def _loss_and_gradient(
    W: Tensor, Z: Tensor, y: Tensor, rows: Tensor, penalty: float
) -> tuple[float, Tensor]:
    """The objective over `rows`, and its gradient.

    Classes lie along the rows of W: with so few of them, products are fastest that way.
    """
    V = W[:, :-1]
    bias = W[:, -1:]
    n = int(rows.sum())
    total = penalty / 2 * float(V.square().sum())
    gradient = penalty * W
    gradient[:, -1] = 0
    size = _block_rows(Z)
    parts = zip(_blocks(Z), torch.split(y, size), torch.split(rows, size), strict=True)
    for block, labels, fitted in parts:
        features = block.float()
        log_p = F.log_softmax(torch.addmm(bias, V, features.T), 0)
        wrong = (log_p.exp() - F.one_hot(labels, len(W)).T) * (fitted / n)
        total -= float((log_p.gather(0, labels[None])[0] * fitted).sum()) / n
        gradient[:, :-1] += wrong @ features
        gradient[:, -1] += wrong.sum(1)
    return total, gradient


def _minimise(
    objective: Callable[[Tensor], tuple[float, Tensor]], W: Tensor, deadline: Deadline
) -> Tensor:
    """L-BFGS with backtracking; `torch.optim` would import a compiler for a second first."""
    value, gradient = objective(W)
    pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=REMEMBERED_STEPS)
    scale = 0.1 / (gradient.norm() + 1e-9)
    for _ in range(MAX_ITER):
        step = _direction(gradient, pairs, scale)
        slope = float((step * gradient).sum())
        new_value, new_gradient = objective(W + step)
        while new_value > value + 1e-4 * slope and slope < -1e-12:
            step = step / 2
            slope = slope / 2
            new_value, new_gradient = objective(W + step)
        gain = value - new_value
        if gain > 0:
            change = new_gradient - gradient
            pairs.append((step, change))
            scale = (step * change).sum() / change.square().sum()
            W = W + step
            value = new_value
            gradient = new_gradient
        if not gain > LEAST_GAIN * value or deadline.expired():  # a gain may be no number
            break
    return W


def _direction(gradient: Tensor, pairs: deque[tuple[Tensor, Tensor]], scale: Tensor) -> Tensor:
    """The step -H gradient, H the inverse Hessian that pairs (step, change of gradient) suggest.

    `scale` times the identity is the H that the pairs correct: the two loops of Nocedal (1980).
    """
    direction = -gradient
    weights = []
    for step, change in reversed(pairs):
        weight = (step * direction).sum() / (step * change).sum()
        direction = direction - weight * change
        weights.append(weight)
    direction = scale * direction
    for step, change in pairs:
        weight = weights.pop() - (change * direction).sum() / (step * change).sum()
        direction = direction + weight * step
    return direction
