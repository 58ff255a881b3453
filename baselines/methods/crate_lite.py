"""A small CRATE (Yu et al., 2023), a transformer that compresses and sparsifies tokens.

The published networks, of 6 million parameters and more, are trained on ImageNet first; there is
nothing to compare this with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from baselines.features.defaults import is_small
from baselines.layers.transformer import CRATENet
from baselines.layers.unrolled import CodedNetwork
from ddl_bench.api import About, Task
from ddl_bench.errors import UserError
from ddl_bench.options import Positive
from ddl_bench.training.method import NetworkMethod
from ddl_bench.training.recipe import Recipe, adapted
from ddl_bench.training.schedules import PublishedRecipe

# AdamW with the authors' warm-up (20 of 90 epochs), half a cosine, weight decay and smoothing.
# Their rate for ImageNet is lower; this one is that of AdamW in the common recipes.
ADAMW = PublishedRecipe(
    optimiser="adamw", lr=2e-3, weight_decay=0.1, warm_up=20 / 90, label_smoothing=0.1
)


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
    preset
        "small", trained by SGD; or "adamw", trained by AdamW with a warm-up, on patches of 8 pixels
        where patch is None and images are not small. Its recipe stands in place of "fast". On
        digits it is behind SGD after 10 epochs, by 2.8 points of validation images (0.1 to 5.5, 4
        seeds each).
    """

    name: ClassVar[str] = "crate-lite"
    about: ClassVar[About] = About(
        family="unrolled networks",
        formula="tokens += sum_h O_h softmax(V_h V_h' / s) V_h; "
        "tokens = max(x + step * D'(x - D x) - step * lmbd, 0)",
        references=("yu2023",),
        published="only after training on ImageNet, with 6 million parameters and more",
        differs="smaller, without pretraining; patches overlap, and the mean token is read out; "
        "SGD, where the authors take AdamW or Lion: preset=adamw does, and looks at fewer tokens",
    )
    wrap = CodedNetwork
    recipes: ClassVar[Mapping[str, Recipe]] = adapted(lr=0.1)
    patch: Positive | None = None
    dim: Positive | None = None
    depth: Positive | None = None
    n_heads: Positive = 8
    preset: Literal["small", "adamw"] = "small"

    def class_recipes(self) -> Mapping[str, Recipe]:
        """Return the recipes in place of the common ones of the same name."""
        recipes = super().class_recipes()
        return recipes if self.preset == "small" else {**recipes, "fast": ADAMW}

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
            large = 8 if self.preset == "adamw" else 4
            patch = 2 if small else large
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
