"""A linear readout of features, its penalty chosen on held-out rows."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ddl_bench.api import Deadline, Size, Task

PENALTIES = tuple(float(penalty) for penalty in 10.0 ** np.arange(0.5, -5.1, -0.5))
BLOCK = 2048  # rows of features read at a time: float16 ones become float32 block by block
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
        return Size(n_params=n_stored if self.n_params is None else self.n_params, n_stored=n_stored)

    def state(self) -> dict[str, Tensor]:
        return {"weight": self.weight, "bias": self.bias}


def shuffled(task: Task, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Training and validation images in random order, their labels, and which are held out to choose penalties.

    Held out are the validation images, or a tenth of the training images where there are none.
    """
    n, n_val = len(task.train), len(task.val)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(n + n_val))
    held_out = order >= n if n_val else order < max(n // 10, 1)
    return torch.cat([task.train.X, task.val.X])[order], torch.cat([task.train.y, task.val.y])[order], held_out


def search(
    fit: Callable[[float, Linear | None], Linear],
    strengths: Iterable[float],
    X: Tensor,
    y: Tensor,
    deadline: Deadline,
) -> tuple[float, Linear]:
    """The strength, and its readout, that classifies most rows of X rightly; of equal ones that with the least loss.

    fit: from a strength and the readout before it to a readout. It is called for one strength after the other until the
    loss has risen twice in a row or the deadline has expired.
    """
    tried: list[tuple[int, float, float, Linear]] = []
    for strength in strengths:
        readout = fit(strength, tried[-1][3] if tried else None)
        scores = readout(X)
        loss = float(F.cross_entropy(scores, y, reduction="sum"))
        tried.append((int((scores.argmax(1) == y).sum()), -loss, strength, readout))
        if deadline.expired() or (len(tried) > 2 and tried[-3][1] > tried[-2][1] > tried[-1][1]):
            break
    return max(tried, key=itemgetter(0, 1))[2:]


def fit_readout(
    features: Tensor,
    y: Tensor,
    held_out: Tensor,
    n_classes: int,
    deadline: Deadline,
    *,
    refit: bool = False,
    penalties: Sequence[float] = PENALTIES,
) -> Linear:
    """Minimise mean(-log softmax(Z @ W + bias)[y]) + penalty/2 * norm(W)**2, Z the standardised features, by L-BFGS.

    features: (n, n_features), float32 or float16; standardised in place. y: (n,), int64.
    held_out: (n,), bool: rows that choose the penalty by `search`, and are fitted only if `refit`.

    The returned weights take features as they were: standardisation is folded in.
    """
    mean, deviation = _standardise(features, ~held_out)
    zero = Linear(torch.zeros(features.shape[1], n_classes), torch.zeros(n_classes))

    def fit(penalty: float, start: Linear | None) -> Linear:
        return _minimise(features, y, ~held_out, penalty, start or zero, deadline)

    penalty, readout = search(fit, sorted(penalties, reverse=True), features[held_out], y[held_out], deadline)
    if refit and not deadline.expired():
        readout = _minimise(features, y, torch.ones_like(held_out), penalty, readout, deadline)
    weight = readout.weight / deviation[:, None]
    return Linear(weight, readout.bias - mean @ weight)


def _standardise(features: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and scale features in place by their mean and deviation over `rows`; returns both, (n_features,)."""
    sums = torch.zeros(2, features.shape[1], dtype=torch.float64)
    for block, fitted in zip(torch.split(features, BLOCK), torch.split(rows, BLOCK), strict=True):
        used = block[fitted].double()
        sums += torch.stack([used.sum(0), used.square().sum(0)])
    mean, square = sums / rows.sum()
    variance = (square - mean**2).clamp(min=0)
    deviation = (variance + 1e-3 * variance.mean() + 1e-12).sqrt()  # a feature that hardly varies is not blown up
    features.sub_(mean).div_(deviation)
    return mean.float(), deviation.float()


def _minimise(Z: Tensor, y: Tensor, rows: Tensor, penalty: float, start: Linear, deadline: Deadline) -> Linear:
    W, n = torch.cat([start.weight, start.bias[None]]), int(rows.sum())

    def value() -> float:
        total, W.grad = penalty / 2 * float(W[:-1].square().sum()), penalty * W
        W.grad[-1] = 0
        for block, truth, fitted in zip(*(torch.split(part, BLOCK) for part in (Z, y, rows)), strict=True):
            block = block.float()
            log_p = F.log_softmax(torch.addmm(W[-1], block, W[:-1]), 1)
            wrong = (log_p.exp() - F.one_hot(truth, W.shape[1])) * (fitted / n)[:, None]
            total -= float(log_p[fitted, truth[fitted]].sum()) / n
            W.grad[:-1] += block.T @ wrong
            W.grad[-1] += wrong.sum(0)
        return total

    # Single precision carries no smaller change of the objective.
    solver = torch.optim.LBFGS([W], max_iter=10, tolerance_change=1e-6, line_search_fn="strong_wolfe")
    for n_iter in range(10, 510, 10):
        solver.step(value)
        if solver.state[W]["n_iter"] < n_iter or deadline.expired():
            break
    return Linear(W[:-1], W[-1])
