"""A small CRATE (Yu et al., 2023): a transformer each of whose blocks compresses tokens, then takes one step of ISTA.

The published networks, of 6 million parameters and more, are trained on ImageNet first; nothing to compare this with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.layers.unrolled import CodedNetwork
from ddl_bench.api import About, Task
from ddl_bench.errors import UserError
from ddl_bench.options import NotNegative, Positive
from ddl_bench.training.backbones import Normalise
from ddl_bench.training.method import NetworkMethod
from ddl_bench.training.recipe import Recipe, adapted


class Compress(nn.Module):
    """Attention in which U gives queries, keys and values: tokens + sum over heads of O_h softmax(V_h V_h' / s) V_h.

    V_h = tokens @ U_h', (n_tokens, dim / n_heads), s = sqrt(dim / n_heads); the tokens enter normalised.
    """

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm = nn.LayerNorm(dim)
        self.U, self.O = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        V = self.U(self.norm(tokens)).unflatten(2, (self.n_heads, -1)).transpose(1, 2)
        mixed: Tensor = F.scaled_dot_product_attention(V, V, V)
        added: Tensor = self.O(mixed.transpose(1, 2).flatten(2))
        return tokens + added


class Sparsify(nn.Module):
    """One step of ISTA on 0.5*||x - D a||^2 + lmbd*|a|_1 over a >= 0, from a = x, the normalised token.

    a = max(x + step * D'(x - D x) - step * lmbd, 0); D (dim, dim) is learned, step and lmbd are the published 0.1.
    """

    def __init__(self, dim: int, step: float = 0.1, lmbd: float = 0.1) -> None:
        super().__init__()
        self.step, self.lmbd = step, lmbd
        self.norm = nn.LayerNorm(dim)
        self.D = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(dim, dim)))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.norm(tokens)
        return F.relu(x + self.step * ((x - x @ self.D.T) @ self.D - self.lmbd))


class CRATENet(nn.Module):
    """Patches that overlap by two pixels as tokens, blocks, and a linear readout of the mean token."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        n_classes: int,
        *,
        patch: int,
        dim: int,
        depth: int,
        n_heads: int,
    ) -> None:
        super().__init__()
        channels, height, width = shape
        self.embed = nn.Sequential(
            Normalise(channels), nn.Conv2d(channels, dim, patch + 2, patch, 1)
        )
        self.norm = nn.LayerNorm(dim)
        self.places = nn.Parameter(torch.randn((height // patch) * (width // patch), dim))
        self.compress = nn.ModuleList(Compress(dim, n_heads) for _ in range(depth))
        self.sparsify = nn.ModuleList(Sparsify(dim) for _ in range(depth))
        self.readout = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, n_classes))

    def tokens(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (n, n_tokens, dim) before and after the last step of ISTA."""
        before = after = self.norm(self.embed(X).flatten(2).transpose(1, 2)) + self.places
        for compress, sparsify in zip(self.compress, self.sparsify, strict=True):
            before = compress(after)
            after = sparsify(before)
        return before, after

    def coded(self, X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the last block: normalised tokens, what its step makes of them, and its dictionary."""
        (before, codes), last = self.tokens(X), self.sparsify[-1]
        assert isinstance(last, Sparsify)
        return last.norm(before).flatten(0, 1), codes.flatten(0, 1), last.D

    def forward(self, X: Tensor) -> Tensor:
        scores: Tensor = self.readout(self.tokens(X)[1].mean(1))
        return scores


@dataclass(frozen=True, kw_only=True)
class CRATELite(NetworkMethod):
    """White-box transformer (CRATE), small: each block compresses tokens, then takes one step of ISTA.

    A setting of 0 follows from the images.

    patch: side of patches, in pixels. dim: of tokens, a multiple of n_heads. depth: blocks. n_heads: of the attention.
    """

    name: ClassVar[str] = "crate-lite"
    about: ClassVar[About] = About(
        family="unrolled networks",
        formula="tokens += sum_h O_h softmax(V_h V_h' / s) V_h; tokens = max(x + step * D'(x - D x) - step * lmbd, 0)",
        references=("yu2023",),
        published="only after training on ImageNet, with 6 million parameters and more",
        differs="smaller, trained from the start; patches overlap, and the mean token is read out",
    )
    wrap = CodedNetwork
    recipes: ClassVar[Mapping[str, Recipe]] = adapted(lr=0.1)
    patch: NotNegative = 0
    dim: NotNegative = 0
    depth: NotNegative = 0
    n_heads: Positive = 8

    def network(self, task: Task) -> nn.Module:
        side, auto = (
            min(task.image_shape[1:]),
            (4, 192, 6) if min(task.image_shape[1:]) >= 16 else (2, 96, 2),
        )
        patch, dim, depth = (
            mine or other
            for mine, other in zip((self.patch, self.dim, self.depth), auto, strict=True)
        )
        if patch > side or dim % self.n_heads:
            problem = f"patch={patch}, dim={dim}, n_heads={self.n_heads}"
            raise UserError(
                f"CRATELite({problem}): patches must fit {side} pixels, heads must divide dim"
            )
        return CRATENet(
            task.image_shape,
            task.n_classes,
            patch=patch,
            dim=dim,
            depth=depth,
            n_heads=self.n_heads,
        )
