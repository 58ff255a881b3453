"""A convolutional network whose features LISTA codes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.layers.unrolled import Coded, Form, LISTALayer
from ddl_bench.training.backbones import Normalise

INITIAL_LMBD = 0.1  # of features and atoms of about unit norm; thresholds are then learned


class CNNLISTANet(LISTALayer):
    """Code the features of 3x3 convolutions at each place, pool them, signs apart, and read out.

    Features are scaled to about unit norm.

    Parameters
    ----------
    channels, n_classes
        Of the images and of the scores.
    widths
        Channels of the convolutions; maps are halved after all but the last.
    n_atoms, n_steps, form
        As `LISTALayer` has them.
    """

    def __init__(
        self,
        channels: int,
        n_classes: int,
        widths: list[int],
        n_atoms: int,
        n_steps: int,
        form: Form,
    ) -> None:
        n_features = widths[-1]
        super().__init__(n_features, n_atoms, n_steps, form)
        D = F.normalize(torch.randn(n_features, n_atoms), dim=0)
        scale = torch.linalg.matrix_norm(D, 2)
        self.start_from(D / scale, INITIAL_LMBD / float(scale))
        parts: list[nn.Module] = [Normalise(channels)]
        for before, after in zip([channels, *widths], widths, strict=False):
            parts.append(nn.Conv2d(before, after, 3, padding=1, bias=False))
            parts.append(nn.BatchNorm2d(after))
            parts.append(nn.ReLU())
            if after < n_features:
                parts.append(nn.MaxPool2d(2))
        parts.append(nn.Conv2d(n_features, n_features, 1, bias=False))
        parts.append(nn.BatchNorm2d(n_features, affine=False))
        self.cnn = nn.Sequential(*parts)
        self.readout = nn.Sequential(nn.BatchNorm1d(2 * n_atoms), nn.Linear(2 * n_atoms, n_classes))

    def features(self, X: Tensor) -> Tensor:
        """Return the maps that are coded, (n, n_features, rows, columns), for images X."""
        maps: Tensor = self.cnn(X) / self.W.shape[1] ** 0.5
        return maps

    def coded(self, X: Tensor) -> Coded:
        """Return the features at each place as signals, their codes, and the dictionary."""
        signals = self.features(X).permute(0, 2, 3, 1).flatten(0, 2)
        return Coded(signals, self.signal_codes(signals), self.dictionary())

    def forward(self, X: Tensor) -> Tensor:
        """Return scores (n, n_classes) of images X (n, channels, height, width)."""
        codes = self.unroll(F.conv2d(self.features(X), self.W[:, :, None, None]))
        pooled = torch.cat([F.relu(codes), F.relu(-codes)], 1).mean((2, 3))
        scores: Tensor = self.readout(pooled)
        return scores
