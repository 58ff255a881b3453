"""The equilibrium of a coding layer: the fixed point of its iteration, differentiated implicitly.

The fixed point minimises the objective of `convolutional`. It is found by Anderson acceleration,
forwards, and by conjugate gradients on the support of the codes, backwards; nothing of the
iteration is kept.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from baselines.layers.convolutional import CodingLayer, Dictionary

MEMORY_ITERATES = 5  # that Anderson acceleration combines
BLOCK_IMAGES = 16  # solved at a time: their iterates then stay in a processor's cache
DEVICE_BLOCK_IMAGES = 512  # on other devices, which want more at once


@dataclass(frozen=True, kw_only=True)
class FixedPoint:
    """Say which fixed point is sought, and how long to look for it.

    codes = max(codes - step * (D'(D(codes) - X) + lmbd + alpha * codes), 0)

    Parameters
    ----------
    step
        At most 1 / (lipschitz + alpha).
    lmbd, alpha
        Penalty and ridge of the codes.
    n_iter
        Most applications of D'D, forwards and backwards each.
    tol
        Where to stop: the length of a step relative to the codes and, backwards, the residual
        relative to the gradient.
    """

    step: Tensor
    lmbd: float
    alpha: float
    n_iter: int
    tol: float


def sample_dots(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product of each sample of a with that of b, as (n, 1, 1, 1)."""
    return (a * b).flatten(1).sum(1)[:, None, None, None]


@torch.no_grad()
def equilibrium(X: Tensor, dictionary: Dictionary, point: FixedPoint) -> Tensor:
    """Minimise 0.5*norm(X - D(codes))**2 + lmbd*norm1(codes) + 0.5*alpha*norm(codes)**2.

    The codes >= 0 that do are the fixed point of an ISTA step f. Anderson acceleration takes
    max(sum of w_i * f(codes_i), 0) over the last iterates, with the w of sum 1 that make their
    combined step, sum of w_i * (f(codes_i) - codes_i), shortest. Where that made a sample's step
    longer, the sample goes on from f(best codes so far), and its past is forgotten: f never makes
    steps longer, so the shortest never grows. A sample rests when its step is short enough,
    whatever its batch.

    Parameters
    ----------
    X
        Maps, shape (n, channels, height, width).

    Returns
    -------
    Tensor
        Codes, shape (n, n_atoms, rows, columns).
    """
    codes = torch.relu(point.step * (dictionary.adjoint(X) - point.lmbd))
    n = len(codes)
    images, steps = codes.new_zeros(2, n, MEMORY_ITERATES, codes[0].numel())
    gram = codes.new_zeros(n, MEMORY_ITERATES, MEMORY_ITERATES)
    held = gram[:, 0] > 0  # which iterates of each sample may be combined
    best = codes
    shortest = codes.new_full((n,), torch.inf)
    for k in range(point.n_iter):
        image = dictionary.ista_step(codes, X, step=point.step, lmbd=point.lmbd, alpha=point.alpha)
        step = (image - codes).flatten(1)
        length = step.norm(dim=1)
        good = length <= shortest
        good_maps = good[:, None, None, None]
        shortest = torch.where(good, length, shortest)
        best = torch.where(good_maps, image, best)
        moving = length > point.tol * codes.flatten(1).norm(dim=1)
        if not moving.any():
            break
        slot = k % MEMORY_ITERATES
        held &= good[:, None]
        held[:, slot] = good
        images[:, slot] = image.flatten(1)
        steps[:, slot] = step
        dots = (step[:, None] @ steps.mT)[:, 0]
        gram[:, :, slot] = dots
        gram[:, slot] = dots
        mixed = (anderson_weights(gram, held)[:, None] @ images).relu().view_as(codes)
        mixed = torch.where(good_maps, mixed, best)
        codes = torch.where(moving[:, None, None, None], mixed, codes)
    return best


def anderson_weights(gram: Tensor, held: Tensor) -> Tensor:
    """Return the w (n, m) of sum 1 that make w' gram w smallest.

    They are 0 where an iterate is not `held` (n, m), and all 0 where none is.
    """
    both = held[:, :, None] & held[:, None, :]
    scale = (gram.diagonal(dim1=1, dim2=2) * held).amax(1).clamp(min=torch.finfo(gram.dtype).tiny)
    system = (gram / scale[:, None, None]).where(both, 0.0).double()
    ridge = 10 * torch.finfo(gram.dtype).eps
    system.diagonal(dim1=1, dim2=2).add_(torch.where(held, ridge, 1.0))
    w: Tensor = torch.linalg.solve(system, held.double())
    return (w / w.sum(1, keepdim=True).clamp(min=1e-300)).to(gram)


@torch.no_grad()
def solve_on_support(
    g: Tensor, codes: Tensor, dictionary: Dictionary, sides: torch.Size, point: FixedPoint
) -> Tensor:
    """Solve (D_S'D_S + alpha I) v_S = g_S by conjugate gradients; v is 0 off the support S.

    g, codes and the v returned have the shape (n, n_atoms, rows, columns), S is where codes > 0,
    and D maps to maps of (height, width) = sides.
    """
    support = (codes > 0).to(g)
    tiny = torch.finfo(g.dtype).tiny
    r = g * support
    v = torch.zeros_like(r)
    p = r
    rr = sample_dots(r, r)
    enough = point.tol**2 * rr
    for _ in range(point.n_iter):
        moving = rr > enough
        if not moving.any():
            break
        Mp = support * dictionary.adjoint(dictionary(p, sides)) + point.alpha * p
        rate = moving * rr / sample_dots(p, Mp).clamp(min=tiny)
        v = v + rate * p
        r = r - rate * Mp
        previous = rr
        rr = sample_dots(r, r)
        p = r + rr / previous.clamp(min=tiny) * p
    return v


def blocks(X: Tensor) -> tuple[Tensor, ...]:
    """Split images into as many at a time as suits their device."""
    return torch.split(X, BLOCK_IMAGES if X.device.type == "cpu" else DEVICE_BLOCK_IMAGES)


class EquilibriumCodes(torch.autograd.Function):
    """Differentiate the equilibrium in X and D by the implicit function theorem; not in `step`."""

    @staticmethod
    def forward(
        ctx: Any, X: Tensor, D: Tensor, stride: int, padding: int, point: FixedPoint
    ) -> Tensor:
        """Return the codes of maps X for filters D (n_atoms, channels, kernel, kernel)."""
        with torch.autocast(X.device.type, enabled=False):
            # Contiguous, because channels-last codes would be copied at each step.
            X = X.to(D.dtype).contiguous()
            D = D.contiguous()
            dictionary = Dictionary(D, stride, padding)
            codes = torch.cat([equilibrium(block, dictionary, point) for block in blocks(X)])
        ctx.save_for_backward(X, D, codes)
        ctx.fixed = (stride, padding, point)
        return codes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients in X and D of v'(D'(X - D(codes))), with the codes held.

        On the support, D'(X - D(codes)) - lmbd - alpha * codes is 0, and v solves for what g asks.
        """
        X, D, codes = ctx.saved_tensors
        stride, padding, point = ctx.fixed
        with torch.autocast(X.device.type, enabled=False), torch.enable_grad():
            X = X.detach().requires_grad_()
            D = D.detach().requires_grad_()
            dictionary = Dictionary(D, stride, padding)
            sides = X.shape[2:]
            solved = []
            for part, block in zip(blocks(g.to(D.dtype)), blocks(codes), strict=True):
                solved.append(solve_on_support(part, block, dictionary, sides, point))
            v = torch.cat(solved)
            change = (dictionary(v, sides) * (X - dictionary(codes, sides))).sum()
            return *torch.autograd.grad(change, (X, D)), None, None, None


class EquilibriumLayer(CodingLayer):
    """Code maps by the limit of a `CodingLayer`, with a ridge that makes it unique.

    Parameters
    ----------
    geometry
        inputs, n_atoms, kernel and stride, as `CodingLayer` has them.
    lmbd, alpha, n_iter, tol
        As `FixedPoint` has them.
    """

    def __init__(self, *geometry: int, lmbd: float, alpha: float, n_iter: int, tol: float) -> None:
        super().__init__(*geometry, lmbd=lmbd)
        self.alpha = alpha
        self.n_iter = n_iter
        self.tol = tol

    def forward(self, X: Tensor) -> Tensor:
        """Return the codes of maps X."""
        step = self.step / (1 + self.alpha * self.step)
        point = FixedPoint(
            step=step, lmbd=self.lmbd, alpha=self.alpha, n_iter=self.n_iter, tol=self.tol
        )
        codes: Tensor = EquilibriumCodes.apply(X, self.weight, self.stride, self.padding, point)
        return codes
