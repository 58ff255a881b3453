"""The Q-metric ReLU: a layer of dictionary learning as a recurrent activation."""

from math import inf
from numbers import Integral
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

Structure = Literal["full", "depthwise", "low-rank"]


class QMetricReLU(nn.Module):
    """Compute U_{t+1} = ReLU(h * Z + W~ (U_t - Z) - b), U_0 = 0, for t < n_steps.

    This is equation (9) of the DeTraMe-Net paper. With C = h * Z - W~ Z - b it reads
    U_1 = ReLU(C), U_{t+1} = ReLU(C + W~ U_t), and C is one convolution of Z with the kernel
    diag(h) - W~: `n_steps` steps are `n_steps` convolutions.

    U are non-negative codes, Z is what an analysis layer makes of a signal, and (W~, h, b) stand
    for a metric Q, a penalty lmbd and a ridge beta: W~ = -offdiag(Q) / (diag(Q) + beta) row by row,
    h = diag(Q) / (diag(Q) + beta), b = lmbd / (diag(Q) + beta). A fixed point minimises over U >= 0
    0.5*(U - Z)' Q (U - Z) + lmbd*norm1(U) + 0.5*beta*norm(U)**2. The recursion is a Jacobi
    iteration: it converges where Q is diagonally dominant, and need not elsewhere.
    `detrame.equivalence` goes from a dictionary D to the layer and back.

    A new layer has h = 1, b = 0 and W~ = 0, so it is a ReLU, and a network with it starts as its
    ReLU counterpart does. That is no stationary point: the gradient of W~ there is made of U_1 - Z,
    what the ReLU cut off.

    W~ is a convolution with zero padding. Its diagonal, which is the centre tap of a channel with
    itself, is zero. It has one of three structures:

    - "full": any kernel; `weight` has the shape (channels, channels, kernel, kernel).
    - "depthwise": each channel sees its own neighbourhood; `weight` has the shape
      (channels, 1, kernel, kernel).
    - "low-rank": `up` after `down`, less the diagonal of their product; `down` has the shape
      (rank, channels, kernel, kernel), `up` (channels, rank, 1, 1). A step has about
      rank / channels of the multiplications of "full", but passes more often over memory: at rank 8
      of 96 channels of 32x32 a training pass takes 0.4 to 0.5 of its time, with 1x1 kernels 1.5
      times. `up` starts at 0 and `down` at random: were both 0, neither would have a gradient.

    The attribute `n_steps_used` is the number of steps of the last call, 0 before the first.

    Parameters
    ----------
    channels
        Of Z, of shape (n, channels, height, width), or (n, channels) for a dense layer.
    kernel
        Side of W~ in pixels, odd; 1 for a dense layer.
    n_steps
        Number of steps, at least 1; the most steps where `tol` is given.
    structure
        Structure of W~, as above.
    rank
        Rank of the product before its diagonal is subtracted, 1 to channels; for "low-rank" only.
    tol
        Stop after the step with norm(U_{t+1} - U_t) <= tol * norm(U_{t+1}) in each sample; between
        0 and 1. None does all steps. The codes of a sample then depend on its batch, by about tol.
        Gradients are those of the steps that were done.
    std
        Standard deviation of normal starting values of W~ (of `up` for "low-rank"), at least 0.
    elastic_net
        Whether h is learned. It stands for the ridge beta beside the penalty lmbd; without it
        h = 1, which is beta = 0.

    Raises
    ------
    ValueError
        For an argument out of its range, and for an input of another shape.

    Examples
    --------
    >>> layer = QMetricReLU(channels=2, kernel=1)
    >>> layer(torch.tensor([[1.0, -1.0]]))  # a new layer is a ReLU
    tensor([[1., 0.]], grad_fn=<ViewBackward0>)
    """

    is_constant: ClassVar[bool] = False  # whether the input is C, made by the layer before

    def __init__(
        self,
        channels: int,
        kernel: int = 3,
        n_steps: int = 2,
        *,
        structure: Structure = "full",
        rank: int | None = None,
        tol: float | None = None,
        std: float = 0.0,
        elastic_net: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(channels, kernel, n_steps, rank)
        check_structure(channels, kernel, structure, rank)
        check_tolerance(tol, std)
        self.channels = channels
        self.kernel = kernel
        self.n_steps = n_steps
        self.structure = structure
        self.rank = rank
        self.tol = tol
        self.n_steps_used = 0
        self.n_structural_zeros = channels
        if rank is None:
            inputs = channels if structure == "full" else 1
            self.weight = nn.Parameter(std * torch.randn(channels, inputs, kernel, kernel))
        else:
            # The large kernel comes first: the other order was no faster at any rank tried
            # (8, 32, 64 of 96, one core).
            columns = channels * kernel**2
            self.down = nn.Parameter(torch.randn(rank, channels, kernel, kernel) / columns**0.5)
            self.up = nn.Parameter(std * torch.randn(channels, rank, 1, 1))
            # Degrees of freedom: matrices of this rank (any invertible rank x rank matrix may pass
            # between the factors) or, where there are fewer, the entries off the diagonal.
            free = min(rank * (channels + columns - rank), channels * (columns - 1))
            self.n_structural_zeros = self.down.numel() + self.up.numel() - free
        self.h = nn.Parameter(torch.ones(channels), requires_grad=elastic_net)
        self.n_constants = 0 if elastic_net else channels
        self.b = nn.Parameter(torch.zeros(channels))
        self.project_()

    @torch.no_grad()
    def project_(self) -> None:
        """Project on diag(W~) = 0, h in [0, 1] and b >= 0; an optimiser calls it after its step."""
        if self.rank is None:
            diagonal(self.weight).zero_()
        self.h.clamp_(0.0, 1.0)
        self.b.clamp_(min=0.0)

    def dense_weight(self) -> Tensor:
        """Return W~ as (channels, channels, kernel, kernel), whatever the structure."""
        if self.rank is not None:
            product = torch.einsum("cr,rkij->ckij", self.up[:, :, 0, 0], self.down)
            diagonal(product).zero_()
            return product
        if self.structure == "depthwise":
            return self.weight[:, 0].movedim(0, -1).diag_embed().movedim((2, 3), (0, 1))
        return self.weight

    def forward(self, Z: Tensor) -> Tensor:
        """Return the codes of Z in the shape of Z."""
        unrolled = unroll(
            Z,
            self.h,
            self.b,
            (self.weight,) if self.rank is None else (self.down, self.up),
            n_steps=self.n_steps,
            tol=self.tol,
            is_constant=self.is_constant,
        )
        if not isinstance(unrolled, fx.Proxy):  # which stands for it while torch.fx traces
            self.n_steps_used = unrolled.n_steps
        return unrolled[0]  # for torch.fx the last node of this module, unlike an attribute


class Unrolled(NamedTuple):
    """Hold the codes after the last step, and the number of steps."""

    codes: Tensor
    n_steps: int


def unroll(
    Z: Tensor,
    h: Tensor,
    b: Tensor,
    factors: tuple[Tensor, ...],
    *,
    n_steps: int,
    tol: float | None,
    is_constant: bool,
) -> Unrolled:
    """Compute the recursion of `QMetricReLU`; for torch.fx a call of it is one node.

    Parameters
    ----------
    Z
        The input, or C made of it where it `is_constant`.
    h, b
        Shapes (channels,).
    factors
        The weight of W~, or (down, up).
    """
    channels = len(h)
    kernel = factors[0].shape[-1]
    is_dense = Z.ndim == 2 and kernel == 1
    if not (is_dense or Z.ndim == 4) or Z.shape[1] != channels:
        expected = f"(n, {channels}, height, width)"
        if kernel == 1:
            expected += f" or (n, {channels})"
        raise ValueError(
            f"QMetricReLU(channels={channels}): expected {expected}, got {tuple(Z.shape)}"
        )
    maps = Z[:, :, None, None] if is_dense else Z
    metric = Convolution(*factors) if len(factors) == 1 else LowRank(*factors)
    C = maps if is_constant else metric.constant(maps, h, b)
    U = C.relu_() if n_steps == 1 else C.relu()
    n_done = 1
    while n_done < n_steps:
        previous = U
        # In place: no gradient needs what the convolution made. Of a 1x1 layer's forward and
        # backward pass at 96 channels of 32x32 this saves 16 to 20 % (one core), of a 3x3
        # layer's 3 to 7 %.
        U = metric.mixed(U).add_(C).relu_()
        n_done += 1
        if tol is not None and converged(U, previous, tol):
            break
    return Unrolled(U.flatten(1) if is_dense else U, n_done)


fx.wrap("unroll")


class Convolution(NamedTuple):
    """W~ as a convolution, of all channels or, with one input channel, of each by itself."""

    weight: Tensor

    def constant(self, Z: Tensor, h: Tensor, b: Tensor) -> Tensor:
        """Return C = h * Z - W~ Z - b."""
        channels, inputs, side, _ = self.weight.shape
        gain = h.diag_embed() if inputs == channels else h[:, None]
        gain = F.pad(gain[:, :, None, None], 4 * [side // 2])
        # In this order the sum has the memory format of the weight.
        return self._convolution(Z, -self.weight + gain, -b)

    def mixed(self, U: Tensor) -> Tensor:
        """Return W~ U, in memory of its own."""
        return self._convolution(U, self.weight, None)

    def _convolution(self, V: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        channels, inputs, side, _ = kernel.shape
        return F.conv2d(V, kernel, bias, padding=side // 2, groups=channels // inputs)


class LowRank(NamedTuple):
    """W~ as `up` after `down`, less the diagonal of their product."""

    down: Tensor
    up: Tensor

    def constant(self, Z: Tensor, h: Tensor, b: Tensor) -> Tensor:
        """Return C = h * Z - W~ Z - b."""
        scale = (h + self._diagonal())[:, None, None].to(Z.dtype)
        return torch.addcmul(self._product(Z, -self.up, -b), Z, scale)

    def mixed(self, U: Tensor) -> Tensor:
        """Return W~ U, in memory of its own."""
        scale = self._diagonal()[:, None, None].to(U.dtype)
        return self._product(U, self.up, None).addcmul_(U, scale, value=-1)

    def _product(self, V: Tensor, up: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(F.conv2d(V, self.down, padding=self.down.shape[-1] // 2), up, bias)

    def _diagonal(self) -> Tensor:
        centre = self.down.shape[-1] // 2
        return (self.up[:, :, 0, 0] * self.down[:, :, centre, centre].T).sum(1)


def diagonal(kernel: Tensor) -> Tensor:
    """Return the centre taps of each channel with itself, as a view.

    The kernel is that of a convolution of all channels, or of each by itself.
    """
    channels, inputs, side, _ = kernel.shape
    centre = kernel[:, :, side // 2, side // 2]
    return centre.diagonal() if inputs == channels else centre[:, 0]


@torch.no_grad()
def converged(U: Tensor, previous: Tensor, tol: float) -> bool:
    """Say whether norm(U - previous) <= tol * norm(U) in each sample."""
    change = (U - previous).flatten(1).norm(dim=1)
    size = U.flatten(1).norm(dim=1)
    return bool((change <= tol * size).all())


def check_sizes(channels: int, kernel: int, n_steps: int, rank: Any) -> None:
    """Raise ValueError for a size that is no whole number or out of its range."""
    sizes = {"channels": channels, "kernel": kernel, "n_steps": n_steps, "rank": rank or 0}
    for name, value in sizes.items():
        if not isinstance(value, Integral):
            raise refusal(f"{name}={value!r}", "must be a whole number")
    if channels < 1:
        raise refusal(f"channels={channels}", "must be at least 1")
    if kernel < 1 or kernel % 2 == 0:
        raise refusal(f"kernel={kernel}", "must be odd, so that its centre is a pixel")
    if n_steps < 1:
        raise refusal(f"n_steps={n_steps}", "must be at least 1")


def check_structure(channels: int, kernel: int, structure: str, rank: int | None) -> None:
    """Raise ValueError for an unknown structure, or one that does not go with kernel or rank."""
    known = get_args(Structure)
    if structure not in known:
        raise refusal(f"structure={structure!r}", f"must be one of {', '.join(known)}")
    if structure == "depthwise" and kernel == 1:
        raise refusal(f"kernel={kernel}", "a depthwise W~ would be zero, use at least 3")
    if structure != "low-rank" and rank is not None:
        raise refusal(f"rank={rank}", "must be None unless structure is 'low-rank'")
    if structure == "low-rank" and not 1 <= (rank or 0) <= channels:
        raise refusal(f"rank={rank}", f"must be 1 to {channels}")


def check_tolerance(tol: float | None, std: float) -> None:
    """Raise ValueError for a tolerance or a standard deviation out of its range."""
    if tol is not None and not 0 < tol < 1:
        raise refusal(f"tol={tol}", "must be between 0 and 1")
    if not 0 <= std < inf:
        raise refusal(f"std={std}", "must be at least 0 and finite")


def refusal(argument: str, expected: str) -> ValueError:
    """Return the error that names an argument of `QMetricReLU` and what was expected."""
    return ValueError(f"QMetricReLU({argument}): {expected}")
