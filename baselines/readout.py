"""A linear readout of features, its penalty chosen on held-out rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional as F

from ddl_bench.api import Deadline, Size, Task

Floats = NDArray[np.float64]
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


def fit_readout(
    features: Tensor,
    y: Tensor,
    held_out: Tensor,
    n_classes: int,
    *,
    penalties: Sequence[float] = PENALTIES,
    refit: bool = False,
    deadline: Deadline | None = None,
) -> Linear:
    """Minimise mean(-log softmax(Z @ W + bias)[y]) + penalty/2 * norm(W)**2, Z the standardised features, by L-BFGS.

    features: (n, n_features), float32 or float16; standardised in place. y: (n,), int64.
    held_out: (n,), bool: rows that choose the penalty, and are fitted only if `refit`.
    penalties: tried from the largest down, each from the solution before it, until the held-out loss has risen twice;
        the best held-out accuracy wins, and of equal ones that with the least loss.
    deadline: once it has expired the best readout found so far is returned.

    The returned weights take features as they were: standardisation is folded in.
    """
    mean, deviation = _standardise(features, ~held_out)
    flat, best, found, chosen, losses = np.zeros((features.shape[1] + 1) * n_classes), (-1.0, 0.0), None, 1.0, [np.inf]
    for penalty in sorted(penalties, reverse=True):
        flat = _minimise(features, y, ~held_out, penalty, flat, deadline)
        scores = _unpack(flat, n_classes)(features[held_out])
        losses.append(float(F.cross_entropy(scores, y[held_out], reduction="sum")))
        quality = (float((scores.argmax(1) == y[held_out]).sum()), -losses[-1])
        if quality > best:
            best, found, chosen = quality, flat, penalty
        rises = sum(later > earlier for earlier, later in pairwise(losses))
        if rises == 2 or (deadline and deadline.expired()):
            break
    if refit and not (deadline and deadline.expired()):
        found = _minimise(features, y, torch.ones_like(held_out), chosen, flat if found is None else found, deadline)
    readout = _unpack(flat if found is None else found, n_classes)
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


def _unpack(flat: Floats, n_classes: int) -> Linear:
    stacked = torch.from_numpy(flat).float().view(-1, n_classes)
    return Linear(stacked[:-1], stacked[-1])


def _minimise(Z: Tensor, y: Tensor, rows: Tensor, penalty: float, start: Floats, deadline: Deadline | None) -> Floats:
    n_classes, n = len(start) // (Z.shape[1] + 1), int(rows.sum())

    def value(flat: Floats) -> tuple[float, Floats]:
        readout = _unpack(flat, n_classes)
        gradient, total = torch.zeros(Z.shape[1] + 1, n_classes), penalty / 2 * float(readout.weight.square().sum())
        for block, truth, fitted in zip(*(torch.split(part, BLOCK) for part in (Z, y, rows)), strict=True):
            block = block.float()
            log_p = F.log_softmax(readout(block), 1)
            wrong = (log_p.exp() - F.one_hot(truth, n_classes)) * (fitted / n)[:, None]
            total -= float(log_p[fitted, truth[fitted]].sum()) / n
            gradient[:-1] += block.T @ wrong
            gradient[-1] += wrong.sum(0)
        gradient[:-1] += penalty * readout.weight
        return total, gradient.double().numpy().ravel()

    def late(intermediate_result: object) -> None:
        if deadline and deadline.expired():
            raise StopIteration

    options = {"maxiter": 500, "ftol": 1e-7, "gtol": 1e-5}  # single precision carries no more
    return np.asarray(minimize(value, start, jac=True, method="L-BFGS-B", callback=late, options=options).x)
