"""The equilibrium of a coding layer: the fixed point of its iteration, differentiated implicitly.

The fixed point minimises the objective of `convolutional`. It is found by Anderson acceleration,
forwards, and by conjugate gradients on the support of the codes, backwards; nothing of the
iteration is kept.
"""

from dataclasses import astuple, dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx

from baselines.layers.convolutional import CodingLayer, Dictionary
from baselines.layers.derivatives import LoopedFunction, solver_type, without_autocast

MEMORY_ITERATES = 5  # that Anderson acceleration combines
BLOCK_IMAGES = 16  # solved at a time: their iterates then stay in a processor's cache
DEVICE_BLOCK_IMAGES = 512  # on other devices, which want more at once


@dataclass(frozen=True, kw_only=True)
class FixedPoint:
    """Say which fixed point is sought, and how long to look for it.

    codes = max(codes - step * (D'(D(codes) - X) + lmbd + alpha * codes), 0), whatever the step

    Parameters
    ----------
    lmbd, alpha
        Penalty and ridge of the codes.
    n_iter
        Most applications of D'D, forwards and backwards each.
    tol
        Where to stop: the length of a step relative to the codes and, backwards, the residual
        relative to the gradient.
    """

    lmbd: float
    alpha: float
    n_iter: int
    tol: float


def sample_dots(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product of each sample of a with that of b, as (n, 1, 1, 1)."""
    return (a * b).flatten(1).sum(1)[:, None, None, None]


@torch.no_grad()
def equilibrium(X: Tensor, dictionary: Dictionary, ista_step: Tensor, point: FixedPoint) -> Tensor:
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
    ista_step
        At most 1 / (lipschitz + alpha).

    Returns
    -------
    Tensor
        Codes, shape (n, n_atoms, rows, columns).
    """
    codes = torch.relu(ista_step * (dictionary.adjoint(X) - point.lmbd))
    n = len(codes)
    images, steps = codes.new_zeros(2, n, MEMORY_ITERATES, codes.shape[1:].numel())
    gram = codes.new_zeros(n, MEMORY_ITERATES, MEMORY_ITERATES)
    held = gram[:, 0] > 0  # which iterates of each sample may be combined
    best = codes
    shortest = codes.new_full((n,), torch.inf)
    for k in range(point.n_iter):
        image = dictionary.ista_step(codes, X, step=ista_step, lmbd=point.lmbd, alpha=point.alpha)
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


class EquilibriumCodes(LoopedFunction):
    """Differentiate the equilibrium in X and D by the implicit function theorem.

    On the support S of the codes D'(X - D(codes)) - lmbd - alpha * codes is 0, so that their change
    solves (D_S'D_S + alpha I) change_S = (the change of D'(X - D(codes)) with the codes held)_S.
    """

    @staticmethod
    def forward(
        X: Tensor, D: Tensor, step: Tensor, stride: int, padding: int, point: FixedPoint
    ) -> Tensor:
        """Return the codes of maps X for filters D (n_atoms, channels, kernel, kernel)."""
        return cast(Tensor, solve_equilibrium(X, D, step, stride, padding, *astuple(point)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep what the derivatives need."""
        X, D, _, *fixed = inputs
        ctx.save_for_backward(X, D, output)
        ctx.save_for_forward(X, D, output)
        ctx.fixed = fixed

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients in X and D of v'(D'(X - D(codes))), with v and the codes held."""
        X, D, codes = ctx.saved_tensors
        stride, padding, _ = ctx.fixed
        with without_autocast(X.device):
            v = SupportSolution.apply(g, codes, D, X.shape[2:], *ctx.fixed)
            dictionary = Dictionary(D, stride, padding)
            in_X = dictionary(v, X.shape[2:])
            residual = X - dictionary(codes, X.shape[2:])
            in_D = dictionary.in_filters(v, residual) - dictionary.in_filters(codes, in_X)
        return in_X, in_D, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, dX: Tensor, dD: Tensor, *_: None) -> Tensor:
        """Return the change of the codes for changes of X and D."""
        X, D, codes = ctx.saved_tensors
        stride, padding, _ = ctx.fixed
        sides = X.shape[2:]
        dictionary = Dictionary(D, stride, padding)
        moved = Dictionary(dD, stride, padding)
        change = dictionary.adjoint(dX - moved(codes, sides))
        change = change + moved.adjoint(X - dictionary(codes, sides))
        return cast(Tensor, SupportSolution.apply(change, codes, D, sides, *ctx.fixed))


class SupportSolution(LoopedFunction):
    """Differentiate v of (D_S'D_S + alpha I) v_S = g_S in g and D; the support S is held."""

    @staticmethod
    def forward(
        g: Tensor,
        codes: Tensor,
        D: Tensor,
        sides: torch.Size,
        stride: int,
        padding: int,
        point: FixedPoint,
    ) -> Tensor:
        """Return v, 0 off the support of codes."""
        v: Tensor = solve_system(g, codes, D, *sides, stride, padding, *astuple(point))
        return v

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep what the derivatives need."""
        _, codes, D, *fixed = inputs
        ctx.save_for_backward(output, codes, D)
        ctx.save_for_forward(output, codes, D)
        ctx.fixed = fixed

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients in g and D."""
        v, codes, D = ctx.saved_tensors
        sides, stride, padding, _ = ctx.fixed
        with without_autocast(D.device):
            u = SupportSolution.apply(g, codes, D, *ctx.fixed)
            dictionary = Dictionary(D, stride, padding)
            in_D = dictionary.in_filters(u, dictionary(v, sides))
            in_D = -in_D - dictionary.in_filters(v, dictionary(u, sides))
        return u, None, in_D, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, dg: Tensor, _: None, dD: Tensor, *__: None) -> Tensor:
        """Return the change of v for changes of g and D."""
        v, codes, D = ctx.saved_tensors
        sides, stride, padding, _ = ctx.fixed
        dictionary = Dictionary(D, stride, padding)
        moved = Dictionary(dD, stride, padding)
        change = moved.adjoint(dictionary(v, sides)) + dictionary.adjoint(moved(v, sides))
        return cast(Tensor, SupportSolution.apply(dg - change, codes, D, *ctx.fixed))


# torch.export and torch.compile do not look inside of these two.


@torch.library.custom_op("baselines::solve_equilibrium", mutates_args=())
def solve_equilibrium(
    X: Tensor,
    D: Tensor,
    step: Tensor,
    stride: int,
    padding: int,
    lmbd: float,
    alpha: float,
    n_iter: int,
    tol: float,
) -> Tensor:
    """Compute the codes of `EquilibriumCodes`, some images at a time."""
    dictionary = Dictionary(D, stride, padding)
    point = FixedPoint(lmbd=lmbd, alpha=alpha, n_iter=n_iter, tol=tol)
    return torch.cat([equilibrium(block, dictionary, step, point) for block in blocks(X)])


@torch.library.custom_op("baselines::solve_system", mutates_args=())
def solve_system(
    g: Tensor,
    codes: Tensor,
    D: Tensor,
    height: int,
    width: int,
    stride: int,
    padding: int,
    lmbd: float,
    alpha: float,
    n_iter: int,
    tol: float,
) -> Tensor:
    """Compute the v of `SupportSolution`, some images at a time."""
    dictionary = Dictionary(D, stride, padding)
    sides = torch.Size((height, width))
    point = FixedPoint(lmbd=lmbd, alpha=alpha, n_iter=n_iter, tol=tol)
    solved = []
    for part, block in zip(blocks(g), blocks(codes), strict=True):
        solved.append(solve_on_support(part, block, dictionary, sides, point))
    return torch.cat(solved)


@solve_equilibrium.register_fake
def _(X: Tensor, D: Tensor, step: Tensor, stride: int, padding: int, *_: Any) -> Tensor:
    return Dictionary(D, stride, padding).adjoint(X)


@solve_system.register_fake
def _(g: Tensor, codes: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(codes)


def equilibrium_codes(
    X: Tensor, D: Tensor, step: Tensor, stride: int, padding: int, point: FixedPoint
) -> Tensor:
    """Return the equilibrium of maps X, differentiable in X and D any number of times.

    For torch.fx a call of it is one node.

    Parameters
    ----------
    X
        Maps, shape (n, channels, height, width).
    D
        Filters, shape (n_atoms, channels, kernel, kernel).
    step
        At most 1 / (lipschitz + alpha).
    stride, padding
        In pixels.
    """
    with without_autocast(X.device):
        work_type = solver_type(D)
        # Contiguous, because channels-last codes would be copied at each step.
        maps = X.to(work_type).contiguous()
        filters = D.to(work_type).contiguous()
        codes: Tensor = EquilibriumCodes.apply(
            maps, filters, step.to(work_type), stride, padding, point
        )
        return codes.to(D.dtype)


fx.wrap("equilibrium_codes")


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
        point = FixedPoint(lmbd=self.lmbd, alpha=self.alpha, n_iter=self.n_iter, tol=self.tol)
        return equilibrium_codes(X, self.weight, step, self.stride, self.padding, point)
