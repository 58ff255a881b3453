"""What unrolled networks share: the layer of LISTA in its forms, and a network that tells its codes."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddl_bench.api import CodeStats
from ddl_bench.training.network import Network

Form = Literal["shared", "tied", "untied", "coupled"]


class LISTALayer(nn.Module):
    """codes_1 = shrink(W x), codes_{t+1} = shrink(W x + S codes_t), t < n_steps, at each place of a map.

    shrink(v) = sign(v) * max(|v| - threshold, 0). W (n_atoms, n_features), S (n_atoms, n_atoms), threshold (n_atoms,).

    form: "shared" uses them in all steps (Gregor and LeCun, 2010). In the others each step has its own threshold, and
    "tied" has S = I - scale * W W', as ISTA has; "untied" has a W and an S for each step; "coupled" has a W for each
    step and S = I - W D, with the D that it starts from (Chen et al., 2018). Those of all steps lie along rows.
    """

    def __init__(self, n_features: int, n_atoms: int, n_steps: int, form: Form = "shared") -> None:
        super().__init__()
        self.n_atoms, self.n_steps, self.form = n_atoms, n_steps, form
        n_own = n_steps if form in ("untied", "coupled") else 1
        self.W = nn.Parameter(torch.randn(n_atoms, n_features).repeat(n_own, 1) / n_features)
        if form == "tied":
            self.scale = nn.Parameter(torch.ones(()))
        elif form == "coupled":
            self.D = nn.Parameter(torch.zeros(n_features, n_atoms), requires_grad=False)
        else:
            self.S = nn.Parameter(torch.zeros(max(n_own - 1, 1) * n_atoms, n_atoms))
        self.threshold = nn.Parameter(
            torch.zeros(n_atoms if form == "shared" else n_steps * n_atoms)
        )

    @torch.no_grad()
    def start_from(self, D: Tensor, lmbd: float) -> None:
        """Become n_steps of ISTA, from 0, on 0.5*||x - D codes||^2 + lmbd*|codes|_1; D: (n_features, n_atoms)."""
        lipschitz = torch.linalg.matrix_norm(D, 2) ** 2
        self.W.copy_((D.T / lipschitz).repeat(len(self.W) // self.n_atoms, 1))
        self.threshold.copy_((lmbd / lipschitz).expand(self.threshold.shape))
        if self.form == "tied":
            self.scale.copy_(lipschitz)
        elif self.form == "coupled":
            self.D.copy_(D)
        else:
            self.S.copy_(
                (torch.eye(self.n_atoms).to(D) - D.T @ D / lipschitz).repeat(
                    len(self.S) // self.n_atoms, 1
                )
            )

    @torch.no_grad()
    def project_(self) -> None:
        self.threshold.clamp_(min=0)

    def recurrences(self) -> tuple[Tensor, ...]:
        """The S of each step from the second on, or the one of all of them."""
        W, eye = self.W.split(self.n_atoms), torch.eye(self.n_atoms).to(self.W)
        if self.form == "tied":
            return (eye - self.scale * self.W @ self.W.T,)
        if self.form == "coupled":
            return tuple(eye - each @ self.D for each in W[min(1, len(W) - 1) :])
        return tuple(self.S.split(self.n_atoms))

    @torch.no_grad()
    def dictionary(self) -> Tensor:
        """The D that the last W and S stand for, pinv(W) (I - S), (n_features, n_atoms); after `start_from` its D."""
        eye = torch.eye(self.n_atoms).to(self.W)
        D: Tensor = torch.linalg.pinv(self.W[-self.n_atoms :]) @ (eye - self.recurrences()[-1])
        return D

    def unroll(self, Wx: Tensor) -> Tensor:
        """Codes (n, n_atoms, rows, columns) for the maps W x of all W, (n, len(W), rows, columns)."""
        inputs, thresholds = (
            Wx.split(self.n_atoms, 1),
            self.threshold[:, None, None].split(self.n_atoms),
        )
        kernels = [S[:, :, None, None] for S in self.recurrences()]
        codes: Tensor = inputs[0] - inputs[0].clamp(-thresholds[0], thresholds[0])
        for t in range(1, self.n_steps):
            threshold = thresholds[t % len(thresholds)]
            v = inputs[t % len(inputs)] + F.conv2d(codes, kernels[(t - 1) % len(kernels)])
            codes = v - v.clamp(-threshold, threshold)
        return codes

    def signal_codes(self, signals: Tensor) -> Tensor:
        """Codes (n_samples, n_atoms) of samples (n_samples, n_features)."""
        return self.unroll((self.W @ signals.T)[None, :, :, None])[0, :, :, 0].T


class CodedNetwork(Network):
    """Of a module whose coded(X) gives signals (n_samples, n_features), codes (n_samples, n_atoms), dictionary."""

    @torch.inference_mode()
    def code_stats(self, X: Tensor, /) -> CodeStats:
        sums = np.zeros(4)
        for batch in self.batches(X):
            signals, codes, D = self.module.coded(batch)  # type: ignore[operator]  # torch's stub denies the method
            error, norm = ((part**2).sum().item() for part in (signals - codes @ D.T, signals))
            sums += int(codes.count_nonzero()), codes.numel(), error, norm
        return CodeStats(
            n_nonzero=sums[0], n_entries=sums[1], squared_error=sums[2], squared_norm=sums[3]
        )
