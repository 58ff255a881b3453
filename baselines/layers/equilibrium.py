"""The equilibrium of a coding layer: the fixed point of its iteration, differentiated implicitly."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from baselines.layers.convolutional import Dictionary

MEMORY = 5  # iterates that Anderson acceleration combines


BLOCK = 16  # images at a time: their iterates then stay in a processor's cache


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """codes = max(codes - step * (D'(D codes - X) + lmbd + alpha * codes), 0), and how long to look for it.

    step: at most 1 / (lipschitz + alpha). n_iter: at most so many applications of D'D, forwards and backwards each.
    tol: of the step's length relative to the codes, and of the residual relative to the gradient backwards.
    """

    step: Tensor
    lmbd: float
    alpha: float
    n_iter: int
    tol: float


def dots(a: Tensor, b: Tensor) -> Tensor:
    """Inner products of samples, as (n, 1, 1, 1)."""
    return (a * b).flatten(1).sum(1)[:, None, None, None]


@torch.no_grad()
def equilibrium(X: Tensor, dictionary: Dictionary, it: Fixed) -> Tensor:
    """Codes >= 0 that minimise 0.5 * ||X - D codes||^2 + lmbd * |codes|_1 + 0.5 * alpha * ||codes||^2.

    They are the fixed point of an ISTA step f, by Anderson acceleration: max(sum of w_i * f(codes_i), 0) over the last
    iterates, with the w of sum 1 that make their combined step, sum of w_i * (f(codes_i) - codes_i), shortest. Where
    that made a sample's step longer, it goes on from f(best codes so far), and its past is forgotten: f never makes
    steps longer, so that the shortest never grows. A sample rests when its step is short enough, whatever its batch.

    X: (n, channels, height, width). Returns (n, n_atoms, rows, columns).
    """
    codes = torch.relu(it.step * (dictionary.adjoint(X) - it.lmbd))
    images, steps = codes.new_zeros(2, len(codes), MEMORY, codes[0].numel())
    gram = codes.new_zeros(len(codes), MEMORY, MEMORY)
    held, best, shortest = gram[:, 0] > 0, codes, codes.new_full((len(codes),), torch.inf)
    for k in range(it.n_iter):
        image = dictionary.ista_step(codes, X, step=it.step, lmbd=it.lmbd, alpha=it.alpha)
        step, slot = (image - codes).flatten(1), k % MEMORY
        length = step.norm(dim=1)
        good = length <= shortest
        shortest, best = (
            torch.where(good, length, shortest),
            torch.where(good[:, None, None, None], image, best),
        )
        moving = length > it.tol * codes.flatten(1).norm(dim=1)
        if not moving.any():
            break
        held &= good[:, None]
        held[:, slot], images[:, slot], steps[:, slot] = good, image.flatten(1), step
        gram[:, slot] = gram[:, :, slot] = (step[:, None] @ steps.mT)[:, 0]
        mixed = (weights(gram, held)[:, None] @ images).relu().view_as(codes)
        mixed = torch.where(good[:, None, None, None], mixed, best)
        codes = torch.where(moving[:, None, None, None], mixed, codes)
    return best


def weights(gram: Tensor, held: Tensor) -> Tensor:
    """The w (n, m) of sum 1 that make w' gram w smallest, 0 where not `held`; all 0 where nothing is held."""
    both = held[:, :, None] & held[:, None, :]
    scale = (gram.diagonal(dim1=1, dim2=2) * held).amax(1).clamp(min=torch.finfo(gram.dtype).tiny)
    system = (gram / scale[:, None, None]).where(both, 0.0).double()
    ridge = 10 * torch.finfo(gram.dtype).eps
    system.diagonal(dim1=1, dim2=2).add_(torch.where(held, ridge, 1.0))
    w: Tensor = torch.linalg.solve(system, held.double())
    return (w / w.sum(1, keepdim=True).clamp(min=1e-300)).to(gram)


@torch.no_grad()
def solve_on_support(
    g: Tensor, codes: Tensor, dictionary: Dictionary, sides: torch.Size, it: Fixed
) -> Tensor:
    """v, 0 off the support S of the codes, with (D_S'D_S + alpha I) v_S = g_S: conjugate gradients."""
    support = (codes > 0).to(g)
    r = g * support
    v, p, rr = torch.zeros_like(r), r, dots(r, r)
    enough, tiny = it.tol**2 * rr, torch.finfo(g.dtype).tiny
    for _ in range(it.n_iter):
        moving = rr > enough
        if not moving.any():
            break
        Mp = support * dictionary.adjoint(dictionary(p, sides)) + it.alpha * p
        rate = moving * rr / dots(p, Mp).clamp(min=tiny)
        v, r = v + rate * p, r - rate * Mp
        previous, rr = rr, dots(r, r)
        p = r + rr / previous.clamp(min=tiny) * p
    return v


class Implicit(torch.autograd.Function):
    """The equilibrium, differentiable in X and D by the implicit function theorem; `step` has no gradient."""

    @staticmethod
    def forward(ctx: Any, X: Tensor, D: Tensor, stride: int, padding: int, it: Fixed) -> Tensor:
        with torch.autocast(X.device.type, enabled=False):
            X, D = (
                X.to(D.dtype).contiguous(),
                D.contiguous(),
            )  # channels-last codes would be copied at each step
            dictionary = Dictionary(D, stride, padding)
            codes = torch.cat(
                [equilibrium(block, dictionary, it) for block in torch.split(X, BLOCK)]
            )
        ctx.save_for_backward(X, D, codes)
        ctx.fixed = stride, padding, it
        return codes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """That of -v'(D'(D codes - X) + ...) in X and D with the codes held: v' times the change of what is 0 on S."""
        (X, D, codes), (stride, padding, it) = ctx.saved_tensors, ctx.fixed
        with torch.autocast(X.device.type, enabled=False), torch.enable_grad():
            X, D = X.detach().requires_grad_(), D.detach().requires_grad_()
            dictionary, sides = Dictionary(D, stride, padding), X.shape[2:]
            pairs = zip(torch.split(g.to(D.dtype), BLOCK), torch.split(codes, BLOCK), strict=True)
            v = torch.cat([solve_on_support(*pair, dictionary, sides, it) for pair in pairs])
            change = (dictionary(v, sides) * (X - dictionary(codes, sides))).sum()
            return *torch.autograd.grad(change, (X, D)), None, None, None
