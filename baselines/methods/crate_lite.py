"""A small CRATE (Yu et al., 2023), a transformer that compresses and sparsifies tokens.

The published networks, of 6 million parameters and more, are trained on ImageNet first; there is
nothing to compare this with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from baselines.features.defaults import is_small
from baselines.layers.transformer import CRATENet
from baselines.layers.unrolled import CodedNetwork
from ddl_bench.api import About, Task
from ddl_bench.errors import UserError
from ddl_bench.options import Positive
from ddl_bench.training.method import NetworkMethod
from ddl_bench.training.recipe import Recipe, adapted


@dataclass(frozen=True, kw_only=True)
class CRATELite(NetworkMethod):
    """White-box transformer (CRATE), small: each block compresses tokens, then takes an ISTA step.

    Parameters
    ----------
    patch
        Side of the patches that are tokens, in pixels. None: chosen from the size of the images.
    dim
        Dimension of the tokens, a multiple of n_heads. None: chosen from the size of the images.
    depth
        Number of blocks. None: chosen from the size of the images.
    n_heads
        Heads of the attention.
    """

    name: ClassVar[str] = "crate-lite"
    about: ClassVar[About] = About(
        family="unrolled networks",
        formula="tokens += sum_h O_h softmax(V_h V_h' / s) V_h; "
        "tokens = max(x + step * D'(x - D x) - step * lmbd, 0)",
        references=("yu2023",),
        published="only after training on ImageNet, with 6 million parameters and more",
        differs="smaller, trained from the start; patches overlap, and the mean token is read out",
    )
    wrap = CodedNetwork
    recipes: ClassVar[Mapping[str, Recipe]] = adapted(lr=0.1)
    patch: Positive | None = None
    dim: Positive | None = None
    depth: Positive | None = None
    n_heads: Positive = 8

    def network(self, task: Task) -> nn.Module:
        """Return a new network for the images of a task.

        Raises
        ------
        UserError
            Where patches are larger than the images, or heads do not divide dim.
        """
        small = is_small(task.image_shape)
        patch = self.patch
        if patch is None:
            patch = 2 if small else 4
        dim = self.dim
        if dim is None:
            dim = 96 if small else 192
        depth = self.depth
        if depth is None:
            depth = 2 if small else 6
        side = min(task.image_shape[1:])
        if patch > side or dim % self.n_heads != 0:
            call = f"CRATELite(patch={patch}, dim={dim}, n_heads={self.n_heads})"
            raise UserError(f"{call}: patches must fit {side} pixels, heads must divide dim")
        return CRATENet(
            task.image_shape,
            task.n_classes,
            patch=patch,
            dim=dim,
            depth=depth,
            n_heads=self.n_heads,
        )
