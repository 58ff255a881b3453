"""The Q-metric ReLU: a layer of dictionary learning as a recurrent activation."""

from math import inf
from numbers import Integral
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
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
        self.h = nn.Parameter(torch.ones(channels))
        self.b = nn.Parameter(torch.zeros(channels))
        self.project_()

    @torch.no_grad()
    def project_(self) -> None:
        """Project on diag(W~) = 0, h in [0, 1] and b >= 0; an optimiser calls it after its step."""
        if self.rank is None:
            self._diagonal(self.weight).zero_()
        self.h.clamp_(0.0, 1.0)
        self.b.clamp_(min=0.0)

    def dense_weight(self) -> Tensor:
        """Return W~ as (channels, channels, kernel, kernel), whatever the structure."""
        if self.rank is not None:
            product = torch.einsum("cr,rkij->ckij", self.up[:, :, 0, 0], self.down)
            self._diagonal(product).zero_()
            return product
        if self.structure == "depthwise":
            return self.weight[:, 0].movedim(0, -1).diag_embed().movedim((2, 3), (0, 1))
        return self.weight

    def forward(self, Z: Tensor) -> Tensor:
        """Return the codes of Z in the shape of Z."""
        self._check_input(Z)
        if Z.ndim == 2:
            return self.forward(Z[:, :, None, None]).flatten(1)
        C = self._constant(Z)
        self.n_steps_used = 1
        if self.n_steps == 1:
            return C.relu_()
        U = C.relu()
        while self.n_steps_used < self.n_steps:
            previous = U
            # In place: no gradient needs what the convolution made. Of a 1x1 layer's forward and
            # backward pass at 96 channels of 32x32 this saves 16 to 20 % (one core), of a 3x3
            # layer's 3 to 7 %.
            U = self._mixed(U).add_(C).relu_()
            self.n_steps_used += 1
            if self.tol is not None and converged(U, previous, self.tol):
                break
        return U

    def _check_input(self, Z: Tensor) -> None:
        is_dense = Z.ndim == 2 and self.kernel == 1
        if (is_dense or Z.ndim == 4) and Z.shape[1] == self.channels:
            return
        expected = f"(n, {self.channels}, height, width)"
        if self.kernel == 1:
            expected += f" or (n, {self.channels})"
        raise ValueError(
            f"QMetricReLU(channels={self.channels}): expected {expected}, got {tuple(Z.shape)}"
        )

    def _constant(self, Z: Tensor) -> Tensor:
        """C = h * Z - W~ Z - b."""
        if self.rank is not None:
            diagonal = (self.h + self._factors_diagonal())[:, None, None].to(Z.dtype)
            return torch.addcmul(self._product(Z, -self.up, -self.b), Z, diagonal)
        kernel = -self.weight
        self._diagonal(kernel).add_(self.h)
        return self._convolution(Z, kernel, -self.b)

    def _mixed(self, U: Tensor) -> Tensor:
        """W~ U, in memory of its own."""
        if self.rank is not None:
            diagonal = self._factors_diagonal()[:, None, None].to(U.dtype)
            return self._product(U, self.up, None).addcmul_(U, diagonal, value=-1)
        return self._convolution(U, self.weight, None)

    def _convolution(self, V: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        groups = self.channels if self.structure == "depthwise" else 1
        return F.conv2d(V, kernel, bias, padding=self.kernel // 2, groups=groups)

    def _product(self, V: Tensor, up: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(F.conv2d(V, self.down, padding=self.kernel // 2), up, bias)

    def _diagonal(self, kernel: Tensor) -> Tensor:
        """The centre taps of each channel with itself, as a view."""
        centre = kernel[:, :, self.kernel // 2, self.kernel // 2]
        return centre[:, 0] if self.structure == "depthwise" else centre.diagonal()

    def _factors_diagonal(self) -> Tensor:
        centre = self.down[:, :, self.kernel // 2, self.kernel // 2]
        return (self.up[:, :, 0, 0] * centre.T).sum(1)


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
