"""Deep analysis dictionaries under a synthesis dictionary, after Huang and Dragotti (2018), as a classifier.

They map small images to large ones: thresholded analysis atoms layer by layer, and atoms that make the output at the
end. Here the last layer codes what the analysis layers pool, and a linear readout takes the codes. No figure for
classification has been published.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import ClassVar

from torch import Tensor

from baselines.features.stack import Geometry, Layer, Stack
from baselines.methods.adl import ADL
from baselines.methods.sdl import SDL
from ddl_bench.api import About, Classifier, Deadline, Task
from ddl_bench.options import NotNegativeFloat, Positive


@dataclass(frozen=True, kw_only=True)
class ADLSDL(ADL):
    """Analysis dictionaries under a synthesis dictionary: `n_layers` - 1 layers of `adl`, then one of `sdl`.

    All layers feed the readout.

    lmbd, threshold: of the analysis layers. synthesis_lmbd: penalty of the codes of the last layer, or `n_nonzero`;
        `learner` learns its dictionary.
    """

    name: ClassVar[str] = "adl-sdl"
    about: ClassVar[About] = About(
        family="dictionaries, layer by layer",
        formula="codes_l = hard_threshold(W_l codes_{l-1}), then"
        " argmin 0.5*norm(codes_{l-1} - D codes)**2 + lmbd*norm1(codes)",
        references=("huang2018",),
        differs="published for super-resolution, where the synthesis atoms make the output: here they code",
    )
    n_layers: Positive = 2
    synthesis_lmbd: NotNegativeFloat = 0.1

    def __post_init__(self) -> None:
        if self.n_layers < 2:
            raise ValueError(
                f"ADLSDL(n_layers={self.n_layers}): an analysis and a synthesis layer need at least 2"
            )

    def synthesis(self) -> SDL:
        """The method that makes the last layer."""
        options = {field.name: getattr(self, field.name) for field in fields(SDL)}
        return SDL(**options | {"lmbd": self.synthesis_lmbd, "n_iter": 0})

    def restore(self, state: Mapping[str, Tensor], task: Task) -> Classifier:
        stack = super().restore(state, task)
        assert isinstance(stack, Stack)
        *analysis, last = stack.layers
        return replace(stack, layers=(*analysis, replace(last, encode=self.synthesis().encode)))

    def learn_layer(
        self, below: list[Layer], geometry: Geometry, X: Tensor, seed: int, deadline: Deadline
    ) -> Layer:
        if len(below) < self.n_layers - 1:
            return super().learn_layer(below, geometry, X, seed, deadline)
        return self.synthesis().learn_layer(below, geometry, X, seed, deadline)
