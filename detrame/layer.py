"""The Q-metric ReLU: a layer of dictionary learning as a recurrent activation."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class QMetricReLU(nn.Module):
    """U_{t+1} = ReLU(h * Z + W~ (U_t - Z) - b), U_0 = 0, t < n_steps: equation (9) of the DeTraMe-Net paper.

    With C = h * Z - W~ Z - b this is U_1 = ReLU(C), U_{t+1} = ReLU(C + W~ U_t), and C is one convolution of Z with the
    kernel diag(h) - W~: `n_steps` steps are `n_steps` convolutions.

    In the names of the other packages: U are non-negative codes, Z is what an analysis layer makes of a signal, and
    (W~, h, b) stand for a metric Q, a penalty lmbd and a ridge beta: W~ = -offdiag(Q) / (diag(Q) + beta) row by row,
    h = diag(Q) / (diag(Q) + beta), b = lmbd / (diag(Q) + beta). A fixed point minimises over U >= 0
    1/2*(U - Z)' Q (U - Z) + lmbd*|U|_1 + beta/2*||U||^2. The recursion is a Jacobi iteration: it converges where Q is
    diagonally dominant, and need not elsewhere.

    A new layer has h = 1, b = 0 and W~ = 0, so it is a ReLU, and a network with it starts as its ReLU counterpart does.
    That is no stationary point: the gradient of W~ there is made of U_1 - Z, what the ReLU cut off.

    Parameters
    ----------
    channels: of Z, of shape (n, channels, height, width), or (n, channels) for a dense layer.
    kernel: side of W~, odd, in pixels; 1 for a dense layer. Its weight: (channels, channels, kernel, kernel).
    n_steps: number of steps, at least 1.
    std: standard deviation of normal starting values of W~, as an alternative to 0.
    """

    def __init__(self, channels: int, kernel: int = 3, n_steps: int = 2, *, std: float = 0.0) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"QMetricReLU(channels={channels}): must be at least 1")
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"QMetricReLU(kernel={kernel}): must be odd, so that its centre is a pixel")
        if n_steps < 1:
            raise ValueError(f"QMetricReLU(n_steps={n_steps}): must be at least 1")
        self.channels, self.kernel, self.n_steps = channels, kernel, n_steps
        self.n_structural_zeros = channels  # the diagonal of W~
        self.weight = nn.Parameter(std * torch.randn(channels, channels, kernel, kernel))
        self.h = nn.Parameter(torch.ones(channels))
        self.b = nn.Parameter(torch.zeros(channels))
        self.project_()

    @torch.no_grad()
    def project_(self) -> None:
        """Project on diag(W~) = 0 (the centre tap of a channel with itself), h in [0, 1] and b >= 0."""
        centre = self.kernel // 2
        self.weight[:, :, centre, centre].fill_diagonal_(0.0)
        self.h.clamp_(0.0, 1.0)
        self.b.clamp_(min=0.0)

    def forward(self, Z: Tensor) -> Tensor:
        if Z.ndim not in (2, 4) or Z.shape[1] != self.channels or (Z.ndim == 2 and self.kernel > 1):
            wanted = f"(n, {self.channels}, height, width)" + (f" or (n, {self.channels})" if self.kernel == 1 else "")
            raise ValueError(f"QMetricReLU(channels={self.channels}): expected {wanted}, got {tuple(Z.shape)}")
        if Z.ndim == 2:
            return self.forward(Z[:, :, None, None]).flatten(1)
        pad = self.kernel // 2
        first = -self.weight
        first[:, :, pad, pad].diagonal().add_(self.h)
        C = F.conv2d(Z, first, -self.b, padding=pad)
        U = F.relu(C)
        for _ in range(self.n_steps - 1):
            U = F.relu(C + F.conv2d(U, self.weight, padding=pad))
        return U
