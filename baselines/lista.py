"""LISTA (Gregor and LeCun, 2010): unrolled sparse coding of patches, trained end to end as a classifier."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.patches import Whitening, extract, positions
from ddl_bench.api import CodeStats, Task, UserError
from ddl_bench.network import Network
from ddl_bench.sgd import NetworkMethod

LMBD = 0.5  # penalty of the first codes, in units of whitened patches and unit-norm atoms; thresholds are then learned


class LISTANet(nn.Module):
    """Codes of all patches, pooled on n_cells x n_cells, positive and negative parts apart, and a linear readout.

    For a whitened patch x: codes_1 = shrink(W x), codes_{t+1} = shrink(W x + S codes_t), t < n_steps, with
    shrink(v) = sign(v) * max(|v| - threshold, 0). W (n_atoms, n_features), S (n_atoms, n_atoms), threshold (n_atoms,)
    are trained; the whitening is learned once, from the training images.
    """

    floor: Tensor

    def __init__(
        self, channels: int, n_classes: int, *, patch: int, stride: int, n_atoms: int, n_steps: int, n_cells: int
    ) -> None:
        super().__init__()
        self.patch, self.stride, self.n_steps, self.n_cells = patch, stride, n_steps, n_cells
        n_features, n_pooled = channels * patch**2, 2 * n_atoms * n_cells**2
        self.mean = nn.Parameter(torch.zeros(n_features), requires_grad=False)
        self.matrix = nn.Parameter(torch.eye(n_features), requires_grad=False)
        self.register_buffer("floor", torch.ones(()))
        self.W = nn.Parameter(torch.randn(n_atoms, n_features) / n_features)
        self.S = nn.Parameter(torch.zeros(n_atoms, n_atoms))
        self.threshold = nn.Parameter(torch.zeros(n_atoms))
        self.norm = nn.BatchNorm1d(n_pooled)
        self.readout = nn.Linear(n_pooled, n_classes)
        nn.init.zeros_(self.readout.weight)  # W shall not follow a random readout at first

    @torch.no_grad()
    def initialise(self, X: Tensor, generator: torch.Generator) -> None:
        """Learn the whitening, and start from whitened patches as atoms, scaled to lipschitz 1."""
        patches = extract(X[torch.randperm(len(X), generator=generator)[:500]], self.patch, 1)
        patches = patches[torch.randperm(len(patches), generator=generator)[:20_000]]
        whitening = Whitening.learn(patches, contrast=0.01, regulariser=0.1)
        for mine, learned in zip((self.mean, self.matrix, self.floor), vars(whitening).values(), strict=True):
            mine.copy_(learned)
        signals = whitening(patches)
        lively = signals[signals.norm(dim=1) >= signals.norm(dim=1).mean() / 10]
        D = F.normalize(lively[torch.arange(len(self.W)) % len(lively)].T, dim=0)
        scale = torch.linalg.matrix_norm(D, 2)
        self.start_from(D / scale, LMBD / float(scale))

    @torch.no_grad()
    def start_from(self, D: Tensor, lmbd: float) -> None:
        """Become n_steps of ISTA, from 0, on 0.5*||x - D codes||^2 + lmbd*|codes|_1; D: (n_features, n_atoms)."""
        lipschitz = torch.linalg.matrix_norm(D, 2) ** 2
        self.W.copy_(D.T / lipschitz)
        self.S.copy_(torch.eye(D.shape[1]).to(D) - D.T @ D / lipschitz)
        self.threshold.copy_(lmbd / lipschitz)

    @torch.no_grad()
    def project_(self) -> None:
        self.threshold.clamp_(min=0)

    @torch.no_grad()
    def dictionary(self) -> Tensor:
        """The D that W and S stand for, pinv(W) (I - S), of shape (n_features, n_atoms); after `start_from` its D."""
        D: Tensor = torch.linalg.pinv(self.W) @ (torch.eye(len(self.S)).to(self.S) - self.S)
        return D

    def codes(self, X: Tensor) -> Tensor:
        """Codes of the patches of images (n, channels, height, width): (n, n_atoms, rows, columns)."""
        X = X.to(self.W.dtype)
        # Whitening and W are one convolution: contrast normalisation only divides each patch by a number.
        filters = self.W @ self.matrix.T
        centred = (filters - filters.mean(1, keepdim=True)).view(len(filters), -1, self.patch, self.patch)
        moments = F.avg_pool2d(torch.stack([X.mean(1), X.square().mean(1)], 1), self.patch, self.stride)
        contrast = ((moments[:, 1:] - moments[:, :1].square()).clamp(min=0) + self.floor).sqrt()
        Wx = F.conv2d(X, centred, stride=self.stride) / contrast - (filters @ self.mean)[:, None, None]
        threshold = self.threshold[:, None, None]
        codes = Wx - Wx.clamp(-threshold, threshold)
        for _ in range(self.n_steps - 1):
            v = Wx + F.conv2d(codes, self.S[:, :, None, None])
            codes = v - v.clamp(-threshold, threshold)
        return codes

    def forward(self, X: Tensor) -> Tensor:
        codes = self.codes(X)
        parts = torch.cat([F.relu(codes), F.relu(-codes)], 1)
        scores: Tensor = self.readout(self.norm(F.adaptive_avg_pool2d(parts, self.n_cells).flatten(1)))
        return scores


class LISTANetwork(Network):
    module: LISTANet

    @torch.inference_mode()
    def code_stats(self, X: Tensor, /) -> CodeStats:
        net, D, sums = self.module, self.module.dictionary(), np.zeros(4)
        whitening = Whitening(net.mean, net.matrix, net.floor)
        for batch in self.batches(X):
            signals = whitening(extract(batch, net.patch, net.stride))
            codes = net.codes(batch).permute(0, 2, 3, 1).flatten(0, 2)
            error, norm = ((part**2).sum().item() for part in (signals - codes @ D.T, signals))
            sums += int(codes.count_nonzero()), codes.numel(), error, norm
        return CodeStats(n_nonzero=sums[0], n_entries=sums[1], squared_error=sums[2], squared_norm=sums[3])

    def artefacts(self) -> dict[str, np.ndarray]:
        """What each atom sees of a patch through the whitening."""
        net = self.module
        filters = (net.W @ net.matrix.T).detach().cpu()
        return {"atoms": filters.view(len(filters), -1, net.patch, net.patch).numpy()}


@dataclass(frozen=True, kw_only=True)
class LISTA(NetworkMethod):
    """Unrolled sparse coding; a setting of 0 follows from the size of the images.

    patch, stride: side and distance of patches, in pixels. n_atoms: atoms. n_steps: unrolled steps, at least 1.
    n_cells: codes are pooled on n_cells x n_cells, at most as many as there are patches a side.
    """

    name: ClassVar[str] = "lista"
    wrap = LISTANetwork
    patch: int = 0
    stride: int = 0
    n_atoms: int = 0
    n_cells: int = 0
    n_steps: int = 3
    lr: float = 0.015

    def network(self, task: Task) -> nn.Module:
        channels, *sides = task.image_shape
        side, small = min(sides), min(sides) < 16
        patch = self.patch or min(6, max(2, side // 2))
        if patch > side:
            raise UserError(f"LISTA(patch={patch}): larger than the {sides[0]}x{sides[1]} images; use at most {side}")
        stride = self.stride or (1 if side < 24 else 2)
        plan = {"patch": patch, "stride": stride, "n_atoms": self.n_atoms or (64 if small else 192)}
        n_cells = min(self.n_cells or (2 if small else 3), positions(side, patch, stride))
        return LISTANet(channels, task.n_classes, **plan, n_steps=self.n_steps, n_cells=n_cells)
