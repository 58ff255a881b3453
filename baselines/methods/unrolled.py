"""What methods share that code whitened patches by unrolled steps."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from baselines.features.defaults import default_cells, default_patch, is_small
from baselines.features.patches import positions
from baselines.features.readout import fit_readout, shuffled
from baselines.features.unrolled import LISTANetwork
from baselines.layers.unrolled import DISTILLED_SHARE, distil
from baselines.learning.learner import learn
from baselines.learning.online import Online
from baselines.pursuit.encode import encode
from ddl_bench.api import Budget, Classifier, Deadline, Stepwise, Task, Training
from ddl_bench.errors import UserError
from ddl_bench.options import NotNegativeFloat, Positive, refuse_without_effect
from ddl_bench.training.method import NetworkMethod
from ddl_bench.training.recipe import Recipe, adapted

DENSE_SIDE_PIXELS = 24  # of images below which every patch is coded
DICTIONARY_STEPS = 150
DISTILLING_STEPS = 1000
POOLED_IMAGES = 256  # at a time


@dataclass(frozen=True, kw_only=True)
class Unrolled(NetworkMethod):
    """Code whitened patches by unrolled steps, end to end for the classes or for exact codes.

    Parameters
    ----------
    patch
        Side of the patches, in pixels. None: chosen from the size of the images.
    stride
        Distance between neighbouring patches, in pixels. None: 1 for images below 24 pixels, else
        2.
    n_atoms
        Number of atoms. None: chosen from the size of the images.
    n_cells
        Codes are pooled on a grid of n_cells x n_cells, at most as many as there are patches along
        a side. None: chosen from the size of the images.
    n_steps
        Unrolled steps, at least 1.
    distilled
        Whether to train the steps to predict exact codes of whitened patches, and then a linear
        readout of them, instead of training end to end for the classes. It has its own recipe.
    lmbd
        Penalty of the exact codes; only with distilled=True.
    """

    wrap = LISTANetwork
    recipes: ClassVar[Mapping[str, Recipe]] = adapted(lr=0.015)
    patch: Positive | None = None
    stride: Positive | None = None
    n_atoms: Positive | None = None
    n_cells: Positive | None = None
    n_steps: Positive = 3
    distilled: bool = False
    lmbd: NotNegativeFloat = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.distilled:
            refuse_without_effect(self, ("recipe",), "with distilled=True; leave it out")
        else:
            refuse_without_effect(self, ("lmbd",), "without distilled=True; leave it out or set it")

    def plan(self, task: Task) -> dict[str, Any]:
        """Return the arguments of the network for the images of a task.

        Raises
        ------
        UserError
            Where patches are larger than the images.
        """
        shape = task.image_shape
        side = min(shape[1:])
        patch = default_patch(shape) if self.patch is None else self.patch
        if patch > side:
            call = f"{type(self).__name__}(patch={patch})"
            images = f"the {shape[1]}x{shape[2]} images"
            raise UserError(f"{call}: larger than {images}; use at most {side}")
        stride = self.stride
        if stride is None:
            stride = 1 if side < DENSE_SIDE_PIXELS else 2
        n_cells = default_cells(shape) if self.n_cells is None else self.n_cells
        n_atoms = self.n_atoms
        if n_atoms is None:
            n_atoms = 64 if is_small(shape) else 192
        return {
            "channels": shape[0],
            "n_classes": task.n_classes,
            "patch": patch,
            "stride": stride,
            "n_atoms": n_atoms,
            "n_steps": self.n_steps,
            "n_cells": min(n_cells, positions(side, patch, stride)),
            "normalise": not self.distilled,
        }

    def start(self, task: Task, budget: Budget) -> Training:
        """Begin a training."""
        if not self.distilled:
            return super().start(task, budget)
        return Stepwise(lambda deadline: self._distil(task, budget, deadline))

    @torch.no_grad()
    def _distil(self, task: Task, budget: Budget, deadline: Deadline) -> Iterator[Classifier]:
        X, y, held_out = shuffled(task, budget.seed)
        with torch.random.fork_rng(devices=[]):
            net: Any = self.network(task)
        generator = torch.Generator().manual_seed(budget.seed)
        signals = net.whiten(X[~held_out], generator)
        learner = Online(
            n_atoms=net.n_atoms, lmbd=self.lmbd, seed=budget.seed, n_threads=budget.threads
        )
        D = learn(learner, signals.numpy(), n_iter=DICTIONARY_STEPS).D
        net.start_from(torch.from_numpy(D), self.lmbd)
        codes = encode(signals, D, lmbd=self.lmbd, tol=1e-4, n_threads=budget.threads).codes
        with torch.enable_grad():
            distil(
                net, signals, codes, n_iter=DISTILLING_STEPS, seed=budget.seed, deadline=deadline
            )
        Z = torch.cat([net.pooled(block) for block in X.split(POOLED_IMAGES)])
        refit = len(task.val) == 0
        readout = fit_readout(
            Z, y, held_out, task.n_classes, deadline, refit=refit, done=DISTILLED_SHARE
        )
        net.readout.load_state_dict({"weight": readout.weight.T, "bias": readout.bias})
        yield type(self).wrap(net, device=budget.device, precision=budget.precision)
