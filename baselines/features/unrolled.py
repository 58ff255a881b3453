"""Networks that code whitened patches of images by unrolled steps, and read out pooled codes."""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.features.patches import Whitening, extract
from baselines.layers.unrolled import Coded, CodedNetwork, Form, LISTALayer, soft_threshold

# Penalty of the first codes, of whitened patches and unit-norm atoms; thresholds are then learned.
INITIAL_LMBD = 0.5
WHITENING_IMAGES = 500
WHITENING_PATCHES = 20_000
OPEN = 3.0  # bias of the gates at first: the input gate lets 95 % in, the forget gate keeps 5 %

Memory = Literal["cell", "steps"]


class LISTANet(LISTALayer):
    """Code whitened patches, pool the codes on n_cells x n_cells, signs apart, and read them out.

    The whitening is learned once, before the first step.

    Parameters
    ----------
    channels, n_classes
        Of the images and of the scores.
    patch, stride
        Side and distance of the patches, in pixels.
    n_cells
        Cells along each side.
    n_atoms, n_steps, form
        As `LISTALayer` has them.
    normalise
        Whether pooled codes are batch-normalised.
    """

    floor: Tensor

    def __init__(
        self,
        channels: int,
        n_classes: int,
        *,
        patch: int,
        stride: int,
        n_atoms: int,
        n_steps: int,
        n_cells: int,
        form: Form = "shared",
        normalise: bool = True,
    ) -> None:
        n_features = channels * patch**2
        n_pooled = 2 * n_atoms * n_cells**2
        super().__init__(n_features, n_atoms, n_steps, form)
        self.patch = patch
        self.stride = stride
        self.n_cells = n_cells
        self.mean = nn.Parameter(torch.zeros(n_features), requires_grad=False)
        self.matrix = nn.Parameter(torch.eye(n_features), requires_grad=False)
        self.register_buffer("floor", torch.ones(()))
        self.norm = nn.BatchNorm1d(n_pooled) if normalise else nn.Identity()
        self.readout = nn.Linear(n_pooled, n_classes)
        nn.init.zeros_(self.readout.weight)  # W should not follow a random readout at first

    @torch.no_grad()
    def whiten(self, X: Tensor, generator: torch.Generator) -> Tensor:
        """Learn the whitening from patches of images X, and return these, whitened.

        Returns
        -------
        Tensor
            Shape (n_samples, n_features).
        """
        chosen = X[torch.randperm(len(X), generator=generator)[:WHITENING_IMAGES]]
        patches = extract(chosen, self.patch, 1)
        order = torch.randperm(len(patches), generator=generator)
        patches = patches[order[:WHITENING_PATCHES]]
        whitening = Whitening.learn(patches, contrast=0.01, regulariser=0.1)
        self.mean.copy_(whitening.mean)
        self.matrix.copy_(whitening.matrix)
        self.floor.copy_(whitening.floor)
        return whitening(patches)

    def initialise(self, X: Tensor, generator: torch.Generator) -> None:
        """Learn the whitening, and start from whitened patches as atoms, scaled to lipschitz 1."""
        signals = self.whiten(X, generator)
        lively = signals[signals.norm(dim=1) >= signals.norm(dim=1).mean() / 10]
        D = F.normalize(lively[torch.arange(self.n_atoms) % len(lively)].T, dim=0)
        scale = torch.linalg.matrix_norm(D, 2)
        self.start_from(D / scale, INITIAL_LMBD / float(scale))

    def codes(self, X: Tensor) -> Tensor:
        """Return the codes of the patches of images: (n, n_atoms, rows, columns).

        Whitening and W are one convolution: contrast normalisation only divides each patch by a
        number, which the means of the pixels and of their squares give.
        """
        X = X.to(self.W.dtype)
        filters = self.W @ self.matrix.T
        centred = filters - filters.mean(1, keepdim=True)
        kernels = centred.view(filters.shape[0], -1, self.patch, self.patch)
        channel_means = torch.stack([X.mean(1), X.square().mean(1)], 1)
        moments = F.avg_pool2d(channel_means, self.patch, self.stride)
        variance = moments[:, 1:] - moments[:, :1].square()
        contrast = (variance.clamp(min=0) + self.floor).sqrt()
        offset = (filters @ self.mean)[:, None, None]
        return self.unroll(F.conv2d(X, kernels, stride=self.stride) / contrast - offset)

    def pooled(self, X: Tensor) -> Tensor:
        """Return the pooled codes (n, n_pooled) of images X (n, channels, height, width)."""
        codes = self.codes(X)
        parts = torch.cat([F.relu(codes), F.relu(-codes)], 1)
        return F.adaptive_avg_pool2d(parts, self.n_cells).flatten(1)

    def coded(self, X: Tensor) -> Coded:
        """Return whitened patches, their codes, and the dictionary."""
        whitening = Whitening(self.mean, self.matrix, self.floor)
        signals = whitening(extract(X, self.patch, self.stride))
        codes = self.codes(X).permute(0, 2, 3, 1).flatten(0, 2)
        return Coded(signals, codes, self.dictionary())

    def forward(self, X: Tensor) -> Tensor:
        """Return scores (n, n_classes) of images X (n, channels, height, width)."""
        scores: Tensor = self.readout(self.norm(self.pooled(X)))
        return scores


class LISTANetwork(CodedNetwork):
    """Classify by a `LISTANet`, and show its atoms."""

    module: LISTANet

    def atoms(self) -> np.ndarray:
        """Return what each atom sees of a patch through the whitening."""
        net = self.module
        filters = (net.W[-net.n_atoms :] @ net.matrix.T).detach().cpu()
        return np.asarray(filters.view(len(filters), -1, net.patch, net.patch))


class SparseLSTMNet(LISTANet):
    """Code whitened patches x by a sparse LSTM (Zhou et al., 2018), from c = codes = 0.

        input  = sigmoid(W_i x + S_i codes + b_i)
        forget = sigmoid(W_f x + S_f codes + b_f)
        step   = W x + S codes
        c      = input * step + forget * memory
        codes  = soft_threshold(c)

    W (3 * n_atoms, n_features) and S (3 * n_atoms, n_atoms) have the rows of input gates, forget
    gates and step, bias (2 * n_atoms,) those of the gates.

    Parameters
    ----------
    memory
        "cell", as published: the last c. As c decides codes, constant gates i and f < 1 give a
        fixed point with penalty and signal scaled by i / (1 - f), and no momentum where
        i + f = 1. "steps": step - last step, so that open input gates and constant forget gates
        are ISTA from the point codes + f * (codes - last codes): FISTA's momentum.
    n_steps, n_atoms, shape
        As `LISTANet` has them.
    """

    def __init__(self, *, memory: Memory, n_steps: int, n_atoms: int, **shape: Any) -> None:
        super().__init__(n_steps=n_steps, n_atoms=n_atoms, **shape)
        self.memory: Memory = memory
        self.n_recurrences = 3  # those of the gates come before that of the step
        closed_W = torch.zeros_like(self.W).repeat(2, 1)
        closed_S = torch.zeros_like(self.S).repeat(2, 1)
        self.W = nn.Parameter(torch.cat([closed_W, self.W.detach()]))
        self.S = nn.Parameter(torch.cat([closed_S, self.S.detach()]))
        self.bias = nn.Parameter(torch.tensor([OPEN, -OPEN]).repeat_interleave(n_atoms))

    @torch.no_grad()
    def start_from(self, D: Tensor, lmbd: float) -> None:
        """Become n_steps of ISTA, from 0, but for the gates: `hold` makes them do nothing."""
        super().start_from(D, lmbd)
        self._close_gates()

    @torch.no_grad()
    def hold(self, *, input: float, forget: float) -> None:
        """Give the gates constant values, whatever signal and codes are."""
        self._close_gates()
        values = torch.tensor([input, forget], dtype=torch.float64)
        self.bias.copy_(values.logit().repeat_interleave(self.n_atoms))

    def _close_gates(self) -> None:
        """Let the gates see neither signal nor codes."""
        n_gates = 2 * self.n_atoms
        self.W[:n_gates] = 0
        self.S[:n_gates] = 0

    def unroll(self, Wx: Tensor) -> Tensor:
        """Return codes (n, n_atoms, rows, columns) for the maps W x of all W along channels."""
        n_gates = 2 * self.n_atoms
        threshold = self.threshold[:, None, None]
        kernel = self.S[:, :, None, None]
        bias = self.bias[:, None, None]
        moved = Wx
        last = Wx[:, n_gates:]
        c = torch.zeros_like(last)
        for t in range(self.n_steps):
            if t > 0:
                moved = Wx + F.conv2d(soft_threshold(c, threshold), kernel)
            opening, keeping = (moved[:, :n_gates] + bias).sigmoid().chunk(2, 1)
            step = moved[:, n_gates:]
            entering = opening * step
            memory = c if self.memory == "cell" else step - last
            c = entering + keeping * memory
            last = step
        return soft_threshold(c, threshold)
