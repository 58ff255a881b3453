"""The optimisers of a recipe, and which of them trains which parameter."""

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ddl_bench.errors import UserError
from ddl_bench.training.recipe import Recipe

BIAS = re.compile(r"bias(es)?(\.\d+)?$")  # ends the name of a bias, also of one in a list
BETA_2 = 0.999  # of AdamW: how slowly the mean square of a gradient follows


def optimisers(module: nn.Module, recipe: Recipe) -> list[Optimizer]:
    """Make the optimisers of a module: SGD, AdamW, or Muon with AdamW for what it cannot train.

    Each group of parameters has an entry `rate`, its learning rate / that of the recipe.

    Muon orthogonalises the momentum of a matrix. So it trains weights of two dimensions, and those
    of convolutions as matrices of (output channels, all that one of them sees), but by its authors'
    advice not the first and last weights of the network. Its steps are scaled to the size of
    AdamW's, so that one lr serves both.

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
    hidden = _hidden_weights(module, learned)
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
        elif BIAS.search(name):
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


def _hidden_weights(module: nn.Module, learned: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Return the learned weights between the first and the last of a network.

    A convolution of each channel by itself is no matrix between channels.
    """
    inner = [name for name, parameter in module.named_parameters() if parameter.ndim > 1][1:-1]
    weights = {name: learned[name] for name in inner if name in learned}
    return {name: weight for name, weight in weights.items() if _is_matrix(weight)}


def _is_matrix(weight: nn.Parameter) -> bool:
    if weight.ndim != 4:
        return weight.ndim == 2
    is_plain = weight.is_contiguous() or weight.is_contiguous(memory_format=torch.channels_last)
    return is_plain and weight.shape[1] > 1


def _muon(weights: list[nn.Parameter], recipe: Recipe) -> Optimizer:
    """Make a Muon of matrices that share the memory of the weights."""
    if not weights:
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
    matrices = [nn.Parameter(_as_matrix(weight.detach(), weight)) for weight in weights]
    made: Optimizer = muon(
        [{"params": matrices, "rate": 1.0}],
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        adjust_lr_fn="match_rms_adamw",
    )

    def take_gradients(*_: object) -> None:
        for matrix, weight in zip(matrices, weights, strict=True):
            gradient = weight.grad
            matrix.grad = None if gradient is None else _as_matrix(gradient, weight)
            weight.grad = None

    made.register_step_pre_hook(take_gradients)
    return made


def _as_matrix(tensor: Tensor, weight: Tensor) -> Tensor:
    """Return a weight or its gradient as a matrix; of a weight it is a view of its memory.

    The columns have the order of that memory, which makes no difference to Muon.
    """
    if weight.ndim == 4 and not weight.is_contiguous():  # channels last
        tensor = tensor.movedim(1, -1)
    return tensor if tensor.ndim == 2 else tensor.reshape(len(weight), -1)
