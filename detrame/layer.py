"""The Q-metric ReLU: a layer of dictionary learning as a recurrent activation."""

from math import inf
from numbers import Integral
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Structure = Literal["full", "depthwise", "low-rank"]


class QMetricReLU(nn.Module):
    """U_{t+1} = ReLU(h * Z + W~ (U_t - Z) - b), U_0 = 0, t < n_steps: equation (9) of the DeTraMe-Net paper.

    With C = h * Z - W~ Z - b this is U_1 = ReLU(C), U_{t+1} = ReLU(C + W~ U_t), and C is one convolution of Z with the
    kernel diag(h) - W~: `n_steps` steps are `n_steps` convolutions.

    In the names of the other packages: U are non-negative codes, Z is what an analysis layer makes of a signal, and
    (W~, h, b) stand for a metric Q, a penalty lmbd and a ridge beta: W~ = -offdiag(Q) / (diag(Q) + beta) row by row,
    h = diag(Q) / (diag(Q) + beta), b = lmbd / (diag(Q) + beta). A fixed point minimises over U >= 0
    1/2*(U - Z)' Q (U - Z) + lmbd*|U|_1 + beta/2*||U||^2. The recursion is a Jacobi iteration: it converges where Q is
    diagonally dominant, and need not elsewhere. detrame.metric goes from a dictionary D to the layer and back.

    A new layer has h = 1, b = 0 and W~ = 0, so it is a ReLU, and a network with it starts as its ReLU counterpart does.
    That is no stationary point: the gradient of W~ there is made of U_1 - Z, what the ReLU cut off.

    W~ is a convolution with zero padding, and its diagonal, the centre tap of a channel with itself, is zero:
    - "full": any kernel, `weight` (channels, channels, kernel, kernel);
    - "depthwise": each channel sees its own neighbourhood, `weight` (channels, 1, kernel, kernel);
    - "low-rank": `up` after `down`, less its diagonal; `down` (rank, channels, kernel, kernel), `up` (channels, rank,
      1, 1). A step has about rank / channels of the multiplications of "full", but more passes over memory:
      at rank 8 of 96 channels of 32x32 a training pass takes 0.4 to 0.5 of its time, with 1x1 kernels 1.5 times.
      `up` starts at 0 and `down` at random: were both 0, neither would have a gradient.

    Parameters
    ----------
    channels: of Z, of shape (n, channels, height, width), or (n, channels) for a dense layer.
    kernel: side of W~, odd, in pixels; 1 for a dense layer.
    n_steps: number of steps, at least 1; the most steps where `tol` is given.
    structure: of W~, as above.
    rank: of the product before its diagonal is subtracted, 1 to channels; for "low-rank" only.
    tol: stop after the step with ||U_{t+1} - U_t|| <= tol * ||U_{t+1}|| in each sample; between 0 and 1. None: do all.
        A sample's codes then depend on its batch, by about tol. Gradients are those of the steps that were done.
    std: standard deviation of normal starting values of W~ (of `up`), at least 0, as an alternative to 0.

    `n_steps_used` is the number of steps of the last call, 0 before it.
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
        check(channels, kernel, n_steps, structure, rank, tol, std)
        self.channels, self.kernel, self.n_steps = channels, kernel, n_steps
        self.structure, self.rank, self.tol = structure, rank, tol
        self.n_structural_zeros, self.n_steps_used = channels, 0
        if rank is None:
            inputs = channels if structure == "full" else 1
            self.weight = nn.Parameter(std * torch.randn(channels, inputs, kernel, kernel))
        else:
            # The large kernel comes first: the other order was no faster at any rank tried (8, 32, 64 of 96, one core).
            columns = channels * kernel**2
            self.down = nn.Parameter(torch.randn(rank, channels, kernel, kernel) / columns**0.5)
            self.up = nn.Parameter(std * torch.randn(channels, rank, 1, 1))
            # Degrees of freedom: matrices of this rank (any invertible rank x rank matrix may pass between the factors)
            # or, where there are fewer, the entries off the diagonal.
            free = min(rank * (channels + columns - rank), channels * (columns - 1))
            self.n_structural_zeros = self.down.numel() + self.up.numel() - free
        self.h = nn.Parameter(torch.ones(channels))
        self.b = nn.Parameter(torch.zeros(channels))
        self.project_()

    @torch.no_grad()
    def project_(self) -> None:
        """Project on diag(W~) = 0, h in [0, 1] and b >= 0, for an optimiser to call after its step."""
        if self.rank is None:
            self._diagonal(self.weight).zero_()
        self.h.clamp_(0.0, 1.0)
        self.b.clamp_(min=0.0)

    def dense_weight(self) -> Tensor:
        """W~ as (channels, channels, kernel, kernel), whatever the structure."""
        if self.rank is not None:
            product = torch.einsum("cr,rkij->ckij", self.up[:, :, 0, 0], self.down)
            self._diagonal(product).zero_()
            return product
        if self.structure == "depthwise":
            return self.weight[:, 0].movedim(0, -1).diag_embed().movedim((2, 3), (0, 1))
        return self.weight

    def forward(self, Z: Tensor) -> Tensor:
        if Z.ndim not in (2, 4) or Z.shape[1] != self.channels or (Z.ndim == 2 and self.kernel > 1):
            wanted = f"(n, {self.channels}, height, width)" + (
                f" or (n, {self.channels})" if self.kernel == 1 else ""
            )
            raise ValueError(
                f"QMetricReLU(channels={self.channels}): expected {wanted}, got {tuple(Z.shape)}"
            )
        if Z.ndim == 2:
            return self.forward(Z[:, :, None, None]).flatten(1)
        C = self._constant(Z)
        U, self.n_steps_used = (C.relu_() if self.n_steps == 1 else C.relu()), 1
        while self.n_steps_used < self.n_steps:
            # In place: no gradient needs what the convolution made. Of a 1x1 layer's forward and backward pass at 96
            # channels of 32x32 this saves 16 to 20 % (one core), of a 3x3 layer's 3 to 7 %.
            previous, U = U, self._mixed(U).add_(C).relu_()
            self.n_steps_used += 1
            if self.tol is not None and converged(U, previous, self.tol):
                break
        return U

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
    change, size = ((V.flatten(1).norm(dim=1)) for V in (U - previous, U))
    return bool((change <= tol * size).all())


def check(
    channels: int,
    kernel: int,
    n_steps: int,
    structure: str,
    rank: Any,
    tol: float | None,
    std: float,
) -> None:
    """Raise ValueError for the first argument that is wrong."""
    for name, value in {
        "channels": channels,
        "kernel": kernel,
        "n_steps": n_steps,
        "rank": rank or 0,
    }.items():
        if not isinstance(value, Integral):
            raise ValueError(f"QMetricReLU({name}={value!r}): must be a whole number")
    known = ", ".join(get_args(Structure))
    for wrong, argument, wanted in (
        (channels < 1, f"channels={channels}", "must be at least 1"),
        (
            kernel < 1 or kernel % 2 == 0,
            f"kernel={kernel}",
            "must be odd, so that its centre is a pixel",
        ),
        (n_steps < 1, f"n_steps={n_steps}", "must be at least 1"),
        (
            structure not in get_args(Structure),
            f"structure={structure!r}",
            f"must be one of {known}",
        ),
        (
            structure == "depthwise" and kernel == 1,
            f"kernel={kernel}",
            "a depthwise W~ would be zero, use at least 3",
        ),
        (
            rank is not None and structure != "low-rank",
            f"rank={rank}",
            "must be None unless structure is 'low-rank'",
        ),
        (
            structure == "low-rank" and not 1 <= (rank or 0) <= channels,
            f"rank={rank}",
            f"must be 1 to {channels}",
        ),
        (tol is not None and not 0 < tol < 1, f"tol={tol}", "must be between 0 and 1"),
        (not 0 <= std < inf, f"std={std}", "must be at least 0 and finite"),
    ):
        if wrong:
            raise ValueError(f"QMetricReLU({argument}): {wanted}")
