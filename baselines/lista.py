"""LISTA (Gregor and LeCun, 2010): unrolled sparse coding of patches, trained end to end as a classifier."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.patches import Whitening, extract, positions


class LISTANet(nn.Module):
    def __init__(self, channels, n_classes, *, patch, stride, n_atoms, n_steps, n_cells, lmbd, zca=0.1, contrast=0.01, affine=True):
        super().__init__()
        d = channels * patch**2
        self.channels, self.patch, self.stride, self.n_steps, self.n_cells, self.lmbd, self.n_atoms = channels, patch, stride, n_steps, n_cells, lmbd, n_atoms
        self.zca, self.contrast = zca, contrast
        fixed = lambda x: nn.Parameter(x, requires_grad=False)
        self.mean, self.matrix, self.floor = fixed(torch.zeros(d)), fixed(torch.eye(d)), fixed(torch.tensor(1.0))
        self.start_from(torch.randn(d, n_atoms) / d**0.5, lmbd)
        self.norm = nn.BatchNorm1d(2 * n_atoms * n_cells**2)
        self.readout = nn.Linear(2 * n_atoms * n_cells**2, n_classes)
        nn.init.zeros_(self.readout.weight)

    @torch.no_grad()
    def start_from(self, D: Tensor, lmbd: float) -> None:
        lipschitz = torch.linalg.matrix_norm(D, 2) ** 2
        for name, v in dict(analysis=D.T / lipschitz, lateral=torch.eye(D.shape[1]) - D.T @ D / lipschitz, threshold=torch.full((D.shape[1],), lmbd / float(lipschitz))).items():
            if name in self._parameters:
                getattr(self, name).copy_(v)
            else:
                setattr(self, name, nn.Parameter(v.contiguous()))

    @torch.no_grad()
    def initialise(self, X, generator):
        images = X[torch.randperm(len(X), generator=generator)[:2000]]
        patches = extract(images.cpu(), self.patch, 1)
        patches = patches[torch.randperm(len(patches), generator=generator)[:20000]]
        w = Whitening.learn(patches, contrast=self.contrast, regulariser=self.zca)
        self.mean.copy_(w.mean); self.matrix.copy_(w.matrix); self.floor.copy_(w.floor)
        S = w(patches)
        S = S[S.norm(dim=1) > 1e-3 * S.norm(dim=1).max()]
        D = F.normalize(S[torch.arange(self.n_atoms) % len(S)].T, dim=0)
        lipschitz = torch.linalg.matrix_norm(D, 2)**2
        self.start_from(D / lipschitz.sqrt(), self.lmbd / float(lipschitz)**.5)

    @torch.no_grad()
    def project_(self):
        self.threshold.clamp_(min=0)

    def codes(self, X):
        X = X.float() - 127.5
        kernel = self.analysis @ self.matrix.T
        z = F.conv2d(X, (kernel - kernel.mean(1, keepdim=True)).view(-1, self.channels, self.patch, self.patch), stride=self.stride)
        m = F.avg_pool2d(torch.cat([X.mean(1, keepdim=True), X.square().mean(1, keepdim=True)], 1), self.patch, self.stride)
        s = (m[:, 1:] - m[:, :1] ** 2).clamp(min=0).add(self.floor).rsqrt()
        z = (z * s).permute(0, 2, 3, 1) - kernel @ self.mean
        u = self.shrink(z)
        for _ in range(self.n_steps - 1):
            u = self.shrink(z + F.linear(u, self.lateral))
        return u

    def shrink(self, v):
        return v - torch.clamp(v, -self.threshold, self.threshold)

    def forward(self, X):
        u = self.codes(X)
        u = torch.cat([F.relu(u), F.relu(-u)], 3).permute(0, 3, 1, 2)
        return self.readout(self.norm(F.adaptive_avg_pool2d(u, self.n_cells).flatten(1)))
