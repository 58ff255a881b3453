"""The optimisers of a recipe, and which of them trains which parameter."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ddl_bench.errors import UserError
from ddl_bench.training.recipe import Recipe

BETA_2 = 0.999  # of AdamW: how slowly the mean square of a gradient follows


def optimisers(module: nn.Module, recipe: Recipe) -> list[Optimizer]:
    """Make the optimisers of a module: SGD, AdamW, or Muon with AdamW for what it cannot train.

    Each group of parameters has an entry `rate`, its learning rate / that of the recipe.

    Muon orthogonalises the momentum of a matrix, so it trains weights of two dimensions, and by
    its authors' advice not the first and last weights of the network. Its steps are scaled to the
    size of AdamW's, so that one lr serves both.

    Raises
    ------
    UserError
        Where there is nothing to train, a parameter is complex, or this torch has no Muon.

    References
    ----------
    Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024.
    """
    learned = {
        name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad
    }
    _refuse_untrainable(learned)
    if recipe.optimiser == "sgd":
        groups = _groups(learned.items(), recipe)
        sgd = torch.optim.SGD(
            groups, recipe.lr, recipe.momentum, nesterov=recipe.nesterov, fused=True
        )
        return [sgd]
    if recipe.optimiser == "adamw":
        return [_adamw(learned.items(), recipe)]
    hidden = _hidden_matrices(learned)
    others = {name: parameter for name, parameter in learned.items() if name not in hidden}
    return [_muon(list(hidden.values()), recipe), _adamw(others.items(), recipe)]


def _refuse_untrainable(learned: dict[str, nn.Parameter]) -> None:
    if not learned:
        raise UserError(
            "the network has no parameters to train: register some as nn.Parameter, or make a"
            " method without training by from_function"
        )
    for name, parameter in learned.items():
        if not parameter.is_floating_point():
            raise UserError(
                f"the parameter {name!r} is {parameter.dtype}: keep real and imaginary part as two"
                " real parameters, and form the complex one in forward"
            )


def _groups(named: Iterable[tuple[str, nn.Parameter]], recipe: Recipe) -> list[dict[str, Any]]:
    weights: list[nn.Parameter] = []
    biases: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in named:
        if parameter.ndim > 1:
            weights.append(parameter)
        elif name.endswith("bias"):
            biases.append(parameter)
        else:
            others.append(parameter)
    decay = recipe.weight_decay if recipe.decay_all else 0.0
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": recipe.weight_decay, "rate": 1.0},
        {"params": biases, "weight_decay": decay, "rate": recipe.bias_rate},
        {"params": others, "weight_decay": decay, "rate": 1.0},
    ]
    return [group for group in groups if group["params"]]


def _adamw(named: Iterable[tuple[str, nn.Parameter]], recipe: Recipe) -> Optimizer:
    betas = (recipe.momentum, BETA_2)
    return torch.optim.AdamW(_groups(named, recipe), recipe.lr, betas, fused=True)


def _hidden_matrices(learned: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    inner = [name for name, parameter in learned.items() if parameter.ndim > 1][1:-1]
    return {name: learned[name] for name in inner if learned[name].ndim == 2}


def _muon(matrices: list[nn.Parameter], recipe: Recipe) -> Optimizer:
    if not matrices:
        raise UserError(
            "recipe.optimiser='muon': the network has no matrix between its first and last weights"
            " to train; use 'adamw'"
        )
    muon = getattr(torch.optim, "Muon", None)
    if muon is None:
        raise UserError(
            f"recipe.optimiser='muon': torch {torch.__version__} has none; install torch>=2.9, or"
            " use 'adamw'"
        )
    made: Optimizer = muon(
        [{"params": matrices, "rate": 1.0}],
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        adjust_lr_fn="match_rms_adamw",
    )
    return made
