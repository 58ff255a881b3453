"""A linear readout of features, its penalty chosen on held-out rows."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ddl_bench.api import Deadline, Size, Task

PENALTIES = [10.0 ** (power / 2) for power in range(1, -11, -1)]
CACHED = (
    2**20
)  # numbers of features read at a time: they become float32 and serve twice while they are in a cache
ABSENT = -1e9  # score of a class without training images


@dataclass(frozen=True)
class Linear:
    """Scores X @ weight + bias: weight (n_features, n_classes), bias (n_classes,); images X are flattened.

    n_params: degrees of freedom, where they are fewer than the numbers stored.
    """

    weight: Tensor
    bias: Tensor
    n_params: int | None = None

    def __call__(self, X: Tensor, /) -> Tensor:
        return torch.addmm(self.bias, X.flatten(1).to(self.weight), self.weight)

    def size(self) -> Size:
        n_stored = self.weight.numel() + self.bias.numel()
        return Size(
            n_params=n_stored if self.n_params is None else self.n_params, n_stored=n_stored
        )

    def state(self) -> dict[str, Tensor]:
        return {"weight": self.weight, "bias": self.bias}


def shuffled(task: Task, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Training and validation images in random order, their labels, and which are held out to choose penalties.

    Held out are the validation images, or a tenth of the training images where there are none.
    """
    n, n_val = len(task.train), len(task.val)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(n + n_val))
    held_out = order >= n if n_val else order < max(n // 10, 1)
    return (
        torch.cat([task.train.X, task.val.X])[order],
        torch.cat([task.train.y, task.val.y])[order],
        held_out,
    )


def search(
    fit: Callable[[float], Linear],
    strengths: Sequence[float],
    X: Tensor,
    y: Tensor,
    deadline: Deadline,
) -> tuple[float, Linear]:
    """The strength, and its readout, of least loss on rows X; tried until that rises twice running or time is over."""
    losses: list[float] = []
    readouts: list[Linear] = []
    for strength in strengths:
        readouts.append(fit(strength))
        losses.append(float(F.cross_entropy(readouts[-1](X), y, reduction="sum")))
        if deadline.expired() or (len(losses) > 2 and losses[-3:] == sorted(losses[-3:])):
            break
    best = int(np.argmin(losses))
    return strengths[best], readouts[best]


def fit_readout(
    features: Tensor,
    y: Tensor,
    held_out: Tensor,
    n_classes: int,
    deadline: Deadline,
    *,
    refit: bool = False,
) -> Linear:
    """Minimise mean(-log softmax(Z @ W + bias)[y]) + penalty/2 * norm(W)**2, Z the standardised features, by L-BFGS.

    features: (n, n_features), float32 or float16; standardised in place, by at most 4,096 rows. y: (n,), int64.
    held_out: (n,), bool: rows that choose the penalty by `search`, and are fitted only if `refit`.

    The returned weights take features as they were: standardisation is folded in.
    """
    some = features[torch.nonzero(~held_out)[:4096, 0]].float()
    variance, mean = torch.var_mean(some, 0, correction=0)
    deviation = (
        variance + 1e-3 * variance.mean() + 1e-12
    ).sqrt()  # a feature that hardly varies is not blown up
    for block in torch.split(
        features, max(CACHED // features.shape[1], 16)
    ):  # at once, float16 would take thrice the room
        block.sub_(mean).div_(deviation)
    W = torch.zeros(
        n_classes, features.shape[1] + 1
    )  # the bias comes last; each fit starts from the one before

    def fit(penalty: float, rows: Tensor = ~held_out) -> Linear:
        nonlocal W
        W = _minimise(lambda W: _objective(W, features, y, rows, penalty), W, deadline)
        return Linear(W[:, :-1].T.contiguous(), W[:, -1])

    penalty, readout = search(fit, PENALTIES, features[held_out], y[held_out], deadline)
    if refit and not deadline.expired():
        readout = fit(penalty, torch.ones_like(held_out))
    weight = readout.weight / deviation[:, None]
    return Linear(weight, readout.bias - mean @ weight)


def _objective(
    W: Tensor, Z: Tensor, y: Tensor, rows: Tensor, penalty: float
) -> tuple[float, Tensor]:
    """The objective over `rows`, and its gradient; classes lie along rows, the fastest way for so few of them."""
    V, bias, n = W[:, :-1], W[:, -1:], int(rows.sum())
    total, gradient = penalty / 2 * float(V.square().sum()), penalty * W
    gradient[:, -1] = 0
    size = max(CACHED // Z.shape[1], 16)
    for block, truth, fitted in zip(
        *(torch.split(part, size) for part in (Z, y, rows)), strict=True
    ):
        block = block.float()
        log_p = F.log_softmax(torch.addmm(bias, V, block.T), 0)
        wrong = (log_p.exp() - F.one_hot(truth, len(W)).T) * (fitted / n)
        total -= float((log_p.gather(0, truth[None])[0] * fitted).sum()) / n
        gradient[:, :-1] += wrong @ block
        gradient[:, -1] += wrong.sum(1)
    return total, gradient


def _minimise(
    objective: Callable[[Tensor], tuple[float, Tensor]], W: Tensor, deadline: Deadline
) -> Tensor:
    """L-BFGS with backtracking (torch.optim would import a compiler for a second first)."""
    (value, gradient), pairs = objective(W), deque[tuple[Tensor, Tensor]](maxlen=10)
    scale = 0.1 / (gradient.norm() + 1e-9)
    for _ in range(500):
        step, weights = -gradient, []
        for moved, turned in reversed(pairs):
            weights.append((moved * step).sum() / (moved * turned).sum())
            step = step - weights[-1] * turned
        step = scale * step
        for moved, turned in pairs:
            step = step + (weights.pop() - (turned * step).sum() / (moved * turned).sum()) * moved
        slope = float((step * gradient).sum())
        while (found := objective(W + step))[0] > value + 1e-4 * slope and slope < -1e-12:
            step, slope = step / 2, slope / 2
        gain = value - found[0]
        if gain > 0:
            pairs.append((step, found[1] - gradient))
            scale = (step * pairs[-1][1]).sum() / pairs[-1][1].square().sum()
            W, (value, gradient) = W + step, found
        if (
            not gain > 1e-6 * value or deadline.expired()
        ):  # single precision carries no smaller change
            break
    return W
