"""A network of layers of implicit codes, the maps of one the signals of the next."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.layers.implicit import ImplicitCoding
from baselines.layers.statistics import statistics_of_one_batch
from ddl_bench.api import CodeStats, Flops, Task
from ddl_bench.training.backbones import ConvolutionPlan, Normalise
from ddl_bench.training.network import Network

PATCHED_IMAGES = 8  # whose patches are made at a time: 30 MB in a layer of 96 channels at 32x32
INITIAL_IMAGES = 200  # that the first dictionaries are drawn from
INITIAL_PATCHES = 5000  # of those images, that each is drawn from


def draw_atoms(patches: Tensor, n_atoms: int, generator: torch.Generator) -> Tensor:
    """Draw atoms (n_atoms, n_features) of unit norm from patches (n, n_features).

    None of them is flat, and a little noise tells apart those that are drawn twice.
    """
    order = torch.randperm(len(patches), generator=generator).to(patches.device)
    drawn = patches[order[:INITIAL_PATCHES]]
    size = drawn.norm(dim=1)
    lively = drawn[size >= size.mean() / 2]
    atoms = lively[torch.arange(n_atoms, device=lively.device) % len(lively)]
    noise = torch.randn(atoms.shape, generator=generator).to(atoms) / atoms.shape[1] ** 0.5
    return F.normalize(F.normalize(atoms) + 0.1 * noise)


class DDLNet(nn.Module):
    """Code images layer by layer, average the last codes over cells, and classify them linearly.

    Parameters
    ----------
    layers
        Of each layer of codes.
    n_cells
        Cells along each side.
    task
        Says the shape of the images and the number of classes.
    batch_norm, lmbd, alpha, per_atom, learned
        Of all layers, as `ImplicitCoding` has them.
    """

    def __init__(
        self,
        layers: Sequence[ConvolutionPlan],
        n_cells: int,
        task: Task,
        *,
        batch_norm: bool = True,
        lmbd: float,
        alpha: float,
        per_atom: bool = False,
        learned: bool = True,
    ) -> None:
        super().__init__()
        self.shape = task.image_shape
        self.n_cells = n_cells
        n_features = layers[-1].outputs * n_cells**2
        self.normalise = Normalise(task.image_shape[0])
        self.layers = nn.Sequential()
        for layer in layers:
            self.layers.append(
                ImplicitCoding(
                    layer,
                    lmbd=lmbd,
                    alpha=alpha,
                    per_atom=per_atom,
                    batch_norm=batch_norm,
                    learned=learned,
                )
            )
        self.norm = nn.BatchNorm1d(n_features, affine=False)
        self.head = nn.Linear(n_features, task.n_classes)
        nn.init.zeros_(self.head.weight)  # dictionaries should not follow a random classifier

    @property
    def codings(self) -> list[ImplicitCoding]:
        """The layers of codes."""
        return cast(list[ImplicitCoding], list(self.layers))

    @torch.no_grad()
    def initialise(self, X: Tensor, generator: torch.Generator) -> None:
        """Draw each dictionary from patches of what the layers below make of some images X.

        The running statistics of batch norms begin at those of these images: with the variances of
        1 that batch norms have at first, codes would vanish layer by layer.
        """
        self.normalise.initialise(X, generator)
        with statistics_of_one_batch(self):
            self._draw(X, generator)

    def _draw(self, X: Tensor, generator: torch.Generator) -> None:
        chosen = X[torch.randperm(len(X), generator=generator)[:INITIAL_IMAGES]]
        maps = self.normalise(chosen.to(self.head.weight.device)).to(self.head.weight)
        for layer in self.codings:
            patches = layer.patches(layer.signals(maps)).transpose(1, 2).flatten(0, 1)
            layer.D.copy_(draw_atoms(patches, layer.layer.outputs, generator).T)
            maps = layer(maps)
        self.norm(self.pooled(maps))

    def pooled(self, maps: Tensor) -> Tensor:
        """Return the means of maps over cells, (n, n_features)."""
        return F.adaptive_avg_pool2d(maps, self.n_cells).flatten(1)

    def forward(self, X: Tensor) -> Tensor:
        """Return scores (n, n_classes) of images X (n, channels, height, width)."""
        codes = self.layers(self.normalise(X).to(self.head.weight))
        scores: Tensor = self.head(self.norm(self.pooled(codes)))
        return scores


class DDLNetwork(Network):
    """Classify by a `DDLNet`, and count its codes and operations."""

    module: DDLNet

    @torch.inference_mode()
    def code_stats(self, X: Tensor, /) -> CodeStats:
        """Count the codes of all layers; each signal is a patch as its layer sees it."""
        net = self.module
        stats = CodeStats()
        for batch in torch.split(X, PATCHED_IMAGES):
            maps = net.normalise(batch.to(net.head.weight.device))
            for layer in net.codings:
                signals = layer.signals(maps)
                patches = layer.patches(signals)
                maps = layer.codes(signals)
                residual = patches - layer.D @ maps.flatten(2)
                stats += CodeStats.of(signals=patches, codes=maps, residual=residual)
        return stats

    def flops(self) -> Flops:
        """Count correlations with the dictionaries, and the classifier.

        The pursuit's own steps, which vary by image, are left out.
        """
        total = 2 * self.module.head.weight.numel()
        _, height, width = self.module.shape
        for layer in self.module.codings:
            height = (height - 1) // layer.layer.stride + 1
            width = (width - 1) // layer.layer.stride + 1
            total += 2 * height * width * layer.D.numel()
        return Flops(total, left_out="pursuits")

    def atoms(self) -> np.ndarray:
        """Return the atoms of the first layer."""
        first = self.module.codings[0]
        rows = first.D.detach().T.cpu()
        kernel = first.layer.kernel
        return np.asarray(rows.reshape(len(rows), -1, kernel, kernel))
