"""The Q-metric ReLU: a layer of dictionary learning as a recurrent activation."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class QMetricReLU(nn.Module):
    """U_{t+1} = ReLU(h * Z + W~ (U_t - Z) - b), U_0 = 0, t < n_steps: equation (9) of DeTraMe-Net.

    Written with C = h * Z - W~ Z - b it is U_1 = ReLU(C), U_{t+1} = ReLU(C + W~ U_t); C is a single convolution of Z
    with the kernel diag(h) - W~, so `n_steps` steps cost `n_steps` convolutions.

    A new layer is close to a ReLU (h = 1, b = 0, W~ = 0 is one exactly).

    Parameters
    ----------
    channels: of the input (n, channels, height, width), or of a dense one (n, channels).
    kernel: odd size of W~, 1 for dense inputs; stored as (channels, channels, kernel, kernel).
    n_steps: unrolled steps, at least 1.
    std: of the normal starting values of W~.
    """

    def __init__(self, channels: int, kernel: int = 3, n_steps: int = 2, *, std: float = 0.0) -> None:
        super().__init__()
        self.kernel, self.n_steps = kernel, n_steps
        self.weight = nn.Parameter(torch.randn(channels, channels, kernel, kernel) * std)
        self.h = nn.Parameter(torch.ones(channels))
        self.b = nn.Parameter(torch.zeros(channels))
        self.project_()

    @property
    def n_structural_zeros(self) -> int:
        return len(self.h)

    @torch.no_grad()
    def project_(self) -> None:
        centre = self.kernel // 2
        self.weight[:, :, centre, centre].fill_diagonal_(0.0)
        self.h.clamp_(0.0, 1.0)
        self.b.clamp_(min=0.0)

    def forward(self, Z: Tensor) -> Tensor:
        pad = self.kernel // 2
        first = F.pad(torch.diag(self.h)[:, :, None, None], (pad, pad, pad, pad)) - self.weight
        C = F.conv2d(Z, first, -self.b, padding=pad)
        U = F.relu(C)
        for _ in range(self.n_steps - 1):
            U = F.relu(C + F.conv2d(U, self.weight, padding=pad))
        return U
