"""The blocks of CRATE (Yu et al., 2023), and a small network of them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.layers.unrolled import Coded
from ddl_bench.training.backbones import Normalise

OVERLAP_PIXELS = 2  # of neighbouring patches


class Compress(nn.Module):
    """Add attention in which U gives queries, keys and values.

    tokens + sum over heads of O_h softmax(V_h V_h' / s) V_h, with V_h = tokens @ U_h',
    (n_tokens, dim / n_heads), and s = sqrt(dim / n_heads); the tokens enter normalised.

    Parameters
    ----------
    dim
        Of the tokens.
    n_heads
        A divisor of dim.
    """

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm = nn.LayerNorm(dim)
        self.U = nn.Linear(dim, dim, bias=False)
        self.O = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens of the shape that they have, (n, n_tokens, dim)."""
        V = self.U(self.norm(tokens)).unflatten(2, (self.n_heads, -1)).transpose(1, 2)
        mixed: Tensor = F.scaled_dot_product_attention(V, V, V)
        added: Tensor = self.O(mixed.transpose(1, 2).flatten(2))
        return tokens + added


class Sparsify(nn.Module):
    """Take one step of ISTA on 0.5*norm(x - D a)**2 + lmbd*norm1(a) over a >= 0, from a = x.

    a = max(x + step * D'(x - D x) - step * lmbd, 0), where x is the normalised token. D (dim, dim)
    is learned; step and lmbd are the published 0.1.
    """

    def __init__(self, dim: int, step: float = 0.1, lmbd: float = 0.1) -> None:
        super().__init__()
        self.step = step
        self.lmbd = lmbd
        self.norm = nn.LayerNorm(dim)
        self.D = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(dim, dim)))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return codes a of tokens (n, n_tokens, dim), in their shape."""
        x = self.norm(tokens)
        return F.relu(x + self.step * ((x - x @ self.D.T) @ self.D - self.lmbd))


class CRATENet(nn.Module):
    """Compress and sparsify patches as tokens, block by block, and read out the mean token.

    Parameters
    ----------
    shape, n_classes
        Channels, height and width of the images, and number of the scores.
    patch
        Side of the patches, in pixels; they overlap by two.
    dim, n_heads
        As `Compress` has them.
    depth
        Number of blocks.
    """

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
        convolution = nn.Conv2d(channels, dim, patch + OVERLAP_PIXELS, patch, 1)
        self.embed = nn.Sequential(Normalise(channels), convolution)
        self.norm = nn.LayerNorm(dim)
        self.places = nn.Parameter(torch.randn((height // patch) * (width // patch), dim))
        self.compress = nn.ModuleList(Compress(dim, n_heads) for _ in range(depth))
        self.sparsify = nn.ModuleList(Sparsify(dim) for _ in range(depth))
        self.readout = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, n_classes))

    def tokens(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens (n, n_tokens, dim) before and after the last step of ISTA."""
        after = self.norm(self.embed(X).flatten(2).transpose(1, 2)) + self.places
        before = after
        for compress, sparsify in zip(self.compress, self.sparsify, strict=True):
            before = compress(after)
            after = sparsify(before)
        return before, after

    def coded(self, X: Tensor) -> Coded:
        """Return the last block's normalised tokens, their codes, and its dictionary."""
        before, codes = self.tokens(X)
        last = self.sparsify[-1]
        if not isinstance(last, Sparsify):
            raise TypeError("the last layer does not code")
        return Coded(last.norm(before).flatten(0, 1), codes.flatten(0, 1), last.D)

    def forward(self, X: Tensor) -> Tensor:
        """Return scores (n, n_classes) of images X (n, channels, height, width)."""
        _, after = self.tokens(X)
        scores: Tensor = self.readout(after.mean(1))
        return scores
